"""Scenarios of code that hands its config on: what it calls belongs below the run it is called in, whatever the config says."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, ToolRuntime, create_react_agent
from scenarios.actors import ASKED, ASYNC_ONLY, add, call, calling, fail, model, settled
from scenarios.scenario import Move, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable


def desk(node: Any) -> Any:
    """A graph of one node."""
    builder = StateGraph(MessagesState)
    builder.add_node("think", node)
    builder.add_edge(START, "think")
    return builder.compile(name="desk")


def bench(*tools: Any) -> Any:
    """A ToolNode that calls each of its tools."""
    calls = calling(*(call(one.name, number, question="is it so") for number, one in enumerate(tools)))
    builder = StateGraph(MessagesState)
    builder.add_node("ask", lambda _: {"messages": [calls]})
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "tools")
    return builder.compile(name="bench")


def case(ending: str, graph: Callable[[], Any], tree: str, **more: Any) -> Scenario:
    """A scenario of a graph that is asked once."""
    return Scenario("config handed on", ending, graph, tree, moves=(Move(ASKED),), same=settled, **more)


def think(state: MessagesState, config: RunnableConfig) -> Any:
    """A node that hands its config on."""
    return {"messages": [model("three").invoke(state["messages"], config)]}


async def athink(state: MessagesState, config: RunnableConfig) -> Any:
    """The same, asynchronously."""
    return {"messages": [await model("three").ainvoke(state["messages"], config)]}


def reason(state: MessagesState, config: RunnableConfig) -> Any:
    """A node in which a runnable gets the node's config, though it is called in a chain."""

    def inside(messages: Any) -> Any:
        return model("three").invoke(messages, config)

    return {"messages": [RunnableLambda(inside).invoke(state["messages"])]}


@tool
def consult(question: str, config: RunnableConfig) -> str:
    """Ask a model with the config that the tool is given."""
    return model("it is").invoke(question, config).text


@tool
async def aconsult(question: str, config: RunnableConfig) -> str:
    """The same, asynchronously."""
    return (await model("it is").ainvoke(question, config)).text


@tool
def delegate(question: str, runtime: ToolRuntime) -> str:
    """Ask an agent with the config of the runtime."""
    helper = create_agent(model("it is"), [], name="helper")
    return helper.invoke({"messages": [("user", question)]}, runtime.config)["messages"][-1].text


def react(*script: Any) -> Any:
    """LangGraph's own agent, which is deprecated and everywhere."""
    with warnings.catch_warnings(action="ignore"):
        return create_react_agent(model(*script), [add, fail], name="react", prompt="be brief")


REACT = (
    "\n  node agent {0} → {1}\n    chain call_model ok\n      chain RunnableSequence ok\n        chain Prompt ok\n"
    "        model ScriptedModel ok {2} tokens\n    chain should_continue ok"
)
USES = "\n  node tools {0} triggered_by\n    tool {1} {0}"

SCENARIOS = [
    case("to a model in a node", lambda: desk(think), "graph desk ok\n  node think ok\n    model ScriptedModel ok 3+1 tokens"),
    case(
        "to a model in a node, async",
        lambda: desk(athink),
        "graph desk ok\n  node think ok\n    model ScriptedModel ok 3+1 tokens",
        absent=ASYNC_ONLY,
    ),
    case(
        "to a model in a chain in a node",
        lambda: desk(reason),
        "graph desk ok\n  node think ok\n    chain inside ok\n      model ScriptedModel ok 3+1 tokens",
    ),
    case(
        "to a model in a tool",
        lambda: bench(consult),
        "graph bench ok\n  node ask ok\n  node tools ok\n    tool consult ok\n      model ScriptedModel ok 3+2 tokens",
    ),
    case(
        "to a model in a tool, async",
        lambda: bench(aconsult),
        "graph bench ok\n  node ask ok\n  node tools ok\n    tool aconsult ok\n      model ScriptedModel ok 3+2 tokens",
        absent=ASYNC_ONLY,
    ),
    case(
        "to an agent in a tool",
        lambda: bench(delegate),
        "graph bench ok\n  node ask ok\n  node tools ok\n    tool delegate ok\n"
        "      agent helper ok\n        node model ok\n          model ScriptedModel ok 3+2 tokens",
    ),
    case(
        "by create_react_agent",
        lambda: react(calling(call("add", a=1, b=2)), "three"),
        "graph react ok" + REACT.format("ok", "tools", "5+4") + USES.format("ok", "add") + REACT.format("ok", "__end__", "6+1"),
    ),
    case(
        "by create_react_agent, whose tool fails",
        lambda: react(calling(call("fail", a=7))),
        "graph react error ValueError" + REACT.format("ok", "tools", "5+3") + USES.format("error ValueError", "fail"),
    ),
]
