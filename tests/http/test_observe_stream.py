"""`observe_stream`: what is streamed where there is no ASGI. As it is, and with the runs that it is made of."""

import asyncio
import contextlib
import gc
from threading import Thread
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest
from langgraph.graph import START, StateGraph
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from web import ending, observing, streams, until

from langgraph_observe import Observer, testing
from langgraph_observe.capture.served import observe_stream
from langgraph_observe.sinks.otel import Spans
from langgraph_observe.testing import tree


@pytest.fixture(autouse=True)
def strict():
    with testing.strict():
        yield


class Pieces:
    """An iterator that is no generator."""

    def __init__(self, way, *pieces, error=None):
        self.left, self.closed = list(pieces), False
        self.error = error or (StopIteration if way == "sync" else StopAsyncIteration)

    def take(self):
        if self.left:
            return self.left.pop(0)
        raise self.error

    def closes(self):
        self.closed = True


class Sync(Pieces):
    def __iter__(self):
        return self

    __next__ = Pieces.take
    close = Pieces.closes


class Async(Pieces):
    def __aiter__(self):
        return self

    async def __anext__(self):
        return self.take()

    async def aclose(self):
        self.closes()


def given(way, *pieces, **more):
    return (Sync if way == "sync" else Async)(way, *pieces, **more)


async def drawn(way, stream):
    return list(stream) if way == "sync" else [piece async for piece in stream]


async def first(way, stream):
    """The first piece, and the stream is closed."""
    piece = next(stream) if way == "sync" else await anext(stream)
    stream.close() if way == "sync" else await stream.aclose()
    return piece


def made(pieces, **options):
    observer, records = observing()
    return observe_stream(pieces, observer=observer, **options), records


WAYS = pytest.mark.parametrize("way", ["sync", "async"])


@WAYS
async def test_the_pieces_are_the_same_and_are_counted(way):
    pieces = [object(), object(), object()]
    stream, records = made(given(way, *pieces), name="/chat")
    assert await drawn(way, stream) == pieces
    [end] = streams(records)
    assert (end.run.name, ending(end), end.stream.pieces, end.stream.kinds) == ("/chat", "completed", 3, {})
    assert end.first_token_seconds is not None


@WAYS
async def test_an_event_stream_is_read(way):
    stream, records = made(given(way, "event: a\n", b"data: \xff\n\n", ": hm\n\ndata: ü\n\n"), sse=True)
    assert await drawn(way, stream) == ["event: a\n", b"data: \xff\n\n", ": hm\n\ndata: ü\n\n"]
    told = streams(records)[0].stream
    assert (told.pieces, told.kinds, told.keepalives, told.bytes) == (2, {"a": 1, "message": 1}, 1, 34)


@WAYS
async def test_who_closes_it_early_has_left(way):
    pieces = given(way, 1, 2)
    stream, records = made(pieces)
    assert await first(way, stream) == 1
    assert pieces.closed
    assert ending(*streams(records)) == "client_disconnect"


@WAYS
async def test_an_error_is_the_makers_and_goes_on_to_the_reader(way):
    failure = ValueError("of the maker's own")
    stream, records = made(given(way, 1, error=failure))
    with pytest.raises(ValueError, match="own") as raised:
        await drawn(way, stream)
    assert raised.value is failure
    [end] = streams(records)
    assert (end.outcome, end.failure.type, end.stream.pieces) == ("error", "ValueError", 1)


@WAYS
async def test_a_stream_that_nobody_reads_is_none(way):
    stream, records = made(given(way, 1))
    await stream.aclose() if way == "async" else stream.close()
    assert records == []


async def test_a_reader_that_is_cancelled():
    async def slow():
        yield 1
        await asyncio.Event().wait()

    stream, records = made(slow())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(drawn("async", stream), 0.01)
    assert ending(*streams(records)) == "task_cancelled"


def test_a_stream_that_is_forgotten_ends_with_the_garbage():
    stream, records = made([1, 2])
    next(stream)
    del stream
    gc.collect()
    assert ending(*streams(records)) == "client_disconnect"


def counting(observer):
    builder = StateGraph(dict)
    builder.add_node("one", lambda _: {"n": 1})
    builder.add_edge(START, "one")
    return observer.watch(builder.compile(name="counting"))


@WAYS
async def test_a_graph_inside_is_its_child_and_one_between_two_pieces_is_not(way):
    observer, records = observing()
    graph = counting(observer)
    if way == "sync":
        for _ in observe_stream((chunk for chunk in graph.stream({})), observer=observer):
            graph.invoke({})
    else:
        async for _ in observe_stream((chunk async for chunk in graph.astream({})), observer=observer):
            await graph.ainvoke({})
    lines = tree(records).splitlines()
    assert lines[:3] == ["stream stream ok", "  graph counting ok", "    node one ok"]
    assert lines[3:] == ["graph counting ok", "  node one ok"] * (len(lines[3:]) // 2)
    assert len(lines) > 3


@WAYS
async def test_between_two_pieces_the_readers_span_is_its_own(way):
    provider = TracerProvider()
    tracer = provider.get_tracer("app")
    inside, between = [], []

    def current():
        return trace.get_current_span().get_span_context().span_id

    async def amade():
        for number in (1, 2):
            inside.append(current())
            yield number

    def smade():
        for number in (1, 2):
            inside.append(current())
            yield number

    observer = Observer(Spans(tracer_provider=provider))
    with tracer.start_as_current_span("reader") as reader:
        stream = observe_stream(smade() if way == "sync" else amade(), observer=observer)
        for _ in (1, 2):
            next(stream) if way == "sync" else await anext(stream)
            between.append(current())
        await drawn(way, stream)
        between.append(current())
        mine = reader.get_span_context().span_id
    assert between == [mine] * 3
    assert len(set(inside)) == 1
    assert inside[0] != mine


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def test_a_wsgi_application_streams_events():
    observer, records = observing()

    def app(environ, start_response):
        start_response("200 OK", [("content-type", "text/event-stream")])
        endless = environ["PATH_INFO"] == "/endless"
        body = (b"data: x\n\n" * 500 for _ in range(100_000 if endless else 3))
        return observe_stream(body, name=environ["PATH_INFO"], sse=True, observer=observer)

    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert httpx.get(f"{url}/three").text.count("data") == 1_500
        with contextlib.closing(httpx.Client()) as client, client.stream("GET", f"{url}/endless") as response:
            next(response.iter_bytes())
        ends = until(lambda: len(streams(records)) == 2 and streams(records))
        server.shutdown()
        thread.join()
    assert [ending(end) for end in ends] == ["completed", "client_disconnect"]
    assert ends[0].stream.pieces == 1_500
