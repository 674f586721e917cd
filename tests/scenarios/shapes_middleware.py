"""Scenarios of an agent's middleware: what its hooks do before, after and around the model and the tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelRetryMiddleware,
    PIIMiddleware,
    SummarizationMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
    after_agent,
    after_model,
    before_agent,
    before_model,
    dynamic_prompt,
    wrap_model_call,
    wrap_tool_call,
)
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from scenarios.actors import ASKED, ASYNC_ONLY, SYNC_ONLY, Tries, add, by_name, call, calling, fail, model, recovering, settled
from scenarios.scenario import Move, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ADD = calling(call("add", a=1, b=2))
ASKED_BY_NAME = by_name(lambda name: {"messages": [("user", f"what is {name}")]})
FAIL = calling(call("fail", a=7))
AT_ONCE = {"initial_delay": 0.0, "backoff_factor": 0.0, "jitter": False}


def case(
    ending: str,
    middleware: Callable[[], Sequence[Any]],
    tree: str,
    *,
    says: Any = ("three",),
    tools: Sequence[Any] = (),
    **more: Any,
) -> Scenario:
    """A scenario of an agent with this middleware, asked once. `says` is a script, or makes the model."""

    def graph() -> Any:
        speaker = says() if callable(says) else model(*says)
        return create_agent(speaker, list(tools), name="helper", middleware=middleware())

    return Scenario("middleware", ending, graph, tree, **{"moves": (Move(ASKED),), "same": settled, **more})


@dynamic_prompt
def brief(request: Any) -> str:
    """A prompt made from the request."""
    return "be brief"


@before_agent
def enter(state: Any, runtime: Any) -> None:
    """Once, at the start."""


@after_agent
def leave(state: Any, runtime: Any) -> None:
    """Once, at the end."""


@before_model
def look(state: Any, runtime: Any) -> None:
    """Before each turn."""


@after_model
def judge(state: Any, runtime: Any) -> None:
    """After each turn."""


@before_model
async def alook(state: Any, runtime: Any) -> None:
    """Before each turn, asynchronously."""


@before_model(can_jump_to=["end"])
def forbid(state: Any, runtime: Any) -> dict[str, Any]:
    """No model is asked."""
    return {"jump_to": "end", "messages": [AIMessage("no")]}


@after_model(can_jump_to=["model"])
def insist(state: Any, runtime: Any) -> dict[str, Any] | None:
    """The model is asked again."""
    return {"jump_to": "model"} if len(state["messages"]) == 2 else None


@before_model
def trip(state: Any, runtime: Any) -> None:
    """A hook that fails."""
    raise KeyError("hook")


@after_model
def stumble(state: Any, runtime: Any) -> None:
    """A hook that fails, after the model has spoken."""
    raise KeyError("hook")


@wrap_model_call
def twice(request: Any, handler: Any) -> Any:
    """The model is asked until it answers."""
    try:
        return handler(request)
    except ValueError:
        return handler(request)


@wrap_model_call
async def atwice(request: Any, handler: Any) -> Any:
    """The same, asynchronously."""
    try:
        return await handler(request)
    except ValueError:
        return await handler(request)


@wrap_model_call
def instead(request: Any, handler: Any) -> Any:
    """No model is asked."""
    return AIMessage("four")


@wrap_model_call
def clumsy(request: Any, handler: Any) -> Any:
    """It fails by itself, when the model has spoken."""
    handler(request)
    raise KeyError("hook")


class Excuse(AgentMiddleware):
    """A tool's error is told to the model."""

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        try:
            return handler(request)
        except ValueError as error:
            return ToolMessage(str(error), tool_call_id=request.tool_call["id"], status="error")

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        try:
            return await handler(request)
        except ValueError as error:
            return ToolMessage(str(error), tool_call_id=request.tool_call["id"], status="error")


@wrap_tool_call
def skip(request: Any, handler: Any) -> ToolMessage:
    """The tool is not called."""
    return ToolMessage("5", tool_call_id=request.tool_call["id"])


@wrap_tool_call
def spoil(request: Any, handler: Any) -> ToolMessage:
    """It fails by itself, when the tool has answered."""
    handler(request)
    raise KeyError("hook")


def weak() -> Any:
    """A tool whose first call fails."""
    tries = Tries()

    @tool
    def lookup(topic: str) -> str:
        """Look it up."""
        if tries() == 1:
            raise ValueError("busy")
        return "found"

    return lookup


