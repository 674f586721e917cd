"""What Langfuse's own handler loses of identity, endings and shape, row by row of the list that we keep of it; not lost here."""

# ruff: noqa: F401, F811 - fixtures are imported, and are arguments

import asyncio
import contextlib
import json
from typing import Annotated, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import HumanMessage, RemoveMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langfuse import observe
from langfuse_bench import bench
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from langgraph_observe.testing import ScriptedModel

MODEL = ScriptedModel(respond=lambda _: "word by word", model="gpt-5.2", provider="openai")


class State(TypedDict, total=False):
    said: str


def graph(*nodes, **compiled):
    builder = StateGraph(State).add_sequence(nodes)
    return builder.add_edge(START, nodes[0].__name__).compile(**compiled)


async def think(_):
    return {"said": (await MODEL.ainvoke("q")).text}


async def test_row_01_every_observation_of_an_async_run_has_session_user_and_tags(bench):
    metadata = {
        "langfuse_session_id": "s-1",
        "langfuse_user_id": "ada",
        "langfuse_tags": ["gold"],
        "langfuse_trace_name": "support",
    }
    await graph(think).ainvoke({}, bench.config(metadata=metadata))
    seen = bench.seen()
    assert sorted(one.type for one in seen) == ["CHAIN", "CHAIN", "GENERATION"]
    assert [(one.session, one.user, one.tags, one.first("langfuse.trace.name")) for one in seen] == [
        ("s-1", "ada", ["gold"], "support")
    ] * 3


async def test_row_02_user_code_in_an_async_node_is_inside_of_that_node(bench):
    bench.beside_the_sdk()

    @observe(name="mine")
    async def mine():
        await asyncio.sleep(0)

    async def work(_):
        await mine()
        return {}

    await graph(work).ainvoke({}, bench.config())
    bench.seen()
    assert bench.server.tree() == {"LangGraph": None, "work": "LangGraph", "mine": "work"}


async def test_row_03_two_runs_in_one_task_are_two_traces(bench):
    for _ in range(2):
        await graph(think).ainvoke({}, bench.config())
    roots = [one for one in bench.seen() if one.parent_id is None]
    assert [one.name for one in roots] == ["LangGraph"] * 2
    assert len({one.trace_id for one in roots}) == 2


async def test_row_04_a_graph_that_waits_for_a_human_says_so_and_its_resume_knows_where_it_comes_from(bench):
    def ask(_):
        return {"said": interrupt({"question": "may I?"})}

    asking = graph(ask, checkpointer=InMemorySaver())
    config = bench.config(configurable={"thread_id": "t-1"})
    await asking.ainvoke({"said": ""}, config)
    await asking.ainvoke(Command(resume="yes"), config)
    seen = bench.seen()
    first, second = [one for one in seen if one.name == "LangGraph"]
    assert {one.level for one in seen} == {"DEFAULT"}
    assert "waits for a human" in first.words
    (event,) = [one for one in seen if one.metadata.get("event") == "interrupt"]
    assert event.data("input")[0]["value"] == {"question": "may I?"}
    assert json.loads(second.metadata["resumed_from"]) == [first.trace_id]
    assert {one.session for one in seen} == {"t-1"}


@pytest.mark.parametrize("asked", ["model", "tool", "retriever"])
def test_row_09_session_and_user_of_a_root_that_is_no_chain_arrive_as_they_are(bench, asked):
    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            return []

    roots = {"model": MODEL, "tool": tool(look), "retriever": Shelf()}
    roots[asked].invoke("q", bench.config(metadata={"langfuse_session_id": "s-1", "langfuse_user_id": "ada"}))
    (one,) = bench.seen()
    assert (one.session, one.user) == ("s-1", "ada")


def look(city: str) -> str:
    """Look out of the window."""
    return f"rain in {city}"


def test_row_10_two_prompts_of_one_call_stand_side_by_side(bench):
    MODEL.generate([[HumanMessage("a")], [HumanMessage("b")]], callbacks=[bench.handler])
    assert [(one.type, one.parent_id) for one in bench.seen()] == [("GENERATION", None)] * 2


def test_row_12_a_message_of_a_kind_that_nobody_expects_costs_no_generation(bench):
    MODEL.invoke([HumanMessage("q"), RemoveMessage(id="m-1")], bench.config())
    (one,) = bench.seen()
    assert one.type == "GENERATION"
    assert [message["role"] for message in one.data("input")["messages"]] == ["user", "remove"]


