"""Deferred(sink): a bounded queue and one thread, so that a slow sink costs the agent a queue's put.

The queue is `queue.SimpleQueue`, whose put is reentrant: a callback may come out of the garbage collector (an abandoned
generator) in the middle of any other put. `queue.Queue`, `threading.Event` and prometheus_client's locks are not, and
would deadlock there.
"""

from __future__ import annotations

import atexit
import logging
import os
import queue
import threading
import time
import weakref
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)
log: Final = logging.getLogger("langgraph_observe")
EXIT: Final = 5.0
"""Seconds that all exit hooks have together, from the first of them on."""
TURN: Final = 0.0005
"""Seconds that a sink's thread works at a time. An event loop that wants the interpreter would else wait for
`sys.getswitchinterval()`, 5 ms, and for every sink's thread in turn."""
PAUSE: Final = 0.00005
"""Seconds that it then stands back: long enough for who waits to wake up, where `sleep(0)` is over before."""
LAST: Final = 0.1
"""Seconds that a hook has at least, for what is quick once the queue is empty: to close, to say what is lost."""


def in_turns(items: Iterable[T]) -> Iterator[T]:
    """The items, for a thread that lets others have the interpreter now and then."""
    began = time.perf_counter()
    for item in items:
        yield item
        if time.perf_counter() - began > TURN:
            time.sleep(PAUSE)
            began = time.perf_counter()


class Batches(Protocol[T_contra]):
    """A sink that takes batches."""

    def write(self, batch: Sequence[T_contra], /) -> object:
        """Take a batch, whole."""


class Deferred(Generic[T]):
    """Hand items, as a rule records, to `sink` on a thread of its own, in order, in batches.

    A sink with a method `write(batch)` gets each batch whole; any other gets one item at a time.
    What does not fit the queue is dropped, counted in `dropped` and logged once. What the sink raises is counted in
    `errors` and logged once per kind. Survives a fork: the child starts an empty queue and a thread of its own.
    No log line is written on the agent's thread: a handler may wait, or hold a lock that is not reentrant.

    The thread starts with the first item and ends when none has come for a while, so that a Deferred which nobody closes is
    collected in the end. What waits when the process ends is delivered, in `EXIT` seconds for all of them together.
    """

    def __init__(
        self,
        sink: Callable[[T], object] | Batches[T],
        *,
        capacity: int = 20_000,
        batch: int = 512,
        interval: float = 0.1,
        idle: float = 10.0,
        name: str | None = None,
    ) -> None:
        """`capacity` in items; in seconds, `interval`: how long one may wait for company, `idle`: how long the thread for one."""
        self.name = name or getattr(sink, "__qualname__", None) or type(sink).__name__
        self.dropped = 0
        self.errors = 0
        self._one: Callable[[T], object] | None = sink if callable(sink) else None
        self._write: Callable[[Sequence[T]], object] | None = getattr(sink, "write", None)
        self._capacity, self._batch, self._interval, self._idle = capacity, batch, interval, idle
        self._logged: set[type[BaseException]] = set()
        self._told = False
        self._closed = False
        self._reset()
        _living.add(self)
        _at_every_exit()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_weakly(self))

    def _reset(self) -> None:
        self._queue: queue.SimpleQueue[T | threading.Event] = queue.SimpleQueue()
        self._asked: set[threading.Event] = set()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def __call__(self, item: T) -> None:
        """Queue an item. Never waits, never raises."""
        waiting = self._queue
        if self._closed or waiting.qsize() >= self._capacity:
            self._drop()
            return
        waiting.put(item)
        if self._thread is None:  # a thread that ends says so first and looks into the queue then: one of the two sees the other
            self._start()

    def _drop(self) -> None:
        self.dropped += 1
        if not self._told:
            self._told = True
            _spawned(self._thread_of(self._tell, "log"))

    def _start(self) -> None:
        """Start the thread unless there is one. Who finds somebody at it leaves: that one looks again when it is done."""
        while self._thread is None and self._starting.acquire(blocking=False):  # somebody may be this thread, below on its stack
            try:
                if self._thread is None:
                    self._thread = thread = self._thread_of(self._run, "sink")
                    if not _spawned(thread):  # flush() drains by itself
                        self._thread = None
                        return
            finally:
                self._starting.release()

    def _thread_of(self, target: Callable[[], None], job: str) -> threading.Thread:
        return threading.Thread(target=target, name=f"langgraph-observe-{job}-{self.name}", daemon=True)

    def _tell(self) -> None:
        log.warning("the queue of %s is full or closed: records are dropped and counted", self.name)

    def _run(self) -> None:
        source = self._queue
        try:
            while self._turn(source):
                pass
        finally:
            if source is self._queue:  # else the sink has forked, and this is the child
                self._thread = None
                if not source.empty():
                    self._start()

    def _turn(self, source: queue.SimpleQueue[T | threading.Event]) -> bool:
        """Wait for an item and for its company, and deliver. False if the thread may end. Keeps nothing while it waits."""
        try:
            first = source.get(timeout=self._idle)
        except queue.Empty:
            return False
        if not isinstance(first, threading.Event):
            self._hurry.wait(self._interval)
        self._hurry.clear()  # before: who is in a hurry from now on is either in the queue already or heard next time
        self._drain(first)
        return source is self._queue and not (self._closed and source.empty())

    def _drain(self, first: T | threading.Event | None) -> None:
        batch: list[T] = []
        item = first
        while True:
            if isinstance(item, threading.Event):
                self._asked.discard(item)
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

    def _deliver(self, batch: list[T]) -> None:
        if not batch:
            return
        if self._write is not None:
            self._guarded(self._write, batch, len(batch))
        elif self._one is not None:
            # who is behind works on: agents that leave nothing over would else have it drop what it could have delivered
            for item in in_turns(batch) if self._queue.qsize() < self._batch else batch:
                self._guarded(self._one, item, 1)

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
        """Wait until all that was queued before now is delivered.

        False after `timeout` seconds, and at once inside the sink; at once, too, after `close`, which has waited already.
        """
        if self._thread is threading.current_thread():
            return False
        return self.hurry().wait(0.0 if self._closed else timeout)

    def hurry(self) -> threading.Event:
        """Have all that was queued before now delivered soon. The event is set when it is."""
        done = threading.Event()
        if self._thread is None and self._queue.empty():
            done.set()
            return done
        self._asked.add(done)
        self._queue.put(done)
        if self._thread is None:
            self._start()
        self._hurry.set()
        if self._thread is None:  # there are no threads to be had
            self._drain(None)
        return done

    def close(self, timeout: float = 5.0) -> None:
        """Flush and end the thread. What comes later is counted as dropped. A second call does nothing."""
        if self._closed:
            return
        deadline = time.monotonic() + timeout
        thread = self._thread
        self._closed = True
        done = self.hurry()
        if thread is not threading.current_thread():
            done.wait(timeout)
            if thread is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def health(self) -> dict[str, int]:
        """Counts since the start: queued now, dropped, errors."""
        return {"queued": max(0, self._queue.qsize() - len(self._asked)), "dropped": self.dropped, "errors": self.errors}


