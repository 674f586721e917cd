"""Scenarios of graphs inside of graphs: as a node, in a node, deeper, several, and with a memory of their own."""

from __future__ import annotations

import asyncio
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send
from scenarios.actors import model
from scenarios.nodes import ASYNC_ONLY, State, Wrap, added, as_it_is, both, fail, fan, line, one, stored, three, two
from scenarios.scenario import Move, Scenario


def inner(of: Wrap = as_it_is, **compiled: Any) -> Any:
    """What is put into another graph."""
    return line({"one": one, "two": two}, of, **{"name": "inner", **compiled})


def as_node(of: Wrap, **compiled: Any) -> Any:
    return line({"sub": inner(of, **compiled), "three": three}, of, name="outer")


def in_node(graph: Any) -> Any:
    """Its author calls it."""
    return line({"call": lambda state: {"x": graph.invoke({"x": state["x"]})["x"]}}, name="outer")


def awaited_in_node(graph: Any) -> Any:
    async def call(state: State) -> State:
        return {"x": (await graph.ainvoke({"x": state["x"]}))["x"]}

    return line({"call": call}, name="outer")


def twice_in_node(graph: Any) -> Any:
    """The second call goes on with what the first gave."""
    return line({"call": lambda state: graph.invoke(graph.invoke({"x": state["x"]}))}, name="outer")


def streamed_in_node(graph: Any) -> Any:
    """Its author reads it piece by piece."""
    return line({"call": lambda state: {"x": [str(chunk) for chunk in graph.stream(state, stream_mode="updates")]}}, name="outer")


def left_in_node(graph: Any) -> Any:
    """Its author reads one piece, and no more."""

    def call(state: State) -> State:
        chunks = graph.stream(state, stream_mode="updates")
        first = next(chunks)
        chunks.close()
        return {"x": [str(first)]}

    return line({"call": call}, name="outer")


def aleft_in_node(graph: Any) -> Any:
    async def call(state: State) -> State:
        chunks = graph.astream(state, stream_mode="updates")
        first = await anext(chunks)
        await chunks.aclose()
        return {"x": [str(first)]}

    return line({"call": call}, name="outer")


def gathered_in_node(graph: Any) -> Any:
    """Its author calls it twice at once."""

    async def call(state: State) -> State:
        first, second = await asyncio.gather(graph.ainvoke(state), graph.ainvoke(state))
        return {"x": [*first["x"], *second["x"]]}

    return line({"call": call}, name="outer")


def in_itself() -> Any:
    """A graph that calls itself, once."""

    def call(state: State) -> State:
        return graph.invoke({"x": [], "n": 0}) if state["n"] else {"x": [1]}

    graph = line({"call": call}, name="outer")
    return graph


def caught_in_node(graph: Any) -> Any:
    """Its author expects that it may fail."""

    def call(state: State) -> State:
        try:
            return graph.invoke(state)
        except ValueError as error:
            return {"x": [str(error)]}

    return line({"call": call, "three": three}, name="outer")


def nested(of: Wrap) -> Any:
    """A graph in a graph in a graph."""
    return line({"sub": line({"deep": inner(of), "three": three}, of, name="middle")}, of, name="outer")


def side_by_side(of: Wrap) -> Any:
    """Two at once."""
    return fan({"left": inner(of, name="this"), "right": inner(of, name="that")}, of, name="outer")


def sent(of: Wrap) -> Any:
    """The same graph, for each task."""
    builder = StateGraph(State)
    added(builder, {"sub": inner(of)}, as_it_is)
    builder.add_conditional_edges(START, split, ["sub"])
    return builder.compile(name="outer")


def split(_: State) -> list[Send]:
    return [Send("sub", {"x": [number]}) for number in range(2)]


def handing_over(of: Wrap) -> Any:
    """A node of the inner graph sends the outer one on, past what follows."""

    def leave(_: State) -> Command:
        return Command(update={"x": [0]}, goto="three", graph=Command.PARENT)

    builder = StateGraph(State)
    team = line({"leave": leave, "two": two}, of, name="inner")
    added(builder, {"team": (team, {"destinations": ("three",)}), "three": three}, of)
    builder.add_edge(START, "team")
    return builder.compile(name="outer")


