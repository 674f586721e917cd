"""Scenarios of what a node may have against failure: another try, a limit of time, a handler of its errors."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from langgraph.errors import NodeError  # noqa: TC002 - LangGraph reads it in the annotations of handlers
from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime  # noqa: TC002 - the same
from langgraph.types import Command, RetryPolicy, Send, TimeoutPolicy, interrupt
from scenarios.actors import Tries, model
from scenarios.calling import only, without
from scenarios.nodes import ASYNC_ONLY, State, Wrap, added, as_it_is, both, fail, fan, line, one, stored, two
from scenarios.scenario import Move, Scenario

from langgraph_observe.testing import ScriptedModel

AT_ONCE: dict[str, Any] = {"initial_interval": 0.001, "jitter": False}
ON_VALUE, ON_KEY = RetryPolicy(retry_on=ValueError, **AT_ONCE), RetryPolicy(retry_on=KeyError, **AT_ONCE)
ON_ALL = RetryPolicy(retry_on=Exception, max_attempts=2, **AT_ONCE)
RESUMED = (Move(), Move(Command(resume="so")))


def shaky(*errors: Exception) -> Any:
    """A node that fails with these, one after the other, and then does not."""
    tries = Tries()

    def shake(_: State) -> State:
        number = tries()
        if number <= len(errors):
            raise errors[number - 1]
        return {"x": [number]}

    return shake


def speaking(of: Wrap) -> Any:
    """A node whose model answers, and which does not like the first answer."""
    tries = Tries()

    def speak(_: State) -> State:
        said = model("well said").invoke("say it").text
        if tries() == 1:
            raise ValueError(said)
        return {"x": [said]}

    return line({"speak": (speak, {"retry_policy": ON_VALUE})}, of)


def tried(policy: Any, *errors: Exception, of: Wrap) -> Any:
    """The shaky node and one after it."""
    return line({"shake": (shaky(*errors), {"retry_policy": policy}), "two": two}, of)


def tried_outside(of: Wrap) -> Any:
    """A policy of the node that is a graph: the whole of it runs again."""
    inner = line({"one": one, "shake": shaky(ValueError("no"))}, of, name="inner")
    return line({"sub": (inner, {"retry_policy": ON_VALUE})}, of, name="outer")


def tried_inside(of: Wrap) -> Any:
    """A policy of a node in it."""
    return line({"sub": line({"shake": (shaky(ValueError("no")), {"retry_policy": ON_VALUE})}, of, name="inner")}, of, name="outer")


async def hang(_: State) -> State:
    await asyncio.sleep(60)
    return {"x": ["late"]}


def late_once() -> Any:
    """A node that is late at its first try."""
    tries = Tries()

    async def late(state: State) -> State:
        return await hang(state) if tries() == 1 else {"x": [1]}

    return late


class Endless(ScriptedModel):
    """A model that never answers."""

    async def _agenerate(self, *_: Any, **__: Any) -> Any:
        await asyncio.sleep(60)

    async def _astream(self, *_: Any, **__: Any) -> Any:
        yield await asyncio.sleep(60)


async def ponder(_: State) -> State:
    return {"x": [(await Endless(respond=str).ainvoke("what?")).text]}


def lasting(_: State) -> State:
    """It takes longer than it may; a thread cannot be stopped."""
    time.sleep(0.3)
    return {"x": ["late"]}


def limited(action: Any, **options: Any) -> Any:
    """A node that may not take long, and one after it."""
    return line({"late": (action, {"timeout": 0.02, **options}), "two": two})


async def work(state: State, runtime: Runtime) -> State:
    """The first task is silent for too long; the other says all the time that it is at it."""
    while state["n"]:
        runtime.heartbeat()
        await asyncio.sleep(0.005)
    return await hang(state)


def one_task_silent() -> Any:
    """Two tasks of one node."""
    builder = StateGraph(State)
    builder.add_node("work", work, timeout=TimeoutPolicy(idle_timeout=0.2))
    builder.add_conditional_edges(START, split, ["work"])
    return builder.compile(name="map")


def split(_: State) -> list[Send]:
    return [Send("work", {"n": number}) for number in range(2)]


def stepping(action: Any) -> Any:
    """A limit for each step."""
    graph = fan({"late": action, "two": two})
    graph.step_timeout = 0.2
    return graph


async def overdue(_: State) -> State:
    """It runs out of a time of its own, which is a failure like any other."""
    raise TimeoutError("mine")


def overdue_beside() -> Any:
    graph = fan({"late": hang, "overdue": overdue})
    graph.step_timeout = 60
    return graph


async def quit_itself(_: State) -> State:
    raise asyncio.CancelledError


def mend(state: State, error: NodeError) -> State:
    """A handler that makes it good."""
    return {"x": [f"{error.node}: {type(error.error).__name__}"]}


def go_elsewhere(state: State, error: NodeError) -> Command:
    """A handler that sends the graph on."""
    return Command(update={"x": [0]}, goto="two")


def give_up(state: State, error: NodeError) -> State:
    """A handler that fails, too."""
    raise KeyError("also")


def consult(state: State, error: NodeError) -> State:
    """A handler that asks a human."""
    return {"x": [interrupt("what now?")]}


def handled(handler: Any, action: Any = fail, of: Wrap = as_it_is, make: Any = line, **options: Any) -> Any:
    """A node that fails, its handler, and another node: if it was to come after the first, it does not, unless the handler says so."""
    return make({"bad": (action, {"error_handler": of(handler), **options}), "two": two}, of)


def handled_by_default(of: Wrap) -> Any:
    """One handler for all nodes."""
    builder = StateGraph(State)
    builder.set_node_defaults(error_handler=of(mend))
    added(builder, {"bad": fail}, of)
    builder.add_edge(START, "bad")
    return builder.compile(name="line")


def elsewhere(of: Wrap) -> Any:
    builder = StateGraph(State)
    added(builder, {"bad": (fail, {"error_handler": of(go_elsewhere)}), "one": one, "two": two}, of)
    builder.add_edge(START, "bad")
    builder.add_edge("bad", "one")
    return builder.compile(name="line")


def stored_line(nodes: Any, of: Wrap) -> Any:
    return stored(line, nodes, of)


def too_long(ending: str, graph: Any, tree: str, **more: Any) -> Scenario:
    """LangGraph keeps time of coroutines only, and says how long it took."""
    told = {"absent": ASYNC_ONLY, "same": lambda text: re.sub(r"elapsed: [0-9.]+s", "elapsed", text), **more}
    return Scenario("limit of time", ending, graph, tree, **told)


TIMEOUT = "langgraph.errors.NodeTimeoutError"
RECOVERED = "graph line ok\n  node shake error ValueError\n  node shake ok attempt 2\n  node two ok"
GAVE_UP = "graph line error ValueError\n  node shake error ValueError\n  node shake error ValueError attempt 2"
SEVERAL = """\
graph line ok
  node shake error KeyError
  node shake error ValueError attempt 2
  node shake ok attempt 3
  node two ok"""
NOT_MEANT = "graph line error ValueError\n  node shake error ValueError"
SPOKEN = """\
graph line ok
  node speak error ValueError
    model ScriptedModel ok 2+2 tokens
  node speak ok attempt 2
    model ScriptedModel ok 2+2 tokens"""
OUTSIDE = """\
graph outer ok
  node sub error ValueError
    graph inner error ValueError
      node one ok
      node shake error ValueError
  node sub ok attempt 2
    graph inner ok
      node one ok
      node shake ok"""
INSIDE = """\
graph outer ok
  node sub ok
    graph inner ok
      node shake error ValueError
      node shake ok attempt 2"""
LATE = f"graph line error (timeout) {TIMEOUT}\n  node late error (timeout) {TIMEOUT}"
THOUGHT = f"{LATE}\n    model Endless cancelled (task_cancelled)"
LATE_ONCE = f"graph line ok\n  node late error (timeout) {TIMEOUT}\n  node late ok attempt 2\n  node two ok"
LATE_TWICE = f"{LATE}\n  node late error (timeout) {TIMEOUT} attempt 2"
LATE_HANDLED = f"graph line ok\n  node bad error (timeout) {TIMEOUT}\n  node __error_handler__bad ok"
ONE_LATE = f"""\
graph map error (timeout) {TIMEOUT} → work, work
  chain split ok
  node work error (timeout) {TIMEOUT}
  node work cancelled (sibling_failed)"""
STEP_LATE = "graph fan error (timeout) TimeoutError\n  node late {}\n  node two ok"
OVERDUE = "graph fan error TimeoutError\n  node late cancelled (sibling_failed)\n  node overdue error TimeoutError"
QUIT = "graph line error langgraph.errors.NodeCancelledError\n  node quit error langgraph.errors.NodeCancelledError"
MENDED = "graph line ok\n  node bad error ValueError\n  node __error_handler__bad ok"
BESIDE = "graph fan ok\n  node bad error ValueError\n  node __error_handler__bad ok\n  node two ok"
SENT_ON = "graph line ok\n  node bad error ValueError\n  node __error_handler__bad ok → two\n  node two ok"
NOT_MENDED = "graph line error KeyError\n  node bad error ValueError\n  node __error_handler__bad error KeyError"
TRIED_FIRST = """\
graph line ok
  node bad error ValueError
  node bad error ValueError attempt 2
  node __error_handler__bad ok"""
BY_DEFAULT = "graph line ok\n  node bad error ValueError\n  node __default_error_handler__ ok"
CONSULTED = """\
graph line interrupted (interrupt)
  node bad error ValueError
  node __error_handler__bad interrupted (interrupt)
