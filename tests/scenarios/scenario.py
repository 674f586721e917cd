"""A scenario: a graph, what its caller does with it, and what the records must say of that, in every way of calling."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langgraph_observe import Record


def to_the_end(_: Any) -> bool:
    """Never stop before the stream does."""
    return False


def at_once(_: Any) -> bool:
    """Stop at the first chunk."""
    return True


@dataclass(frozen=True)
class Move:
    """One call of a graph, and how its caller lets it end."""

    given: Any = field(default_factory=lambda: {"x": []})
    stop: Callable[[Any], bool] = to_the_end
    """Of a streaming way: true for the chunk after which the caller reads no more."""
    drops: str = "close"
    """How it then lets go: `close` (and `aclose`), `forget` (the garbage collector finds it), `break` (the last reference goes)."""
    cancel: str | None = None
    """`cancel` the task, or let an `asyncio.timeout` do it, once a node has called `hang` or `ahang`."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Beyond that of the session: `recursion_limit`, `metadata`, …"""
    before: Callable[[Any, dict[str, Any]], dict[str, Any] | None] = lambda graph, config: None
    """Done first, as by a human in between: `update_state`, or the choice of a checkpoint, whose config is returned."""
    answers: Callable[[Any, dict[str, Any]], Any] | None = None
    """Instead of `given`: makes the input from graph and config, as a human who has read the questions of this thread."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the call: `interrupt_before`, `context`, …"""
    anew: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    """Those that each call must have its own of: `control`."""


@dataclass(frozen=True)
class Scenario:
    """What is played by `calling.play` in each of `ways`, and asserted in `test_scenarios.py`."""

    shape: str
    ending: str
    graph: Callable[[], Any]
    """Makes the compiled graph, or any runnable, anew for each play."""
    tree: str
    """The trees of the session's roots, in their order (`langgraph_observe.testing.tree`)."""
    moves: tuple[Move, ...] = (Move(),)
    parallel: bool = False
    """Siblings may start, and chunks may come, in any order."""
    racing: frozenset[str] = frozenset()
    """Ways in which chunks alone may come in any order, without us too."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Ways in which it cannot be played, each with the reason."""
    differs: Mapping[str, str] = field(default_factory=dict)
    """The trees of ways in which something else is the truth."""
    late: frozenset[str] = frozenset()
    """Names of runs that may end after their parent: their work goes on when nobody waits for it any more."""
    also: Callable[[Sequence[Record]], object] = lambda records: None
    """Asserts what a tree does not show: of notes, payloads, metadata. It is given the records of all sessions."""
    same: Callable[[str], str] = str
    """Applied to what the caller sees before it is compared: takes out what differs between two calls without us, too; a whole line by returning ''."""

    def tree_in(self, way: str) -> str:
        """What must be recorded if it is called this way."""
        return self.differs.get(way, self.tree)


class Gate:
    """Where a node waits until its caller is gone."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()


gate: contextvars.ContextVar[Gate] = contextvars.ContextVar("gate")


async def ahang() -> None:
    """In a node: tell the caller that this is the moment, and wait for the end."""
    gate.get().reached.set()
    await asyncio.sleep(60)


def hang() -> None:
    """The same in a thread, which no cancellation stops: until the caller has gone."""
    gate.get().reached.set()
    assert gate.get().opened.wait(60)
