"""The middleware leaves everything as it is: bytes, order, exceptions, waiting. And it says of a response what a server would."""

import asyncio
from contextvars import copy_context

import pytest
from asgi import Visit, streaming
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import START, StateGraph
from web import SSE, ending, observing, streams

from langgraph_observe import Observer, testing
from langgraph_observe.capture.http import StreamMiddleware
from langgraph_observe.capture.served import serving
from langgraph_observe.capture.sse import Events
from langgraph_observe.capture.tracker import Tracker
from langgraph_observe.records import Failure
from langgraph_observe.sinks.gen_ai import error_type
from langgraph_observe.testing import tree

JSON = [(b"content-type", b"application/json")]


@pytest.fixture(autouse=True)
def strict():
    with testing.strict():
        yield


def watched(app, **options):
    observer, records = observing()
    return StreamMiddleware(app, observer=observer, **options), records


def grapher(observer):
    builder = StateGraph(dict)
    builder.add_node("one", lambda _: {})
    builder.add_edge(START, "one")
    return observer.watch(builder.compile())


async def visited(app, **request):
    """The visit, and the one response that was recorded."""
    seen, records = watched(app)
    visit = await Visit(**request).of(seen)
    [end] = streams(records)
    return visit, end


@given(parts=st.lists(st.binary(max_size=20), max_size=10))
async def test_every_message_goes_through_as_it_is_and_in_its_place(parts):
    seen, records = watched(streaming(*parts))
    bare, through = await Visit().of(streaming(*parts)), await Visit().of(seen)
    assert through.sent == bare.sent
    [end] = streams(records)
    assert (ending(end), end.stream.bytes) == ("completed", sum(map(len, parts)))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_a_part_may_be_any_buffer(kind):
    part = kind(b"data: 1\n\n")
    visit, end = await visited(streaming(part))
    assert visit.sent[1]["body"] is part
    assert end.stream.pieces == 1


@pytest.mark.parametrize(("headers", "status"), [(JSON, 200), ([], 204), ([(b"content-type", b"text/event-streams")], 200)])
async def test_what_is_no_event_stream_is_no_run(headers, status):
    seen, records = watched(streaming(b"data: 1\n\n", headers=headers, status=status))
    visit = await Visit().of(seen)
    assert (visit.body, records) == (b"data: 1\n\n", [])


@pytest.mark.parametrize("told", [b"text/event-stream", b"Text/Event-Stream ; charset=utf-8"])
async def test_an_event_stream_is_known_by_its_content_type(told):
    _, end = await visited(streaming(b"data: 1\n\n", headers=[(b"Content-Type", told)]))
    assert end.run.metadata == {"http.request.method": "GET", "http.response.status_code": 200}
    assert (end.run.kind, end.run.name) == ("stream", "unmatched")


async def test_a_client_that_comes_again_is_known_by_its_header():
    _, end = await visited(streaming(b"data: 1\n\n"), headers=[("Last-Event-ID", "7")])
    assert end.stream.resumed
    _, end = await visited(streaming(b"data: 1\n\n"))
    assert not end.stream.resumed


async def test_a_compressed_body_is_not_read():
    _, end = await visited(streaming(b"data: 1\n\n", headers=[*SSE, (b"content-encoding", b"br")]))
    assert (end.stream.pieces, end.stream.kinds, end.stream.keepalives) == (1, {}, None)


async def test_the_applications_own_exception_reaches_the_server():
    async def fail(*_):
        raise failure

    failure = RuntimeError("of the application's own")
    seen, records = watched(streaming(b"data: 1\n\n", then=fail))
    with pytest.raises(RuntimeError) as raised:
        await Visit().of(seen)
    assert raised.value is failure
    [end] = streams(records)
    assert (end.outcome, end.failure.type) == ("error", "RuntimeError")


async def test_an_error_after_the_last_body_is_an_error():
    """FastAPI's own event streams end properly, and then tell that they failed."""

    async def app(scope, receive, send):
        await streaming(b"data: 1\n\n")(scope, receive, send)
        raise ExceptionGroup("unhandled errors in a TaskGroup", [ValueError("x")])

    seen, records = watched(app)
    with pytest.raises(ExceptionGroup):
        await Visit().of(seen)
    [end] = streams(records)
    assert (end.outcome, end.failure.type) == ("error", "ValueError")


