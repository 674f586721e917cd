"""A LangGraph graph, wrapped: `observe(graph)` is the graph itself, and what it does can be read from `traces`."""

import os
import tempfile
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_observe import observe, traces
from langgraph_observe.testing import ScriptedModel

# Left unset, runs are kept in ~/.local/share/langgraph-observe/traces.db
os.environ.setdefault("LANGGRAPH_OBSERVE_STORE", f"{tempfile.mkdtemp()}/traces.db")

model = ScriptedModel(respond=lambda _: "It arrives on Friday.", model="gpt-4.1", provider="openai")  # any chat model


def look_up(_: MessagesState) -> dict[str, Any]:
    """Find what the answer needs."""
    return {"messages": [SystemMessage("Order 4711 left Lisbon on Tuesday.")]}


def answer(state: MessagesState) -> dict[str, Any]:
    """Ask the model."""
    return {"messages": [model.invoke(state["messages"])]}


builder = StateGraph(MessagesState).add_sequence([look_up, answer]).add_edge(START, "look_up")
graph = observe(builder.compile(name="support"), user_id="grace")
graph.invoke({"messages": [HumanMessage("Where is my order?")]}, {"configurable": {"thread_id": "order-4711"}})

trace = traces.last()
print(trace, end="\n\n")

(call,) = trace.find(kind="model")
for payload in filter(None, (call.input, call.output)):  # the very messages that the model saw and said
    for message in payload.messages:
        print(f"{message.role:>9}: {message.plain['content']}")
