"""Scenarios of tools that answer with a `Command`, and of tools that wait for a human."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Annotated, Any

from langchain_core.messages import ToolMessage
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt
from scenarios.actors import ASYNC_ONLY, aask, add, ask, call, calling, settled
from scenarios.calling import ASYNC, without
from scenarios.scenario import Move, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CallId = Annotated[str, InjectedToolCallId]


def after(_: MessagesState) -> None:
    """Where a tool may send the graph."""


def tool_graph(*tools: Any) -> Any:
    """A ToolNode whose calls are in the input, and a node to go to."""
    builder = StateGraph(MessagesState)
    builder.add_node("tools", ToolNode(tools))
    builder.add_node("after", after)
    builder.add_edge(START, "tools")
    return builder.compile(name="bench", checkpointer=InMemorySaver())


def told(call_id: str, text: str = "done") -> dict[str, Any]:
    """The update that answers the call."""
    return {"messages": [ToolMessage(text, tool_call_id=call_id)]}


@tool
def note(call_id: CallId) -> Command:
    """Update the state."""
    return Command(update=told(call_id))


@tool
async def anote(call_id: CallId) -> Command:
    """Update the state, asynchronously."""
    return Command(update=told(call_id))


@tool
def jump(call_id: CallId) -> Command:
    """Update the state, and go on elsewhere."""
    return Command(update=told(call_id), goto="after")


@tool
def stray(call_id: CallId) -> Command:
    """Go where nothing is."""
    return Command(update=told(call_id), goto="nowhere")


@tool
def spread(call_id: CallId) -> Command:
    """Send two tasks."""
    return Command(update=told(call_id), goto=[Send("after", {"messages": []}), Send("after", {"messages": []})])


@tool
def several(call_id: CallId) -> list[Any]:
    """Answer, and go on elsewhere."""
    return [ToolMessage("done", tool_call_id=call_id), Command(goto="after")]


def commands(ending: str, tools: Sequence[Any], tree: str, calls: Sequence[Any] = (), **more: Any) -> Scenario:
    """A scenario of a graph with these tools, each called once unless calls are given."""
    made = calls or [call(one.name, number) for number, one in enumerate(tools)]
    given = Move({"messages": [calling(*made)]})
    return Scenario("tool commands", ending, lambda: tool_graph(*tools), tree, moves=(given,), same=settled, **more)


def asks(ending: str, graph: Callable[[], Any], calls: Sequence[Any], answers: int, tree: str, **more: Any) -> Scenario:
    """A scenario of a graph whose tools ask a human, who says yes each time."""
    moves = (Move({"messages": [calling(*calls)]}), *(Move(Command(resume="yes")) for _ in range(answers)))
    return Scenario("tool interrupt", ending, graph, tree, moves=moves, same=settled, **more)


PAUSED = (
    "graph bench interrupted (interrupt)\n"
    "  node tools interrupted (interrupt)\n"
    "    tool {0} interrupted (interrupt)"
)  # fmt: skip
RESUMED = PAUSED + "\ngraph bench ok resumed_from\n  node tools ok\n    tool {0} ok"
BOTH_PAUSED = PAUSED + "\n    tool {0} interrupted (interrupt)"
TWICE = (
    BOTH_PAUSED
    + "\ngraph bench interrupted (interrupt) resumed_from\n  node tools interrupted (interrupt)\n"
    + "    tool {0} ok\n    tool {0} interrupted (interrupt)"
    + "\ngraph bench ok resumed_from\n  node tools ok\n    tool {0} ok\n    tool {0} ok"
)
QUESTIONS = [call("ask", 1, question="really?"), call("ask", 2, question="really?")]


def both_ask() -> Any:
    """A tool that asks as soon as it is called a second time, beside the first: without that, one might be cancelled unseen."""
    both: dict[str, threading.Barrier] = defaultdict(lambda: threading.Barrier(2))

    @tool("ask")
    def together(question: str) -> str:
        """Ask a human."""
        both[ensure_config()["configurable"]["thread_id"]].wait(60)
        return interrupt(question)

    return tool_graph(together)


def asking(_: MessagesState) -> dict[str, Any]:
    """A node that asks a human."""
    return {"messages": [("user", interrupt("really?"))]}


def delegating() -> Any:
    """A tool that runs a graph whose node asks a human."""
    builder = StateGraph(MessagesState)
    builder.add_node(asking)
    builder.add_edge(START, "asking")
    desk = builder.compile(name="desk")

    @tool
    def delegate() -> str:
        """Ask at the desk."""
        return desk.invoke({"messages": []})["messages"][-1].text

    return tool_graph(delegate)


SCENARIOS = [
    commands("update", [note], "graph bench ok\n  node tools ok\n    tool note ok"),
    commands("update, async", [anote], "graph bench ok\n  node tools ok\n    tool anote ok", absent=ASYNC_ONLY),
    commands("goto", [jump], "graph bench ok\n  node tools ok → after\n    tool jump ok → after\n  node after ok"),
    commands("goto nowhere", [stray], "graph bench ok\n  node tools ok → nowhere\n    tool stray ok → nowhere"),
    commands(
        "goto by Send",
        [spread],
        "graph bench ok\n  node tools ok → after, after\n    tool spread ok → after, after" + 2 * "\n  node after ok triggered_by",
        parallel=True,
    ),
    commands("several answers", [several], "graph bench ok\n  node tools ok → after\n    tool several ok → after\n  node after ok"),
    commands(
        "beside a plain answer",
        [jump, add],
        "graph bench ok\n  node tools ok → after\n    tool jump ok → after\n    tool add ok\n  node after ok",
        calls=[call("jump", 1), call("add", 2, a=1, b=2)],
        parallel=True,
    ),
    asks("one, resumed", lambda: tool_graph(ask), [call("ask", question="really?")], 1, RESUMED.format("ask")),
    asks("one, given up", lambda: tool_graph(ask), [call("ask", question="really?")], 0, PAUSED.format("ask")),
    asks(
        "one, resumed, async",
        lambda: tool_graph(aask),
        [call("aask", question="really?")],
        1,
        RESUMED.format("aask"),
        absent=ASYNC_ONLY,
    ),
    asks(
        "two of one node, resumed one by one",
        both_ask,
        QUESTIONS,
        2,
        TWICE.format("ask"),
        parallel=True,
        absent=without(ASYNC, "there nobody waits for the second thread: see its asynchronous twin"),
    ),
    asks(
        "two of one node, resumed one by one, async",
        lambda: tool_graph(aask),
        [{**one, "name": "aask"} for one in QUESTIONS],
        2,
        TWICE.format("aask"),
        parallel=True,
        absent=ASYNC_ONLY,
    ),
    asks(
        "in a tool's graph, resumed",
        delegating,
        [call("delegate")],
        1,
        PAUSED.format("delegate")
        + "\n      graph desk interrupted (interrupt)\n        node asking interrupted (interrupt)"
        + "\ngraph bench ok resumed_from\n  node tools ok\n    tool delegate ok\n      graph desk ok\n        node asking ok",
    ),
]
