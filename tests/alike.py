"""With us and without: graphs of every kind, and what two callers are told, as texts that can be compared."""

import itertools
import operator
import re
from dataclasses import dataclass, field
from typing import Annotated

from capture.graphs import ASKED, add, call, linear
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import interrupt
from pydantic import BaseModel

from langgraph_observe.testing import ScriptedModel

IN = {"x": []}
THREAD = {"configurable": {"thread_id": "t"}}
MODEL = ScriptedModel(respond=lambda _: "well said indeed")
_NEW = re.compile(
    r"[0-9a-f]{8}(-?)(?:[0-9a-f]{4}\1){3}[0-9a-f]{12}"  # ids: a checkpoint's, an interrupt's, a message's
    r"|0x[0-9a-f]+"  # addresses
    r"|0*\d\.\d{8,}(?:e-\d+)?"  # the random part of a channel's version
)
_OURS = re.compile(r"(, )?'langgraph_observe_traceparent': '[^']*'")
"""The one word of ours in the agent's own data: by it a checkpoint's metadata says whose it is."""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:\+00:00|Z)?|(?<='timestamp': )\d+")


def told(value):
    """Types, values and order. What is new each time is numbered in the order in which it appears; times are left out."""
    seen = {}
    text = _TIME.sub("…", _OURS.sub("", repr(value)))
    return _NEW.sub(lambda found: f"#{seen.setdefault(found[0], len(seen))}", text)


def outcome(call, *arguments):
    """What this call answers, or the type and the words of the exception in which it ends."""
    try:
        return told(call(*arguments))
    except Exception as error:
        return type(error), told(str(error))


def refused(call, *arguments):
    """The type and the words of the exception in which this call must end."""
    ending = outcome(call, *arguments)
    assert isinstance(ending, tuple), ending
    return ending


def speak(_):
    """A node that streams an answer, and says so."""
    get_stream_writer()({"said": "something"})
    return {"x": [MODEL.invoke("q").text]}


def ask(_):
    """A node that asks a human."""
    return {"x": [interrupt("?")]}


def stored(*nodes, **compile_with):
    """A chain of nodes whose state is kept."""
    return linear(*nodes, compile_with={"checkpointer": InMemorySaver(), **compile_with})


def nested():
    return stored(("sub", linear(speak, ask, compile_with={"name": "inner"})), speak)


def agent():
    wants = AIMessage("", id="m2", tool_calls=[call("add", a=1, b=2)])
    model = ScriptedModel(respond=lambda messages: "three" if isinstance(messages[-1], ToolMessage) else wants)
    return create_agent(model, [add], checkpointer=InMemorySaver(), name="agent")


def functional():
    @entrypoint(checkpointer=InMemorySaver())
    def flow(given, *, previous=None):
        return entrypoint.final(value={"x": [*given["x"], MODEL.invoke("q").text]}, save=given)

    return flow


class Shop(CompiledStateGraph):
    """A class of the user's own: its `stream` has names and places of its own, and is no generator; its `copy` adds something."""

    def stream(self, question, config=None, greeting=None, **options):
        return filter(None, itertools.chain([greeting], super().stream(question, config, **options)))

    def invoke(self, question, config=None, **options):
        return [*self.stream(question, config, "hello", **options)]

    def copy(self, update=None):
        return super().copy({"name": "a copy", **(update or {})})

    def sign(self):
        return f"shop {self.name}"


def shop():
    return Shop(**vars(stored(speak, name="shop")))


class Model(BaseModel):
    x: Annotated[list, operator.add] = []
    note: str = "default"


@dataclass
class Data:
    x: Annotated[list, operator.add] = field(default_factory=list)
    note: str = "default"


def typed(schema):
    """A graph whose state is an object."""
    builder = StateGraph(schema)
    builder.add_node(speak)
    builder.add_edge(START, "speak")
    return builder.compile(checkpointer=InMemorySaver())


KINDS = {
    "sub-graph that asks": (nested, IN),
    "agent": (agent, ASKED),
    "functional": (functional, IN),
    "class of the user's": (shop, IN),
    "pydantic": (lambda: typed(Model), IN),
    "dataclass": (lambda: typed(Data), IN),
}
"""How to make one anew, and what it is given."""
