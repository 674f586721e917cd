"""Scenarios that go on from a checkpoint: after a static interrupt, a failure, a drain or an edit by hand, or from long ago."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import RunControl, Runtime
from langgraph.types import Command, Send, StateUpdate
from scenarios.actors import Tries
from scenarios.calling import WAYS, only, without
from scenarios.nodes import State, Wrap, added, as_it_is, ask, both, line, one, stored, three, two
from scenarios.scenario import Move, Scenario
from scenarios.shapes_functional import double
from scenarios.shapes_interrupts import noted

BEFORE_TWO = {"interrupt_before": ["two"]}
NODES = {"one": one, "two": two, "three": three}
ON = Move(None)
ANSWER = Move(Command(resume="so"))
ONE_CONTROL = without(["batch", "abatch"], "one control for all: who comes late stops before its first step")
TWO_MOVES = (Move(), ON)


def steps(of: Wrap = as_it_is, **compiled: Any) -> Any:
    """Three nodes, whose state is kept."""
    return stored(line, NODES, of, **compiled)


def shake_once() -> Any:
    """A node that fails the first time."""
    tries = Tries()

    def shake(_: State) -> State:
        if tries() == 1:
            raise ValueError("not yet")
        return {"x": [2]}

    return shake


def shaky(of: Wrap) -> Any:
    return stored(line, {"one": one, "shake": shake_once()}, of)


def shaky_task(of: Wrap) -> Any:
    """One task of three fails the first time."""
    tries = Tries()

    def shake(state: State) -> State:
        if state["n"] == 1 and tries() == 1:
            raise ValueError("not yet")
        return {"x": [state["n"]]}

    builder = StateGraph(State)
    added(builder, {"work": shake, "two": two}, of)
    builder.add_conditional_edges(START, split, ["work"])
    builder.add_edge("work", "two")
    return stored(lambda _, __, **options: builder.compile(name="map", **options), {}, of)


def split(_: State) -> list[Send]:
    return [Send("work", {"n": number}) for number in range(3)]


def shaky_workflow() -> Any:
    """What its first task has done is not done again."""
    shaken = task(name="shake")(shake_once())

    @entrypoint(checkpointer=InMemorySaver())
    def work(state: State) -> State:
        return shaken(double(4).result()).result()

    return work


def stopping_inside(of: Wrap) -> Any:
    """A stop of the inner graph."""
    inner = line({"one": one, "two": two}, of, name="inner", **BEFORE_TWO)
    return stored(line, {"sub": inner}, of, name="outer")


def shaky_inside(of: Wrap) -> Any:
    """The same, in a graph in the graph."""
    return stored(line, {"sub": line({"one": one, "shake": shake_once()}, of, name="inner")}, of, name="outer")


def drained(of: Wrap) -> Any:
    """A node that has the graph stop after its step."""
    tries = Tries()

    def leave(_: State, runtime: Runtime) -> State:
        if tries() == 1 and runtime.control is not None:
            runtime.control.request_drain("the server goes down")
        return {"x": [1]}

    return stored(line, {"leave": leave, "two": two}, of)


def asking() -> Any:
    """A question between two nodes."""
    return stored(line, {"one": one, "ask": ask, "two": two})


def branching(of: Wrap = as_it_is, **compiled: Any) -> Any:
    """One node, and a router to one of two."""
    builder = StateGraph(State)
    added(builder, NODES, of)
    builder.add_edge(START, "one")
    builder.add_conditional_edges("one", route, ["two", "three", END])
    return stored(lambda _, __, **options: builder.compile(name="branch", **options), {}, of, **compiled)


def route(state: State) -> str:
    return "three" if 9 in state["x"] else "two"


def edited(**options: Any) -> Any:
    """A human edits the state."""

    def edit(graph: Any, config: dict[str, Any]) -> None:
        graph.update_state({"configurable": config["configurable"]}, {"x": [9]}, **options)

    return edit


def edited_in_sight(graph: Any, config: dict[str, Any]) -> None:
    """A human who hands on the callbacks, too: the router after the node runs."""
    graph.update_state(config, {"x": [9]}, as_node="one")


def edited_much(graph: Any, config: dict[str, Any]) -> None:
    """A human does the work of two nodes."""
    bare = {"configurable": config["configurable"]}
    graph.bulk_update_state(bare, [[StateUpdate({"x": [8]}, "one")], [StateUpdate({"x": [9]}, "two")]])


def back(*following: str) -> Any:
    """The choice of the checkpoint at which these were to come."""

    def choose(graph: Any, config: dict[str, Any]) -> Any:
        bare = {"configurable": config["configurable"]}
        return next(state.config for state in graph.get_state_history(bare) if state.next == following)

    return choose


def fork(graph: Any, config: dict[str, Any]) -> Any:
    """An edit of what was, which begins another story."""
    return graph.update_state(back("two")(graph, config), {"x": [9]})


STATIC = """\
graph line interrupted (interrupt_{})
  node one ok
