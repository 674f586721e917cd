"""Nodes, and graphs of them, that the scenarios share: a scenario says what is peculiar to it and no more."""

from __future__ import annotations

import asyncio
import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from scenarios.calling import SYNC, without
from scenarios.scenario import Scenario

ASYNC_ONLY = without(SYNC, "its nodes are asynchronous")
Wrap = Callable[[Any], Any]


class State(TypedDict, total=False):
    """What goes through the graphs."""

    x: Annotated[list[Any], operator.add]
    n: int


def one(_: State) -> State:
    return {"x": [1]}


def two(_: State) -> State:
    return {"x": [2]}


def three(_: State) -> State:
    return {"x": [3]}


def fail(_: State) -> State:
    raise ValueError("no")


def ask(_: State) -> State:
    """Wait for a human."""
    return {"x": [interrupt("what?")]}


def as_it_is(action: Any) -> Any:
    """The node, in a thread if others run beside it."""
    return action


def awaited(action: Any) -> Any:
    """The same node as a coroutine. What is no plain function is as it is."""
    if not callable(action):
        return action

    @functools.wraps(action)
    async def call(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return action(*args, **kwargs)

    return call


def added(builder: StateGraph, nodes: Mapping[str, Any], of: Wrap) -> None:
    """Put the nodes into it; a node may be a pair of its action and the options of `add_node`."""
    for name, node in nodes.items():
        action, options = node if isinstance(node, tuple) else (node, {})
        builder.add_node(name, of(action), **options)


def line(nodes: Mapping[str, Any], of: Wrap = as_it_is, *, state: Any = State, **compiled: Any) -> Any:
    """One after the other."""
    builder = StateGraph(state)
    added(builder, nodes, of)
    for before, name in zip([START, *nodes], nodes, strict=False):
        builder.add_edge(before, name)
    return builder.compile(**{"name": "line", **compiled})


def fan(nodes: Mapping[str, Any], of: Wrap = as_it_is, *, join: Iterable[str] = (), **compiled: Any) -> Any:
    """All at once; those of `join` after all of the others."""
    builder = StateGraph(State)
    added(builder, nodes, of)
    first = [name for name in nodes if name not in join]
    for name in first:
        builder.add_edge(START, name)
    for name in join:
        builder.add_edge(first, name)
    return builder.compile(**{"name": "fan", **compiled})


def stored(make: Callable[..., Any], nodes: Mapping[str, Any], of: Wrap = as_it_is, **compiled: Any) -> Any:
    """`line` or `fan` whose state is kept."""
    return make(nodes, of, **{"checkpointer": InMemorySaver(), **compiled})


def both(shape: str, ending: str, graph: Callable[[Wrap], Any], tree: str, **more: Any) -> list[Scenario]:
    """The scenario, and the same with asynchronous nodes: LangGraph runs, cancels and interrupts these in other ways."""
    absent = {**more.pop("absent", {})}
    sync = Scenario(shape, ending, lambda: graph(as_it_is), tree, absent=absent, **more)
    return [sync, Scenario(shape, f"{ending}, async nodes", lambda: graph(awaited), tree, absent=absent | ASYNC_ONLY, **more)]
