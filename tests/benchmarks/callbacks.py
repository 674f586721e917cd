"""What observing costs: µs of CPU per callback event, per node by the size of the state, and per streamed chunk.

    python tests/benchmarks/callbacks.py [--repeats 15] [--nodes 10]

Every arm is measured once in each repeat, and the medians are printed, less that of an empty inline handler. `agent` is the CPU
time of the agent's thread; `process` that of all threads while the agent runs, `+ flush` with the work that is left behind.
The machine decides what the numbers are: compare within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import gc
import operator
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypedDict

from arms import ALL, EMPTY, LANGFUSE, TWO, arms
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.graph import START, MessagesState, StateGraph
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from arms import Arm

CALLS = 10
"""Calls in one sample: a flush is for all of them."""
CHUNKS = 2_000
KILOBYTE = 1_000
SIZES = {"1 KB": 1, "100 KB": 100, "1 MB": 1_000, "10 MB": 10_000}
"""Messages of a kilobyte each."""


class Cost(NamedTuple):
    """Seconds of CPU time."""

    agent: float
    process: float
    flushed: float


@dataclass(frozen=True)
class Work:
    """Something to be done once, and how many units it is made of."""

    once: Callable[[Arm], Callable[[], Awaitable[None]]]
    units: int


class Count(TypedDict):
    count: int


class History(TypedDict):
    messages: Annotated[list[Any], operator.add]


# -- what is measured


def line(state: type, node: Callable[[Any], Any], nodes: int) -> Any:
    """A graph of equal nodes, one after the other."""
    graph = StateGraph(state)
    for number in range(nodes):
        graph.add_node(f"n{number}", node)
        graph.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    return graph.compile()


def trivial(nodes: int, *, in_async: bool) -> Work:
    """Nodes that do next to nothing. A node and the graph have two events each."""

    async def acount(state: Count) -> Count:
        return {"count": state["count"] + 1}

    graph = line(Count, acount if in_async else lambda state: {"count": state["count"] + 1}, nodes)

    def once(arm: Arm) -> Callable[[], Awaitable[None]]:
        seen = arm.watch(graph)

        async def invoke() -> None:
            if in_async:
                await seen.ainvoke({"count": 0})
            else:
                seen.invoke({"count": 0})

        return invoke

    return Work(once, 2 * nodes + 2)


def talk(messages: int, nodes: int) -> Work:
    """Nodes that add a message each to a history."""
    history = [HumanMessage("x" * KILOBYTE) for _ in range(messages)]
    graph = line(History, lambda _: {"messages": [AIMessage("y" * KILOBYTE)]}, nodes)

    def once(arm: Arm) -> Callable[[], Awaitable[None]]:
        seen = arm.watch(graph)

        async def invoke() -> None:
            seen.invoke({"messages": list(history)})

        return invoke

    return Work(once, 1)


def stream(*, in_graph: bool, in_async: bool) -> Work:
    """A model's answer of many chunks, read from the model itself or through the node that it is in."""
    model = FakeListChatModel(responses=["x" * CHUNKS])

    async def answer(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def once(arm: Arm) -> Callable[[], Awaitable[None]]:
        if in_graph:
            node = answer if in_async else lambda state: {"messages": [model.invoke(state["messages"])]}
            seen = arm.watch(line(MessagesState, node, 1))
            asked: tuple[Any, Any] = ({"messages": "?"}, None)
            options = {"stream_mode": "messages"}
        else:
            seen, asked, options = model, ("?", {"callbacks": [*arm.callbacks]}), {}

        async def read() -> None:
            if in_async:
                async for _ in seen.astream(*asked, **options):
                    pass
            else:
                for _ in seen.stream(*asked, **options):
                    pass

        return read

    return Work(once, CHUNKS)


# -- measuring


def sample(arm: Arm, once: Callable[[], Awaitable[None]], runner: asyncio.Runner, calls: int) -> Cost:
    """One sample, in an empty context: an arm that leaves something in the context leaves it to nobody."""

    async def repeat() -> None:
        for _ in range(calls):
            await once()

    arm.flush()
    gc.collect()
    process, agent = time.process_time(), time.thread_time()
    runner.run(repeat(), context=contextvars.Context())
    agent, running = time.thread_time() - agent, time.process_time()
    arm.flush()
    return Cost(agent / calls, (running - process) / calls, (time.process_time() - process) / calls)


def measure(compared: Mapping[str, Arm], work: Work, repeats: int, calls: int = CALLS) -> dict[str, Cost]:
    """The median of each arm, in µs a unit."""
    ready = {name: work.once(arm) for name, arm in compared.items()}
    samples: dict[str, list[Cost]] = {name: [] for name in compared}
    with asyncio.Runner() as runner:
        for repeat in range(repeats + 1):
            for name, arm in compared.items():
                cost = sample(arm, ready[name], runner, calls)
                if repeat:  # the first warms up
                    samples[name].append(cost)
    scale = 1e6 / work.units
    return {name: Cost(*(scale * statistics.median(part) for part in zip(*costs, strict=True))) for name, costs in samples.items()}


def above(costs: Mapping[str, Cost], name: str) -> Cost:
    """What an arm costs more than the empty handler."""
    return Cost(*map(operator.sub, costs[name], costs[EMPTY]))


# -- tables


def events(compared: Mapping[str, Arm], nodes: int, repeats: int) -> Table:
    """All arms, sync and async."""
    table = Table("µs an event over the empty handler", title=f"{nodes} trivial nodes, {2 * nodes + 2} events")
    measured = {
        "invoke": measure(compared, trivial(nodes, in_async=False), repeats),
        "ainvoke": measure(compared, trivial(nodes, in_async=True), repeats),
    }
    for way in measured:
        for column in (f"{way} agent", "process", "+ flush", "of Langfuse's"):
            table.add_column(column, justify="right")
    for name in compared:
        table.add_row(name, *(cell for costs in measured.values() for cell in _cells(costs, name)))
    return table


def _cells(costs: Mapping[str, Cost], name: str) -> list[str]:
    cost, theirs = above(costs, name), above(costs, LANGFUSE)
    return [*(f"{part:.1f}" for part in cost), f"{cost.flushed / theirs.flushed:.3f}" if name.startswith("ours") else ""]


def states(compared: Mapping[str, Arm], nodes: int, repeats: int) -> Table:
    """Does a node cost more when the conversation is long? The second half of a graph twice as long tells."""
    table = Table("the state", "the input, µs once", "a node, µs", title=f"{TWO}: the agent's thread by the size of the state")
    two = {name: compared[name] for name in (EMPTY, TWO)}
    for size, messages in SIZES.items():
        short, long = (above(measure(two, talk(messages, count), repeats, calls=2), TWO).agent for count in (nodes, 2 * nodes))
        node = (long - short) / nodes
        table.add_row(size, f"{short - nodes * node:.0f}", f"{node:.1f}")
    return table


def streams(compared: Mapping[str, Arm], repeats: int) -> Table:
    """What a chunk costs."""
    table = Table("µs a chunk over the empty handler", title=f"a stream of {CHUNKS} chunks: the agent's thread")
    chosen = {name: compared[name] for name in (EMPTY, TWO, ALL, LANGFUSE)}
    measured = {
        f"{'graph' if in_graph else 'model'}.{'astream' if in_async else 'stream'}": measure(
            chosen, stream(in_graph=in_graph, in_async=in_async), repeats, calls=1
        )
        for in_graph in (False, True)
        for in_async in (False, True)
    }
    for way in measured:
        table.add_column(way, justify="right")
    for name in (TWO, ALL, LANGFUSE):
        table.add_row(name, *(f"{above(costs, name).agent:.2f}" for costs in measured.values()))
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--nodes", type=int, default=10)
    options = parser.parse_args()
    console = Console(width=160)
    with arms() as compared:
        console.print(events(compared, options.nodes, options.repeats))
        console.print(states(compared, options.nodes, max(3, options.repeats // 3)))
        console.print(streams(compared, max(3, options.repeats // 3)))


if __name__ == "__main__":
    main()
