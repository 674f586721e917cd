"""Stored runs -> eyes. The read side; the write side never imports it."""

from langgraph_observe.explore.collection import Traces
from langgraph_observe.explore.run import Run
from langgraph_observe.explore.source import Filter, Memory, Source
from langgraph_observe.explore.storefile import StoreFile
from langgraph_observe.explore.trace import Trace

__all__ = ["Filter", "Memory", "Run", "Source", "StoreFile", "Trace", "Traces", "traces"]

traces = Traces()
