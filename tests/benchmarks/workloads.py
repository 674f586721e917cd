"""What is done while somebody looks: agents, streams and crowds. LangGraph and the standard library only: rivals run it, too.

A workload makes `once`: a function, or a coroutine function, that does it once, on graphs that an arm was given to watch.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import StructuredTool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from models import Model, Words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

NODES = 10
CHUNKS = 2_000
TURNS = 5
TOOLS = 2
KILOBYTE = 1_000
TASKS = 200
THREADS = 16
RUNS_A_SECOND = 1_000
THINKS = 0.05
"""Seconds of a model that is waited for."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """`make(watch, callbacks)` gives what is done once. `says` is the title of its column."""

    says: str
    make: Callable[[Watch], Callable[[], Any | Awaitable[Any]]]
    shows: Literal["µs an event", "µs a chunk", "ms", "ms in all", "×"]
    """What is printed: what is added to the same without the arm, the time in all, or by how much it is multiplied."""
    calls: int = 1
    """In one sample: a flush is for all of them."""
    share: float = 1.0
    """Of the repeats."""
    on_loop: bool = False
    threads: bool = False
    """Whether the agent itself runs on more threads than the caller's, so that only the process's time tells."""
    texts: Sequence[str] = ()
    """What was said in one call: each is to be found in what is recorded."""
    nodes: Sequence[str] = ()
    agents: int = 1
    """How many run in one call."""
    alike: str | None = None
    """The workload whose records tell what is to be received of each agent."""


Watch = "Callable[[Any], Any]"


class Count(TypedDict):
    count: int


class History(TypedDict):
    messages: Annotated[list[Any], operator.add]


def line(state: type, node: Callable[[Any], Any], nodes: int = NODES) -> Any:
    """Equal nodes, one after the other."""
    graph = StateGraph(state)
    for number in range(nodes):
        graph.add_node(f"n{number}", node)
        graph.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    return graph.compile(name="line")


# -- nodes that do next to nothing


def _counted(state: Count) -> Count:
    return {"count": state["count"] + 1}


async def _acounted(state: Count) -> Count:
    return {"count": state["count"] + 1}


def trivial(watch: Any) -> Callable[[], Any]:
    graph = watch(line(Count, _counted))
    return lambda: graph.invoke({"count": 0})


def atrivial(watch: Any) -> Callable[[], Awaitable[Any]]:
    graph = watch(line(Count, _acounted))
    return lambda: graph.ainvoke({"count": 0})


# -- an agent


def _decided(messages: Sequence[Any]) -> AIMessage:
    turn = sum(isinstance(message, AIMessage) for message in messages)
    if turn == TURNS:
        return AIMessage("the answer is forty-two")
    calls = [{"name": "look_up", "args": {"what": f"item-{turn}-{n}"}, "id": f"call-{turn}-{n}"} for n in range(TOOLS)]
    return AIMessage(f"looking, turn-{turn}", tool_calls=calls)


SAID = (
    "when may I look at Saturn?",
    *(f"looking, turn-{turn}" for turn in range(TURNS)),
    *(f"found item-{turn}-{n} in the catalogue" for turn in range(TURNS) for n in range(TOOLS)),
    "the answer is forty-two",
)
"""Everything that is said in one call of the agent."""


def agent(*, on_loop: bool = False) -> Any:
    """A model that asks for two tools at once in each of five turns."""
    model = Model(answer=_decided)

    def look_up(what: str) -> str:
        """Look something up."""
        return f"found {what} in the catalogue"

    async def alook_up(what: str) -> str:
        """Look something up."""
        return look_up(what)

    def decide(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    async def adecide(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("agent", adecide if on_loop else decide)
    graph.add_node("tools", ToolNode([StructuredTool.from_function(look_up, alook_up)]))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition, ["tools", END])
    graph.add_edge("tools", "agent")
    return graph.compile(name="astronomer")


def asked() -> dict[str, Any]:
    return {"messages": [HumanMessage(SAID[0])]}


def loop(watch: Any) -> Callable[[], Any]:
    graph = watch(agent())
    return lambda: graph.invoke(asked())


def aloop(watch: Any) -> Callable[[], Awaitable[Any]]:
    graph = watch(agent(on_loop=True))
    return lambda: graph.ainvoke(asked())


# -- a stream


def streaming(chunks: int = CHUNKS, *, on_loop: bool = False) -> Any:
    """A node whose model streams."""
    model = Words(count=chunks)

    async def atell(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def tell(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", atell if on_loop else tell)
    graph.add_edge(START, "answer")
    return graph.compile(name="narrator")


def stream(watch: Any, chunks: int = CHUNKS) -> Callable[[], None]:
    graph = watch(streaming(chunks))

    def read() -> None:
        for _ in graph.stream(asked(), stream_mode="messages"):
            pass

    return read


def astream(watch: Any, chunks: int = CHUNKS) -> Callable[[], Awaitable[None]]:
    graph = watch(streaming(chunks, on_loop=True))

    async def read() -> None:
        async for _ in graph.astream(asked(), stream_mode="messages"):
            pass

    return read


def first(watch: Any) -> Callable[[], float]:
    """Seconds to the first chunk."""
    graph = watch(streaming(20))

    def read() -> float:
        begun, came = time.perf_counter(), 0.0
        for _ in graph.stream(asked(), stream_mode="messages"):
            came = came or time.perf_counter() - begun
        return came

    return read


def afirst(watch: Any) -> Callable[[], Awaitable[float]]:
    """Seconds to the first chunk."""
    graph = watch(streaming(20, on_loop=True))

    async def read() -> float:
        begun, came = time.perf_counter(), 0.0
        async for _ in graph.astream(asked(), stream_mode="messages"):
            came = came or time.perf_counter() - begun
        return came

    return read


# -- a long conversation in the state


def history(messages: int, size: int = KILOBYTE) -> list[Any]:
    """Messages of `size` characters, each with a word of its own."""
    return [HumanMessage(f"history-{number:06} ".ljust(size, "x")) for number in range(messages)]


def conversation(watch: Any, messages: int = 1_000, size: int = KILOBYTE, nodes: int = NODES) -> Callable[[], Any]:
    """Nodes that add a message each to a history."""
    numbers = itertools.count()
    graph = watch(line(History, lambda _: {"messages": [AIMessage(f"new-{next(numbers) % nodes} ".ljust(KILOBYTE, "y"))]}, nodes))
    told = history(messages, size)
    return lambda: graph.invoke({"messages": list(told)})


# -- crowds


def crowd(watch: Any, tasks: int = TASKS) -> Callable[[], Awaitable[None]]:
    """Agents at the same time, on one loop."""
    graph = watch(agent(on_loop=True))

    async def together() -> None:
        await asyncio.gather(*(graph.ainvoke(asked()) for _ in range(tasks)))

    return together


def threads(watch: Any, count: int = THREADS, each: int = 4) -> Callable[[], None]:
    """Agents at the same time, on threads of their own."""
    graph = watch(agent())

    def work(_: int) -> None:
        for _ in range(each):
            Context().run(graph.invoke, asked())

    def together() -> None:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(work, range(count)))

    return together


def lag(watch: Any, seconds: float = 1.0, a_second: int = RUNS_A_SECOND) -> Callable[[], Awaitable[float]]:
    """How late the loop is, 99th percentile, while graphs of three runs each, with a model that thinks, begin at a steady rate."""
    graph = watch(_asking())

    async def measured() -> float:
        delays: list[float] = []
        beat = asyncio.create_task(_beat(delays))
        began, running = time.perf_counter(), set()
        for number in range(int(seconds * a_second / 3)):
            await asyncio.sleep(max(0.0, began + number * 3 / a_second - time.perf_counter()))
            running.add(asyncio.create_task(graph.ainvoke(asked())))
        await asyncio.gather(*running)
        beat.cancel()
        return sorted(delays)[round(0.99 * (len(delays) - 1))]

    return measured


def _asking() -> Any:
    model = Model(answer=lambda _: AIMessage(SAID[-1]), seconds=THINKS)

    async def answer(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return line(MessagesState, answer, 1)


async def _beat(delays: list[float], every: float = 0.002) -> None:
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(every)
        delays.append(time.perf_counter() - begun - every)


# -- for the memory


def mixed(watch: Any) -> Callable[[int], None]:
    """One of twenty runs fails, four are streams that nobody reads to the end."""
    told = watch(streaming(10))
    fails = watch(line(Count, _fail, 2))

    def run(number: int) -> None:
        if number % 20 == 0:
            try:
                fails.invoke({"count": 0})
            except ValueError:
                return
        elif number % 5 == 1:
            next(told.stream(asked(), stream_mode="messages"))
        else:
            told.invoke(asked())

    return run


def _fail(state: Count) -> Count:
    if state["count"]:
        message = "no telescope is free"
        raise ValueError(message)
    return {"count": 1}


LINE = tuple(f"n{number}" for number in range(NODES))
LOOP = ("agent", "tools")
HISTORIES = (*(f"history-{number:06}" for number in range(1_000)), *(f"new-{number}" for number in range(NODES)))
EVENT, CHUNK = "µs an event", "µs a chunk"
WORKLOADS: dict[str, Workload] = {
    "nodes": Workload(says="10 nodes, invoke", make=trivial, shows=EVENT, calls=10, nodes=LINE),
    "anodes": Workload(says="10 nodes, ainvoke", make=atrivial, on_loop=True, shows=EVENT, calls=10, nodes=LINE),
    "agent": Workload(says="agent, invoke", make=loop, shows=EVENT, calls=5, threads=True, nodes=LOOP, texts=SAID),
    "aagent": Workload(says="agent, ainvoke", make=aloop, on_loop=True, shows=EVENT, calls=5, nodes=LOOP, texts=SAID),
    "stream": Workload(says="2,000 chunks, stream", make=stream, shows=CHUNK, nodes=("answer",)),
    "astream": Workload(says="2,000 chunks, astream", make=astream, on_loop=True, shows=CHUNK, nodes=("answer",)),
    "first": Workload(says="first chunk, stream", make=first, shows="ms", calls=5),
    "afirst": Workload(says="first chunk, astream", make=afirst, on_loop=True, shows="ms", calls=5),
    "state": Workload(says="1 MB in the state", make=conversation, shows=EVENT, nodes=LINE, texts=HISTORIES),
    "tasks": Workload(says="200 tasks", make=crowd, on_loop=True, shows="×", share=0.2, agents=TASKS, alike="aagent"),
    "threads": Workload(says="16 threads", make=threads, threads=True, shows="×", share=0.4, agents=4 * THREADS, alike="agent"),
    "lag": Workload(
        says="loop lag p99", make=lag, on_loop=True, shows="ms in all", share=0.4, agents=RUNS_A_SECOND // 3, alike="afirst"
    ),
}
