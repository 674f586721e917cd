"""Scenarios of `ToolNode`: calls one by one and in parallel, its policies on errors, what it injects, what tools do inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from langchain_core.tools import ToolException, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode, ToolRuntime, tools_condition
from scenarios.actors import (
    ASKED,
    ASYNC_ONLY,
    add,
    afail,
    astumble,
    call,
    calling,
    fail,
    model,
    multiply,
    settled,
    start,
    stumble,
    wait,
)
from scenarios.calling import ASYNC, without
from scenarios.scenario import Move, Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence


def tool_graph(tools: Sequence[Any], **options: Any) -> Any:
    """Nothing but a ToolNode; the calls are in the input."""
    builder = StateGraph(MessagesState)
    builder.add_node("tools", ToolNode(tools, **options))
    builder.add_edge(START, "tools")
    return builder.compile(name="bench")


def called(*calls: Any) -> tuple[Move, ...]:
    """One move: a conversation that ends with these calls."""
    return (Move({"messages": [("user", "what is it"), calling(*calls)]}),)


def bench(
    ending: str, tools: Sequence[Any], calls: Sequence[Any], tree: str, *, of: dict[str, Any] | None = None, **more: Any
) -> Scenario:
    """A scenario of `tool_graph`."""
    return Scenario("tools", ending, lambda: tool_graph(tools, **of or {}), tree, moves=called(*calls), same=settled, **more)


OK = "graph bench ok\n  node tools ok\n    tool {} ok"
HANDLED = "graph bench ok\n  node tools ok\n    tool fail error ValueError"
RAISED = "graph bench error ValueError\n  node tools error ValueError\n    tool fail error ValueError"
INVALID = "graph bench ok\n  node tools ok\n    tool add error pydantic_core._pydantic_core.ValidationError"


def loop() -> Any:
    """A model that thinks, tools, and back."""
    thinker = model(calling(call("add", 1, a=1, b=2), call("fail", 2, a=7)), "three").bind_tools([add, fail])
    builder = StateGraph(MessagesState)
    builder.add_node("think", lambda state: {"messages": [thinker.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode([add, fail], handle_tool_errors=True))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "think")
    return builder.compile(name="calculator")


def excuse(error: ValueError) -> str:
    """A policy for one type of error."""
    return f"sorry: {error}"


@tool
def count(state: Annotated[dict, InjectedState]) -> int:
    """Count the messages."""
    return len(state["messages"])


@tool
def whoami(runtime: ToolRuntime) -> str:
    """Say what the runtime knows."""
    return f"{runtime.tool_call_id} of {len(runtime.state['messages'])} messages"


@tool(response_format="content_and_artifact")
def look() -> tuple[str, list[int]]:
    """See much, and say little."""
    return "a picture", [1, 2, 3]


@tool
def refuse() -> str:
    """Say no, as tools do."""
    raise ToolException("not today")


refuse.handle_tool_error = True


@tool
def consult(question: str) -> str:
    """Ask a model."""
    return model("it is so").invoke(question).text


@tool
async def aconsult(question: str) -> str:
    """Ask a model, asynchronously."""
    return (await model("it is so").ainvoke(question)).text


@tool
def delegate(question: str) -> str:
    """Ask a graph."""
    return tool_graph([add]).invoke({"messages": [("user", question), calling(call("add", a=1, b=2))]})["messages"][-1].text


ADD = call("add", a=1, b=2)

SCENARIOS = [
    bench("ok", [add], [ADD], OK.format("add")),
    bench("ok, async", [multiply], [call("multiply", a=2, b=3)], OK.format("multiply"), absent=ASYNC_ONLY),
    bench(
        "three at once",
        [add],
        [call("add", number, a=number, b=1) for number in (1, 2, 3)],
        "graph bench ok\n  node tools ok" + 3 * "\n    tool add ok",
        parallel=True,
    ),
    bench(
        "three at once, async",
        [multiply],
        [call("multiply", number, a=number, b=1) for number in (1, 2, 3)],
        "graph bench ok\n  node tools ok" + 3 * "\n    tool multiply ok",
        parallel=True,
        absent=ASYNC_ONLY,
    ),
    bench("error raised", [fail], [call("fail", a=7)], RAISED),
    bench("error raised, async", [afail], [call("afail", a=7)], RAISED.replace("tool fail", "tool afail"), absent=ASYNC_ONLY),
    bench("error raised, by policy", [fail], [call("fail", a=7)], RAISED, of={"handle_tool_errors": False}),
    bench("error handled: True", [fail], [call("fail", a=7)], HANDLED, of={"handle_tool_errors": True}),
    bench("error handled: text", [fail], [call("fail", a=7)], HANDLED, of={"handle_tool_errors": "try again"}),
    bench("error handled: callable", [fail], [call("fail", a=7)], HANDLED, of={"handle_tool_errors": excuse}),
    bench("error handled: types", [fail], [call("fail", a=7)], HANDLED, of={"handle_tool_errors": (ValueError, KeyError)}),
    bench("error of another type", [fail], [call("fail", a=7)], RAISED, of={"handle_tool_errors": (KeyError,)}),
    bench(
        "one of two fails",
        [start, stumble],
        [call("start", 1), call("stumble", 2)],
        "graph bench error ValueError\n  node tools error ValueError\n    tool start ok\n    tool stumble error ValueError",
        parallel=True,
        absent=without((*ASYNC, "batch"), "one gate for all, or nobody waits for the other: see its asynchronous twin"),
    ),
    bench(
        "one of two fails, async",
        [wait, astumble],
        [call("wait", 1), call("astumble", 2)],
        "graph bench error ValueError\n  node tools error ValueError\n"
        "    tool wait cancelled (task_cancelled)\n    tool astumble error ValueError",
        absent=ASYNC_ONLY,
        late=frozenset({"wait"}),
    ),
    bench("invalid arguments", [add], [call("add", a="one")], INVALID),
    bench(
        "invalid arguments, by policy",
        [add],
        [call("add", a="one")],
        INVALID.replace(" ok", " error langgraph.prebuilt.tool_node.ToolInvocationError"),
        of={"handle_tool_errors": False},
    ),
    bench("unknown tool", [add], [call("subtract", a=1)], "graph bench ok\n  node tools ok"),
    bench(
        "refused by the tool",
        [refuse],
        [call("refuse")],
        "graph bench ok\n  node tools ok\n    tool refuse error handled_tool_error",
    ),
    bench("injected state", [count], [call("count")], OK.format("count")),
    bench("injected runtime", [whoami], [call("whoami")], OK.format("whoami")),
    bench("content and artifact", [look], [call("look")], OK.format("look")),
    bench(
        "asks a model",
        [consult],
        [call("consult", question="is it so")],
        OK.format("consult") + "\n      model ScriptedModel ok 3+3 tokens",
    ),
    bench(
        "asks a model, async",
        [aconsult],
        [call("aconsult", question="is it so")],
        OK.format("aconsult") + "\n      model ScriptedModel ok 3+3 tokens",
        absent=ASYNC_ONLY,
    ),
    bench(
        "runs a graph",
        [delegate],
        [call("delegate", question="is it so")],
        OK.format("delegate") + "\n      graph bench ok\n        node tools ok\n          tool add ok",
    ),
    Scenario(
        "tools",
        "a loop with a model",
        loop,
        "graph calculator ok\n"
        "  node think ok → tools\n"
        "    model ScriptedModel ok 3+7 tokens\n"
        "    chain tools_condition ok\n"
        "  node tools ok\n"
        "    tool add ok\n"
        "    tool fail error ValueError\n"
        "  node think ok → __end__\n"
        "    model ScriptedModel ok 11+1 tokens\n"
        "    chain tools_condition ok",
        moves=(Move(ASKED),),
        parallel=True,
        same=settled,
    ),
]