async def test_a_server_that_says_so_when_the_client_is_gone():
    """ASGI 2.4: `send` fails, and the application makes of that what it likes."""
    seen, records = watched(streaming(b"data: 1\n\n", b"data: 2\n\n"))
    with pytest.raises(OSError, match="not there"):
        await Visit(refuses=2).of(seen)
    [end] = streams(records)
    assert (ending(end), end.stream.pieces) == ("client_disconnect", 1)


async def test_what_is_left_unsaid_after_the_client_is_gone_does_not_complete_the_response():
    visit = Visit()

    async def leave(scope, receive, send):
        await receive()
        visit.left.set()
        assert (await receive())["type"] == "http.disconnect"

    seen, records = watched(streaming(b"data: 1\n\n", then=leave))
    await visit.of(seen)
    [end] = streams(records)
    assert ending(end) == "client_disconnect"
    assert error_type(end) is None  # for OpenTelemetry no error: nobody's fault


async def test_a_task_that_is_cancelled_is_that():
    async def wait(*_):
        await asyncio.Event().wait()

    seen, records = watched(streaming(b"data: 1\n\n", then=wait))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Visit().of(seen), 0.01)
    assert ending(*streams(records)) == "task_cancelled"


async def test_what_goes_on_after_the_response_is_not_a_part_of_how_it_ended():
    async def app(scope, receive, send):
        await streaming(b"data: 1\n\n")(scope, receive, send)
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await asyncio.Event().wait()

    seen, records = watched(app)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Visit().of(seen), 0.01)
    assert ending(*streams(records)) == "completed"


async def test_a_shutdown_ends_what_is_open_and_only_once():
    streaming_now, go = asyncio.Event(), asyncio.Event()

    async def wait(*_):
        streaming_now.set()
        await go.wait()

    seen, records = watched(streaming(b"data: 1\n\n", then=wait))
    visit = asyncio.create_task(Visit().of(seen))
    await streaming_now.wait()

    async def lifespan(scope, receive, send):
        assert await receive() == {"type": "lifespan.shutdown"}

    async def shutdown():
        return {"type": "lifespan.shutdown"}

    seen._app, app = lifespan, seen._app
    await seen({"type": "lifespan"}, shutdown, None)
    seen._app = app
    assert ending(*streams(records)) == "server_shutdown"
    go.set()
    await visit
    assert len(streams(records)) == 1


async def test_added_twice_it_tells_once():
    observer, records = observing()
    app = StreamMiddleware(StreamMiddleware(streaming(b"data: 1\n\n"), observer=observer), observer=observer)
    await Visit().of(app)
    assert len(streams(records)) == 1


async def test_each_observer_has_its_own():
    (one, first), (two, second) = observing(), observing()
    await Visit().of(StreamMiddleware(StreamMiddleware(streaming(b"data: 1\n\n"), observer=one), observer=two))
    assert [len(streams(records)) for records in (first, second)] == [1, 1]


async def test_each_observer_finds_its_own_graphs_inside_of_its_own_stream():
    (one, first), (two, second) = observing(), observing()
    graphs = grapher(one), grapher(two)

    async def work(*_):
        for graph in graphs:
            await graph.ainvoke({})

    app = StreamMiddleware(streaming(b"data: 1\n\n", then=work), observer=one)
    await Visit().of(StreamMiddleware(app, observer=two))
    assert tree(first) == tree(second) == "stream unmatched ok\n  graph LangGraph ok\n    node one ok"


async def test_who_observes_nothing_changes_nothing():
    calls = []

    async def app(*arguments):
        calls.append(arguments)

    arguments = ({"type": "http"}, object(), object())
    await StreamMiddleware(app, observer=Observer())(*arguments)
    await StreamMiddleware(app, observer=Observer([].append))({"type": "websocket"}, *arguments[1:])
    assert calls == [arguments, ({"type": "websocket"}, *arguments[1:])]


def broken(*_):
    raise LookupError("of ours")


