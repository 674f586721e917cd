"""What another process does with the same checkpointer and a store of its own: `python elsewhere.py CHECKPOINTS STORE WAY MOVE`."""

import asyncio
import sys

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from scenarios.nodes import State

from langgraph_observe import Observer, testing
from langgraph_observe.sinks.store import Store

THREAD = {"configurable": {"thread_id": "refund-1"}}
MOVES = {
    "ask": ({"x": []}, {}),
    "answer": (Command(resume="yes"), {}),
    "stop": ({"x": []}, {"interrupt_before": ["ask"]}),
    "go on": (None, {"interrupt_before": ["pay"]}),
    "fail": ({"x": ["fail"]}, {}),
    "again": (None, {}),
}


def plan(_):
    return {"x": ["plan"]}


def ask(state):
    if "fail" in state["x"]:
        raise ValueError("not today")
    return {"x": [interrupt("sure?")]}


def pay(_):
    return {"x": ["paid"]}


def desk(saver):
    """Plan, ask a human, pay."""
    builder = StateGraph(State)
    builder.add_sequence([plan, ask, pay])
    builder.add_edge(START, "plan")
    return builder.compile(checkpointer=saver, name="desk")


async def amove(observer, path, given, options):
    """One call, asynchronously."""
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        await observer.watch(desk(saver)).ainvoke(given, THREAD, **options)


def move(observer, path, given, options):
    """One call."""
    with SqliteSaver.from_conn_string(path) as saver:
        observer.watch(desk(saver)).invoke(given, THREAD, **options)


if __name__ == "__main__":
    _, checkpoints, store, way, name = sys.argv
    with testing.strict(), Observer(Store(store)) as watching:
        if way == "ainvoke":
            asyncio.run(amove(watching, checkpoints, *MOVES[name]))
        else:
            move(watching, checkpoints, *MOVES[name])