def test_row_14_a_stream_that_its_consumer_leaves_is_no_error(bench):
    streamed = graph(first, second).stream({}, bench.config(), stream_mode="updates")
    next(streamed)
    streamed.close()
    (root,) = [one for one in bench.seen() if one.parent_id is None]
    assert (root.level, root.words) == ("WARNING", "stream closed by its consumer")


async def test_row_14_a_cancelled_task_is_no_error(bench):
    begun = asyncio.Event()

    async def wait(_):
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(graph(wait).ainvoke({}, bench.config()))
    await begun.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert {(one.level, one.words) for one in bench.seen()} == {("WARNING", "cancelled")}


def first(_):
    return {"said": "1"}


def second(_):
    return {"said": "2"}


async def test_row_15_each_of_five_concurrent_runs_is_told_its_own_trace(bench):
    async def ask(number):
        found = await bench.trace_id(graph(think).ainvoke({}, bench.config(run_name=f"run {number}")))
        return f"run {number}", found

    told = await asyncio.gather(*map(ask, range(5)))
    assert dict(told) == {one.name: one.trace_id for one in bench.seen() if one.parent_id is None}


def test_row_16_seventy_metadata_keys_all_arrive_and_a_childs_own_value_stays(bench):
    builder = StateGraph(State).add_node("first", first, metadata={"k0": "own"})
    builder.add_edge(START, "first").compile().invoke({}, bench.config(metadata={f"k{n}": n for n in range(70)}))
    bench.seen()
    root, node = bench.server.named("LangGraph").metadata, bench.server.named("first").metadata
    assert [str(root.get(f"k{n}")) for n in range(70)] == [str(n) for n in range(70)]
    assert [str(node.get(f"k{n}")) for n in range(70)] == ["own", *(str(n) for n in range(1, 70))]


class Growing(TypedDict):
    log: Annotated[list, lambda left, right: left + right]


def looping(times, size):
    def grow(state):
        return {"log": [f"{len(state['log']):04}" * (size // 4)]}

    builder = StateGraph(Growing).add_node("grow", grow).add_edge(START, "grow")
    builder.add_conditional_edges("grow", lambda state: "grow" if len(state["log"]) < times else END, ["grow", END])
    return builder.compile()


def test_row_17_what_is_sent_does_not_grow_with_the_square_of_the_state(bench):
    looping(30, 2_000).invoke({"log": []}, bench.config(recursion_limit=100))
    assert len(bench.seen()) >= 31
    assert (
        sum(len(request.body) for request in bench.server.requests) < 5 * 30 * 2_000
    )  # the nodes tell each entry once, the graph all of them at its end


def test_row_20_a_type_is_how_a_thing_was_built_and_never_its_name(bench):
    agent = create_agent(MODEL, tools=[])

    def reagent(_):
        agent.invoke({"messages": [("user", "q")]})
        return {}

    graph(reagent).invoke({}, bench.config())
    types = {(one.type, one.name) for one in bench.seen()}
    assert ("CHAIN", "reagent") in types
    assert {kind for kind, name in types if name not in ("reagent", "ScriptedModel", "model")} == {"CHAIN", "AGENT"}
    assert not [name for _, name in types if "Runnable" in name]


def test_row_20_a_router_without_a_name_is_the_nodes_condition(bench):
    looping(2, 8).invoke({"log": []}, bench.config())
    bench.seen()
    assert bench.server.tree() == {"LangGraph": None, "grow": "LangGraph", "condition": "grow"}


async def test_row_21_custom_events_are_events(bench):
    async def work(_):
        await adispatch_custom_event("progress", {"done": 0.5})
        return {}

    await graph(work).ainvoke({}, bench.config())
    (event,) = [one for one in bench.seen() if one.type == "EVENT"]
    assert (event.name, event.data("input"), event.parent_id) == ("progress", {"done": 0.5}, bench.server.named("work").id)


def test_row_21_the_tries_of_a_retried_chain_are_told_apart(bench):
    tries = []

    def flaky(_):
        tries.append(1)
        if len(tries) < 3:
            raise ValueError("not yet")
        return "done"

    flaky = RunnableLambda(flaky).with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    flaky.invoke("q", bench.config())
    children = sorted((one for one in bench.seen() if one.parent_id), key=lambda one: one.span.start_time_unix_nano)
    assert [(one.level, one.metadata.get("attempt", 1)) for one in children] == [("ERROR", 1), ("ERROR", 2), ("DEFAULT", 3)]
