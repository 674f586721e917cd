"""Three real LangGraph graphs with a scripted chat model: an agent with tools, a map-reduce, a human in the loop."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, Send, interrupt

from langgraph_observe.testing import ScriptedModel

if TYPE_CHECKING:
    from langgraph_observe.observer import Observer


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return {"Lisbon": "sunny, 24 °C", "Oslo": "snow, -3 °C"}.get(city, "unknown")


@tool
def rate(currency: str) -> float:
    """Tell how many of this currency a euro buys."""
    return {"NOK": 11.8}[currency]


def _travel(messages: list[BaseMessage]) -> AIMessage | str:
    answers = [message for message in messages if isinstance(message, ToolMessage)]
    if not answers:
        calls = [("weather", {"city": "Lisbon"}), ("weather", {"city": "Oslo"})]
        return AIMessage("", tool_calls=[{"name": name, "args": args, "id": f"call-{n}"} for n, (name, args) in enumerate(calls)])
    return f"Go to Lisbon: there it is {answers[0].content}, while Oslo has {answers[1].content}."


def travel_agent() -> Any:
    """A model that calls two tools at once, then answers."""
    tools = [weather, rate]
    model = ScriptedModel(respond=_travel, model="gpt-4.1-mini", provider="openai", seconds=0.04).bind_tools(tools)

    def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke([SystemMessage("You are a travel agent. Be brief."), *state["messages"]])]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "think")
    return builder.compile(name="travel_agent")


class Report(TypedDict):
    """The state of the map-reduce graph."""

    topics: list[str]
    sections: Annotated[list[str], operator.add]
    report: str


class Topic(TypedDict):
    """What one task of the map is sent."""

    topic: str


def _write(messages: list[BaseMessage]) -> str:
    return f"{messages[-1].text} made good progress this week, with two releases and no incident."


def report_writer() -> Any:
    """One task for each topic (`Send`), then their sum."""
    model = ScriptedModel(respond=_write, model="claude-sonnet-4-5", provider="anthropic", seconds=0.02)

    def plan(state: Report) -> list[Send]:
        return [Send("write_section", {"topic": topic}) for topic in state["topics"]]

    def write_section(state: Topic) -> dict[str, Any]:
        text = "".join(chunk.text for chunk in model.stream([HumanMessage(state["topic"])]))
        return {"sections": [text]}

    def combine(state: Report) -> dict[str, Any]:
        return {"report": "\n".join(sorted(state["sections"]))}

    builder = StateGraph(Report)
    builder.add_node("outline", lambda state: {"topics": [topic.strip() for topic in state["topics"]]})
    builder.add_node("write_section", write_section)
    builder.add_node("combine", combine)
    builder.add_edge(START, "outline")
    builder.add_conditional_edges("outline", plan, ["write_section"])
    builder.add_edge("write_section", "combine")
    builder.add_edge("combine", END)
    return builder.compile(name="report_writer")


class Mail(TypedDict):
    """The state of the graph that asks before it acts."""

    to: str
    text: str
    sent: bool


def refund_desk() -> Any:
    """A draft, a human's approval (`interrupt`), then the deed."""
    draft_model = ScriptedModel(
        respond=lambda _: "We refund your 42 euros today.", model="gpt-4.1", provider="openai", seconds=0.03
    )

    def draft(state: Mail) -> dict[str, Any]:
        return {"text": draft_model.invoke(f"Write to {state['to']} about the refund.").text}

    def approve(state: Mail) -> Command[Any]:
        verdict = interrupt({"question": "Send this?", "text": state["text"]})
        return Command(goto="send" if verdict == "yes" else END)

    builder = StateGraph(Mail)
    builder.add_node("draft", draft)
    builder.add_node("approve", approve, destinations=("send", END))
    builder.add_node("send", lambda _: {"sent": True})
    builder.add_edge(START, "draft")
    builder.add_edge("draft", "approve")
    return builder.compile(name="refund_desk", checkpointer=InMemorySaver())


def run(observer: Observer) -> None:
    """The three graphs, once each; the last is stopped for its human and resumed."""
    question = {"messages": [HumanMessage("Lisbon or Oslo this weekend?")]}
    for _ in observer.watch(travel_agent(), user_id="ada", tags=["demo"]).stream(question, stream_mode="messages"):
        pass
    observer.watch(report_writer(), tags=["demo"]).invoke(
        {"topics": ["Search ", "Billing", "Mobile"], "sections": [], "report": ""}
    )
    desk = observer.watch(refund_desk(), user_id="grace", tags=["demo"])
    thread: Any = {"configurable": {"thread_id": "refund-4711"}}
    desk.invoke({"to": "Grace", "text": "", "sent": False}, thread)
    desk.invoke(Command(resume="yes"), thread)