def lookups() -> Any:
    """An agent whose tool is tried again."""
    speaker = model(calling(call("lookup", topic="it")), "three")
    return create_agent(speaker, [weak()], name="helper", middleware=[ToolRetryMiddleware(**AT_ONCE)])


def head(outcome: str = "ok") -> str:
    """The root's line."""
    return f"agent helper {outcome}"


def node(name: str, outcome: str = "ok") -> str:
    """A node's line."""
    return f"\n  node {name} {outcome}"


def spoke(tokens: str = "3+1", *, node: str = "ok") -> str:
    """A turn of the model."""
    return f"\n  node model {node}\n    model ScriptedModel ok {tokens} tokens"


def used(name: str, *outcomes: str, node: str = "ok") -> str:
    """A tool's node, and the tries in it."""
    return f"\n  node tools {node} triggered_by" + "".join(f"\n    tool {name} {outcome}" for outcome in outcomes)


AGAIN = " attempt 2"
BUSY = "\n    model ScriptedModel error ValueError"
LIMIT = "langchain.agents.middleware.{0}.{1}ExceededError"
NO_CALLS = LIMIT.format("model_call_limit", "ModelCallLimit")
NO_TOOLS = LIMIT.format("tool_call_limit", "ToolCallLimit")
FOUND = "langchain.agents.middleware._redaction.PIIDetectionError"
MAIL = {"messages": [("user", "write to ada@example.com")]}
LONG = {"messages": [("user", "one"), ("ai", "two"), ("user", "three")]}

