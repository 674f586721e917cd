"""See every step of a LangChain or LangGraph agent: in Langfuse, OpenTelemetry, Prometheus, and Jupyter.

`observe(graph)` or `callbacks=[CallbackHandler()]`; then `traces`. The agent's code does not change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

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
    Stream,
    Usage,
)

if TYPE_CHECKING:
    from langgraph_observe.capture.collect import collect_runs
    from langgraph_observe.capture.handler import CallbackHandler
    from langgraph_observe.capture.http import StreamMiddleware
    from langgraph_observe.capture.served import observe_stream
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
    "Stream",
    "StreamMiddleware",
    "Usage",
    "collect_runs",
    "instrument",
    "observe",
    "observe_stream",
    "traces",
    "uninstrument",
]


_LATER: Final = {
    "CallbackHandler": "capture.handler",
    "StreamMiddleware": "capture.http",
    "collect_runs": "capture.collect",
    "instrument": "everywhere",
    "load_ipython_extension": "notebook",
    "observe_stream": "capture.served",
    "traces": "explore",
    "uninstrument": "everywhere",
    "unload_ipython_extension": "notebook",
}
"""LangChain, the read side and what not everybody needs are imported when they are first named."""


def __getattr__(name: str) -> object:
    if name not in _LATER:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    if name == "traces":
        from langgraph_observe.observer import flush_all, score

        found.before, found.scorer = flush_all, score
    return found
