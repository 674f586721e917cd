"""What the tests of the traps share: small models and graphs, and ways of reading records. The traps are those of
langchain-core 1.7 and langgraph 1.2 in which a naive handler is caught; a test tells what our records say in spite of it.
"""

import asyncio
import re
from collections.abc import Callable

import pytest
from capture.graphs import linear
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

from langgraph_observe import CallbackHandler, Finished, Noted, Started, observe
from langgraph_observe.testing import ScriptedModel

IN = {"x": []}
THREAD = {"configurable": {"thread_id": "t"}}
MODEL = ScriptedModel(respond=lambda _: "well said")


class Broken(ScriptedModel):
    """A model whose provider is down."""

    respond: Callable = str

    def _answer(self, messages):
        raise RuntimeError("provider down")


class Waiting(ScriptedModel):
    """A model that is still at it."""

    respond: Callable = str

    async def _agenerate(self, *args, **kwargs):
        await asyncio.sleep(30)


class Words(ScriptedModel):
    """A model that streams asynchronously by itself, not through a thread."""

    respond: Callable = lambda _: "a b c"

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        for chunk in self._stream(messages):
            await asyncio.sleep(0)
            yield chunk


def one(_):
    return {"x": [1]}


def two(_):
    return {"x": [2]}


def stored(*nodes, **compile_with):
    """A chain of nodes whose state is kept."""
    return linear(*nodes, compile_with={"checkpointer": InMemorySaver(), **compile_with})


def calling(tools, *calls, checkpointer=None, **options):
    """A graph that calls these tools once."""
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda _: {"messages": [AIMessage("", tool_calls=list(calls))]})
    builder.add_node("tools", ToolNode(tools, **options))
    builder.add_edge(START, "model")
    builder.add_edge("model", "tools")
    return builder.compile(checkpointer=checkpointer)


def handling():
    """A handler, and what it records."""
    seen = []
    return seen, {"callbacks": [CallbackHandler(seen.append)]}


def invoked(graph, given=None, config=None):
    """The records of one call, which gives its caller what it gives him without us."""
    seen = []
    given = IN if given is None else given
    assert _told(observe(graph, seen.append).invoke(given, config)) == _told(graph.invoke(given, config))
    return seen


def _told(result):
    """Without the ids that LangChain makes anew each time."""
    return re.sub("[0-9a-f]{8}-[0-9a-f-]{27}", "…", repr(result))


def starts(seen, name=None):
    return [record for record in seen if isinstance(record, Started) and name in (None, record.name)]


def ends(seen, name=None):
    return [record for record in seen if isinstance(record, Finished) and name in (None, record.run.name)]


def notes(seen):
    return [record.kind for record in seen if isinstance(record, Noted)]


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - records set no event
            await asyncio.sleep(0.001)


async def cancelled(coroutine, seen, name):
    """Cancel it as soon as the run of this name has begun."""
    job = asyncio.create_task(coroutine)
    await until(lambda: starts(seen, name))
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await asyncio.sleep(0)
