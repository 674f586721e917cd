"""Which run it is, what it is called and whom it belongs to, where LangChain does not tell or tells otherwise."""

import asyncio
import logging
import uuid

import pytest
from capture.graphs import State, add, call, linear
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import task
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy
from opentelemetry import trace
from stage import IN, MODEL, THREAD, Broken, Words, ends, handling, invoked, one, starts, two
from ways import run

from langgraph_observe import CallbackHandler, Observer, observe
from langgraph_observe.testing import ScriptedModel, tree


def speak(_):
    return {"x": [MODEL.invoke("q").text]}


async def aspeak(_):
    return {"x": [(await MODEL.ainvoke("q")).text]}


def look(seen):
    """What user code finds as the current span, as the span id of a run."""
    seen.append(f"{trace.get_current_span().get_span_context().span_id:016x}")
    return {"x": []}


class InContext:
    """A sink that asks for the current span."""

    context = True

    def __init__(self):
        self.records = []

    def __call__(self, record):
        self.records.append(record)


def test_t12_a_node_is_a_node_and_what_it_calls_is_not():
    @task
    def helper(_):
        return (RunnableLambda(lambda text: text, name="n") | MODEL).invoke("q").text

    def n(_):
        (RunnableLambda(lambda text: text, name="n") | MODEL).invoke("q")
        return {"x": [helper(1).result()]}

    seen = invoked(linear(n))

    sequence = "chain RunnableSequence ok\n{0}  chain n ok\n{0}  model ScriptedModel ok 1+2 tokens\n"
    assert tree(seen) + "\n" == (
        "graph LangGraph ok\n  node n ok\n    " + sequence.format("    ") + "    node helper ok\n      " + sequence.format("      ")
    )


def test_t14_a_node_answered_by_the_cache_is_told_and_that_it_did_not_run():
    graph = linear(one, two, cache_policy=CachePolicy(), compile_with={"cache": InMemoryCache()})
    graph.invoke(IN)

    seen = invoked(graph)
    assert tree(seen) == "graph LangGraph ok\n  node one ok cached\n  node two ok cached"
    assert [(end.output.value, end.run.step) for end in ends(seen)[:2]] == [({"x": [1]}, 1), ({"x": [2]}, 2)]
    assert ends(seen)[2].output.value == {"x": [1, 2]}  # what is new since it began


@pytest.mark.parametrize("levels", ["two levels", "two handlers"])
def test_t15_a_run_told_twice_is_recorded_once(levels):
    seen = []
    handler = CallbackHandler(seen.append)
    other = handler if levels == "two levels" else CallbackHandler(observer=handler.observer)
    linear(speak).with_config(callbacks=[other]).invoke(IN, {"callbacks": [handler]})

    assert tree(seen) == "graph LangGraph ok\n  node speak ok\n    model ScriptedModel ok 1+2 tokens"
    assert len(seen) == 6


def test_t20_after_an_awaited_call_the_current_span_is_the_one_before_it(caplog):
    sink, found, after = InContext(), [], []

    async def think(_):
        await MODEL.ainvoke("q")
        return look(found)

    async def main():
        for _ in range(2):
            await observe(linear(think), sink).ainvoke(IN)
            after.append(trace.get_current_span().get_span_context().is_valid)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())

    assert found == [node.span_id for node in starts(sink.records, "think")]
    assert after == [False, False]
    assert not [record for record in caplog.records if "context" in record.getMessage().lower()]


def test_t20_a_call_awaited_after_another_is_a_trace_of_its_own():
    sink = InContext()
    config = {"callbacks": [CallbackHandler(sink)]}

    async def main():
        for _ in range(2):
            await MODEL.ainvoke("q", config)

    asyncio.run(main())
    assert len({start.trace_id for start in starts(sink.records)}) == 2
    assert [start.parent_span_id for start in starts(sink.records)] == [None, None]


def test_t20_a_call_made_between_two_chunks_is_a_trace_of_its_own():
    sink = InContext()
    config = {"callbacks": [CallbackHandler(sink)]}
    for _ in linear(one).stream(IN, config):
        MODEL.invoke("q", config)

    assert [start.parent_span_id for start in starts(sink.records) if start.parent_id is None] == [None, None]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "ainvoke with an async node"])
def test_t21_user_code_finds_the_run_it_is_in(way):
    sink, found = InContext(), []

    def body(_):
        return look(found)

    async def abody(_):
        return look(found)

    graph = observe(linear(("n", body if way != "ainvoke with an async node" else abody)), sink)
    run(way.split()[0], graph, IN)

    assert found == [starts(sink.records, "n")[0].span_id]


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "batch"])
def test_t27_what_a_fallback_tries_is_below_it(way):
    seen, config = handling()
    run(way, Broken().with_fallbacks([MODEL]), "q", config)

    assert tree(seen) == ("chain RunnableWithFallbacks ok\n  model Broken error RuntimeError\n  model ScriptedModel ok 1+2 tokens")
    assert len({start.trace_id for start in starts(seen)}) == 1


