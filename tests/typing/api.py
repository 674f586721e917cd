"""What a type checker must see of the public interface. Checked by `mypy` (pyproject.toml), never run."""

from typing import TYPE_CHECKING, Any, assert_type

from langgraph.graph import MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from langgraph_observe import CallbackHandler, Finished, Observer, Record, Started, Usage, observe, traces
from langgraph_observe.explore import Trace

if TYPE_CHECKING:
    from decimal import Decimal

builder = StateGraph(MessagesState)
compiled = builder.compile()


def sink(record: Record) -> None:
    """A function is a sink."""
    match record:
        case Finished(run=run, usage=usage):
            assert_type(run, Started)
            assert_type(usage, Usage | None)
            cost: Decimal | None = usage.cost if usage else None
            del cost


seen: list[Record] = []
assert_type(observe(compiled), CompiledStateGraph[MessagesState, None, MessagesState, MessagesState])
handler: CallbackHandler = Observer(sink).handler
CallbackHandler(seen.append, payloads="full")
assert_type(traces.last(), Trace)
assert_type(traces.last(3), list[Trace])
config: dict[str, Any] = {"callbacks": [handler]}
observe(compiled, payloads="everything")  # type: ignore[arg-type]  # not one of the three
observe(builder)  # type: ignore[type-var]  # not compiled
