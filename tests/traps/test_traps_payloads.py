"""What went in and what came out, where LangChain tells it late, changes it afterwards or tells more than it should."""

from capture.graphs import add, call, linear
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.types import Command, TracePolicy, interrupt
from stage import IN, MODEL, THREAD, ends, handling, starts, stored

from langgraph_observe import observe


def test_t29_a_streamed_chain_s_input_is_the_real_one():
    seen, config = handling()
    list((RunnableLambda(lambda text: text) | MODEL).stream("hello", config))

    chain = ends(seen, "RunnableSequence")[0]
    assert chain.run.input is None
    assert chain.input.value == "hello"


def test_t31_an_input_is_what_it_was_when_it_came_in():
    def spoil(state):
        state["x"].append("added by the node")
        return {}

    seen = []
    given = {"x": ["given"]}
    observe(linear(spoil), seen.append, payloads="full").invoke(given)

    assert starts(seen, "spoil")[0].input.value == {"x": ["given"]}


def test_t34_what_a_trace_policy_hides_is_in_no_record_of_its_node():
    policy = TracePolicy(process_inputs=lambda _: "HIDDEN", process_outputs=lambda _: "HIDDEN")
    seen = []
    graph = linear(("n", lambda _: {"x": ["secret"]}), trace_policy=policy)
    assert observe(graph, seen.append).invoke({"x": ["secret"]}) == {"x": ["secret", "secret"]}

    node = ends(seen, "n")[0]
    assert (node.run.input.value, node.output.value) == ("HIDDEN", "HIDDEN")


def test_t45_a_tool_s_output_is_told_whatever_it_is_and_its_end_knows_the_call():
    @tool
    def leave(a: int) -> Command:
        """Leave."""
        return Command(goto="x", update={"a": a})

    seen, config = handling()
    add.invoke({"a": 1, "b": 2}, config)
    add.invoke(call("add", 7, a=1, b=2), config)
    leave.invoke(call("leave", 8, a=1), config)

    plain, message, command = ends(seen)
    assert [end.run.tool_call_id for end in ends(seen)] == [None, "call-7", "call-8"]
    assert plain.output.value == 3
    assert (message.output.value["content"], message.output.value["tool_call_id"]) == ("3", "call-7")
    assert (command.output.value["goto"], command.output.value["update"], command.goto) == ("x", {"a": 1}, ("x",))
    assert message.run.input.value == {"a": 1, "b": 2}


def test_t53_inputs_and_outputs_need_not_be_states():
    def leave(_):
        return [Command(update={"x": [1]}, goto="ask")]

    def ask(_):
        interrupt("?")

    seen = []
    graph = observe(stored(leave, ask), seen.append)
    graph.invoke(IN, THREAD)
    graph.invoke(Command(resume="yes"), THREAD)

    assert ends(seen, "leave")[0].output.value[0]["goto"] == "ask"
    assert ends(seen, "leave")[0].goto == ("ask",)
    assert starts(seen, "LangGraph")[1].input.value["resume"] == "yes"
    assert ends(seen, "ask")[1].output.value is None
