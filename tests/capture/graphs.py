"""Small graphs that the tests of capture share."""

import operator
from typing import Annotated, TypedDict

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Send

from langgraph_observe.testing import ScriptedModel


class State(TypedDict, total=False):
    x: Annotated[list, operator.add]
    n: int


def linear(*nodes, compile_with=None, **node_options):
    """A chain of nodes; each is a function, or a pair of name and runnable."""
    builder, before = StateGraph(State), START
    for node in nodes:
        name, action = node if isinstance(node, tuple) else (node.__name__, node)
        builder.add_node(name, action, **node_options)
        builder.add_edge(before, name)
        before = name
    return builder.compile(**(compile_with or {}))


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def fail(a: int) -> int:
    """Always fail."""
    raise ValueError("secret-value-in-message")


def call(name, number=1, **arguments):
    return {"name": name, "args": arguments, "id": f"call-{number}", "type": "tool_call"}


def agent(*calls, **tool_node):
    """A model that calls these tools once, a ToolNode, and back."""

    def respond(messages):
        return AIMessage("", tool_calls=list(calls)) if isinstance(messages[-1], HumanMessage) else "done now"

    model = ScriptedModel(respond=respond).bind_tools([add, fail])
    builder = StateGraph(MessagesState)
    builder.add_node("think", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("tools", ToolNode([add, fail], **tool_node))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "think")
    return builder.compile(name="calculator")


ASKED = {"messages": [HumanMessage("one and two", id="m1")]}


def fan_out():
    """Three tasks by `Send`, then their sum."""
    builder = StateGraph(State)
    builder.add_node("plan", lambda _: {"n": 3})
    builder.add_node("work", lambda state: {"x": [state["n"]]})
    builder.add_node("sum", lambda state: {"n": sum(state["x"])})
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", split, ["work"])
    builder.add_edge("work", "sum")
    builder.add_edge("sum", END)
    return builder.compile(name="fan_out")


def split(state):
    return [Send("work", {"n": number}) for number in range(state["n"])]
