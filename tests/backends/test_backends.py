"""Real servers show what ran: Phoenix and MLflow, sent to by OTLP as a user would, and read as their pages are.

They run where `TEST_BACKENDS` or PATH has them. `pytest tests/backends -s` prints a table of the fields.
What a backend shows wrongly through no fault of ours stands in `limits.py`.
"""

from __future__ import annotations

import pytest
from backends.servers import SHORT, until
from backends.shown import tree

pytestmark = pytest.mark.backend

TREES = {
    "demo": """\
CHAIN invoke_workflow travel_agent
  CHAIN invoke_node think
    LLM chat gpt-4.1-mini 12+6
    CHAIN tools_condition
  CHAIN invoke_node tools
    TOOL execute_tool weather
    TOOL execute_tool weather
  CHAIN invoke_node think
    LLM chat gpt-4.1-mini 18+15
    CHAIN tools_condition

CHAIN invoke_workflow report_writer
  CHAIN invoke_node outline
    CHAIN plan
  CHAIN invoke_node write_section
    LLM chat claude-sonnet-4-5 1+12
  CHAIN invoke_node write_section
    LLM chat claude-sonnet-4-5 1+12
  CHAIN invoke_node write_section
    LLM chat claude-sonnet-4-5 1+12
  CHAIN invoke_node combine

CHAIN invoke_workflow refund_desk
  CHAIN invoke_node draft
    LLM chat gpt-4.1 6+6
  CHAIN invoke_node approve

CHAIN invoke_workflow refund_desk
  CHAIN invoke_node approve
  CHAIN invoke_node send""",
    "agent": """\
AGENT invoke_agent helper
  CHAIN invoke_node model
    LLM chat scripted-1 3+4
  CHAIN invoke_node tools
    TOOL execute_tool add
  CHAIN invoke_node model
    LLM chat scripted-1 4+1""",
    "retriever": "RETRIEVER retrieval",
    "streamed": "LLM chat gpt-4.1 1200+86",
    "fan-out": """\
CHAIN invoke_workflow map
  CHAIN invoke_node plan
    CHAIN split
  CHAIN invoke_node work
  CHAIN invoke_node work
  CHAIN invoke_node work
  CHAIN invoke_node total""",
    "error": """\
CHAIN invoke_workflow bench ✗ no 7
  CHAIN invoke_node tools ✗ no 7
    TOOL execute_tool fail ✗ no 7""",
    "question": """\
CHAIN invoke_workflow line
  CHAIN invoke_node think
    LLM chat scripted-1 2+2

CHAIN invoke_workflow line
  CHAIN invoke_node think
    LLM chat scripted-1 2+2""",
}


@pytest.mark.parametrize("play", TREES)
def test_a_trace_is_the_tree_of_what_ran(pages, shows, play):
    shows(f"tree: {play}", "\n\n".join(tree(trace) for trace in pages.of(play)), TREES[play])


def test_nothing_was_lost_on_the_way(pages):
    assert pages.visit.health[pages.name] == dict.fromkeys(("errors", "queued", "dropped", "open", "lost"), 0)


def test_a_chat_is_shown_as_messages(pages, shows):
    (trace,) = pages.of("agent")
    first, last = sorted((span for span in trace.spans if span.kind == "LLM"), key=lambda span: span.at)

    shows("messages: told", last.asked, ["user: what is it", 'assistant: add {"a": 1, "b": 2}', "tool: 3"])
    shows("messages: a call", first.answered, ['assistant: add {"a": 1, "b": 2}'])
    shows("messages: an answer", last.answered, ["assistant: three"])
    shows("tools offered", last.tools, ["add"])
    shows("output of a chat", "three" in str(last.output), True)


def test_a_tool_has_its_arguments_and_its_result(pages, shows):
    (trace,) = pages.of("agent")
    tool = trace["execute_tool add"]

    shows("arguments of a tool", tool.input, {"a": 1, "b": 2})
    shows("result of a tool", str(tool.output), "3")


