"""What the records say of a graph, as trees: the same for each way of calling it."""

import asyncio
import gc
import re

import graphs
import pytest
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt
from ways import WAYS, run

from langgraph_observe import CallbackHandler, Finished, Noted, Started, observe
from langgraph_observe.testing import ScriptedModel, tree

ways = pytest.mark.parametrize("way", WAYS)


def observed(way, graph, given, config=None):
    """What an unobserved copy gives must be what the observed one gives; the records of the latter."""
    seen = []
    assert without_ids(run(way, observe(graph, seen.append), given, config)) == without_ids(run(way, graph, given, config))
    balanced(seen)
    return seen


def without_ids(value):
    """What the caller got, without the ids that LangChain makes anew each time."""
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "…", repr(value))


def balanced(seen):
    """Each run that started finished once, and a parent is among the runs."""
    started = [record.span_id for record in seen if isinstance(record, Started)]
    finished = [record.run.span_id for record in seen if isinstance(record, Finished)]
    assert sorted(started) == sorted(finished)
    assert len(set(started)) == len(started)
    assert all(record.parent_span_id in started for record in seen if isinstance(record, Started) and record.parent_id is not None)


@ways
def test_an_agent_with_tools(way):
    seen = observed(way, graphs.agent(graphs.call("add", a=1, b=2)), graphs.ASKED)

    assert tree(seen) == (
        "graph calculator ok\n"
        "  node think ok → tools\n"
        "    model ScriptedModel ok 3+4 tokens\n"
        "    chain tools_condition ok\n"
        "  node tools ok\n"
        "    tool add ok\n"
        "  node think ok → __end__\n"
        "    model ScriptedModel ok 4+2 tokens\n"
        "    chain tools_condition ok"
    )


@ways
def test_a_chain(way):
    chain = ChatPromptTemplate.from_template("say {word}") | ScriptedModel(respond=lambda _: "well said") | StrOutputParser()
    seen = []
    run(way, chain, {"word": "it"}, {"callbacks": [CallbackHandler(seen.append)], "run_name": "speech"})

    assert sorted(tree(seen).splitlines()[1:]) == [
        "  chain ChatPromptTemplate ok",
        "  chain StrOutputParser ok",
        "  model ScriptedModel ok 2+2 tokens",
    ]
    assert tree(seen).startswith("chain speech ok\n")
    root = next(record for record in seen if isinstance(record, Finished) and record.run.parent_id is None)
    assert (root.input or root.run.input).value == {"word": "it"}
    assert root.output.value == "well said"


@ways
def test_tasks_that_were_sent_are_linked_to_their_sender(way):
    seen = observed(way, graphs.fan_out(), {"x": []})

    assert tree(seen) == (
        "graph fan_out ok\n"
        "  node plan ok → work, work, work\n"
        "    chain split ok\n"
        "  node work ok triggered_by\n"
        "  node work ok triggered_by\n"
        "  node work ok triggered_by\n"
        "  node sum ok"
    )
    plan = next(record for record in seen if isinstance(record, Started) and record.name == "plan")
    assert {link.span_id for record in seen if isinstance(record, Started) for link in record.links} == {plan.span_id}


@ways
def test_a_failing_node_fails_its_graph(way):
    def broken(_):
        raise ValueError("not your day")

    seen = []
    with pytest.raises(ValueError, match="not your day"):
        run(way, observe(graphs.linear(broken), seen.append), {"x": []})

    balanced(seen)
    assert tree(seen) == "graph LangGraph error ValueError\n  node broken error ValueError"
    failure = seen[-1].failure
    assert (failure.type, failure.message) == ("ValueError", "not your day")
    assert "in test_a_failing_node_fails_its_graph.<locals>.broken" in failure.stack


