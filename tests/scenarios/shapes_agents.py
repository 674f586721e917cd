"""Scenarios of `create_agent`: its loop of model and tools, its endings, structured answers, agents inside of agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.tools import tool
from pydantic import BaseModel
from scenarios.actors import (
    ASKED,
    ASYNC_ONLY,
    Breaking,
    Thinking,
    Turn,
    add,
    astumble,
    call,
    calling,
    fail,
    model,
    multiply,
    settled,
    start,
    stumble,
    turns,
    wait,
)
from scenarios.calling import ASYNC, CROWDS, only, without
from scenarios.scenario import Move, Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence


def agent(*script: Turn, tools: Sequence[Any] = (), name: str = "helper", **options: Any) -> Any:
    """An agent whose model has this script."""
    return create_agent(model(*script), tools, name=name, **options)


def case(
    ending: str, script: Sequence[Turn], tree: str, *, tools: Sequence[Any] = (), of: dict[str, Any] | None = None, **more: Any
) -> Scenario:
    """A scenario of such an agent, asked once."""
    more = {"moves": (Move(ASKED),), "same": settled, **more}
    return Scenario("agent", ending, lambda: agent(*script, tools=tools, **of or {}), tree, **more)


ADD = calling(call("add", a=1, b=2))
TWO = calling(call("add", 1, a=1, b=2), call("add", 2, a=3, b=4))
ASKS = "agent helper ok\n  node model ok\n    model ScriptedModel ok 3+4 tokens"
USES = "\n  node tools ok triggered_by\n    tool {} ok"
ANSWERS = "\n  node model ok\n    model ScriptedModel ok 4+1 tokens"


@tool(return_direct=True)
def final(a: int) -> int:
    """Say the last word."""
    return a


def how_it_ended(line: str) -> str:
    """What the caller saw of the failure: whether the other one's answer comes before it is a race."""
    return line if line.startswith("ValueError") else ""


class Answer(BaseModel):
    """What is asked for."""

    number: int


def breaking() -> Any:
    """An agent whose model breaks off."""
    return create_agent(Breaking(respond=turns("three it is")), [], name="helper")


@tool
def research(topic: str) -> str:
    """Let another agent look."""
    helper = agent(calling(call("add", a=1, b=2)), "three", tools=[add], name="researcher")
    return helper.invoke({"messages": [("user", topic)]})["messages"][-1].text


@tool
async def aresearch(topic: str) -> str:
    """Let another agent look, asynchronously."""
    helper = agent(calling(call("add", a=1, b=2)), "three", tools=[add], name="researcher")
    return (await helper.ainvoke({"messages": [("user", topic)]}))["messages"][-1].text


@tool
def careless(topic: str) -> str:
    """Let an agent look whose tool fails."""
    return (
        agent(calling(call("fail", a=7)), tools=[fail], name="researcher")
        .invoke({"messages": [("user", topic)]})["messages"][-1]
        .text
    )


INNER = (
    "\n      agent researcher ok\n        node model ok\n          model ScriptedModel ok 2+4 tokens"
    "\n        node tools ok triggered_by\n          tool add ok"
    "\n        node model ok\n          model ScriptedModel ok 3+1 tokens"
)
FAILED = "agent helper error ValueError\n  node model ok\n    model ScriptedModel ok 3+{} tokens\n  node tools error ValueError triggered_by\n    tool {} error ValueError"
BROKEN = "agent helper error ConnectionError\n  node model error ConnectionError\n    model Breaking error ConnectionError"
CUT = "agent helper cancelled (task_cancelled)\n  node model "
ONE_TASK = only(set(ASYNC) - set(CROWDS), "one task is cancelled")
STRUCTURED = "langchain.agents.structured_output.StructuredOutputValidationError"