@pytest.mark.parametrize(("owner", "method", "faults"), [(Events, "feed", 2), (Tracker, "open", 1), (Tracker, "finish", 1)])
async def test_a_fault_of_ours_reaches_nobody_and_is_counted(monkeypatch, owner, method, faults):
    seen, _ = watched(streaming(b"data: 1\n\n", b"data: 2\n\n"))
    monkeypatch.setattr(testing.observer, "strict", False)
    monkeypatch.setattr(owner, method, broken)
    visit = await Visit().of(seen)
    assert visit.body == b"data: 1\n\ndata: 2\n\n"
    assert seen._observer.health()["capture"]["errors"] == faults


async def test_headers_that_are_none_are_the_servers_to_refuse(monkeypatch):
    monkeypatch.setattr(testing.observer, "strict", False)
    seen, records = watched(streaming(b"data: 1\n\n", headers=[("content-type", 7)]))
    visit = await Visit().of(seen)
    assert visit.sent[0]["headers"] == [("content-type", 7)]
    assert (visit.body, records) == (b"data: 1\n\n", [])


async def test_headers_that_can_be_read_only_once_reach_the_server():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": iter(SSE)})
        await send({"type": "http.response.body", "body": b"data: 1\n\n"})

    visit, end = await visited(app)
    assert list(visit.sent[0]["headers"]) == SSE
    assert ending(end) == "completed"


@pytest.mark.parametrize(
    ("status", "expected"),
    [(200, ("ok", "not_streamed", None)), (404, ("ok", "not_streamed", None)), (502, ("error", None, Failure("502", "")))],
)
async def test_a_stream_that_is_expected_and_answered_with_something_else_is_not_completed(status, expected):
    observer, records = observing()
    graph = grapher(observer)

    async def app(scope, receive, send):
        await graph.ainvoke({})
        await streaming(b"{}", headers=JSON, status=status)(scope, receive, send)

    await Visit(headers=[("accept", "text/event-stream")]).of(StreamMiddleware(app, observer=observer))
    [end] = streams(records)
    assert (end.outcome, end.reason, end.failure) == expected
    assert end.stream is None


async def test_an_error_behind_a_status_is_named_by_itself():
    observer, records = observing()
    graph = grapher(observer)

    async def app(scope, receive, send):
        await graph.ainvoke({})
        await streaming(b"{}", headers=JSON, status=500)(scope, receive, send)
        raise LookupError

    with pytest.raises(LookupError):
        await Visit(headers=[("accept", "text/event-stream")]).of(StreamMiddleware(app, observer=observer))
    assert streams(records)[0].failure.type == "LookupError"


class Halt:
    """Stops a coroutine where it is."""

    def __await__(self):
        yield


def test_a_request_that_is_given_up_in_another_context_leaves_that_one_alone():
    async def halt(*_):
        await Halt()

    async def nowhere(_):
        pass

    seen, _ = watched(streaming(b"data: 1\n\n", then=halt))
    request, theirs = seen(Visit().scope, None, nowhere), (object(),)
    begun, other = copy_context(), copy_context()
    begun.run(request.send, None)
    assert begun[serving]
    other.run(serving.set, theirs)
    other.run(request.close)
    assert other[serving] is theirs


async def test_session_and_user_may_be_said_for_all_streams():
    seen, records = watched(streaming(b"data: 1\n\n"), session_id="s", tags=["chat"])
    await Visit().of(seen)
    [end] = streams(records)
    assert (end.run.session_id, end.run.tags) == ("s", ("chat",))
    assert tree(records) == "stream unmatched ok"
    [end] = streams(records)
    assert (end.run.session_id, end.run.tags) == ("s", ("chat",))
    assert tree(records) == "stream unmatched ok"


async def test_what_is_done_after_the_last_piece_takes_no_time_of_the_stream(monkeypatch):
    """Starlette's background tasks run inside of the application's call."""
    observer, records = observing()
    now = [0]
    monkeypatch.setattr(observer.tracker, "now", lambda: now[0])
    monkeypatch.setattr(observer.tracker, "_clock", lambda: now[0])

    async def app(scope, receive, send):
        now[0] += 2_000_000_000
        await streaming(b"data: 1\n\n")(scope, receive, send)
        now[0] += 60_000_000_000

    await Visit().of(StreamMiddleware(app, observer=observer))
    [end] = streams(records)
    assert (ending(end), end.seconds) == ("completed", 2.0)
