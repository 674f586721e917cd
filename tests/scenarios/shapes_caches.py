"""Scenarios in which LangGraph answers from its cache what it would have run."""

from __future__ import annotations

from typing import Any

from langgraph.cache.memory import InMemoryCache
from langgraph.func import entrypoint, task
from langgraph.types import CachePolicy
from scenarios.calling import CROWDS, SYNC, WAYS, without
from scenarios.nodes import State, both, line, one, two
from scenarios.scenario import Move, Scenario

ALONE = without(CROWDS, "the sessions would share the cache")
TWICE = (Move(), Move())
CACHED: dict[str, Any] = {"cache_policy": CachePolicy()}


@task(cache_policy=CachePolicy())
def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


@task(cache_policy=CachePolicy())
async def adouble(number: int) -> int:
    """Twice the number."""
    return 2 * number


def doubled() -> Any:
    @entrypoint(cache=InMemoryCache())
    def workflow(state: State) -> State:
        return {"x": [double(number).result() for number in (1, 2)]}

    return workflow


def adoubled() -> Any:
    @entrypoint(cache=InMemoryCache())
    async def workflow(state: State) -> State:
        return {"x": [await adouble(number) for number in (1, 2)]}

    return workflow


WORKFLOW = (
    "graph workflow ok\n  node workflow ok\n    node {0} ok\n    node {0} ok\n"
    "graph workflow ok\n  node workflow ok\n    node {0} ok cached\n    node {0} ok cached"
)


def seen(tree: str) -> dict[str, Any]:
    """The tree; a handler alone, without `observe`, is told nothing of what did not run."""
    told = "\n".join(line for line in tree.splitlines() if not line.endswith(" cached"))
    return {"tree": tree, "differs": dict.fromkeys([name for name, way in WAYS.items() if way.by_handler], told)}


EVENTS = frozenset({"astream_events v2"})
"""Tasks tell their events while the workflow tells its own."""

SCENARIOS = [
    *both(
        "node cache",
        "one of two nodes cached",
        lambda of: line({"one": (one, CACHED), "two": two}, of, cache=InMemoryCache()),
        **seen("graph line ok\n  node one ok\n  node two ok\ngraph line ok\n  node one ok cached\n  node two ok"),
        moves=TWICE,
        absent=ALONE,
    ),
    *both(
        "node cache",
        "every node cached",
        lambda of: line({"one": (one, CACHED), "two": (two, CACHED)}, of, cache=InMemoryCache()),
        **seen("graph line ok\n  node one ok\n  node two ok\ngraph line ok\n  node one ok cached\n  node two ok cached"),
        moves=TWICE,
        absent=ALONE,
    ),
    Scenario("task cache", "tasks cached", doubled, **seen(WORKFLOW.format("double")), moves=TWICE, absent=ALONE, racing=EVENTS),
    Scenario(
        "task cache",
        "tasks cached, async",
        adoubled,
        **seen(WORKFLOW.format("adouble")),
        moves=TWICE,
        absent=ALONE | without(SYNC, "its tasks are asynchronous"),
        racing=EVENTS,
    ),
]
