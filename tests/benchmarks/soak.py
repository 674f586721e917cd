"""Hours of an application in minutes: runs of every kind, and faults in every sink. Fails if memory grows or something stays open.

    python tests/benchmarks/soak.py [--minutes 10] [--runs 0] [--limit 2]

Every sink is on, and beside them sinks that raise, are slow, or do not come to an end; the disk of a second store fills up,
a second backend answers 500, and the log raises. Prints the memory, the open runs and what was dropped over time; the store's
file is bounded, so what grows is ours. `--limit` is megabytes per 1,000 runs, over the second half.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import logging
import os
import sqlite3
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from contextvars import Context
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from arms import SINKS
from received import Received
from rivals import KEYS
from workloads import aloop, asked, conversation, crowd, mixed, streaming, threads

from langgraph_observe import Observer
from langgraph_observe.sinks import langfuse, store
from langgraph_observe.sinks.deferred import Deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langgraph_observe import Sink


# -- faults


class Raising:
    """Every third record is too much for it."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def __call__(self, record: object) -> None:
        if next(self._numbers) % 3 == 0:
            message = "a sink of the application's own is broken"
            raise ValueError(message)


class Slow:
    """Waits, on a thread of its own, and cannot keep up."""

    def __init__(self) -> None:
        self._deferred: Deferred[Any] = Deferred(self._wait, capacity=100, name="slow")
        self.health, self.close = self._deferred.health, self._deferred.close

    def __call__(self, record: object) -> None:
        self._deferred(record)

    def _wait(self, record: object) -> None:
        time.sleep(0.1)


def full_disk(folder: Path) -> Sink:
    """A store whose file may not grow: to SQLite that is a full disk."""
    sink = store.Store(folder / "full.db", keep_bytes=None)
    write, writer = sink._writer.write, sink._writer

    def limited(batch: Sequence[Any]) -> object:
        if (file := getattr(writer, "_db", None)) is not None:
            with suppress(sqlite3.Error):
                file.execute("PRAGMA max_page_count = 40")
        return write(batch)

    sink._deferred._write = limited
    return sink


class Failing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(500)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


def backend_500(stack: ExitStack) -> Sink:
    server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Failing))
    Thread(target=server.serve_forever, daemon=True).start()
    stack.callback(server.shutdown)
    return langfuse.Traces(**KEYS, base_url=f"http://127.0.0.1:{server.server_address[1]}", timeout=1)


# -- what runs


def cancelled(watch: Any) -> Callable[[], Any]:
    """A task that is given up while its agent runs, and a stream that is closed."""
    loop, told = aloop(watch), watch(streaming(20, on_loop=True))

    async def both() -> None:
        task = asyncio.create_task(loop())
        await asyncio.sleep(0.005)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        stream = told.astream(asked(), stream_mode="messages")
        await anext(stream)
        await stream.aclose()

    return both


def scenarios(watch: Any) -> Iterator[tuple[int, Callable[[], Any]]]:
    """How many runs each is, and how it is done. Forever."""
    run, talk, together, away = mixed(watch), conversation(watch, 100), crowd(watch, 20), cancelled(watch)
    many = threads(watch, 4, 2)
    with asyncio.Runner() as runner:
        for number in itertools.count():
            yield 20, lambda: [Context().run(run, one) for one in range(20)]
            yield 1, talk
            yield 2, lambda: runner.run(away(), context=Context())
            if number % 10 == 0:
                yield 20, lambda: runner.run(together(), context=Context())
                yield 8, many


# -- what is looked at


def resident() -> float:
    """Megabytes."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def observed(stack: ExitStack, folder: Path) -> Observer:
    """Every sink, and every sink at fault."""
    good: list[Any] = [make(Received())[0] for name, make in SINKS.items() if name != "store"]
    good.append(store.Store(folder / "traces.db", keep_bytes=32_000_000))
    return stack.enter_context(Observer(*good, Raising(), Slow(), full_disk(folder), backend_500(stack)))


def soaked(minutes: float, least: int, say: Callable[[str], None]) -> tuple[list[tuple[int, float]], dict[str, dict[str, int]]]:
    """Runs and megabytes over time, and the health at the end."""
    seen: list[tuple[int, float]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True)))
        observer = observed(stack, folder)
        begun, runs, looked = time.monotonic(), 0, 0.0
        for count, work in scenarios(observer.watch):
            work()
            runs += count
            passed = time.monotonic() - begun
            if passed - looked >= min(10.0, 60 * minutes / 10):
                looked = passed
                seen.append((runs, resident()))
                say(f"{passed:6.0f} s  {runs:8,} runs  {seen[-1][1]:7.1f} MB  {_short(observer.health())}")
            if passed > 60 * minutes and runs >= least:
                break
        observer.flush(30)
        gc.collect()
        return seen, observer.health()


def _short(health: dict[str, dict[str, int]]) -> str:
    kept = {
        name: {key: n for key, n in counts.items() if n and key in ("open", "queued", "dropped", "lost", "errors")}
        for name, counts in health.items()
    }
    return "  ".join(f"{name} " + ", ".join(f"{key} {n:,}" for key, n in counts.items()) for name, counts in kept.items() if counts)


def slope(seen: Sequence[tuple[int, float]]) -> float:
    """Megabytes per 1,000 runs, over the second half: caches are full by then."""
    from statistics import linear_regression

    half = seen[len(seen) // 2 :]
    return 1000 * linear_regression([runs for runs, _ in half], [size for _, size in half]).slope if len(half) > 1 else 0.0


def verdict(seen: Sequence[tuple[int, float]], health: dict[str, dict[str, int]], limit: float) -> list[str]:
    """What is wrong, in words."""
    wrong = [f"{health['capture']['open']} runs are open"] if health["capture"]["open"] else []
    if (grows := slope(seen)) > limit:
        wrong.append(f"{grows:.2f} MB per 1,000 runs")
    silent = [name for name, counts in health.items() if name.endswith(("Raising", "Slow", "#2")) and not any(counts.values())]
    return [*wrong, *(f"{name} failed and counts nothing" for name in silent)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Soak, and say how it was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--runs", type=int, default=0, help="at least so many, however long it takes")
    parser.add_argument("--limit", type=float, default=2.0)
    options = parser.parse_args(arguments)
    logging.disable()
    seen, health = soaked(options.minutes, options.runs, lambda line: print(line, flush=True))  # noqa: T201 - for whoever runs this
    wrong = verdict(seen, health, options.limit)
    print(f"{slope(seen):.2f} MB per 1,000 runs; " + ("; ".join(wrong) or "nothing is open, every fault is counted"))  # noqa: T201
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