graph line ok resumed_from
  node two ok
  node three ok"""
AFTER_EACH = """\
graph line interrupted (interrupt_after)
  node one ok
graph line interrupted (interrupt_after) resumed_from
  node two ok
graph line ok resumed_from
  node three ok"""
BEFORE_EACH = """\
graph line interrupted (interrupt_before)
graph line interrupted (interrupt_before) resumed_from
  node one ok
graph line interrupted (interrupt_before) resumed_from
  node two ok
graph line ok resumed_from
  node three ok"""
INSIDE = """\
graph outer interrupted (interrupt_before)
  node sub interrupted (interrupt_before)
    graph inner interrupted (interrupt_before)
      node one ok
graph outer ok resumed_from
  node sub ok
    graph inner ok
      node two ok"""
FAILED = """\
graph line error ValueError
  node one ok
  node shake error ValueError
graph line ok
  node shake ok"""
FAILED_INSIDE = """\
graph outer error ValueError
  node sub error ValueError
    graph inner error ValueError
      node one ok
      node shake error ValueError
graph outer ok
  node sub ok
    graph inner ok
      node shake ok"""
FAILED_TASK = """\
graph map error ValueError → work, work, work
  chain split ok
  node work ok
  node work error ValueError
  node work ok
graph map ok
  node work ok
  node two ok"""
FAILED_WORKFLOW = """\
graph work error ValueError
  node work error ValueError
    node double ok
    node shake error ValueError
graph work ok
  node work ok
    node shake ok"""
DRAINED = """\
graph line interrupted (drained)
  node leave ok
graph line ok resumed_from
  node two ok"""
EDITED = """\
graph branch interrupted (interrupt_before)
  node one ok → two
    chain route ok
graph branch ok resumed_from
  node {} ok"""
IN_SIGHT = EDITED.replace("graph branch ok", "chain branchUpdateState ok\n  chain route ok\ngraph branch ok")
ANSWERED_BY_HAND = """\
graph line interrupted (interrupt)
  node one ok
  node ask interrupted (interrupt)
graph line ok resumed_from
  node two ok"""
ANSWERED = ANSWERED_BY_HAND.replace("resumed_from\n", "resumed_from\n  node ask ok\n")
ANOTHER_ANSWER = f"{ANSWERED}\ngraph line ok resumed_from\n  node ask ok\n  node two ok"
ASKED_AGAIN = f"{ANSWERED}\ngraph line interrupted (interrupt)\n  node ask interrupted (interrupt)\ngraph line ok resumed_from\n  node ask ok\n  node two ok"
BULK = """\
graph line interrupted (interrupt_after)
  node one ok
graph line ok resumed_from
  node three ok"""
ALL = "graph line ok\n  node one ok\n  node two ok\n  node three ok"
BACK = f"{ALL}\ngraph line ok\n  node two ok\n  node three ok"
NEW = """\
graph line interrupted (interrupt_before)
  node one ok
graph line interrupted (interrupt_before)
  node one ok
graph line ok resumed_from
  node two ok
  node three ok"""
GOTO = """\
graph branch interrupted (interrupt_before)
  node one ok → two
    chain route ok