SCENARIOS = [
    case("dynamic prompt", lambda: [brief], head() + spoke("5+1")),
    case(
        "all hooks",
        lambda: [enter, look, judge, leave],
        head()
        + node("enter.before_agent")
        + node("look.before_model")
        + spoke("3+4")
        + node("judge.after_model")
        + used("add", "ok")
        + node("look.before_model")
        + spoke("4+1")
        + node("judge.after_model")
        + node("leave.after_agent"),
        says=(ADD, "three"),
        tools=[add],
    ),
    case("an asynchronous hook", lambda: [alook], head() + node("alook.before_model") + spoke(), absent=ASYNC_ONLY),
    case("jump to the end", lambda: [forbid], head() + node("forbid.before_model")),
    case(
        "jump to the model",
        lambda: [insist],
        head() + spoke("3+1") + node("insist.after_model") + spoke("4+1") + node("insist.after_model"),
    ),
    case("error before the model", lambda: [trip], head("error KeyError") + node("trip.before_model", "error KeyError")),
    case(
        "error after the model", lambda: [stumble], head("error KeyError") + spoke() + node("stumble.after_model", "error KeyError")
    ),
    case(
        "model called again by hand",
        lambda: [twice],
        head() + node("model") + BUSY + "\n    model ScriptedModel ok 3+1 tokens",
        says=lambda: recovering("three"),
        moves=(ASKED_BY_NAME,),
        absent=SYNC_ONLY,
    ),
    case(
        "model called again by hand, async",
        lambda: [atwice],
        head() + node("model") + BUSY + "\n    model ScriptedModel ok 3+1 tokens",
        says=lambda: recovering("three"),
        moves=(ASKED_BY_NAME,),
        absent=ASYNC_ONLY,
    ),
    case("no model called", lambda: [instead], head() + node("model"), absent=SYNC_ONLY),
    case("error around the model", lambda: [clumsy], head("error KeyError") + spoke(node="error KeyError"), absent=SYNC_ONLY),
    case(
        "error of a tool told",
        lambda: [Excuse()],
        head() + spoke("3+3") + used("fail", "error ValueError") + spoke("5+1"),
        says=(FAIL, "three"),
        tools=[fail],
    ),
    case(
        "no tool called",
        lambda: [skip],
        head() + spoke("3+4") + used("add") + spoke("4+1"),
        says=(ADD, "three"),
        tools=[add],
        absent=SYNC_ONLY,
    ),
    case(
        "error around a tool",
        lambda: [spoil],
        head("error KeyError") + spoke("3+4") + used("add", "ok", node="error KeyError"),
        says=(ADD,),
        tools=[add],
        absent=SYNC_ONLY,
    ),
    case(
        "model retried, recovers",
        lambda: [ModelRetryMiddleware(**AT_ONCE)],
        head() + node("model") + BUSY + "\n    model ScriptedModel ok attempt 2 3+1 tokens",
        says=lambda: recovering("three"),
        moves=(ASKED_BY_NAME,),
    ),
    case(
        "model retried, gives up and goes on",
        lambda: [ModelRetryMiddleware(max_retries=1, **AT_ONCE)],
        head() + node("model") + 2 * BUSY + AGAIN,
        says=(ValueError("busy"),),
    ),
    case(
        "model retried, gives up",
        lambda: [ModelRetryMiddleware(max_retries=1, on_failure="error", **AT_ONCE)],
        head("error ValueError") + node("model", "error ValueError") + 2 * BUSY + AGAIN,
        says=(ValueError("busy"),),
    ),
    Scenario(
        "middleware",
        "tool retried, recovers",
        lookups,
        head() + spoke("3+3") + used("lookup", "error ValueError", "ok attempt 2") + spoke("4+1"),
        moves=(Move(ASKED),),
        same=settled,
    ),
    case(
        "tool retried, gives up and goes on",
        lambda: [ToolRetryMiddleware(max_retries=1, on_failure=str, **AT_ONCE)],
        head() + spoke("3+3") + used("fail", "error ValueError", "error ValueError attempt 2") + spoke("5+1"),
        says=(FAIL, "three"),
        tools=[fail],
    ),
    case(
        "tool retried, gives up",
        lambda: [ToolRetryMiddleware(max_retries=1, on_failure="error", **AT_ONCE)],
        head("error ValueError")
        + spoke("3+3")
        + used("fail", "error ValueError", "error ValueError attempt 2", node="error ValueError"),
        says=(FAIL,),
        tools=[fail],
    ),
    case(
        "model calls limited, ends",
        lambda: [ModelCallLimitMiddleware(run_limit=1)],
        head()
        + node("ModelCallLimitMiddleware.before_model")
        + spoke("3+4")
        + node("ModelCallLimitMiddleware.after_model")
        + used("add", "ok")
        + node("ModelCallLimitMiddleware.before_model"),
        says=(ADD,),
        tools=[add],
    ),
    case(
        "model calls limited, fails",
        lambda: [ModelCallLimitMiddleware(run_limit=1, exit_behavior="error")],
        head(f"error {NO_CALLS}")
        + node("ModelCallLimitMiddleware.before_model")
        + spoke("3+4")
        + node("ModelCallLimitMiddleware.after_model")
        + used("add", "ok")
        + node("ModelCallLimitMiddleware.before_model", f"error {NO_CALLS}"),
        says=(ADD,),
        tools=[add],
    ),
    case(
        "tool calls limited, fails",
        lambda: [ToolCallLimitMiddleware(run_limit=1, exit_behavior="error")],
        head(f"error {NO_TOOLS}") + spoke("3+8") + node("ToolCallLimitMiddleware.after_model", f"error {NO_TOOLS}"),
        says=(calling(call("add", 1, a=1, b=2), call("add", 2, a=3, b=4)),),
        tools=[add],
    ),
    case(
        "summarised",
        lambda: [
            SummarizationMiddleware(
                model("short"), trigger=("messages", 3), keep=("messages", 1), summary_prompt="sum up {messages}"
            )
        ],
        head()
        + node("SummarizationMiddleware.before_model")
        + "\n    chain ScriptedModel ok\n      model ScriptedModel ok 6+1 tokens"
        + spoke("11+1"),
        moves=(Move(LONG),),
    ),
    case(
        "personal data hidden",
        lambda: [PIIMiddleware("email")],
        head() + node("PIIMiddleware[email].before_model") + spoke("3+1") + node("PIIMiddleware[email].after_model"),
        moves=(Move(MAIL),),
    ),
    case(
        "personal data refused",
        lambda: [PIIMiddleware("email", strategy="block")],
        head(f"error {FOUND}") + node("PIIMiddleware[email].before_model", f"error {FOUND}"),
        moves=(Move(MAIL),),
    ),
    case(
        "tools chosen by a model",
        lambda: [
            LLMToolSelectorMiddleware(model=model(calling(call("ToolSelectionResponse", tools=["add"]))), system_prompt="choose")
        ],
        head()
        + node("model")
        + "\n    chain RunnableSequence ok\n      model ScriptedModel ok 4+3 tokens\n      chain JsonOutputKeyToolsParser ok\n    model ScriptedModel ok 3+1 tokens",
        tools=[add, fail],
    ),
]
