"""How much of what goes in and comes out of a run is kept: the option `payloads`. Bounded and copied now; redacted, encoded later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph_observe.capture import graph, payload
from langgraph_observe.payloads import REDACTION_FAILED, UNREADABLE, Payload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.outputs import LLMResult

    from langgraph_observe.capture.run import Run


class Kept:
    """Makes the payloads of a handler's runs. What cannot be read is named, and the run goes on."""

    def __init__(self, policy: str) -> None:
        self._none = policy == "none"
        self._delta = policy == "delta"

    def whole(self, run: Run, value: Any) -> Payload | None:
        """All of it."""
        return self._made(_full, run, value)

    def state(self, run: Run, value: Any, step: int | None) -> Payload | None:
        """A state, without what the graph's view has shown already."""
        if not self._delta:
            return self.whole(run, value)
        return self._made(_new, run, value, step)

    def of_node(self, run: Run, name: str, value: Any, part: str, *, whole: bool = False) -> Payload | None:
        """A node's input or output as its author lets it be seen (LangGraph's `TracePolicy`)."""
        policy = graph.policy(run, name, part)
        if policy is not None:
            try:
                return self.whole(run, policy(value))
            except Exception:
                return Payload(REDACTION_FAILED)
        return self.whole(run, value) if whole else self.state(run, value, run.step if part == "process_inputs" else None)

    def conversation(self, run: Run, messages: Sequence[Any]) -> Payload | None:
        """What a model is asked."""
        return self._made(_conversation, run, messages)

    def generations(self, run: Run, result: LLMResult) -> Payload | None:
        """What a model answers."""
        return self._made(_generations, run, result)

    def _made(self, make: Callable[..., Payload], run: Run, value: Any, *more: Any) -> Payload | None:
        if self._none or run.dropped:
            return None
        try:
            return make(run, value, *more)
        except Exception as error:
            return Payload(UNREADABLE.format(type(error).__name__))


def _full(run: Run, value: Any) -> Payload:
    return payload.full(value, run.memory or payload.Memory())


def _new(run: Run, value: Any, step: int | None) -> Payload:
    view = run.home.view if run.home else None
    fields = value if type(value) is dict else payload.fields(value)
    if view is None or fields is None:
        return _full(run, value)
    return view.delta(fields, step, run.memory or payload.Memory(), ends=run.home is run)


def _conversation(run: Run, messages: Sequence[Any]) -> Payload:
    snapshot = payload.Snapshot(run.memory or payload.Memory())
    return Payload({"messages": [snapshot.of(message) for message in messages]}, encode=payload.encode)


def _generations(run: Run, result: LLMResult) -> Payload:
    memory = run.memory or payload.Memory()
    return Payload(
        {"messages": [payload.generated(one, memory) for batch in result.generations for one in batch]}, encode=payload.encode
    )