graph branch ok resumed_from
  node two ok
  node three ok"""
"""What was to come next comes, too."""
DONE = f"{ALL}\ngraph line ok"
STOPPED_ONCE = STATIC.format("before") + "\ngraph line ok\n  node two ok\n  node three ok"
"""Who addresses the checkpoint of a stop goes on from it, and does not stop there again."""
OVER = f"{ALL}\ngraph line ok\n  node three ok"
AGAIN = f"{ALL}\n{ALL}"

SCENARIOS = [
    *both(
        "stop",
        "before a node, gone on",
        lambda of: steps(of, **BEFORE_TWO),
        STATIC.format("before"),
        moves=TWO_MOVES,
        also=noted("interrupt", "resume"),
    ),
    *both("stop", "after a node, gone on", lambda of: steps(of, interrupt_after=["one"]), STATIC.format("after"), moves=TWO_MOVES),
    Scenario("stop", "before every node", lambda: steps(interrupt_before="*"), BEFORE_EACH, moves=(Move(), ON, ON, ON)),
    *both("stop", "after every node", lambda of: steps(of, interrupt_after=["one", "two"]), AFTER_EACH, moves=(Move(), ON, ON)),
    *both("stop", "told by the call", steps, STATIC.format("before"), moves=(Move(options=BEFORE_TWO), ON)),
    *both("stop", "in a sub-graph", stopping_inside, INSIDE, moves=TWO_MOVES),
    Scenario("stop", "and a new input", lambda: steps(**BEFORE_TWO), NEW, moves=(Move(), Move(), ON)),
    Scenario(
        "stop",
        "sent elsewhere",
        lambda: branching(interrupt_before=["two"]),
        GOTO,
        moves=(Move(), Move(Command(goto="three"))),
        parallel=True,
    ),
    Scenario(
        "edit", "of the state", lambda: steps(**BEFORE_TWO), STATIC.format("before"), moves=(Move(), Move(None, before=edited()))
    ),
    Scenario(
        "edit",
        "as a node with a router",
        lambda: branching(interrupt_before=["two"]),
        EDITED.format("three"),
        moves=(Move(), Move(None, before=edited(as_node="one"))),
    ),
    Scenario(
        "edit",
        "as a node with a router, in sight",
        lambda: branching(interrupt_before=["two"]),
        IN_SIGHT.format("three"),
        moves=(Move(), Move(None, before=edited_in_sight)),
        absent=only([name for name, way in WAYS.items() if way.by_handler], "the callbacks are in the config"),
    ),
    Scenario("edit", "before an answer", asking, ANSWERED, moves=(Move(), Move(Command(resume="so"), before=edited()))),
    Scenario("edit", "with an answer", asking, ANSWERED, moves=(Move(), Move(Command(resume="so", update={"x": [9]})))),
    Scenario(
        "edit",
        "instead of an answer",
        asking,
        ANSWERED_BY_HAND,
        moves=(Move(), Move(None, before=edited(as_node="ask"))),
    ),
    Scenario(
        "edit", "of much at once", lambda: steps(interrupt_after=["one"]), BULK, moves=(Move(), Move(None, before=edited_much))
    ),
    Scenario("edit", "of what is over", steps, OVER, moves=(Move(), Move(None, before=edited(as_node="two")))),
    *both("failure", "gone on", shaky, FAILED, moves=TWO_MOVES, also=noted()),
    *both("failure", "in a sub-graph, gone on", shaky_inside, FAILED_INSIDE, moves=TWO_MOVES),
    Scenario(
        "time travel", "ok, to an earlier checkpoint", steps, BACK, moves=(Move(), Move(None, before=back("two"))), also=noted()
    ),
    Scenario("time travel", "ok, to a fork of it", steps, BACK, moves=(Move(), Move(None, before=fork)), also=noted()),
    Scenario(
        "time travel",
        "to before a stop",
        lambda: steps(**BEFORE_TWO),
        STOPPED_ONCE,
        moves=(Move(), ON, Move(None, before=back("two"))),
    ),
    *both("drain", "gone on", drained, DRAINED, moves=(Move(anew={"control": RunControl}), ON), absent=ONE_CONTROL),
    Scenario("nothing left", "ok, no input", steps, DONE, moves=TWO_MOVES),
    Scenario("nothing left", "ok, a new input", steps, AGAIN, moves=(Move(), Move())),
]
