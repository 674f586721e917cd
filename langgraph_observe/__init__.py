"""See every step of a LangChain or LangGraph agent: in Langfuse, OpenTelemetry, Prometheus, and Jupyter.

`observe(graph)` or `callbacks=[CallbackHandler()]`; then `traces`. The agent's code does not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph_observe.observer import Observer, Options, observe
from langgraph_observe.records import (
    Failure,
    Finished,
    Link,
    Message,
    Noted,
    Payload,
    Processor,
    Prompt,
    Record,
    Scored,
    Sink,
    Started,
    Usage,
)

if TYPE_CHECKING:
    from langgraph_observe.capture.collect import collect_runs
    from langgraph_observe.capture.handler import CallbackHandler
    from langgraph_observe.everywhere import instrument, uninstrument
    from langgraph_observe.explore import traces

__all__ = [
    "CallbackHandler",
    "Failure",
    "Finished",
    "Link",
    "Message",
    "Noted",
    "Observer",
    "Options",
    "Payload",
    "Processor",
    "Prompt",
    "Record",
    "Scored",
    "Sink",
    "Started",
    "Usage",
    "collect_runs",
    "instrument",
    "observe",
    "traces",
    "uninstrument",
]


def __getattr__(name: str) -> object:
    """LangChain and the read side are imported when they are first named."""
    if name == "CallbackHandler":
        from langgraph_observe.capture.handler import CallbackHandler

        return CallbackHandler
    if name == "collect_runs":
        from langgraph_observe.capture.collect import collect_runs

        return collect_runs
    if name in ("instrument", "uninstrument"):
        from langgraph_observe import everywhere

        return getattr(everywhere, name)
    if name == "traces":
        from langgraph_observe.explore import traces
        from langgraph_observe.observer import flush_all

        traces.before = flush_all
        return traces
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
