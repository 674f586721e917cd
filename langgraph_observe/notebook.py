"""`%load_ext langgraph_observe`: what the extension is given of this package."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from langgraph_observe.capture.collect import collect_runs
from langgraph_observe.capture.hook import everyone
from langgraph_observe.everywhere import instrument, uninstrument
from langgraph_observe.explore.magics import Magics

if TYPE_CHECKING:
    from collections.abc import Iterator

_loaded: Final[WeakKeyDictionary[Any, Magics]] = WeakKeyDictionary()


def load_ipython_extension(shell: Any) -> None:
    """Show the trace under each cell that made one, from now on."""
    from langgraph_observe import traces

    _loaded[shell] = Magics(shell, traces, collect=collect_runs, everything=_everything)
    _loaded[shell].load()


def unload_ipython_extension(shell: Any) -> None:
    """No more."""
    if (magics := _loaded.pop(shell, None)) is not None:
        magics.unload()


@contextmanager
def _everything(**options: Any) -> Iterator[None]:
    """Whatever runs is observed. Where `instrument()` has seen to that already, it stays as it is."""
    if everyone.get() is not None:
        yield
        return
    instrument(**options)
    try:
        yield
    finally:
        uninstrument()
