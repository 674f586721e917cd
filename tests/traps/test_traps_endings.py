"""How a run ended, where LangChain calls it an error, a success or a resume that it is not."""

import asyncio
import gc

import pytest
from capture.graphs import State, call, fail, linear
from langchain_core.tools import ToolException, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained
from langgraph.graph import START, StateGraph
from langgraph.runtime import RunControl
from langgraph.types import Command, RetryPolicy, interrupt
from stage import (
    IN,
    THREAD,
    Waiting,
    calling,
    ends,
    handling,
    invoked,
    notes,
    one,
    starts,
    stored,
    two,
)

from langgraph_observe import Observer, observe
from langgraph_observe.testing import tree


def ask(_):
    return {"x": [interrupt("?")]}


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


def test_t56_a_stream_closed_at_the_question_has_asked_a_human():
    seen = []
    graph = observe(stored(ask), seen.append)
    for chunk in graph.stream(IN, THREAD, stream_mode="updates"):
        if "__interrupt__" in chunk:
            break
    gc.collect()
    assert tree(seen) == "graph LangGraph interrupted (interrupt)\n  node ask interrupted (interrupt)"

    graph.invoke(Command(resume="yes"), THREAD)
    asked, answered = starts(seen, "LangGraph")
    assert [link.span_id for link in answered.links] == [asked.span_id]
    assert notes(seen) == ["resume"]


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


def test_t58_new_input_gives_up_the_question():
    left = [ValueError("once")]

    def ask_first(state):
        if state["x"] == ["first"]:
            return ask(state)
        if left:
            raise left.pop()
        return {}

    seen = []
    graph = observe(stored(ask_first), seen.append)
    graph.invoke({"x": ["first"]}, THREAD)
    with pytest.raises(ValueError, match="once"):
        graph.invoke({"x": ["second"]}, THREAD)
    graph.invoke(None, THREAD)

    assert notes(seen) == ["interrupt"]
    assert {start.links for start in starts(seen)} == {()}


def test_t58_another_graph_of_the_thread_does_not_give_up_the_question():
    seen = []
    watching = Observer(seen.append)
    desk, other = watching.watch(stored(ask, name="desk")), watching.watch(stored(one, name="other"))
    desk.invoke(IN, THREAD)
    other.invoke(IN, THREAD)
    desk.invoke(Command(resume="yes"), THREAD)

    assert notes(seen) == ["interrupt", "resume"]


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