graph line ok resumed_from
  node __error_handler__bad ok"""
SLOW = only(["invoke", "stream updates", "ainvoke", "astream values"], "it takes its time")

SCENARIOS = [
    *both("retry", "ok, at the second try", lambda of: tried(ON_VALUE, ValueError("no"), of=of), RECOVERED),
    *both("retry", "gives up", lambda of: tried(ON_ALL, ValueError("no"), ValueError("no"), of=of), GAVE_UP),
    *both("retry", "several policies", lambda of: tried([ON_KEY, ON_VALUE], KeyError("no"), ValueError("no"), of=of), SEVERAL),
    *both("retry", "not for this error", lambda of: tried(ON_KEY, ValueError("no"), of=of), NOT_MEANT),
    Scenario("retry", "a model at each try", lambda: speaking(as_it_is), SPOKEN),
    *both("retry", "of a sub-graph", tried_outside, OUTSIDE),
    *both("retry", "in a sub-graph", tried_inside, INSIDE),
    too_long("a node is late", lambda: limited(hang), LATE),
    too_long("a model is late", lambda: limited(ponder), THOUGHT, late=frozenset({"late"})),
    too_long("late once", lambda: limited(late_once(), retry_policy=ON_ALL), LATE_ONCE),
    too_long("late twice", lambda: limited(hang, retry_policy=ON_ALL), LATE_TWICE),
    too_long("late, and handled", lambda: handled(mend, hang, timeout=0.02), LATE_HANDLED),
    too_long(
        "one task of two is silent",
        one_task_silent,
        ONE_LATE,
        parallel=True,
        absent=only(["ainvoke", "astream values"], "it takes its time"),
    ),
    Scenario(
        "limit of a step",
        "late",
        lambda: stepping(hang),
        STEP_LATE.format("cancelled (timeout)"),
        parallel=True,
        absent=ASYNC_ONLY | without(["tasks", "abatch"], "of many, some have not begun when the time is over"),
    ),
    Scenario(
        "limit of a step",
        "late in a thread",
        lambda: stepping(lasting),
        STEP_LATE.format("ok"),
        differs=dict.fromkeys(["ainvoke", "astream values"], STEP_LATE.format("cancelled (timeout)")),
        parallel=True,
        absent=SLOW,
    ),
    Scenario("limit of a step", "a time of its own", overdue_beside, OVERDUE, parallel=True, absent=ASYNC_ONLY),
    Scenario("a node quits", "error", lambda: line({"quit": quit_itself}), QUIT, absent=ASYNC_ONLY),
    *both("error handler", "ok", lambda of: handled(mend, of=of), MENDED),
    *both("error handler", "ok, beside another node", lambda of: handled(mend, of=of, make=fan), BESIDE, parallel=True),
    *both("error handler", "sends the graph on", elsewhere, SENT_ON),
    *both("error handler", "fails, too", lambda of: handled(give_up, of=of), NOT_MENDED),
    *both("error handler", "after another try", lambda of: handled(mend, of=of, retry_policy=ON_ALL), TRIED_FIRST),
    *both("error handler", "for all nodes", handled_by_default, BY_DEFAULT),
    *both("error handler", "asks a human", lambda of: handled(consult, of=of, make=stored_line), CONSULTED, moves=RESUMED),
]