@ways
def test_a_failing_tool_that_its_node_handles_is_no_failure_of_the_node(way):
    seen = observed(way, graphs.agent(graphs.call("fail", a=1), handle_tool_errors=True), graphs.ASKED)

    lines = [line.strip() for line in tree(seen).splitlines()]
    assert "tool fail error ValueError" in lines
    assert "node tools ok" in lines
    assert lines[0] == "graph calculator ok"


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_a_human_in_the_loop_is_no_error_and_the_resume_is_linked(way):
    def ask(_):
        return {"x": [interrupt({"question": "really?"})]}

    seen = []
    graph = observe(graphs.linear(ask, compile_with={"checkpointer": InMemorySaver(), "name": "desk"}), seen.append)
    thread = {"configurable": {"thread_id": "t-1"}}
    run(way, graph, {"x": []}, thread)
    run(way, graph, Command(resume="yes"), thread)

    balanced(seen)
    assert tree(seen) == (
        "graph desk interrupted (interrupt)\n  node ask interrupted (interrupt)\ngraph desk ok resumed_from\n  node ask ok"
    )
    paused, resumed = [record for record in seen if isinstance(record, Started) and record.kind == "graph"]
    assert [link.span_id for link in resumed.links] == [paused.span_id]
    notes = [(record.kind, record.run.span_id) for record in seen if isinstance(record, Noted)]
    assert notes == [("interrupt", paused.span_id), ("resume", resumed.span_id)]
    question = next(record.payload.value for record in seen if isinstance(record, Noted) and record.kind == "interrupt")
    assert question[0]["value"] == {"question": "really?"}


def test_a_static_interrupt_is_known_by_its_event_only():
    seen = []
    compile_with = {"checkpointer": InMemorySaver(), "interrupt_before": ["second"]}
    graph = observe(
        graphs.linear(("first", lambda _: {"x": [1]}), ("second", lambda _: {"x": [2]}), compile_with=compile_with), seen.append
    )
    thread = {"configurable": {"thread_id": "t-1"}}
    graph.invoke({"x": []}, thread)
    graph.invoke(None, thread)

    assert tree(seen) == (
        "graph LangGraph interrupted (interrupt_before)\n  node first ok\ngraph LangGraph ok resumed_from\n  node second ok"
    )


def test_a_restart_after_a_failure_is_not_called_a_resume():
    failing = [True]

    def shaky(_):
        if failing:
            raise ValueError(failing.pop())
        return {"x": [1]}

    seen = []
    graph = observe(graphs.linear(shaky, compile_with={"checkpointer": InMemorySaver()}), seen.append)
    thread = {"configurable": {"thread_id": "t-1"}}
    with pytest.raises(ValueError, match="True"):
        graph.invoke({"x": []}, thread)
    graph.invoke(None, thread)

    assert [record for record in seen if isinstance(record, Noted)] == []
    assert "resumed_from" not in tree(seen)


def test_a_stream_closed_at_the_question_is_interrupted_all_the_same():
    seen = []
    graph = observe(
        graphs.linear(("ask", lambda _: {"x": [interrupt("?")]}), compile_with={"checkpointer": InMemorySaver()}), seen.append
    )
    for chunk in graph.stream({"x": []}, {"configurable": {"thread_id": "t"}}, stream_mode="updates"):
        if "__interrupt__" in chunk:
            break
    gc.collect()

    assert tree(seen) == "graph LangGraph interrupted (interrupt)\n  node ask interrupted (interrupt)"


def test_a_stream_closed_by_its_consumer_is_cancelled():
    seen = []
    chunks = observe(graphs.linear(("a", lambda _: {"x": [1]}), ("b", lambda _: {"x": [2]})), seen.append).stream({"x": []})
    next(chunks)
    chunks.close()

    balanced(seen)
    assert tree(seen).startswith("graph LangGraph cancelled (stream_closed)")


def test_retries_carry_their_number_and_do_not_fail_the_graph():
    attempts = []

    def shaky(_):
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionError
        return {"x": [len(attempts)]}

    seen = []
    policy = RetryPolicy(initial_interval=0.001, jitter=False)
    observe(graphs.linear(shaky, retry_policy=policy), seen.append).invoke({"x": []})

    assert tree(seen) == (
        "graph LangGraph ok\n"
        "  node shaky error ConnectionError\n"
        "  node shaky error ConnectionError attempt 2\n"
        "  node shaky ok attempt 3"
    )


@ways
def test_a_sub_graph_is_a_graph_and_its_nodes_are_its_own(way):
    inner = graphs.linear(("deep", lambda _: {"x": ["deep"]}), compile_with={"name": "inner"})
    seen = observed(way, graphs.linear(("outer_node", inner)), {"x": []})

    assert tree(seen) == ("graph LangGraph ok\n  node outer_node ok\n    graph inner ok\n      node deep ok")
    deep = next(record for record in seen if isinstance(record, Started) and record.name == "deep")
    assert (deep.graph, deep.node) == ("inner", "deep")


