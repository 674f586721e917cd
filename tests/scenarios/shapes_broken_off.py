"""Scenarios that their caller breaks off: a cancelled task, a limit of time, a stream that is read no further."""

from __future__ import annotations

from collections.abc import AsyncIterator  # noqa: TC003 - pydantic reads a model's annotations
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from scenarios.calling import ASYNC, only
from scenarios.nodes import State, ask, awaited, fan, line, one, stored, two
from scenarios.scenario import Move, Scenario, ahang, hang

from langgraph_observe.testing import ScriptedModel

CROWDED = ("batch", "abatch", "threads", "tasks")
CANCELLABLE = only(set(ASYNC) - set(CROWDED), "one task is cancelled")
AFTER_ONE = tuple(f"{way} {mode}" for way in ("stream", "astream") for mode in ("values", "updates", "several", "v2"))


async def wait(_: State) -> State:
    await ahang()
    return {"x": ["late"]}


def wait_in_thread(_: State) -> State:
    hang()
    return {"x": ["late"]}


class Thinking(ScriptedModel):
    """A model that is still at it."""

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        await ahang()
        raise AssertionError

    async def _astream(self, *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(content=""))
        await ahang()


MODEL = Thinking(respond=lambda _: "")


async def think(_: State) -> State:
    return {"x": [(await MODEL.ainvoke("what?")).text]}


@tool
async def search(query: str) -> str:
    """Search for ever."""
    await ahang()
    return ""


def searching() -> Any:
    calls = [{"name": "search", "args": {"query": "q"}, "id": "1", "type": "tool_call"}]
    builder = StateGraph(MessagesState)
    builder.add_node("ask", lambda _: {"messages": [AIMessage("", tool_calls=calls, id="a")]})
    builder.add_node("tools", ToolNode([search]))
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "tools")
    return builder.compile(name="searching")


def cancelled(shape: str, graph: Any, tree: str, **more: Any) -> list[Scenario]:
    """By `task.cancel()`, as by a client's disconnect, and by `asyncio.timeout`."""
    given = {"given": more.pop("given")} if "given" in more else {}
    tree += " cancelled (task_cancelled)"
    return [
        Scenario(shape, ending, graph, tree, moves=(Move(cancel=how, **given),), absent=CANCELLABLE, **more)
        for ending, how in (("task cancelled", "cancel"), ("asyncio.timeout", "timeout"))
    ]


CUT = "graph line cancelled (task_cancelled)\n"
CANCELLED = [
    *cancelled("linear", lambda: line({"one": awaited(one), "wait": wait}), f"{CUT}  node one ok\n  node wait"),
    *cancelled(
        "linear, in a thread",
        lambda: line({"one": one, "wait": wait_in_thread}),
        f"{CUT}  node one ok\n  node wait",
    ),
    *cancelled(
        "model in a node",
        lambda: line({"think": think}),
        f"{CUT}  node think cancelled (task_cancelled)\n    model Thinking",
    ),
    *cancelled(
        "sub-graph as node",
        lambda: line({"sub": line({"wait": wait}, name="inner")}),
        f"{CUT}  node sub cancelled (task_cancelled)\n    graph inner cancelled (task_cancelled)\n      node wait",
    ),
    *cancelled(
        "parallel nodes",
        lambda: fan({"one": awaited(one), "wait": wait, "think": think}),
        "graph fan cancelled (task_cancelled)\n  node one ok\n  node think cancelled (task_cancelled)\n"
        "    model Thinking cancelled (task_cancelled)\n  node wait",
        parallel=True,
    ),
    *cancelled(
        "ToolNode",
        searching,
        "graph searching cancelled (task_cancelled)\n  node ask ok\n  node tools cancelled (task_cancelled)\n    tool search",
        given={"messages": [HumanMessage("?", id="h")]},
    ),
]


def first(chunk: Any) -> bool:
    """What tells that the first node is done."""
    return "'x': [1]" in repr(chunk)


def last(chunk: Any) -> bool:
    """What tells that the graph is done: its state, or where no state is streamed, the update of its last node."""
    return "'x': [1, 2]" in repr(chunk) or chunk == {"two": {"x": [2]}}


def closed(ending: str, drops: str) -> list[Scenario]:
    """After the first node; and at the last chunk, without asking for the end."""
    ways = only(AFTER_ONE, "no chunk tells how far the graph is")
    one_after_the_other = {"one": one, "two": two}
    return [
        Scenario(
            "linear",
            f"stream {ending}",
            lambda: line(one_after_the_other),
            "graph line cancelled (stream_closed)\n  node one ok",
            moves=(Move(stop=first, drops=drops),),
            absent=ways,
        ),
        Scenario(
            "linear",
            f"stream {ending} at its last chunk",
            lambda: line(one_after_the_other),
            "graph line ok\n  node one ok\n  node two ok",
            moves=(Move(stop=last, drops=drops),),
            absent=ways,
        ),
    ]


def asked(chunk: Any) -> bool:
    """The chunk that asks a human."""
    return "Interrupt(" in repr(chunk)


CLOSED = [
    *closed("closed", "close"),
    *closed("forgotten", "forget"),
    *closed("dropped", "break"),
    Scenario(
        "linear",
        "interrupt, stream closed at the question",
        lambda: stored(line, {"one": one, "ask": ask}),
        "graph line interrupted (interrupt)\n  node one ok\n  node ask interrupted (interrupt)",
        moves=(Move(stop=asked),),
        absent=only(
            [f"{way} {mode}" for way in ("stream", "astream") for mode in ("updates", "several", "v2")], "the question is no chunk"
        ),
    ),
]
REFUSED = [
    Scenario(
        "linear",
        "failure before the start: no steps",
        lambda: line({"one": one}),
        "graph line error ValueError",
        moves=(Move(config={"recursion_limit": 0}),),
        differs=dict.fromkeys(("invoke, callbacks", "ainvoke, callbacks", "stream, callbacks", "astream, callbacks"), ""),
    ),
    Scenario(
        "sub-graph in a node",
        "failure before the start: no steps",
        lambda: line({"call": lambda _: line({"one": one}, name="inner").invoke({"x": []}, {"recursion_limit": 0})}),
        "graph line error ValueError\n  node call error ValueError",
    ),
]
SCENARIOS = [*CANCELLED, *CLOSED, *REFUSED]
