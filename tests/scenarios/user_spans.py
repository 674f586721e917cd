"""User code that opens spans, and whose children they are by the records of its runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import operator
import sqlite3
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypedDict
from urllib.parse import quote, unquote, urlsplit

import httpx
import pytest
from langgraph.graph import START, StateGraph
from opentelemetry import context as otel
from opentelemetry.instrumentation import dbapi
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langgraph_observe import Observer, Started
from langgraph_observe.sinks.otel import Spans
from langgraph_observe.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

HTTPX, SQLITE, LANGFUSE, MINE = "opentelemetry.instrumentation.httpx", "sqlite3", "langfuse-sdk", "mine"
USERS = frozenset({HTTPX, SQLITE, LANGFUSE, MINE, "opentelemetry.instrumentation.fastapi"})
MEANS = ("by hand", "over HTTP", "in SQL")
MODEL = ScriptedModel(respond=lambda _: "hello there")
DONE: Any = {"x": [1]}


class State(TypedDict, total=False):
    x: Annotated[list, operator.add]
    n: int


def linear(*nodes: tuple[str, Any], name: str = "flow", checkpointer: Any = None, **options: Any) -> Any:
    """A chain of nodes."""
    builder, before = StateGraph(State), START
    for node, action in nodes:
        builder.add_node(node, action, **options)
        builder.add_edge(before, node)
        before = node
    return builder.compile(name=name, checkpointer=checkpointer)


class Within(NamedTuple):
    """To do inside of a span of the user's own."""

    span: str
    actions: tuple[Any, ...]


class Streamed(NamedTuple):
    """A runnable that is to be streamed, to its end."""

    runnable: Any
    given: Any


class Called(NamedTuple):
    runnable: Any
    given: Any


class Actor:
    """User code. It opens a span by hand, asks a service and a database, and each says where it believes to be."""

    def __init__(self, bench: Bench, *, asynchronous: bool) -> None:
        self.asynchronous, self.observer = asynchronous, bench.observer
        self._tracer, self._port, self._client = bench.tracer, bench.port, bench.client

    def mark(self, place: str) -> None:
        with self._tracer.start_as_current_span(place):
            pass
        self._client.get(self._url(place))
        self._select(place)

    async def amark(self, place: str) -> None:
        with self._tracer.start_as_current_span(place):
            await asyncio.sleep(0)
        async with httpx.AsyncClient(verify=False) as client:
            await client.get(self._url(place))
        self._select(place)

    def _url(self, place: str) -> str:
        return f"http://127.0.0.1:{self._port}/{quote(place)}"

    def _select(self, place: str) -> None:
        with contextlib.closing(sqlite3.connect(":memory:")) as database:
            database.cursor().execute(f"SELECT 1 -- {place}")

    def body(self, *actions: Any, answer: Any = DONE, name: str = "work") -> Any:
        """A function, or where the agent is an asynchronous one a coroutine function, that does this and gives the answer.

        An action is a place to mark, which may name parts of what the function is given, a function that does something else,
        or one of the above.
        """

        def work(*given: Any, **named: Any) -> Any:
            self.act(actions, _parts(given, named))
            return answer() if callable(answer) else answer

        async def awork(*given: Any, **named: Any) -> Any:
            await self.aact(actions, _parts(given, named))
            return answer() if callable(answer) else answer

        chosen = awork if self.asynchronous else work
        chosen.__name__ = name
        return chosen

    def act(self, actions: Iterable[Any], parts: dict[str, Any]) -> None:
        for action in actions:
            match action:
                case str():
                    self.mark(action.format_map(parts))
                case Within(name, inner):
                    with self._tracer.start_as_current_span(name):
                        self.act(inner, parts)
                case Streamed(runnable, given):
                    list(runnable.stream(given))
                case Called(runnable, given):
                    runnable.invoke(given)
                case _:
                    action()

    async def aact(self, actions: Iterable[Any], parts: dict[str, Any]) -> None:
        for action in actions:
            match action:
                case str():
                    await self.amark(action.format_map(parts))
                case Within(name, inner):
                    with self._tracer.start_as_current_span(name):
                        await self.aact(inner, parts)
                case Streamed(runnable, given):
                    [chunk async for chunk in runnable.astream(given)]
                case Called(runnable, given):
                    await runnable.ainvoke(given)
                case _:
                    if (done := action()) is not None:
                        await done