def test_t27_fallbacks_inside_fallbacks_in_a_node_are_below_each_other_and_what_follows_is_not():
    chain = Broken().with_fallbacks([Broken()]).with_fallbacks([MODEL])

    def think(_):
        chain.invoke("q")
        return {"x": [MODEL.invoke("q").text]}

    seen = invoked(linear(think))

    assert tree(seen) == (
        "graph LangGraph ok\n"
        "  node think ok\n"
        "    chain RunnableWithFallbacks ok\n"
        "      chain RunnableWithFallbacks error RuntimeError\n"
        "        model Broken error RuntimeError\n"
        "        model Broken error RuntimeError\n"
        "      model ScriptedModel ok 1+2 tokens\n"
        "    model ScriptedModel ok 1+2 tokens"
    )


def test_t28_a_call_with_callbacks_of_its_own_is_below_its_node():
    seen, config = handling()

    def own(_):
        return {"x": [MODEL.invoke("q", config).text]}

    linear(own).invoke(IN, config)

    assert tree(seen) == "graph LangGraph ok\n  node own ok\n    model ScriptedModel ok 1+2 tokens"


def test_t30_an_update_of_a_state_is_no_run_of_the_graph():
    builder = StateGraph(State)
    builder.add_node("a", one)
    builder.add_node("b", two)
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", RunnableLambda(lambda _: "b", name="router"), ["b"])
    graph = builder.compile(checkpointer=InMemorySaver(), name="desk")

    seen, config = handling()
    graph.update_state({**THREAD, **config}, {"x": []}, as_node="a")
    assert tree(seen) == "chain deskUpdateState ok\n  chain router ok"
    assert {(start.graph, start.thread_id) for start in starts(seen)} == {(None, "t")}

    silent = []
    observe(graph, silent.append).update_state(THREAD, {"x": []}, as_node="a")
    assert silent == []


@pytest.mark.parametrize("way", ["invoke", "batch"])
def test_t38_two_runs_of_one_id_are_two_runs(way):
    given, seen = uuid.uuid4(), []
    graph = observe(linear(one), seen.append)
    for _ in range(2):
        run(way, graph, IN, {"run_id": given})

    first, second = ends(seen, "LangGraph")
    assert first.run.id == second.run.id == str(given)
    assert first.run.span_id != second.run.span_id
    assert first.run.trace_id != second.run.trace_id
    assert tree(seen) == "graph LangGraph ok\n  node one ok\ngraph LangGraph ok\n  node one ok"


def test_t39_the_user_among_the_configurables_is_the_user_of_every_run():
    seen = []
    config = {"configurable": {"thread_id": "t", "user_id": "u", "session_id": "s"}}
    observe(linear(speak), seen.append).invoke(IN, config)

    assert {(start.user_id, start.session_id, start.thread_id) for start in starts(seen)} == {("u", "s", "t")}
    assert len(starts(seen)) == 3


def test_t43_a_branch_is_told_by_where_it_leads_and_a_hidden_node_by_what_it_calls():
    def entry(_):
        return "a" if MODEL.invoke("q").text else END

    builder = StateGraph(State)
    builder.add_node("a", one)
    builder.add_conditional_edges(START, entry, ["a"])
    builder.add_conditional_edges("a", RunnableLambda(lambda _: END, name="router"), [END])
    seen = invoked(builder.compile())

    assert tree(seen) == (
        "graph LangGraph ok → a\n"
        "  chain entry ok\n"
        "    model ScriptedModel ok 1+2 tokens\n"
        "  node a ok → __end__\n"
        "    chain router ok"
    )


def test_t54_an_end_has_the_beginning_it_ends():
    seen = []
    observe(linear(speak), seen.append, tags=["beta"]).invoke(IN, {"metadata": {"tenant": "acme"}})

    begun = {start.span_id: start for start in starts(seen)}
    assert [end.run for end in ends(seen)] == [begun[end.run.span_id] for end in ends(seen)]
    assert {(end.run.tags, end.run.metadata["tenant"]) for end in ends(seen)} == {(("beta",), "acme")}
    assert [end.run.name for end in ends(seen)] == ["ScriptedModel", "speak", "LangGraph"]


def test_t55_two_tool_calls_are_two_tasks_of_one_step():
    def respond(messages):
        calls = [call("add", 1, a=1, b=2), call("add", 2, a=3, b=4)]
        return "done" if messages[-1].type == "tool" else AIMessage("", tool_calls=calls)

    seen = []
    agent = create_agent(ScriptedModel(respond=respond), [add])
    observe(agent, seen.append).invoke({"messages": [HumanMessage("sum")]})

    nodes = starts(seen, "tools")
    assert len({node.step for node in nodes}) == 1
    tools = {tool.parent_span_id: tool.tool_call_id for tool in starts(seen, "add")}
    assert [tools[node.span_id] for node in nodes] == ["call-1", "call-2"]
    assert [node.attempt for node in nodes] == [1, 1]


def test_t59_an_async_node_s_own_calls_are_seen_without_passing_the_config():
    seen = []

    async def think(_):
        async for _ in Words().astream("q"):
            pass
        return {"x": [(await MODEL.ainvoke("q")).text]}

    asyncio.run(Observer(seen.append).watch(linear(think)).ainvoke(IN))

    assert tree(seen) == (
        "graph LangGraph ok\n  node think ok\n    model Words ok 1+3 tokens\n    model ScriptedModel ok 1+2 tokens"
    )
