"""Scenarios of `Send`: tasks by the dozen, which know who sent them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send
from scenarios.nodes import State, Wrap, added, as_it_is, both, line
from scenarios.scenario import Move, Scenario

from langgraph_observe import Started

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langgraph_observe import Record


def plan(_: State) -> State:
    return {"n": 3}


def split(state: State) -> list[Send]:
    """A router that sends as many tasks as there is work."""
    return [Send("work", {"n": number}) for number in range(state["n"])]


def mixed(_: State) -> list[Any]:
    """Tasks and a plain destination."""
    return [Send("work", {"n": 0}), Send("work", {"n": 1}), "total"]


def work(state: State) -> State:
    return {"x": [state["n"]]}


def stumble(state: State) -> State:
    """The second task fails."""
    if state["n"] == 1:
        raise ValueError("no")
    return {"x": [state["n"]]}


def hand_on(state: State) -> Command:
    """A task that sends a task."""
    return Command(update={"x": [state["n"]]}, goto=[Send("rest", {"n": state["n"] + 10})])


def order(_: State) -> Command:
    """A node that sends tasks itself."""
    return Command(goto=[Send("work", {"n": 0}), Send("work", {"n": 1})])


def total(state: State) -> State:
    return {"n": sum(state["x"])}


def mapped(task: Any = work, of: Wrap = as_it_is, router: Any = split) -> Any:
    """Plan, the tasks, and their sum."""
    builder = StateGraph(State)
    added(builder, {"plan": plan, "work": task, "total": total}, of)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", router, ["work", "total"])
    builder.add_edge("work", "total")
    return builder.compile(name="map")


def sent_at_once() -> Any:
    """Tasks from the start."""
    builder = StateGraph(State)
    added(builder, {"work": work}, as_it_is)
    builder.add_conditional_edges(START, split, ["work"])
    return builder.compile(name="map")


def sent_by_command(of: Wrap) -> Any:
    """Tasks without a router."""
    builder = StateGraph(State)
    added(builder, {"order": (order, {"destinations": ("work",)}), "work": work}, of)
    builder.add_edge(START, "order")
    return builder.compile(name="map")


def sent_on(of: Wrap) -> Any:
    """Tasks that send tasks."""
    builder = StateGraph(State)
    added(builder, {"plan": plan, "work": (hand_on, {"destinations": ("rest",)}), "rest": work}, of)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", split, ["work"])
    builder.add_edge("rest", END)
    return builder.compile(name="map")


def linked(records: Sequence[Record]) -> None:
    """Each task is linked to the very run that sent it, of its own trace."""
    runs = {record.span_id: record for record in records if isinstance(record, Started)}
    for run in runs.values():
        for link in run.links:
            sender = runs[link.span_id]
            assert (sender.name, link.trace_id) == ({"work": "plan", "rest": "work"}[run.name], run.trace_id)
            assert run.name == "work" or number(run) == number(sender) + 10


def number(run: Started) -> int:
    """What a task was given."""
    assert run.input is not None
    return run.input.value["n"]


MAP = """\
graph map ok
  node plan ok → work, work, work
    chain split ok
  node work ok triggered_by
  node work ok triggered_by
  node work ok triggered_by
  node total ok"""
MIXED = """\
graph map ok
  node plan ok → work, work, total
    chain mixed ok
  node work ok triggered_by
  node work ok triggered_by
  node total ok
  node total ok"""
"""`total` is triggered by the router, and again by the tasks."""
FAILED = """\
graph map error ValueError
  node plan ok → work, work, work
    chain split ok
  node work ok triggered_by
  node work error ValueError triggered_by
  node work ok triggered_by"""
START_SENT = """\
graph map ok → work, work
  chain split ok
  node work ok
  node work ok"""
"""The start has no run that a link could lead to."""
COMMANDED = """\
graph map ok
  node order ok → work, work
  node work ok triggered_by
  node work ok triggered_by"""
SENT_ON = """\
graph map ok
  node plan ok → work, work, work
    chain split ok
  node work ok → rest triggered_by
  node work ok → rest triggered_by
  node work ok → rest triggered_by
  node rest ok triggered_by
  node rest ok triggered_by
  node rest ok triggered_by"""
ROUND = """\
graph line ok
  node outer ok
    graph map ok
      node plan ok → work, work, work
        chain split ok
      node work ok triggered_by
      node work ok triggered_by
      node work ok triggered_by
      node total ok"""

SCENARIOS = [
    *both("send", "ok", lambda of: mapped(of=of), MAP, parallel=True, also=linked),
    Scenario("send", "beside a plain destination", lambda: mapped(router=mixed), MIXED, parallel=True),
    Scenario("send", "at the start", sent_at_once, START_SENT, moves=(Move({"n": 2}),), parallel=True),
    *both("send", "by a command", sent_by_command, COMMANDED, parallel=True),
    *both("send", "by tasks", sent_on, SENT_ON, parallel=True, also=linked),
    Scenario("send", "in a sub-graph", lambda: line({"outer": mapped()}), ROUND, parallel=True, also=linked),
]
