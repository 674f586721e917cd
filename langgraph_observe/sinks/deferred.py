"""Deferred(sink): a bounded queue and one thread, so that a slow sink costs the agent a queue's put.

The queue is `queue.SimpleQueue`, whose put is reentrant: a callback may come out of the garbage collector (an abandoned
generator) in the middle of any other put. `queue.Queue`, `threading.Event` and prometheus_client's locks are not, and
would deadlock there.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langgraph_observe.records import Record, Sink

log: Final = logging.getLogger("langgraph_observe")


class Deferred:
    """Hand records to `sink` on a thread of its own, in order, in batches.

    A sink with a method `write(records)` gets each batch whole; any other gets one record at a time.
    What does not fit the queue is dropped, counted in `dropped` and logged once. What the sink raises is counted in
    `errors` and logged once per kind. Survives a fork: the child starts an empty queue and a thread of its own.
    No log line is written on the agent's thread: a handler may wait, or hold a lock that is not reentrant.
    """

    def __init__(
        self, sink: Sink, *, capacity: int = 20_000, batch: int = 512, interval: float = 0.1, name: str | None = None
    ) -> None:
        """`capacity` in records; `interval` in seconds: how long a record may wait for company."""
        self.name = name or getattr(sink, "__qualname__", None) or type(sink).__name__
        self.dropped = 0
        self.errors = 0
        self._sink = sink
        self._write: Callable[[Sequence[Record]], object] | None = getattr(sink, "write", None)
        self._capacity, self._batch, self._interval = capacity, batch, interval
        self._logged: set[type[BaseException]] = set()
        self._told = False
        self._closed = False
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_weakly(self))

    def _reset(self) -> None:
        self._queue: queue.SimpleQueue[Record | threading.Event] = queue.SimpleQueue()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def __call__(self, record: Record) -> None:
        """Queue a record. Never waits, never raises."""
        if self._closed or self._queue.qsize() >= self._capacity:
            self.dropped += 1
            if not self._told:
                self._told = True
                self._spawn(self._tell, "log")
            return
        self._queue.put(record)
        if self._thread is None:
            self._start()

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):  # somebody is at it, perhaps this thread, below on its stack
            return
        try:
            if self._thread is None or not self._thread.is_alive():
                self._thread = self._spawn(self._run, "sink")
        finally:
            self._starting.release()

    def _spawn(self, target: Callable[[], None], job: str) -> threading.Thread | None:
        thread = threading.Thread(target=target, name=f"langgraph-observe-{job}-{self.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # "can't start new thread", or the interpreter is going down: flush() drains by itself
            return None
        return thread

    def _tell(self) -> None:
        log.warning("the queue of %s is full or closed: records are dropped and counted", self.name)

    def _run(self) -> None:
        source, hurry = self._queue, self._hurry
        while source is self._queue:
            first = source.get()
            if not isinstance(first, threading.Event):
                hurry.wait(self._interval)
            self._drain(first)
            if self._closed and source.empty():
                return

    def _drain(self, first: Record | threading.Event | None) -> None:
        batch: list[Record] = []
        item = first
        while True:
            if isinstance(item, threading.Event):
                self._deliver(batch)
                batch = []
                item.set()
            elif item is not None:
                batch.append(item)
                if len(batch) >= self._batch:
                    self._deliver(batch)
                    batch = []
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        self._deliver(batch)

    def _deliver(self, batch: list[Record]) -> None:
        if not batch:
            return
        if self._write is not None:
            self._guarded(self._write, batch, len(batch))
        else:
            for record in batch:
                self._guarded(self._sink, record, 1)

    def _guarded(self, call: Callable[..., object], argument: object, count: int) -> None:
        try:
            call(argument)
        except BaseException as error:  # a SystemExit, too, would end the thread and lose all that follows
            self.errors += count
            self._log_once(type(error), "%s failed and its records are lost, counted: %s", self.name, type(error).__name__)

    def _log_once(self, kind: type[BaseException], message: str, *arguments: object) -> None:
        if kind not in self._logged:
            self._logged.add(kind)
            log.warning(message, *arguments)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was queued before now is delivered. False after `timeout` seconds, and at once inside the sink."""
        if self._thread is threading.current_thread():
            return False
        if not self._runs():
            if self._queue.empty():
                return True
            self._start()
            if not self._runs():
                self._drain(None)
                return True
        done = threading.Event()
        self._queue.put(done)
        self._hurry.set()
        try:
            return done.wait(timeout)
        finally:
            self._hurry.clear()

    def close(self, timeout: float = 5.0) -> None:
        """Flush and end the thread. What comes later is counted as dropped. A second call does nothing."""
        deadline = time.monotonic() + timeout
        self.flush(timeout)
        self._closed = True
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._queue.put(threading.Event())
            thread.join(max(0.0, deadline - time.monotonic()))

    def _runs(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def health(self) -> dict[str, int]:
        """Counts since the start: queued now, dropped, errors."""
        return {"queued": self._queue.qsize(), "dropped": self.dropped, "errors": self.errors}


def _weakly(deferred: Deferred) -> Callable[[], None]:
    """A fork hook cannot be taken back, so it must not keep the Deferred alive."""
    reference = weakref.ref(deferred)

    def reset() -> None:
        if (alive := reference()) is not None:
            alive._reset()  # noqa: SLF001 - the same file's class

    return reset
