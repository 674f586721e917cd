"""A `RemoteGraph` called: LangGraph drops the callbacks, so its caller's side is all there is to see (trap t40).

The call is a run of its own, a client's; its trace goes on in the other process, to which `traceparent` is passed.
"""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables.config import var_child_runnable_config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
    from uuid import UUID

    from langgraph_observe.capture.handler import CallbackHandler

_INTERRUPT: Final = "__interrupt__"


def caller_of(config: Mapping[str, Any]) -> UUID | None:
    """The run that makes a call: by the config given, else by the one around us."""
    managers = (config.get("callbacks"), (var_child_runnable_config.get() or {}).get("callbacks"))
    return next((manager.parent_run_id for manager in managers if isinstance(manager, BaseCallbackManager)), None)


class Call:
    """One call of a remote graph. Its runs begin when its stream is first read."""

    def __init__(
        self, pregel: Any, handlers: Iterable[CallbackHandler], inputs: Any, config: Any, headers: Mapping[str, str] | None
    ) -> None:  # fmt: skip
        self._pregel, self._inputs, self._headers = pregel, inputs, headers
        self._config: Mapping[str, Any] = config if isinstance(config, dict) else {}
        self.runs = [(handler, uuid4()) for handler in handlers]
        self._last: Any = None
        self._asked: Any = None

    def stream(self, chunks: Callable[[Any], Generator[Any, Any, None]]) -> Generator[Any, None, None]:
        """What the remote graph streams, as it is."""
        with closing(chunks(self._begin())) as told:
            try:
                for chunk in told:
                    self._hear(chunk)
                    yield chunk
            except GeneratorExit as closed:
                self.fail(closed)
                raise
        self._end()

    async def astream(self, chunks: Callable[[Any], AsyncGenerator[Any, None]]) -> AsyncGenerator[Any, None]:
        """The same, asynchronously."""
        async with aclosing(chunks(self._begin())) as told:
            try:
                async for chunk in told:
                    self._hear(chunk)
                    yield chunk
            except GeneratorExit as closed:
                self.fail(closed)
                raise
        self._end()

    def fail(self, error: BaseException) -> None:
        """The call was refused, broke off, or was closed by its consumer."""
        for handler, run_id in self.runs:
            handler.on_chain_error(error, run_id=run_id)

    def _begin(self) -> Mapping[str, str] | None:
        """Start the runs; the headers of the call, with the span that the other side's is to be a child of."""
        carried: dict[str, str] = {}
        for handler, run_id in self.runs:
            handler.calls(self._pregel, self._inputs, self._config, run_id, caller_of(self._config), carried)
        return {**carried, **(self._headers or {})} or self._headers

    def _hear(self, chunk: Any) -> None:
        """Remember the newest state, and whether a human is asked."""
        part = chunk if isinstance(chunk, dict) and "ns" in chunk else {}
        data = part.get("data", getattr(chunk, "data", chunk))
        state = data[-1] if isinstance(data, tuple) and data else data
        if isinstance(state, dict):
            self._asked = state.get(_INTERRUPT) or part.get("interrupts") or self._asked
            self._last = state

    def _end(self) -> None:
        for handler, run_id in self.runs:
            handler.answers(run_id, self._last, self._asked)
