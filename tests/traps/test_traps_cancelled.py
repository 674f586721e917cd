"""Runs that were cut off: by a cancelled task, a time limit, a failing sibling or a consumer who left."""

import asyncio
import gc

import pytest
from capture.graphs import State, linear
from langchain_core.output_parsers import StrOutputParser
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langgraph.errors import NodeTimeoutError
from langgraph.graph import START, StateGraph
from stage import (
    IN,
    MODEL,
    Waiting,
    Words,
    cancelled,
    ends,
    handling,
    one,
    starts,
    two,
    until,
)

from langgraph_observe import observe
from langgraph_observe.testing import tree


async def waiting(_):
    return {"x": [await Waiting().ainvoke("q")]}


def test_t01_a_cancelled_model_call_is_cancelled_with_its_node():
    seen = []
    asyncio.run(cancelled(observe(linear(waiting), seen.append).ainvoke(IN), seen, "Waiting"))

    assert tree(seen) == (
        "graph LangGraph cancelled (task_cancelled)\n"
        "  node waiting cancelled (task_cancelled)\n"
        "    model Waiting cancelled (task_cancelled)"
    )
    assert [end.run.kind for end in ends(seen)] == ["model", "node", "graph"]
    assert ends(seen, "Waiting")[0].usage is None


def test_t01_a_cancelled_model_call_with_nobody_above_it_is_cancelled():
    seen, config = handling()
    asyncio.run(cancelled(Waiting().ainvoke("q", config), seen, "Waiting"))

    assert tree(seen) == "model Waiting cancelled (task_cancelled)"


def test_t02_a_cancelled_tool_is_cancelled():
    @tool
    async def wait(a: int) -> None:
        """Wait."""
        await asyncio.sleep(30)

    seen, config = handling()
    asyncio.run(cancelled(wait.ainvoke({"a": 1}, config), seen, "wait"))

    assert tree(seen) == "tool wait cancelled (task_cancelled)"


def test_t03_a_cancelled_retriever_is_cancelled():
    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            raise NotImplementedError

        async def _aget_relevant_documents(self, query, *, run_manager):
            await asyncio.sleep(30)

    seen, config = handling()
    asyncio.run(cancelled(Shelf().ainvoke("bees", config), seen, "Shelf"))

    assert tree(seen) == "retriever Shelf cancelled (task_cancelled)"


def test_t04_a_closed_async_stream_leaves_no_model_open():
    seen, config = handling()
    tracker = config["callbacks"][0].tracker

    async def main():
        chunks = (Words() | StrOutputParser()).astream("q", config)
        assert await anext(chunks) == "a"
        await chunks.aclose()
        await until(lambda: len(tracker) == 0)

    asyncio.run(main())
    assert tree(seen) == (
        "chain RunnableSequence cancelled (stream_closed)\n"
        "  model Words cancelled (task_cancelled)\n"
        "  chain StrOutputParser cancelled (task_cancelled)"
    )


def test_t07_a_stream_that_its_consumer_left_is_open_while_it_is_held_and_then_cancelled():
    seen = []
    chunks = observe(linear(one, two), seen.append).stream(IN)
    next(chunks)
    assert tree(seen) == "graph LangGraph ⋯\n  node one ok"

    chunks.close()
    assert tree(seen) == "graph LangGraph cancelled (stream_closed)\n  node one ok"
    assert ends(seen, "LangGraph")[0].failure is None


def test_t08_what_ends_after_its_graph_is_still_below_it():
    seen = []
    with pytest.raises(NodeTimeoutError):
        asyncio.run(observe(linear(waiting, timeout=0.02), seen.append).ainvoke(IN))

    failure = "langgraph.errors.NodeTimeoutError"
    assert tree(seen) == (
        f"graph LangGraph error (timeout) {failure}\n"
        f"  node waiting error (timeout) {failure}\n"
        "    model Waiting cancelled (task_cancelled)"
    )
    assert len({start.trace_id for start in starts(seen)}) == 1


def test_t09_the_node_that_timed_out_says_so_itself():
    async def slow(_):
        await asyncio.sleep(30)

    seen = []
    with pytest.raises(NodeTimeoutError):
        asyncio.run(observe(linear(slow, timeout=0.02), seen.append).ainvoke(IN))

    node = ends(seen, "slow")[0]
    assert (node.outcome, node.reason, node.failure.type) == ("error", "timeout", "langgraph.errors.NodeTimeoutError")


def test_t48_one_failing_node_is_one_error():
    async def boom(_):
        await until(lambda: len(starts(seen)) == 4)
        raise ValueError("boom")

    async def idle(_):
        await asyncio.sleep(30)

    builder, seen = StateGraph(State), []
    for name, action in (("boom", boom), ("first", idle), ("second", idle)):
        builder.add_node(name, action)
        builder.add_edge(START, name)
    with pytest.raises(ValueError, match="boom"):
        asyncio.run(observe(builder.compile(), seen.append).ainvoke(IN))

    assert tree(seen) == (
        "graph LangGraph error ValueError\n"
        "  node boom error ValueError\n"
        "  node first cancelled (sibling_failed)\n"
        "  node second cancelled (sibling_failed)"
    )


def test_t52_a_sync_chain_that_was_broken_off_is_no_success_and_its_model_tells_what_was_spent():
    seen, config = handling()
    for chunk in (MODEL | StrOutputParser()).stream("q", config):
        assert chunk == "well"
        break
    gc.collect()

    assert tree(seen) == (
        "chain RunnableSequence cancelled (stream_closed)\n"
        "  model ScriptedModel ok 1+2 tokens\n"
        "  chain StrOutputParser cancelled (stream_closed)"
    )


def test_t52_a_sync_chain_that_was_read_to_its_end_is_a_success():
    seen, config = handling()
    assert "".join((MODEL | StrOutputParser()).stream("q", config)) == "well said"

    assert {end.outcome for end in ends(seen)} == {"ok"}
