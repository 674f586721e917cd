"""Many streams at once, very long ones, and a client that never reads."""

import asyncio
import socket
import time
import tracemalloc
from collections import Counter

import pytest
from asgi import Visit, streaming
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from web import ending, observing, served, streams, until

from langgraph_observe import testing
from langgraph_observe.capture.http import StreamMiddleware


@pytest.fixture(autouse=True)
def strict():
    with testing.strict():
        yield


async def test_a_thousand_streams_of_which_half_are_dropped():
    observer, records = observing()
    everybody = asyncio.Barrier(1_000)

    async def together(scope, receive, send):
        await everybody.wait()
        if int(scope["path"][1:]) % 2:
            await receive()
            await receive()
        else:
            await send({"type": "http.response.body", "body": b"data: 2\n\n", "more_body": True})

    app = StreamMiddleware(streaming(b"data: 1\n\n", then=together), observer=observer)
    visits = [Visit(f"/{number}") for number in range(1_000)]
    for visit in visits[1::2]:
        visit.left.set()
    await asyncio.gather(*(visit.of(app) for visit in visits))
    assert Counter(ending(end) for end in streams(records)) == {"completed": 500, "client_disconnect": 500}
    assert Counter(end.stream.pieces for end in streams(records)) == {1: 500, 2: 500}
    assert (len(observer.tracker), len(app._open)) == (0, 0)


async def test_a_hundred_thousand_events_take_no_memory():
    observer, records = observing()

    async def many(scope, receive, send):
        for _ in range(25_000):
            await send({"type": "http.response.body", "body": b"event: a\ndata: 1\n\n: hm\n\ndata: 2\n\n" * 2, "more_body": True})

    class Forgetful(Visit):
        async def send(self, message):
            pass

    tracemalloc.start()
    try:
        await Forgetful().of(StreamMiddleware(streaming(then=many), observer=observer))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    told = streams(records)[0].stream
    assert (told.pieces, told.kinds, told.keepalives) == (100_000, {"a": 50_000, "message": 50_000}, 50_000)
    assert (told.timeline[-1][1], len(told.timeline) <= 64) == (100_000, True)
    assert most < 500_000


def test_a_client_that_never_reads_holds_the_application_back_and_nothing_is_buffered():
    observer, records = observing()
    made = Counter()
    app = FastAPI()
    app.add_middleware(StreamMiddleware, observer=observer)

    async def frames():
        while True:
            made["frames"] += 1
            yield b"data: " + b"x" * 65_536 + b"\n\n"
            await asyncio.sleep(0)  # or it would not hear that the client has left

    @app.get("/endless")
    async def endless():
        return StreamingResponse(frames(), media_type="text/event-stream")

    with served(app) as url:
        place = ("127.0.0.1", int(url.rpartition(":")[2]))
        with socket.create_connection(place) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            client.sendall(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
            standing = until(lambda: stands_still(made))
        [end] = until(lambda: streams(records))
    assert ending(end) == "client_disconnect"
    assert 0 < end.stream.pieces <= made["frames"]
    assert standing < 1_000


def stands_still(made, seconds=0.3):
    """How many frames were made, once no more are."""
    before = made["frames"]
    time.sleep(seconds)
    return before if before and made["frames"] == before else None
