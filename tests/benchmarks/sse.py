"""What the middleware costs: µs of CPU per event of a stream, and per response that is no stream.

    python tests/benchmarks/sse.py [--repeats 15] [--events 5000]

A bare ASGI application, driven without a server: alone, in our middleware, and in Starlette's BaseHTTPMiddleware, which people
write to measure requests. All are measured in each repeat; the medians are printed. The machine decides what the numbers are:
compare within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from starlette.middleware.base import BaseHTTPMiddleware

from langgraph_observe import Observer
from langgraph_observe.capture.http import StreamMiddleware

if TYPE_CHECKING:
    from collections.abc import Mapping

NONE = "no middleware"
FRAMES = {
    "a token": b"data: hello\n\n",
    "a named token": b'event: messages\r\ndata: {"token": "hello", "n": 17}\r\n\r\n',
    "20 kB": b"event: values\ndata: " + b"x" * 20_000 + b"\n\n",
}
RESPONSES = 500


class Through(BaseHTTPMiddleware):
    """Does nothing."""

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        """On with it."""
        return await call_next(request)


def application(frame: bytes, events: int, content_type: bytes = b"text/event-stream") -> Any:
    """So many frames, as fast as they are taken."""
    start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]}
    part = {"type": "http.response.body", "body": frame, "more_body": True}
    last = {"type": "http.response.body", "body": b"", "more_body": False}

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(start)
        for _ in range(events):
            await send(part)
        await send(last)

    return app


def arms(app: Any, observer: Observer) -> dict[str, Any]:
    """What is compared."""
    return {NONE: app, "StreamMiddleware": StreamMiddleware(app, observer=observer), "BaseHTTPMiddleware": Through(app)}


async def answered(app: Any, times: int) -> float:
    """Seconds of CPU for so many requests."""

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(_: Any) -> None:
        """A socket that takes all."""

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"accept", b"*/*")], "query_string": b"", "root_path": ""}
    before = time.process_time()
    for _ in range(times):
        await app(dict(scope), receive, send)
    return time.process_time() - before


def measure(compared: Mapping[str, Any], repeats: int, times: int, units: int) -> dict[str, float]:
    """The median of each, in µs a unit."""
    samples: dict[str, list[float]] = {name: [] for name in compared}
    with asyncio.Runner() as runner:
        for _ in range(repeats):
            for name, app in compared.items():
                samples[name].append(runner.run(answered(app, times)) * 1e6 / units)
    return {name: statistics.median(several) for name, several in samples.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--events", type=int, default=5_000)
    options = parser.parse_args()
    observer = Observer(lambda _: None, process=[])
    works = {f"µs an event: {name}": (application(frame, options.events), 1, options.events) for name, frame in FRAMES.items()}
    works["µs a response: JSON"] = (application(b"{}", 1, b"application/json"), RESPONSES, RESPONSES)
    table = Table("", *arms(None, observer), "ours over none", "theirs over none", "theirs / ours")
    for name, (app, times, units) in works.items():
        costs = measure(arms(app, observer), options.repeats, times, units)
        none, ours, theirs = costs.values()
        over = (ours - none, theirs - none)
        table.add_row(name, *(f"{cost:.2f}" for cost in (*costs.values(), *over)), f"{over[1] / over[0]:.1f}")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