def test_a_handoff_to_the_parent_graph_is_no_error():
    inner = graphs.linear(("hand_over", lambda _: Command(goto="other", graph=Command.PARENT)))
    builder = StateGraph(graphs.State)
    builder.add_node("team", inner, destinations=("other",))
    builder.add_node("other", lambda _: {"x": ["other"]})
    builder.add_edge(START, "team")
    seen = observed("invoke", builder.compile(), {"x": []})

    assert tree(seen) == (
        "graph LangGraph ok\n"
        "  node team ok (handoff) → other\n"
        "    graph LangGraph ok (handoff) → other\n"
        "      node hand_over ok (handoff) → other\n"
        "  node other ok"
    )


def test_the_functional_api():
    @task
    def double(number):
        return number * 2

    @entrypoint()
    def work(number):
        return double(number).result() + 1

    seen = observed("invoke", work, 4)

    assert tree(seen) == "graph work ok\n  node work ok\n    node double ok"


def test_an_agent_of_langchain_is_an_agent_by_its_own_config():
    from langchain.agents import create_agent

    def respond(messages):
        return "done" if messages[-1].type == "tool" else AIMessage("", tool_calls=[graphs.call("add", a=1, b=2)])

    inner = create_agent(ScriptedModel(respond=respond), [graphs.add], name="adder")
    seen = observed("invoke", inner, graphs.ASKED)

    lines = [line.strip() for line in tree(seen).splitlines()]
    assert lines[0] == "agent adder ok"
    assert [line.split()[0] for line in lines[1:]] == ["node", "model", "node", "tool", "node", "model"]
    assert {record.agent for record in seen if isinstance(record, Started)} == {"adder"}


def test_a_graph_in_an_agent_is_no_agent():
    from langchain.agents import create_agent
    from langchain_core.tools import tool

    plain = graphs.linear(("deep", lambda _: {"x": ["deep"]}), compile_with={"name": "inner"})

    @tool
    def dig(a: int) -> str:
        """Dig."""
        return str(plain.invoke({"x": [a]}))

    def respond(messages):
        return "done" if messages[-1].type == "tool" else AIMessage("", tool_calls=[graphs.call("dig", a=1)])

    seen = observed("invoke", create_agent(ScriptedModel(respond=respond), [dig], name="digger"), graphs.ASKED)

    assert [record.kind for record in seen if isinstance(record, Started) and record.name == "inner"] == ["graph"]


def test_a_retriever_and_a_custom_event():
    from langchain_core.callbacks import dispatch_custom_event
    from langchain_core.documents import Document

    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            return [Document(f"about {query}", metadata={"page": 7})]

    def look(_):
        dispatch_custom_event("opened", {"shelf": 3})
        return {"x": [Shelf().invoke("bees")[0].page_content]}

    seen = observed("invoke", graphs.linear(look), {"x": []})

    assert tree(seen) == "graph LangGraph ok\n  node look ok\n    retriever Shelf ok"
    event = next(record for record in seen if isinstance(record, Noted))
    assert (event.kind, event.name, event.payload.value, event.run.name) == ("custom", "opened", {"shelf": 3}, "look")
    found = next(record for record in seen if isinstance(record, Finished) and record.run.kind == "retriever")
    assert found.run.input.value == "bees"
    assert found.output.value[0]["page_content"] == "about bees"


def test_a_runnable_under_its_node_s_name_is_the_node():
    from langchain_core.runnables import RunnableLambda

    seen = observed("invoke", graphs.linear(("n", RunnableLambda(lambda _: {"x": [1]}, name="n"))), {"x": []})

    assert tree(seen) == "graph LangGraph ok\n  node n ok"


def test_a_branch_at_the_start_leaves_no_hidden_node():
    builder = StateGraph(graphs.State)
    builder.add_node("a", lambda _: {"x": [1]})
    builder.add_conditional_edges(START, graphs_entry, ["a"])
    seen = observed("invoke", builder.compile(), {"x": []})

    assert tree(seen) == "graph LangGraph ok → a\n  chain graphs_entry ok\n  node a ok"


def test_a_router_that_answers_nonsense_ends_and_fails_as_without_us():
    builder = StateGraph(graphs.State)
    builder.add_node("a", lambda _: {"x": [1]})
    builder.add_conditional_edges("a", nonsense, {"b": "a"})
    builder.add_edge(START, "a")
    graph, seen = builder.compile(), []

    def failure(graph):
        with pytest.raises(Exception) as caught:
            graph.invoke({"x": []})
        return type(caught.value)

    assert failure(observe(graph, seen.append)) is failure(graph)
    balanced(seen)
    assert [line.split()[2] for line in tree(seen).splitlines()] == ["error", "error", "ok"]


