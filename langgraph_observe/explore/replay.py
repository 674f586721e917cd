"""Where LangGraph's time travel finds a trace again: the thread, and the checkpoint before the step that is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph_observe.explore.trace import Trace

MARK: Final = "langgraph_observe_traceparent"
"""What `observe` leaves in a checkpoint's metadata: the trace that wrote it."""


def config(trace: Trace, graph: Any = None, before: str | None = None) -> dict[str, Any]:
    """`{"configurable": {"thread_id": …, "checkpoint_ns": ""}}`; with the compiled graph also a `checkpoint_id`.

    That is where this trace began, or where it stood when `before` was the next node: `graph.invoke(None, config)` goes on there.
    Raises LookupError for a trace without a thread, and for a checkpoint that the graph's checkpointer does not have.
    """
    if trace.thread_id is None:
        msg = f"trace {trace.id} ran on no thread: without a checkpointer there is nothing to go back to"
        raise LookupError(msg)
    place: dict[str, Any] = {"configurable": {"thread_id": trace.thread_id, "checkpoint_ns": ""}}
    if graph is None:
        if before is not None:
            msg = "a checkpoint is looked up in the graph: replay_config(graph, before=…)"
            raise LookupError(msg)
        return place
    return {"configurable": {**place["configurable"], "checkpoint_id": _checkpoint(trace, graph, place, before)}}


def _checkpoint(trace: Trace, graph: Any, place: dict[str, Any], before: str | None) -> Any:
    """The latest before the node; with no node, the earliest of the trace. History comes the latest first."""
    written = [one for one in _written(trace, graph, place) if before is None or before in one.next]
    if not written:
        msg = f"thread {trace.thread_id} has no checkpoint of trace {trace.id}" + (f" before {before}" if before else "")
        raise LookupError(msg)
    return written[-1 if before is None else 0].config["configurable"]["checkpoint_id"]


def _written(trace: Trace, graph: Any, place: dict[str, Any]) -> Iterator[Any]:
    return (one for one in graph.get_state_history(place) if trace.id in str((one.metadata or {}).get(MARK, "")))
