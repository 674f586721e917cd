"""What grows, and what is done at each size. LangGraph and the standard library only: rivals run it, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workloads import astream, conversation, crowd, threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, kw_only=True)
class Growth:
    """`make(watch, size)` gives one thing to do, or two whose difference counts: so a node is told from the input of its graph."""

    title: str
    x: str
    y: str
    sizes: Sequence[int]
    make: Callable[[Any, int], Sequence[Callable[[], Any]]]
    units: Callable[[int], int]
    """Of which `y` is the cost of one."""
    on_loop: bool = False
    threads: bool = False


FEW, MANY = 10, 40


def _state(watch: Any, kilobytes: int) -> Sequence[Callable[[], Any]]:
    """Ten messages, whatever their size."""
    return [conversation(watch, 10, 100 * kilobytes, nodes) for nodes in (FEW, MANY)]


def _history(watch: Any, messages: int) -> Sequence[Callable[[], Any]]:
    """Messages of 200 characters, whatever their number."""
    return [conversation(watch, messages, 200, nodes) for nodes in (FEW, MANY)]


GROWTH: dict[str, Growth] = {
    "state": Growth(
        title="A node, by the size of the state", x="kB in the state (10 messages)", y="µs a node", sizes=(1, 10, 100, 1_000, 10_000),
        make=_state, units=lambda _: MANY - FEW,
    ),
    "history": Growth(
        title="A node, by the length of the conversation", x="messages", y="µs a node", sizes=(10, 30, 100, 300, 1_000),
        make=_history, units=lambda _: MANY - FEW,
    ),
    "tasks": Growth(
        title="An agent, by how many run at once on one loop", x="tasks", y="µs an agent", sizes=(1, 10, 100, 1_000),
        make=lambda watch, size: [crowd(watch, size)], units=lambda size: size, on_loop=True,
    ),
    "threads": Growth(
        title="An agent, by how many run at once on threads", x="threads", y="µs an agent", sizes=(1, 4, 16, 64),
        make=lambda watch, size: [threads(watch, size, 2)], units=lambda size: 2 * size, threads=True,
    ),
    "tokens": Growth(
        title="A streamed chunk, by the length of the answer", x="chunks", y="µs a chunk", sizes=(100, 1_000, 10_000),
        make=lambda watch, size: [astream(watch, size)], units=lambda size: size, on_loop=True,
    ),
}  # fmt: skip
