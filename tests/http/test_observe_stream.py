"""`observe_stream`: what is streamed where there is no ASGI. As it is, and with the runs that it is made of."""

import asyncio
import contextlib
import contextvars
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
from langgraph_observe.capture.served import observe_stream, serving
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


async def test_a_step_may_be_any_awaitable():
    class Step:
        def __init__(self, left):
            self.left = left

        def __await__(self):
            yield from asyncio.sleep(0).__await__()
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop()

    class Steps:
        def __init__(self):
            self.left = [2, 1]

        def __aiter__(self):
            return self

        def __anext__(self):
            return Step(self.left)

    stream, records = made(Steps())
    async with asyncio.timeout(20):
        assert await drawn("async", stream) == [1, 2]
    assert ending(*streams(records)) == "completed"


@WAYS
@pytest.mark.parametrize("piece", [{"data": "x"}, 10**9, None], ids=str)
async def test_a_piece_that_is_no_part_of_an_event_stream_goes_through_uncounted(monkeypatch, way, piece):
    monkeypatch.setattr(testing.observer, "strict", False)
    observer, records = observing()
    assert await drawn(way, observe_stream(given(way, piece, b"data: 1\n\n"), sse=True, observer=observer)) == [
        piece,
        b"data: 1\n\n",
    ]
    [end] = streams(records)
    assert (end.stream.pieces, observer.health()["capture"]["errors"]) == (1, 1)


def test_a_loop_that_ends_closes_each_generator_once():
    closed, complaints, kept = [], [], []

    async def inner():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(1)

    async def leave():
        asyncio.get_running_loop().set_exception_handler(lambda _, complaint: complaints.append(complaint))
        stream, records = made(inner())
        kept.extend((stream, records))
        await anext(stream)

    asyncio.run(leave())
    assert (closed, complaints) == ([1], [])
    assert ending(*streams(kept[1])) == "client_disconnect"


def test_a_body_that_is_no_iterator_is_closed_as_wsgi_closes_it():
    class Body(list):
        closed = 0

        def close(self):
            self.closed += 1

    body = Body([b"x"])
    assert list(made(body)[0]) == [b"x"]
    assert body.closed == 1


def test_a_stream_that_is_given_up_in_another_context_leaves_that_one_alone():
    class Halting(Async):
        async def __anext__(self):
            await self

        def __await__(self):
            yield

    reading, theirs = drawn("async", made(Halting("async"))[0]), (object(),)
    begun, other = contextvars.copy_context(), contextvars.copy_context()
    begun.run(reading.send, None)
    assert begun[serving]
    other.run(serving.set, theirs)
    other.run(reading.close)
    assert other[serving] is theirs


async def test_two_observers_around_one_another_each_find_their_own_graphs():
    (outer, theirs), (inner, ours) = observing(), observing()
    first, second = counting(outer), counting(inner)

    async def both():
        yield await first.ainvoke({})
        yield await second.ainvoke({})

    await drawn("async", observe_stream(observe_stream(both(), observer=inner), observer=outer))
    assert tree(theirs) == tree(ours) == "stream stream ok\n  graph counting ok\n    node one ok"


def test_a_users_span_that_has_ended_is_current_no_more_where_each_step_has_a_context_of_its_own(caplog):
    """As Starlette runs a generator: each step on a thread, with a copy of the request's context. OpenTelemetry logs that it minds."""
    provider = TracerProvider()
    tracer, seen = provider.get_tracer("app"), []

    def current():
        seen.append(trace.get_current_span().get_span_context().span_id)

    def pieces():
        yield current()
        with tracer.start_as_current_span("inside"):
            yield current()
        yield None
        yield current()

    stream = observe_stream(pieces(), observer=Observer(Spans(tracer_provider=provider)))
    for _ in range(4):
        contextvars.copy_context().run(next, stream)
    before, inside, after = seen
    assert (after == before, inside == before) == (True, False)
    stream.close()


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