def speaking(_: State) -> State:
    return {"x": [model("well said").invoke("say it").text]}


AS_NODE = """\
graph outer ok
  node sub ok
    graph inner ok
      node one ok
      node two ok
  node three ok"""
IN_NODE = """\
graph outer ok
  node call ok
    graph inner ok
      node one ok
      node two ok"""
TWICE = f"""\
{IN_NODE}
    graph inner ok
      node one ok
      node two ok"""
LEFT = """\
graph outer ok
  node call ok
    graph inner cancelled (stream_closed)
      node one ok"""
ITSELF = "graph outer ok\n  node call ok\n    graph outer ok\n      node call ok"
NESTED = """\
graph outer ok
  node sub ok
    graph middle ok
      node deep ok
        graph inner ok
          node one ok
          node two ok
      node three ok"""
SIDE_BY_SIDE = """\
graph outer ok
  node left ok
    graph this ok
      node one ok
      node two ok
  node right ok
    graph that ok
      node one ok
      node two ok"""
SENT = """\
graph outer ok → sub, sub
  chain split ok
  node sub ok
    graph inner ok
      node one ok
      node two ok
  node sub ok
    graph inner ok
      node one ok
      node two ok"""
HANDED_OVER = """\
graph outer ok
  node team ok (handoff) → three
    graph inner ok (handoff) → three
      node leave ok (handoff) → three
  node three ok"""
BROKEN = """\
graph outer error ValueError
  node sub error ValueError
    graph inner error ValueError
      node one ok
      node fail error ValueError"""
CAUGHT = """\
graph outer ok
  node call ok
    graph inner error ValueError
      node one ok
      node fail error ValueError
  node three ok"""
SPOKEN = """\
graph outer ok
  node sub ok
    graph inner ok
      node speaking ok
        model ScriptedModel ok 2+2 tokens"""

SCENARIOS = [
    *both("sub-graph", "ok", as_node, AS_NODE),
    Scenario("sub-graph", "without a name", lambda: as_node(as_it_is, name="LangGraph"), AS_NODE.replace("inner", "LangGraph")),
    *both(
        "sub-graph", "error", lambda of: line({"sub": line({"one": one, "fail": fail}, of, name="inner")}, of, name="outer"), BROKEN
    ),
    *both("sub-graph", "hands over to its parent", handing_over, HANDED_OVER),
    Scenario("sub-graph", "a model in it", lambda: line({"sub": line({"speaking": speaking}, name="inner")}, name="outer"), SPOKEN),
    *both(
        "sub-graph",
        "stored with its parent",
        lambda of: stored(line, {"sub": inner(of), "three": three}, of, name="outer"),
        AS_NODE,
    ),
    Scenario(
        "sub-graph",
        "with a memory of its own",
        lambda: stored(line, {"sub": inner(checkpointer=True), "three": three}, name="outer"),
        f"{AS_NODE}\n{AS_NODE}",
        moves=(Move(), Move()),
    ),
    Scenario("sub-graph", "with a checkpointer of its own", lambda: as_node(as_it_is, checkpointer=InMemorySaver()), AS_NODE),
    *both("nested twice", "ok", nested, NESTED),
    *both("two sub-graphs at once", "ok", side_by_side, SIDE_BY_SIDE, parallel=True),
    *both("sub-graph of each task", "ok", sent, SENT, parallel=True),
    Scenario("graph called in a node", "ok", lambda: in_node(inner()), IN_NODE),
    Scenario("graph called in a node", "ok, async nodes", lambda: awaited_in_node(inner()), IN_NODE, absent=ASYNC_ONLY),
    Scenario("graph called in a node", "twice", lambda: twice_in_node(inner()), TWICE),
    Scenario("graph called in a node", "streamed", lambda: streamed_in_node(inner()), IN_NODE),
    Scenario("graph called in a node", "its stream is left", lambda: left_in_node(inner()), LEFT),
    Scenario(
        "graph called in a node",
        "its error is caught",
        lambda: caught_in_node(line({"one": one, "fail": fail}, name="inner")),
        CAUGHT,
    ),
]
