"""Agents that do everything the catalogue can count, as often as asked: what the boards' panels are fed with in tests."""

import asyncio
import contextlib
import itertools
import operator
import threading
from types import SimpleNamespace
from typing import Annotated, TypedDict

from langchain_core.caches import InMemoryCache
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache as NodeCache
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, RetryPolicy
from prometheus_client import CollectorRegistry

from langgraph_observe import Observer, collect_runs, demo
from langgraph_observe.capture.http import StreamMiddleware
from langgraph_observe.process.price import price
from langgraph_observe.sinks.prometheus import Metrics
from langgraph_observe.testing import ScriptedModel


class Library(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        if query == "nothing":
            raise LookupError(query)
        return [Document("A book.")]


@tool
def lend(title: str) -> str:
    """Lend a book."""
    if title == "lost":
        raise TimeoutError(title)
    return "lent"


class Remembering(ScriptedModel):
    """Tells what it read from the provider's cache."""

    def _about(self, messages, answer):
        about = super()._about(messages, answer)
        return about | {"usage_metadata": about["usage_metadata"] | {"input_token_details": {"cache_read": 1}}}


class Reading(TypedDict):
    titles: Annotated[list[str], operator.add]


def reader():
    """A graph whose every step can fail, and some do."""
    tries = itertools.count()
    first = ScriptedModel(respond=refuse, model="first-choice", provider="acme")
    second = Remembering(respond=lambda _: "Read this.", model="second-choice", provider="acme")
    remembered = ScriptedModel(respond=lambda _: "Again.", model="remembered", provider="acme", cache=InMemoryCache())

    def search(state):
        Library().invoke(state["titles"][0])
        return {"titles": ["found"]}

    def borrow(state):
        lend.invoke({"title": state["titles"][0]})
        if next(tries) % 2 == 0:
            raise ConnectionError("try again")
        return {"titles": [first.with_fallbacks([second]).invoke("Which?").text, remembered.invoke("And?").text]}

    builder = StateGraph(Reading)
    builder.add_node("search", search, cache_policy=CachePolicy(ttl=1))
    builder.add_node("borrow", borrow, retry_policy=RetryPolicy(initial_interval=0.01, jitter=False))
    builder.add_edge(START, "search")
    builder.add_edge("search", "borrow")
    builder.add_edge("borrow", END)
    return builder.compile(name="reader", cache=NodeCache())


def circles():
    """A graph that never comes to an end."""
    builder = StateGraph(Reading)
    builder.add_node("again", lambda _: {"titles": ["again"]})
    builder.add_edge(START, "again")
    builder.add_edge("again", "again")
    return builder.compile(name="circles")


def refuse(_):
    raise RuntimeError("no")


async def streaming(scope, receive, send):
    """An ASGI application that streams three events, one of them of an error, and a keep-alive."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for frame in (b"data: 1\n\n", b": ping\n\n", b"event: token\ndata: 2\n\n", b"event: error\ndata: 3\n\n"):
        await send({"type": "http.response.body", "body": frame, "more_body": True})
    if scope["path"] == "/left":
        await receive()
        return
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class Agents:
    """The agents, what they are counted on, and a thread that runs them again and again."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.failing = threading.Event()
        self._stop = threading.Event()
        self._reader = reader()
        metrics = Metrics(registry=self.registry, limits={"event": 1})
        self.observer = Observer(metrics, process=[price()])
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(10)
        self.observer.close()

    def _run(self):
        while not self._stop.wait(0.2):
            self.once()

    def once(self):
        demo.run(self.observer)
        watched = self.observer.watch(self._reader)
        for title in ("new", "lost", "nothing"):
            with contextlib.suppress(LookupError, TimeoutError):
                watched.invoke({"titles": [title]})
        if self.failing.is_set():
            with contextlib.suppress(GraphRecursionError):
                self.observer.watch(circles()).invoke({"titles": []}, {"recursion_limit": 5})
        left = watched.stream({"titles": ["new"]}, stream_mode="updates")
        next(left)
        left.close()
        with collect_runs() as runs:
            watched.invoke({"titles": ["old"]})
        runs[0].score("helpful", 0.9)
        asyncio.run(self._stream())

    async def _stream(self):
        middleware = StreamMiddleware(streaming, observer=self.observer)
        for path, headers in (("/chat", []), ("/left", []), ("/chat", [(b"last-event-id", b"7")])):
            route = SimpleNamespace(path=path)  # as Starlette leaves it in the scope
            scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "query_string": b"", "route": route}
            await middleware(scope, gone, nowhere)


async def gone():
    return {"type": "http.disconnect"}


async def nowhere(_):
    pass