_living: Final[weakref.WeakSet[Deferred[Any]]] = weakref.WeakSet()
"""Not those of living Observers only: an Observer may be collected before its last records are delivered."""


def at_exit(method: Callable[[float], object]) -> None:
    """Call a bound method when the process ends, with the seconds it has, once every Deferred had its chance.

    Does not keep the method's object alive. All hooks together take about `EXIT` seconds, however many sinks hang.
    """
    reference = weakref.WeakMethod(method)

    def call() -> None:
        if (alive := reference()) is not None:
            alive(max(LAST, _last_words()))

    atexit.register(call)


def _last_words() -> float:
    """Have every Deferred deliver, all at the same time. The seconds that are left then."""
    deadline = _exit_deadline()
    for done in [one.hurry() for one in list(_living) if not one.closed]:
        done.wait(max(0.0, deadline - time.monotonic()))
    return max(0.0, deadline - time.monotonic())


@cache
def _exit_deadline() -> float:
    """The first to ask starts the clock."""
    return time.monotonic() + EXIT


@cache
def _at_every_exit() -> None:
    """Of the interpreter, and of multiprocessing's children: after a fork they leave by os._exit, past all atexit hooks."""
    from multiprocessing import util  # here for its 5 ms

    def finalize(_: object = None) -> None:
        util.Finalize(None, _last_words, exitpriority=0)

    atexit.register(_last_words)
    util.register_after_fork(_living, finalize)
    finalize()  # this may be such a child already, and the first Deferred is made here


def _spawned(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError:  # "can't start new thread", or the interpreter is going down
        return False
    return True


def _weakly(deferred: Deferred[Any]) -> Callable[[], None]:
    """A fork hook cannot be taken back, so it must not keep the Deferred alive."""
    reference = weakref.ref(deferred)

    def reset() -> None:
        if (alive := reference()) is not None:
            alive._reset()  # noqa: SLF001 - the same file's class

    return reset