def nonsense(_):
    return [{"no": "destination"}]


def graphs_entry(_):
    return "a"


async def cancelled(coroutine):
    """Start it, let it run for a moment, cancel it."""
    job = asyncio.create_task(coroutine)
    await asyncio.sleep(0.05)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await asyncio.sleep(0)


class Sleeper(ScriptedModel):
    async def _agenerate(self, *args, **kwargs):
        await asyncio.sleep(30)


def test_a_cancelled_model_call_ends_with_its_node():
    async def think(_):
        return {"x": [(await Sleeper(respond=str).ainvoke("q")).text]}

    seen = []
    asyncio.run(cancelled(observe(graphs.linear(think), seen.append).ainvoke({"x": []})))

    balanced(seen)
    assert tree(seen) == (
        "graph LangGraph cancelled (task_cancelled)\n"
        "  node think cancelled (task_cancelled)\n"
        "    model Sleeper cancelled (task_cancelled)"
    )


def test_a_cancelled_model_call_of_nobody_s_ends_with_its_task():
    seen = []
    handler = CallbackHandler(seen.append)
    asyncio.run(cancelled(Sleeper(respond=str).ainvoke("q", {"callbacks": [handler]})))

    assert tree(seen) == "model Sleeper cancelled (task_cancelled)"
    assert len(handler.tracker) == 0


def test_a_background_call_that_outlives_its_node_reports_for_itself():
    class Slow(ScriptedModel):
        async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
            await asyncio.sleep(0.05)
            return self._generate(messages)

    jobs = []

    async def fire_and_forget(_):
        jobs.append(asyncio.create_task(Slow(respond=lambda _: "late but true").ainvoke("q")))
        await asyncio.sleep(0)
        return {"x": [1]}

    seen = []

    async def main():
        await observe(graphs.linear(fire_and_forget), seen.append).ainvoke({"x": []})
        await jobs[0]

    asyncio.run(main())
    balanced(seen)
    assert tree(seen).endswith("    model Slow ok 1+3 tokens")


def test_a_node_that_timed_out_says_so_and_its_siblings_do_not():
    async def slow(_):
        await asyncio.sleep(30)

    seen = []
    with pytest.raises(Exception, match="timeout"):
        asyncio.run(observe(graphs.linear(slow, timeout=0.05), seen.append).ainvoke({"x": []}))

    balanced(seen)
    failure = "langgraph.errors.NodeTimeoutError"
    assert tree(seen) == f"graph LangGraph error (timeout) {failure}\n  node slow error (timeout) {failure}"


def test_siblings_of_a_failing_node_are_cancelled_and_not_to_blame():
    async def boom(_):
        await asyncio.sleep(0.02)
        raise ValueError("boom")

    async def idle(_):
        await asyncio.sleep(30)

    builder = StateGraph(graphs.State)
    for name, action in (("boom", boom), ("idle", idle)):
        builder.add_node(name, action)
        builder.add_edge(START, name)
    seen = []
    with pytest.raises(ValueError, match="boom"):
        asyncio.run(observe(builder.compile(), seen.append).ainvoke({"x": []}))

    balanced(seen)
    assert tree(seen) == ("graph LangGraph error ValueError\n  node boom error ValueError\n  node idle cancelled (sibling_failed)")


def test_a_sync_chain_broken_off_lets_the_model_report_its_tokens():
    seen = []
    for _ in (ScriptedModel(respond=lambda _: "a b c") | StrOutputParser()).stream(
        "q", {"callbacks": [CallbackHandler(seen.append)]}
    ):
        break
    gc.collect()

    balanced(seen)
    assert "  model ScriptedModel ok 1+3 tokens" in tree(seen)


def test_first_token_time_and_pieces_of_a_stream():
    seen = []
    list(ScriptedModel(respond=lambda _: "a b c").stream("q", {"callbacks": [CallbackHandler(seen.append)]}))
    ScriptedModel(respond=lambda _: "a b c").invoke("q", {"callbacks": [CallbackHandler(seen.append)]})

    streamed, plain = [record for record in seen if isinstance(record, Finished)]
    assert 0 < streamed.first_token_seconds <= streamed.seconds
    assert streamed.stream.pieces >= 3
    assert (plain.first_token_seconds, plain.stream) == (None, None)
