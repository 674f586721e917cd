"""What is sent to the backends: the demo, scenarios of ours, and a streamed answer of which the provider had a part in its cache."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.retrievers import BaseRetriever
from providers import Reply, gpt, openai
from scenarios.actors import add, call, calling
from scenarios.calling import WAYS, play
from scenarios.shapes_agents import agent

from langgraph_observe import demo

if TYPE_CHECKING:
    from collections.abc import Callable

    from langgraph_observe import Observer
    from langgraph_observe.observer import Options

WHO: Options = {"session_id": "s-1", "user_id": "ada"}
CACHED = {
    "prompt_tokens": 1200,
    "completion_tokens": 86,
    "total_tokens": 1286,
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 20},
}


class Shelf(BaseRetriever):
    """Two documents."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [Document("a book", id="b1", metadata={"score": 0.9}), Document("a map", metadata={"shelf": 3})]


def helper(observer: Observer) -> None:
    """An agent that calls a tool."""
    graph = observer.watch(agent(calling(call("add", a=1, b=2)), "three", tools=[add]), **WHO)
    graph.invoke({"messages": [HumanMessage("what is it")]}, {"configurable": {"thread_id": "t-1"}})


def shelf(observer: Observer) -> None:
    """A retriever alone."""
    Shelf().invoke("any", {"callbacks": [observer.handle(**WHO)]})


def streamed(observer: Observer) -> None:
    """A chat model alone: a third of its prompt was in the provider's cache."""
    with openai(Reply(model="gpt-4.1", usage=CACHED)) as server:
        list(gpt(server, model="gpt-4.1").stream("What is it?", {"callbacks": [observer.handle(**WHO)]}))


def scenario(module: str, shape: str, ending: str) -> Callable[[Observer], object]:
    """One of ours, invoked."""
    (one,) = (one for one in import_module(f"scenarios.{module}").SCENARIOS if (one.shape, one.ending) == (shape, ending))
    return lambda observer: play(WAYS["invoke"], one, observer.watch(one.graph(), **WHO))


PLAYS: dict[str, Callable[[Observer], object]] = {
    "demo": demo.run,
    "agent": helper,
    "retriever": shelf,
    "streamed": streamed,
    "fan-out": scenario("shapes_fanouts", "send", "ok"),
    "error": scenario("shapes_tools", "tools", "error raised"),
    "question": scenario("shapes_interrupts", "question", "after a model"),
}
"""By name; each makes one trace, but the demo, four, and the question, two."""
