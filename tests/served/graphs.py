"""Graphs as `langgraph.json` names them: each observed, and beside it the same one bare, which answers what ours must answer."""

import asyncio
import operator
from typing import Annotated

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel
from typing_extensions import TypedDict

from langgraph_observe import observe
from langgraph_observe.testing import ScriptedModel


class State(TypedDict, total=False):
    x: Annotated[list, operator.add]


class Form(BaseModel):
    x: Annotated[list, operator.add] = []
    note: str = "default"


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def respond(messages):
    wants = {"name": "add", "args": {"a": 1, "b": 2}, "id": "c1", "type": "tool_call"}
    return "it is three" if isinstance(messages[-1], ToolMessage) else AIMessage("", tool_calls=[wants])


def one(_):
    return {"x": [1]}


def ask(_):
    return {"x": [interrupt("what?")]}


async def sleep(_):
    await asyncio.Event().wait()


def fail(_):
    raise ValueError("down")


def line(name, schema=State, **nodes):
    """A chain of nodes."""
    builder, before = StateGraph(schema), START
    for node, action in nodes.items():
        builder.add_node(node, action)
        builder.add_edge(before, node)
        before = node
    return builder.compile(name=name)


def made_bare(config):
    """A factory: the server calls it for each request, on its event loop, where nothing may block."""
    return line(config["configurable"].get("called", "made"), one=one)


def made(config):
    return observe(made_bare(config))


calculator_bare = create_agent(ScriptedModel(respond=respond), [add], name="calculator")
desk_bare = line("desk", inner=line("inner", ask=ask), one=one)
form_bare = line("form", Form, one=one)
sleeper_bare = line("sleeper", one=one, sleep=sleep)
broken_bare = line("broken", one=one, fail=fail)
calculator, desk, form, sleeper, broken = (
    observe(bare) for bare in (calculator_bare, desk_bare, form_bare, sleeper_bare, broken_bare)
)