def _parts(given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    return {**(given[0] if given and isinstance(given[0], dict) else {}), **named}


class Seen(list):
    """A sink that keeps the records. With `context` it wants user code to find the run it is in, by its ids."""

    def __init__(self, *, context: bool) -> None:
        self.context = context

    __call__ = list.append


class Bench:
    """A provider that nobody else knows, and an Observer whose sinks put the runs into the context: live spans, or ids."""

    def __init__(self, sink: str = "spans", *more: Any, port: int = 0, client: Any = None, process: Iterable[Any] = ()) -> None:
        self.port, self.client = port, client
        self.exporter, self.provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer(MINE)
        self.seen = Seen(context=sink == "ids")
        spans = [Spans(tracer_provider=self.provider)] if sink == "spans" else []
        self.observer = Observer(*spans, self.seen, *more, process=process)

    @contextlib.contextmanager
    def instrumented(self) -> Iterator[None]:
        """httpx and sqlite3 make spans with our provider. (The sqlite3 instrumentation is this one line of dbapi's.)"""
        http = HTTPXClientInstrumentor()
        http.instrument(tracer_provider=self.provider)
        dbapi.wrap_connect(SQLITE, sqlite3, "connect", "sqlite", tracer_provider=self.provider)
        try:
            yield
        finally:
            dbapi.unwrap_connect(sqlite3, "connect")
            http.uninstrument()

    def forget(self) -> None:
        self.observer.flush()
        self.exporter.clear()
        self.seen.clear()

    def spans(self) -> tuple[ReadableSpan, ...]:
        assert self.observer.flush()
        return self.exporter.get_finished_spans()

    def owners(self) -> dict[str, str]:
        """Of each span that was made by hand, whose child it is: a run's, a span's of the user's own, or nobody's."""
        runs, users = self.runs(), self._users()
        return {span.name: _owner(span, users, runs) for span in self.mine()}

    def mine(self) -> list[ReadableSpan]:
        """Those that were made by hand, Langfuse's hand among them."""
        return [span for span in self.spans() if span.instrumentation_scope.name in (LANGFUSE, MINE)]

    def children(self) -> dict[str, dict[tuple[str, str], str]]:
        """For each root run: what was opened in it, by its means and its name, and whose child it is."""
        runs, users = self.runs(), self._users()
        found: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
        for span in users.values():
            if (root := _root(span, users, runs)) is not None:
                assert _told(span) not in found[root], f"{_told(span)} twice"
                found[root][_told(span)] = _owner(span, users, runs)
        return dict(found)

    def roots(self) -> list[Started]:
        return [record for record in self.runs().values() if record.parent_id is None]

    def runs(self) -> dict[int, Started]:
        return {int(record.span_id, 16): record for record in self.seen if isinstance(record, Started)}

    def _users(self) -> dict[int, ReadableSpan]:
        return {span.context.span_id: span for span in self.spans() if span.instrumentation_scope.name in USERS}


def _owner(span: ReadableSpan, users: dict[int, ReadableSpan], runs: dict[int, Started]) -> str:
    if span.parent is None:
        return "nobody"
    above = users.get(span.parent.span_id)
    return describe(runs[span.parent.span_id]) if above is None else f"span {above.name}"


def _root(span: ReadableSpan, users: dict[int, ReadableSpan], runs: dict[int, Started]) -> str | None:
    """The root of the run that it belongs to, if it was opened in one."""
    while span.parent is not None and span.parent.span_id in users:
        span = users[span.parent.span_id]
    return None if span.parent is None else runs[span.parent.span_id].root_id


def _told(span: ReadableSpan) -> tuple[str, str]:
    scope, attributes = span.instrumentation_scope.name, span.attributes or {}
    if scope == HTTPX:
        return "over HTTP", unquote(urlsplit(str(attributes["http.url"])).path[1:])
    if scope == SQLITE:
        return "in SQL", str(attributes["db.statement"]).partition("-- ")[2]
    return "by hand", span.name


def describe(run: Started) -> str:
    """A run as a test names it: what it is, and what tells it from its twins."""
    given = run.input.value if run.input is not None else None
    number = given.get("n") if run.kind == "node" and isinstance(given, dict) else None
    told = [run.kind, run.name, run.tool_call_id, number, f"attempt {run.attempt}" if run.attempt > 1 else None]
    return " ".join(str(part) for part in told if part is not None)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No word from OpenTelemetry ("Failed to detach context"), none of ours, and no complaint of asyncio's."""
    ours = ("opentelemetry", "langgraph_observe")
    for logger in ours:
        caplog.set_level(logging.DEBUG, logger)
    yield
    said = [record for phase in ("setup", "call") for record in caplog.get_records(phase)]
    # that a model has no known price is told once, as information, and by a thread that may be another test's
    loud = [record for record in said if record.name.startswith(ours[0]) or record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in loud] == []


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with service() as port:
        yield port


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(verify=False) as client:
        yield client


@pytest.fixture(params=["spans", "ids"])
def bench(request: pytest.FixtureRequest, port: int, client: httpx.Client) -> Iterator[Bench]:
    token = otel.attach(otel.Context())  # and what a test leaves in the context is not left to the next
    with (bench := Bench(request.param, port=port, client=client)).instrumented():
        yield bench
    bench.observer.close()
    otel.detach(token)


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def service() -> Iterator[int]:
    """The port of a service on the loopback that answers everybody."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()
