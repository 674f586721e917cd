"""Event streams in the frameworks that people use, servers that serve them on the loopback, and what was recorded."""

import asyncio
import contextlib
import socket
import threading
import time

import anyio
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse as NativeResponse
from fastapi.sse import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.base import BaseHTTPMiddleware

from langgraph_observe import Finished, Observer
from langgraph_observe.capture.http import StreamMiddleware

PATIENCE = 20
KINDS = ("plain", "sse-starlette", "native")
SSE = [(b"content-type", b"text/event-stream; charset=utf-8")]
CASES = ("normal", "error", "sending", "idle")


async def numbers(case):
    """Three events, and then: the end, an error, ever more of them, or nothing any more."""
    for number in (1, 2, 3):
        yield number
    match case:
        case "error":
            raise RuntimeError("secret words")
        case "sending":
            while True:
                yield 4
                await anyio.sleep(0.005)
        case "idle":
            await anyio.sleep_forever()


async def frames(case):
    async for number in numbers(case):
        yield f"event: number\ndata: {number}\n\n"


async def named(case):
    async for number in numbers(case):
        yield {"event": "number", "data": number}


class Through(BaseHTTPMiddleware):
    """What people write to measure requests: it puts every body through a queue of its own."""

    async def dispatch(self, request, call_next):
        return await call_next(request)


def application(*, observer, through=False):
    app = FastAPI()
    if through:
        app.add_middleware(Through)
    app.add_middleware(StreamMiddleware, observer=observer)

    @app.get("/plain/{case}")
    async def plain(case: str):
        return StreamingResponse(frames(case), media_type="text/event-stream")

    @app.get("/sse-starlette/{case}")
    async def starlette(case: str):
        return EventSourceResponse(named(case))

    @app.get("/native/{case}", response_class=NativeResponse)
    async def native(case: str):
        async for number in numbers(case):
            yield ServerSentEvent(data=number, event="number")

    app.add_route("/deaf", Deaf)

    return app


class Deaf(HTTPEndpoint):
    """One event, and it waits for nothing, not even for the client to leave."""

    async def dispatch(self):
        await self.send({"type": "http.response.start", "status": 200, "headers": SSE})
        await self.send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await asyncio.Event().wait()


@contextlib.contextmanager
def served(app, **options):
    """The URL of a uvicorn in a thread of this process."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1, **options)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=asyncio.run, args=[server.serve([listening])], daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


def until(found):
    """What `found` gives as soon as it gives anything."""
    deadline = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.01)
    return result


def streams(records):
    """The responses that have ended."""
    return [record for record in records if isinstance(record, Finished) and record.run.kind == "stream"]


def observing():
    """An Observer, and its records."""
    records = []
    return Observer(records.append), records


def ending(end):
    """How a response ended, as metrics have it."""
    return "completed" if end.outcome == "ok" else end.reason or end.outcome


def resumable(observer):
    """Three events, each with an id, and the client is asked to come again soon."""
    app = FastAPI()
    app.add_middleware(StreamMiddleware, observer=observer)

    @app.get("/numbers")
    async def numbers():
        async def body():
            for number in (1, 2, 3):
                yield f"id: {number}\nretry: 50\nevent: number\ndata: {number}\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    return app
