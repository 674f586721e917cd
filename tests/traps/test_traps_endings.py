"""How a run ended, where LangChain tells it wrongly, late or not at all."""

import asyncio
import gc

import pytest
from capture.graphs import State, call, fail, linear
from langchain_core.output_parsers import StrOutputParser
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained, NodeTimeoutError
from langgraph.graph import START, StateGraph
from langgraph.runtime import RunControl
from langgraph.types import Command, RetryPolicy, interrupt
from stage import (
    IN,
    MODEL,
    THREAD,
    Waiting,
    Words,
    calling,
    cancelled,
    ends,
    handling,
    invoked,
    notes,
    one,
    starts,
    stored,
    two,
    until,
)

from langgraph_observe import observe
from langgraph_observe.testing import tree


def ask(_):
    return {"x": [interrupt("?")]}


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


def test_t05_an_interrupt_in_a_tool_is_an_error_of_nobody():
    @tool
    def confirm(a: int) -> str:
        """Ask a human."""
        return interrupt("sure?")

    seen = []
    graph = calling([confirm], call("confirm", a=1), checkpointer=InMemorySaver())
    observe(graph, seen.append).invoke({"messages": []}, THREAD)

    assert tree(seen) == (
        "graph LangGraph interrupted (interrupt)\n"
        "  node model ok\n"
        "  node tools interrupted (interrupt)\n"
        "    tool confirm interrupted (interrupt)"
    )
    assert [end.failure for end in ends(seen)] == [None] * 4
    assert notes(seen) == ["interrupt"]


def test_t06_a_handoff_to_the_parent_graph_is_an_error_of_nobody():
    builder = StateGraph(State)
    inner = linear(("agent", lambda _: Command(goto="other", graph=Command.PARENT)))
    builder.add_node("team", inner, destinations=("other",))
    builder.add_node("other", one)
    builder.add_edge(START, "team")
    seen = invoked(builder.compile())

    assert tree(seen) == (
        "graph LangGraph ok\n"
        "  node team ok (handoff) → other\n"
        "    graph LangGraph ok (handoff) → other\n"
        "      node agent ok (handoff) → other\n"
        "  node other ok"
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


def test_t10_a_static_interrupt_is_no_success():
    seen = []
    observe(stored(one, two, interrupt_before=["two"]), seen.append).invoke(IN, THREAD)

    assert tree(seen) == "graph LangGraph interrupted (interrupt_before)\n  node one ok"


def test_t13_attempts_have_numbers():
    left = [ConnectionError(), ConnectionError()]

    def shaky(_):
        if left:
            raise left.pop()
        return {"x": [1]}

    seen = []
    observe(linear(shaky, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False)), seen.append).invoke(IN)

    assert tree(seen) == (
        "graph LangGraph ok\n"
        "  node shaky error ConnectionError\n"
        "  node shaky error ConnectionError attempt 2\n"
        "  node shaky ok attempt 3"
    )


def test_t44_a_failed_tool_is_a_failed_tool_however_its_error_is_told():
    graph = calling([fail], call("fail", a=1), handle_tool_errors=True)
    handled_by_the_node = invoked(graph, {"messages": []})
    assert tree(handled_by_the_node).endswith("  node tools ok\n    tool fail error ValueError")

    @tool
    def refuse(a: int) -> int:
        """Refuse."""
        raise ToolException("not today")

    refuse.handle_tool_error = True
    handled_by_itself, config = handling()
    refuse.invoke(call("refuse", a=1), config)
    assert tree(handled_by_itself) == "tool refuse error handled_tool_error"
    assert ends(handled_by_itself)[0].failure.message == "not today"


def test_t44_a_tool_that_does_not_exist_has_no_run():
    seen = invoked(calling([fail], call("nope")), {"messages": []})

    assert tree(seen) == "graph LangGraph ok\n  node model ok\n  node tools ok"


def test_t46_a_cancellation_inside_a_model_is_named_as_the_cause_of_the_error_it_turns_into():
    class Cancelling(Waiting):
        async def _agenerate(self, *args, **kwargs):
            raise asyncio.CancelledError

    async def think(_):
        await Cancelling().ainvoke("q")

    seen = []
    with pytest.raises(AttributeError):
        asyncio.run(observe(linear(think), seen.append).ainvoke(IN))

    assert tree(seen) == (
        "graph LangGraph error AttributeError\n  node think error AttributeError\n    model Cancelling cancelled (task_cancelled)"
    )
    stack = ends(seen, "think")[0].failure.stack.splitlines()
    assert [line for line in stack if not line.startswith(" ")] == ["asyncio.exceptions.CancelledError", "AttributeError"]


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


def test_t51_a_drained_graph_has_not_failed():
    control = RunControl()

    def stop(_):
        control.request_drain("sigterm")
        return {"x": [1]}

    seen = []
    graph = observe(stored(stop, two), seen.append)
    with pytest.raises(GraphDrained):
        graph.invoke(IN, THREAD, control=control)

    assert tree(seen) == "graph LangGraph interrupted (drained)\n  node stop ok"
    assert ends(seen, "LangGraph")[0].failure is None
    assert graph.get_state(THREAD).next == ("two",)


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


def test_t56_a_stream_closed_at_the_question_has_asked_a_human():
    seen = []
    for chunk in observe(stored(ask), seen.append).stream(IN, THREAD, stream_mode="updates"):
        if "__interrupt__" in chunk:
            break
    gc.collect()

    assert tree(seen) == "graph LangGraph interrupted (interrupt)\n  node ask interrupted (interrupt)"


def test_t58_a_restart_after_a_failure_is_no_resume():
    left = [ValueError("once")]

    def shaky(_):
        if left:
            raise left.pop()
        return {"x": [1]}

    seen = []
    graph = observe(stored(shaky), seen.append)
    with pytest.raises(ValueError, match="once"):
        graph.invoke(IN, THREAD)
    assert graph.invoke(None, THREAD) == {"x": [1]}

    assert notes(seen) == []
    assert [start.links for start in starts(seen)] == [()] * 4


def test_t58_a_return_to_an_earlier_checkpoint_is_no_resume():
    seen = []
    graph = observe(stored(one, ask), seen.append)
    graph.invoke(IN, THREAD)
    graph.invoke(Command(resume="yes"), THREAD)
    asked = next(state for state in graph.get_state_history(THREAD) if state.next == ("ask",))
    graph.invoke(None, asked.config)

    assert notes(seen) == ["interrupt", "resume", "interrupt"]


@pytest.mark.parametrize("edit", [False, True], ids=["as it was asked", "after the human has edited the state"])
def test_t58_an_answer_is_a_resume(edit):
    seen = []
    graph = observe(stored(one, two, interrupt_before=["two"]), seen.append)
    graph.invoke(IN, THREAD)
    if edit:
        graph.update_state(THREAD, {"x": ["edited"]})
    graph.invoke(None, THREAD)
    graph.invoke(None, THREAD)

    asked, answered, again = starts(seen, "LangGraph")
    assert notes(seen) == ["interrupt", "resume"]
    assert [link.span_id for link in answered.links] == [asked.span_id]
    assert again.links == ()
