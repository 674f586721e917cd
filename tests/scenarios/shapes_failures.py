"""Scenarios of plain graphs that fail: in a node, a router, a reducer, the memory, or by a mistake of their author."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send
from scenarios.calling import ASYNC, STREAMS, without
from scenarios.nodes import ASYNC_ONLY, State, Wrap, added, as_it_is, awaited, both, fail, fan, line, one, stored, two
from scenarios.scenario import Move, Scenario, gate
from scenarios.shapes_fanouts import mapped, stumble

THREADS_CUT_OFF = without(ASYNC, "a task that waits for a thread is cancelled, or is not, as it comes")
ONE_GATE = without(["batch", "abatch"], "one gate for all of them")


def wait_for(_: State) -> State:
    """Fail when the other one is there."""
    assert gate.get().reached.wait(60)
    raise ValueError("no")


def finish_late(_: State) -> State:
    """Be there, and finish all the same: a thread is not stopped."""
    gate.get().reached.set()
    time.sleep(0.02)
    return {"x": ["late"]}


async def await_for(_: State) -> State:
    while not gate.get().reached.is_set():  # noqa: ASYNC110 - the gate is for threads, too
        await asyncio.sleep(0)
    raise ValueError("no")


async def linger(_: State) -> State:
    """Be there, and stay."""
    gate.get().reached.set()
    await asyncio.sleep(60)
    return {"x": ["late"]}


def lost(_: State) -> str:
    """A router that fails."""
    raise LookupError("where to?")


def astray(_: State) -> str:
    """A router to where nobody is."""
    return "nowhere"


def again(_: State) -> str:
    """A router back."""
    return "one"


def picky(left: list[Any], right: list[Any]) -> list[Any]:
    """A reducer that does not take everything."""
    if right and right[0] == 2:
        raise ValueError("not a two")
    return left + right


class Picky(TypedDict):
    """A state with such a reducer."""

    x: Annotated[list[Any], picky]


class Refusing(InMemorySaver):
    """A memory that can be read from, and not written to."""

    def put(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError("the disk is full")

    async def aput(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError("the disk is full")


class Forgetful(InMemorySaver):
    """A memory that cannot be read from."""

    def get_tuple(self, config: Any) -> Any:
        raise OSError("the disk is gone")

    async def aget_tuple(self, config: Any) -> Any:
        raise OSError("the disk is gone")


def first(_):
    """A node of any state."""
    return {"x": [1]}


def second(_):
    return {"x": [2]}


def wrong(_: State) -> Any:
    """A node that returns what is no state."""
    return 7


def write(_: State) -> State:
    return {"n": 1}


def write_too(_: State) -> State:
    return {"n": 2}


def goes(_: State) -> Command:
    """A command to where nobody is."""
    return Command(goto="nowhere")


def sends(_: State) -> list[Send]:
    """A task for nobody."""
    return [Send("nowhere", {"n": 1})]


def routed(router: Any, of: Wrap = as_it_is, *, entry: bool = False) -> Any:
    """One node, and a router that goes wrong: after it, or before."""
    builder = StateGraph(State)
    added(builder, {"one": one}, of)
    if not entry:
        builder.add_edge(START, "one")
    builder.add_conditional_edges(START if entry else "one", router, ["one", END])
    return builder.compile(name="branch")


def routed_anywhere(router: Any) -> Any:
    """The same; where the router may lead is not said, so that LangGraph finds out later."""
    builder = StateGraph(State)
    added(builder, {"one": one}, as_it_is)
    builder.add_edge(START, "one")
    builder.add_conditional_edges("one", router)
    return builder.compile(name="branch")


FIRST = "graph line error ValueError\n  node fail error ValueError"
LAST = "graph line error ValueError\n  node one ok\n  node fail error ValueError"
SIBLING = "graph fan error ValueError\n  node fail error ValueError\n  node late {}"
ROUTER = "graph branch error LookupError\n  node one error LookupError\n    chain lost error LookupError"
ENTRY = "graph branch error LookupError\n  chain lost error LookupError"
ASTRAY = "graph branch error KeyError\n  node one error KeyError → nowhere\n    chain astray ok"
NOWHERE = "graph branch ok\n  node one ok → nowhere\n    chain astray ok"
GOES = "graph line ok\n  node goes ok → nowhere"
INVALID = "langgraph.errors.InvalidUpdateError"
SENDS = NOWHERE.replace("astray", "sends")
REDUCER = "graph line error ValueError\n  node one ok\n  node two ok"
TWO_WRITERS = f"graph fan error {INVALID}\n  node left ok\n  node right ok"
WRONG = f"graph line error {INVALID}\n  node wrong error {INVALID}"
EMPTY = "graph line error langgraph.errors.EmptyInputError"
LIMIT = "graph branch error langgraph.errors.GraphRecursionError" + "\n  node one ok → one\n    chain again ok" * 3
TASK = """\
graph map error ValueError
  node plan ok → work, work, work
    chain split ok
  node work ok triggered_by
  node work error ValueError triggered_by
  node work ok triggered_by"""
FULL = "graph line error OSError\n  node one ok\n  node two ok"
WRITTEN_FIRST = Move(options={"durability": "sync"})
GONE = "graph line error OSError"


SCENARIOS = [
    *both("error in a node", "the first", lambda of: line({"fail": fail, "two": two}, of), FIRST),
    *both("error in a node", "the last", lambda of: line({"one": one, "fail": fail}, of), LAST),
    *both("error in a node", "the only one", lambda of: line({"fail": fail}, of), FIRST),
    Scenario(
        "error in a node",
        "beside another in a thread",
        lambda: fan({"fail": wait_for, "late": finish_late}),
        SIBLING.format("ok"),
        parallel=True,
        absent=ONE_GATE | THREADS_CUT_OFF | without(STREAMS, "which chunk comes before the error is a race"),
    ),
    Scenario(
        "error in a node",
        "beside another, async nodes",
        lambda: fan({"fail": await_for, "late": linger}),
        SIBLING.format("cancelled (sibling_failed)"),
        parallel=True,
        absent=ASYNC_ONLY | ONE_GATE,
    ),
    Scenario("error in a node", "one task of many", lambda: mapped(stumble), TASK, parallel=True, absent=THREADS_CUT_OFF),
    Scenario(
        "error in a node", "one task of many, async", lambda: mapped(stumble, awaited), TASK, parallel=True, absent=ASYNC_ONLY
    ),
    *both("error in a router", "after a node", lambda of: routed(lost, of), ROUTER),
    Scenario("error in a router", "at the start", lambda: routed(lost, entry=True), ENTRY),
    Scenario("error in a router", "a destination it has not", lambda: routed(astray), ASTRAY),
    Scenario("error in a router", "a node there is not", lambda: routed_anywhere(astray), NOWHERE),
    Scenario("error in a router", "a task for nobody", lambda: routed_anywhere(sends), SENDS),
    Scenario("error in a command", "a node there is not", lambda: line({"goes": goes}), GOES),
    *both("error in a reducer", "error", lambda of: line({"one": first, "two": second}, of, state=Picky), REDUCER),
    *both("error of two writers", "error", lambda of: fan({"left": write, "right": write_too}, of), TWO_WRITERS, parallel=True),
    *both("bad return", "error", lambda of: line({"wrong": wrong}, of), WRONG),
    Scenario("no input", "error", lambda: line({"one": one}), EMPTY, moves=(Move(None),)),
    *both("recursion limit", "error", lambda of: routed(again, of), LIMIT, moves=(Move(config={"recursion_limit": 3}),)),
    *both("memory that refuses", "error", lambda of: stored(line, {"one": one, "two": two}, of, checkpointer=Refusing()), FULL),
    Scenario(
        "memory that refuses", "at once", lambda: stored(line, {"one": one}, checkpointer=Refusing()), GONE, moves=(WRITTEN_FIRST,)
    ),
    *both("memory that is gone", "error", lambda of: stored(line, {"one": one}, of, checkpointer=Forgetful()), GONE),
]