SCENARIOS = [
    case("ok", ["three"], "agent helper ok\n  node model ok\n    model ScriptedModel ok 3+1 tokens"),
    case("no name", ["three"], "agent LangGraph ok\n  node model ok\n    model ScriptedModel ok 3+1 tokens", of={"name": None}),
    case(
        "a system prompt",
        ["three"],
        "agent helper ok\n  node model ok\n    model ScriptedModel ok 5+1 tokens",
        of={"system_prompt": "be brief"},
    ),
    case("a tool", [ADD, "three"], ASKS + USES.format("add") + ANSWERS, tools=[add]),
    case(
        "a tool, async",
        [calling(call("multiply", a=1, b=2)), "two"],
        ASKS + USES.format("multiply") + ANSWERS,
        tools=[multiply],
        absent=ASYNC_ONLY,
    ),
    case(
        "two tools at once",
        [TWO, "ten"],
        ASKS.replace("3+4", "3+8") + 2 * USES.format("add") + ANSWERS.replace("4+1", "5+1"),
        tools=[add],
        parallel=True,
    ),
    case("return direct", [calling(call("final", a=1))], ASKS.replace("3+4", "3+3") + USES.format("final"), tools=[final]),
    case(
        "a tool nobody has",
        [calling(call("subtract", a=1)), "none"],
        ASKS.replace("3+4", "3+3") + "\n  node tools ok triggered_by" + ANSWERS.replace("4+1", "14+1"),
        tools=[add],
    ),
    case("error in a tool", [calling(call("fail", a=7))], FAILED.format(3, "fail"), tools=[fail]),
    case(
        "error in one of two tools",
        [calling(call("start", 1), call("stumble", 2))],
        FAILED.format(4, "stumble") + USES.format("start"),
        tools=[start, stumble],
        parallel=True,
        same=how_it_ended,
        absent=without((*ASYNC, "batch"), "one gate for all, or nobody waits for the other: see its asynchronous twin"),
    ),
    case(
        "error in one of two tools, async",
        [calling(call("wait", 1), call("astumble", 2))],
        FAILED.format(4, "astumble")
        + "\n  node tools cancelled (sibling_failed) triggered_by\n    tool wait cancelled (task_cancelled)",
        tools=[wait, astumble],
        parallel=True,
        absent=ASYNC_ONLY,
    ),
    case(
        "error in the model",
        [ValueError("busy")],
        "agent helper error ValueError\n  node model error ValueError\n    model ScriptedModel error ValueError",
    ),
    Scenario("agent", "error in the middle of an answer", breaking, BROKEN, moves=(Move(ASKED),), same=settled),
    case(
        "cancelled in a tool",
        [calling(call("wait"))],
        CUT
        + "ok\n    model ScriptedModel ok 3+2 tokens\n  node tools cancelled (task_cancelled) triggered_by\n    tool wait cancelled (task_cancelled)",
        tools=[wait],
        moves=(Move(ASKED, cancel="cancel"),),
        absent=ONE_TASK,
    ),
    Scenario(
        "agent",
        "cancelled in the model",
        lambda: create_agent(Thinking(respond=str), [], name="helper"),
        CUT + "cancelled (task_cancelled)\n    model Thinking cancelled (task_cancelled)",
        moves=(Move(ASKED, cancel="timeout"),),
        absent=ONE_TASK,
        same=settled,
    ),
    case(
        "recursion limit",
        [ADD],
        "agent helper error langgraph.errors.GraphRecursionError"
        "\n  node model ok\n    model ScriptedModel ok 3+4 tokens"
        + USES.format("add")
        + "\n  node model ok\n    model ScriptedModel ok 4+4 tokens"
        + USES.format("add"),
        tools=[add],
        moves=(Move(ASKED, config={"recursion_limit": 4}),),
    ),
    case(
        "an answer as a tool call",
        [calling(call("Answer", number=3))],
        ASKS.replace("3+4", "3+3"),
        of={"response_format": ToolStrategy(Answer)},
    ),
    case(
        "an answer as a tool call, wrong at first",
        [calling(call("Answer", number="three")), calling(call("Answer", number=3))],
        ASKS.replace("3+4", "3+3") + ANSWERS.replace("4+1", "5+3"),
        of={"response_format": ToolStrategy(Answer, handle_errors="try again")},
    ),
    case(
        "an answer as a tool call, wrong",
        [calling(call("Answer", number="three"))],
        f"agent helper error {STRUCTURED}\n  node model error {STRUCTURED}\n    model ScriptedModel ok 3+3 tokens",
        of={"response_format": ToolStrategy(Answer, handle_errors=False)},
    ),
    case(
        "an answer as the provider's JSON",
        ['{"number": 3}'],
        ASKS.replace("3+4", "3+2"),
        of={"response_format": ProviderStrategy(Answer)},
    ),
    case(
        "an answer as the provider's JSON, wrong",
        ["three"],
        f"agent helper error {STRUCTURED}\n  node model error {STRUCTURED}\n    model ScriptedModel ok 3+1 tokens",
        of={"response_format": ProviderStrategy(Answer)},
    ),
    case(
        "an agent as a tool",
        [calling(call("research", topic="some numbers")), "three"],
        ASKS.replace("3+4", "3+3") + USES.format("research") + INNER + ANSWERS,
        tools=[research],
    ),
    case(
        "an agent as a tool, async",
        [calling(call("aresearch", topic="some numbers")), "three"],
        ASKS.replace("3+4", "3+3") + USES.format("aresearch") + INNER + ANSWERS,
        tools=[aresearch],
        absent=ASYNC_ONLY,
    ),
    case(
        "error in an agent as a tool",
        [calling(call("careless", topic="some numbers"))],
        FAILED.format(3, "careless")
        + "\n      agent researcher error ValueError\n        node model ok\n          model ScriptedModel ok 2+3 tokens"
        + "\n        node tools error ValueError triggered_by\n          tool fail error ValueError",
        tools=[careless],
    ),
]
