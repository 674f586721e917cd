"""`instrument()`: whatever LangChain and LangGraph run in this process is observed, with no word in its code.

LangChain is asked to add a handler to every call, by its own hook. What that cannot see of a graph (interrupts, refused
calls, cache hits, remote graphs) is seen by the methods that `observe` gives one graph, put on the classes themselves.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.capture.hook import everyone, register
from langgraph_observe.observer import Observer, checked, default

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from typing_extensions import Unpack

    from langgraph_observe.observer import Options
    from langgraph_observe.records import Processor, Sink

log: Final = logging.getLogger("langgraph_observe")
_AWAITED: Final = {
    "langchain_core.tracers.context": None,  # the hook
    "langgraph.pregel": "Pregel",
    "langgraph.pregel.remote": "RemoteGraph",
}
"""Modules, and the class of graphs that each has."""


def instrument(
    *sinks: Sink, process: Iterable[Processor] | None = None, observer: Observer | None = None, **options: Unpack[Options]
) -> None:
    """From now on, every chain, model, tool, retriever and graph that is called in this process is recorded, once.

    With no sinks and no observer: by the default Observer, which the first run makes. Options are those of `observe`. Called
    again, the newer call holds. Imports neither LangChain nor LangGraph: what the program never imports costs it nothing.
    Raises TypeError and ValueError for options that there are not.
    """
    known, given = checked(options), observer or (Observer(*sinks, process=process) if sinks else None)
    everyone.set(lambda: (given or default()).handle(**known))
    _awaited.watch()


def uninstrument() -> None:
    """No more. A run that goes on is recorded to its end, and graphs and handlers of their own are observed as before."""
    everyone.set(None)
    _awaited.forget()


class _Awaited:
    """A finder of modules that adds what there is to add once the program has imported one of those awaited.

    Not at once, because importing LangChain takes a second, and must not come before what a program does first
    (`gevent.monkey.patch_all()`, its environment).
    """

    def watch(self) -> None:
        """Add to what is imported already, and wait for the others."""
        for name in _AWAITED.keys() & sys.modules.keys():
            _imported(name)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def forget(self) -> None:
        """Wait for nothing, and take back what was done to classes."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if (watched := sys.modules.get("langgraph_observe.capture.watched")) is not None:
            watched.undress()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What the other finders say, with a loader that tells us when it is done."""
        if name not in _AWAITED:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._follow(name, spec.loader)
        return spec

    def _follow(self, name: str, loader: Any) -> None:
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            load(module)
            _imported(name)

        loader.exec_module = exec_module  # on this one loader: a wrapper around it would hide its `get_source` and the like


def _imported(module: str) -> None:
    try:
        if (graphs := _AWAITED[module]) is None:
            register()
        else:
            from langgraph_observe.capture import watched

            watched.dress(getattr(sys.modules[module], graphs))
    except Exception as error:  # the program's import goes on
        log.warning("%s is not observed: %s", module, type(error).__name__)


_awaited: Final = _Awaited()