def test_an_agent_is_shown_with_what_it_was_asked_and_what_it_said(pages, shows):
    (trace,) = pages.of("agent")
    agent = trace["invoke_agent helper"]

    shows("input of an agent", said(agent.input), [("user", "what is it")])
    shows("output of an agent", said(agent.output), [("assistant", "three")])


def said(state):
    return [(message["role"], message["content"]) for message in state["messages"]]


def test_a_state_is_shown(pages, shows):
    (trace,) = pages.of("fan-out")

    shows("state of a graph", trace["invoke_workflow map"].output, {"n": 3})
    shows("state of a task", trace["invoke_node work"].output, {"x": [trace["invoke_node work"].input["n"]]})


def test_what_a_retriever_found_can_be_read(pages, shows):
    (trace,) = pages.of("retriever")
    found = trace["retrieval"]

    shows("query of a retriever", found.input, "any")
    shows("texts of documents", [document["page_content"] for document in found.output], ["a book", "a map"])
    shows("metadata of documents", [document["metadata"] for document in found.output], [{"score": 0.9}, {"shelf": 3}])


def test_an_error_tells_its_exception(pages, shows):
    (trace,) = pages.of("error")
    for span in trace.spans:
        ((name, exception),) = span.events
        shows("exception", (name, exception["exception.type"], exception["exception.message"]), ("exception", "ValueError", "no 7"))
        shows("where it was raised", "in fail" in exception["exception.stacktrace"], True)


def test_a_human_s_answer_follows_the_question_and_neither_is_an_error(pages, shows):
    asked, answered = pages.of("question")

    shows("question", [name for name, _ in asked["invoke_workflow line"].events], ["langgraph.interrupt"])
    shows("what is asked", '"well said"' in asked["invoke_workflow line"].events[0][1]["langgraph.interrupt.payload"], True)
    shows("answer", [name for name, _ in answered["invoke_workflow line"].events], ["langgraph.resume"])
    shows("state of an answered graph", answered["invoke_workflow line"].output, {"x": ["so"]})
    shows("errors of both", [span.error for span in (*asked.spans, *answered.spans) if span.error], [])
    shows("link to the question", len(answered["invoke_workflow line"].links), 1)


@pytest.mark.parametrize("play", [name for name in TREES if name != "demo"])
def test_a_trace_is_in_its_session_and_of_its_user(pages, shows, play):
    for trace in pages.of(play):
        shows("session and user", (trace.session, trace.user), ("s-1", "ada"))


def test_a_thread_without_a_session_is_one(pages, shows):
    """`gen_ai.conversation.id`."""
    _, _, asked, answered = pages.of("demo")

    shows("thread as a session", [asked.session, answered.session], ["refund-4711", "refund-4711"])


def test_what_the_provider_had_in_its_cache_is_a_part_of_the_input(pages, shows):
    (trace,) = pages.of("streamed")

    shows("tokens", trace["chat gpt-4.1"].tokens, {"input": 1200, "output": 86, "cached": 400})


@pytest.mark.parametrize("play", ["demo", "streamed"])
def test_its_own_price_is_ours(pages, shows, play):
    """An oracle: each counts by a list of prices of its own, which knows what a cached token costs."""
    expected = pages.totals(play)
    found = until(lambda: whole(pages.of(play), expected), SHORT)

    shows(f"cost: {play}", [trace.cost for trace in found], [approximate(usage.cost) for usage in expected])
    shows(f"tokens of a trace: {play}", [trace.tokens for trace in found], [tokens(usage) for usage in expected])


def whole(traces, expected):
    """Phoenix adds up a little later."""
    return traces if all(trace.cost for trace, usage in zip(traces, expected, strict=True) if usage.cost) else None


def approximate(cost):
    return cost and pytest.approx(float(cost), rel=1e-9)


def tokens(usage):
    return usage.cost and usage.input_tokens + usage.output_tokens


def test_what_a_model_costs_that_nobody_knows_is_not_told(pages, shows):
    (trace,) = pages.of("agent", lambda trace: trace.tokens)

    shows("cost of an unknown model", trace.cost, None)
