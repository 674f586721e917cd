"""The handler of the whole process, and how LangChain comes to ask for it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from langgraph_observe.capture.handler import CallbackHandler


class Everyone:
    """Stands where LangChain wants a context variable, of which it asks no more than the value, at every call of anything.

    A real one shows a new thread only the default that it was made with. This one is asked anew each time, so it can be
    switched off, and the handler is made by the first run and not by an import: what a program puts into its environment
    before that run (`load_dotenv()`) still counts.
    """

    _make: Callable[[], CallbackHandler] | None = None
    _handler: CallbackHandler | None = None

    def set(self, make: Callable[[], CallbackHandler] | None) -> None:
        """From now on this handler, which may be made more than once; or none."""
        self._make, self._handler = make, None

    def get(self) -> CallbackHandler | None:
        """The handler; None while there is none, or nobody whom it could tell."""
        make, handler = self._make, self._handler
        if handler is None and make is not None:
            handler = self._handler = make()
        return handler if handler is not None and handler.observer.sinks else None

    def handlers(self) -> tuple[CallbackHandler, ...]:
        """The handler, if there is one."""
        handler = self.get()
        return () if handler is None else (handler,)


everyone: Final = Everyone()


@functools.cache  # LangChain knows no way back: `everyone` is asked for good, and says None
def register() -> None:
    """Have LangChain ask `everyone` for a handler whenever a chain, a model, a tool, a retriever or a graph is called."""
    from langchain_core.tracers.context import register_configure_hook

    variable: Any = everyone
    register_configure_hook(variable, inheritable=True)
