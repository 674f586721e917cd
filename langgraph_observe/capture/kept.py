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
        self._state = _new if policy == "delta" else whole

    def __call__(self, make: Callable[..., Payload], run: Run, value: Any, *more: Any) -> Payload | None:
        """What `make`, a function of this module, keeps of the value."""
        if self._none or run.dropped:
            return None
        try:
            return make(run, value, *more)
        except Exception as error:
            return Payload(UNREADABLE.format(type(error).__name__))

    def state(self, run: Run, value: Any, step: int | None) -> Payload | None:
        """A state, without what the graph's view has shown already."""
        return self(self._state, run, value, step)

    def of_node(self, run: Run, name: str, value: Any, part: str, step: int | None, *, own: bool = False) -> Payload | None:
        """A node's input or output as its author lets it be seen (LangGraph's `TracePolicy`), of its `own` or of the state."""
        policy = graph.policy(run, name, part)
        if policy is None:
            return self(whole if own else self._state, run, value, step)
        try:
            return self(whole, run, policy(value))
        except Exception:
            return Payload(REDACTION_FAILED)


def whole(run: Run, value: Any, _: int | None = None) -> Payload:
    """All of it."""
    return payload.full(value, run.memory or payload.Memory())


def _new(run: Run, value: Any, step: int | None) -> Payload:
    view = run.home.view if run.home else None
    fields = value if type(value) is dict else payload.fields(value)
    if view is None or fields is None:
        return whole(run, value)
    return view.delta(fields, step, run.memory or payload.Memory(), ends=run.home is run)


def conversation(run: Run, messages: Sequence[Any]) -> Payload:
    """What a model is asked."""
    memory = run.memory or payload.Memory()
    told = memory.messages(messages)
    kept: object = list(map(payload.Snapshot(memory).of, messages)) if told is None else told
    return Payload({"messages": kept}, encode=payload.encode)


def generations(run: Run, result: LLMResult) -> Payload:
    """What a model answers."""
    memory = run.memory or payload.Memory()
    return Payload(
        {"messages": [payload.generated(one, memory) for batch in result.generations for one in batch]}, encode=payload.encode
    )
