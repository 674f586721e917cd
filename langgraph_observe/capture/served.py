"""What is served to a client piece by piece: a run of kind "stream", parent of what is run for it. `observe_stream`."""

from __future__ import annotations

import contextvars
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from inspect import isasyncgen
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload
from uuid import uuid4

from opentelemetry import trace

from langgraph_observe.capture import context, naming
from langgraph_observe.capture.context import Current, exchange
from langgraph_observe.capture.pieces import Pieces
from langgraph_observe.capture.sse import Events
from langgraph_observe.observer import Observer, checked, default
from langgraph_observe.payloads import text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable, Iterator, Mapping
    from uuid import UUID

    from typing_extensions import Unpack

    from langgraph_observe.capture.run import Run
    from langgraph_observe.capture.tracker import Tracker
    from langgraph_observe.observer import Options
    from langgraph_observe.records import Failure, Outcome

Piece = TypeVar("Piece")

_END: Final = object()
_TOLD: Final = ("thread_id", "session_id", "user_id")

serving: Final[contextvars.ContextVar[tuple[Served, ...]]] = contextvars.ContextVar("langgraph_observe.serving", default=())
"""What is being answered here, the innermost last. Set before the application is called, and so in every task and thread that it starts."""


class Served:
    """An answer that may be, or become, a run of kind "stream"."""

    def __init__(self, observer: Observer, options: Options) -> None:
        self.tracker: Tracker = observer.tracker
        self.run: Run | None = None
        self._complete_ns: int | None = None
        """When the last piece was handed over: a task that the response leaves behind is no part of it."""
        self.gone = False
        """The client left before that."""
        self._observer = observer
        self._options = options
        self._asked_ns = self.tracker.now()
        self._id: UUID | None = None

    def begin(self, name: str, pieces: Pieces, metadata: Mapping[str, object]) -> None:
        """It is a stream: a run, from when it was asked for."""
        try:
            self._id = uuid4()
            if (run := self.tracker.open(self._id, None, {})) is not None:
                self.run, run.pieces, run.started_ns = run, pieces, self._asked_ns
                self.tracker.start(run, "stream", name, self._options, None, metadata, streaming=True)
        except Exception as fault:
            self._observer.failed("capture", fault)

    def end(self, error: BaseException | None = None) -> None:
        """However it ended, and once."""
        try:
            if self._id is not None and (run := self.tracker.take(self._id)) is not None:
                outcome, reason = self._ending(error)
                failure = self._failure(error) if outcome == "error" else None
                self.tracker.finish(run, outcome, reason, failure=failure, ended_ns=self._complete_ns if outcome == "ok" else None)
        except Exception as fault:
            self._observer.failed("capture", fault)

    @property
    def complete(self) -> bool:
        """The last piece has been handed over."""
        return self._complete_ns is not None

    @complete.setter
    def complete(self, complete: bool) -> None:
        self._complete_ns = self.tracker.now() if complete else None

    def _ending(self, error: BaseException | None) -> tuple[Outcome, str | None]:
        """By the order of what happened. The status went out long before, and a last body says nothing of an error that follows.

        Without an error and without an end it was given up: sse-starlette does so when its server shuts down.
        """
        if self.gone:
            return "cancelled", "client_disconnect"
        if isinstance(error, Exception):
            return "error", None
        if self.complete:
            return "ok", None
        return "cancelled", "server_shutdown" if error is None else "task_cancelled"

    def _failure(self, error: BaseException | None) -> Failure | None:
        if error is None:
            return None
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]  # a task group's wrapping says nothing
        return naming.failure_of(error, content=self._options.get("payloads") != "none")

    def around(self, tracker: Tracker) -> Run | None:
        """The open run inside which a root of this tracker begins."""
        return self.run if self.run is not None and tracker.has(self.run) else None


def around(tracker: Tracker) -> Run | None:
    """The open stream inside which a root of this tracker begins."""
    return next((run for answer in reversed(serving.get()) if (run := answer.around(tracker)) is not None), None)


def amend(run: Run, **known: Any) -> None:
    """What is learnt of a stream as it goes is said at its end."""
    if run.record is not None and known:
        run.record = replace(run.record, **known)


def hold(run: Run, stream: Run) -> tuple[str, str]:
    """Hang a root under the stream in which it begins: the ids of its parent. What it says of itself, the stream says, too.

    For the tracker it stays a root: it has its own word on session and thread, and its end does not wait for the stream's.
    """
    run.trace_id, run.root, run.dropped = stream.trace_id, stream, stream.dropped
    run.session_id, run.user_id = run.session_id or stream.session_id, run.user_id or stream.user_id
    run.tags, run.labels = tuple(dict.fromkeys((*stream.tags, *run.tags))), {**stream.labels, **run.labels}
    amend(stream, **{name: getattr(run, name) for name in _TOLD if getattr(stream.record, name, None) is None})
    if (scope := run.scope) is not None and isinstance(scope.outer, Current) and scope.outer.root is stream.scope:
        scope.ambient = scope.outer  # past this root, the stream is what was current before it
        exchange(scope.outer)
    return stream.id, stream.span_id


@overload
def observe_stream(
    pieces: AsyncIterable[Piece],
    /,
    *,
    name: str = ...,
    sse: bool = ...,
    observer: Observer | None = ...,
    **options: Unpack[Options],
) -> AsyncGenerator[Piece, None]: ...
@overload
def observe_stream(
    pieces: Iterable[Piece], /, *, name: str = ..., sse: bool = ..., observer: Observer | None = ..., **options: Unpack[Options]
) -> Generator[Piece, None, None]: ...
def observe_stream(
    pieces: Any, /, *, name: str = "stream", sse: bool = False, observer: Observer | None = None, **options: Unpack[Options]
) -> Any:
    """What is streamed where there is no ASGI (WSGI, Django, a notebook's app), as it is, and as a run of kind "stream".

    Give the route's template as `name`, never a path. With `sse` the pieces, bytes or texts, are an event stream, and its
    events are counted; else each piece counts. The run begins when the first piece is asked for. Closed before its end, the
    client has left. Options are those of `observe`.
    """
    served = Pulled(observer or default(), checked(options), text(name), Events() if sse else Pieces())
    return served.apulled(pieces) if hasattr(pieces, "__aiter__") else served.pulled(pieces)


class Pulled(Served):
    """An answer that is pulled out of an iterator. Its consumer has its own context back between two pieces."""

    def __init__(self, observer: Observer, options: Options, name: str, counted: Pieces) -> None:
        super().__init__(observer, options)
        self._name = name
        self._counted = counted
        self._swap = exchange if observer.in_context else _same
        self._current = self._own = trace.get_current_span()

    def pulled(self, pieces: Iterable[Any]) -> Generator[Any, None, None]:
        """Its pieces, and how it ended once what makes them is closed."""
        with self._run(), ExitStack() as closing:
            closing.callback(self._inside, getattr(pieces, "close", _nothing))
            iterator = self._inside(iter, pieces)
            if iterator is not pieces:
                closing.callback(self._inside, getattr(iterator, "close", _nothing))
            while (piece := self._inside(next, iterator, _END)) is not _END:
                self._take(piece)
                yield piece
            self.complete = True

    async def apulled(self, pieces: AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
        """The same, asynchronously."""
        with self._run():
            iterator = aiter(pieces)
            step = partial(context.unheard, iterator) if isasyncgen(iterator) else iterator.__anext__
            try:
                while (piece := await self._ainside(step)) is not _END:
                    self._take(piece)
                    yield piece
                    step = iterator.__anext__
                self.complete = True
            finally:
                if (close := getattr(iterator, "aclose", None)) is not None:
                    await self._ainside(close)

    @contextmanager
    def _run(self) -> Iterator[None]:
        self._inside(self.begin, self._name, self._counted, {})
        self._own = self._current
        try:
            yield
        except BaseException as error:
            self.gone = isinstance(error, GeneratorExit)
            self.end(error)
            raise
        self.end()

    def _inside(self, call: Callable[..., Any], *arguments: Any) -> Any:
        with self._entered():
            return call(*arguments)

    async def _ainside(self, step: Callable[[], Awaitable[Any]]) -> Any:
        with self._entered():
            try:
                return await step()  # not anext(iterator, _END): that begins an awaitable anew each time it is resumed
            except StopAsyncIteration:
                return _END

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """Here the run is current, for our roots and for the user's spans."""
        outer, span = serving.get(), self._swap(self._current)
        inner = (*outer, self)
        serving.set(inner)
        try:
            yield
        finally:
            if serving.get() is inner:  # closed elsewhere, nothing there is ours to give back
                serving.set(outer)
                self._current = self._own if _has_ended(left := self._swap(span)) else left

    def _take(self, piece: Any) -> None:
        now, counted = self.tracker.now(), self._counted
        try:
            if isinstance(counted, Events):
                counted.feed(piece.encode(errors="replace") if isinstance(piece, str) else bytes(memoryview(piece)), now)
            else:
                counted.add(now)
        except Exception as fault:
            self._observer.failed("capture", fault)


def _same(span: trace.Span) -> trace.Span:
    """`exchange` where nobody asks for the current span."""
    return span


def _has_ended(span: trace.Span) -> bool:
    """Where each step has a context of its own, as in Starlette's threads, the end of a user's span takes it out of none but the last."""
    return type(span) is not Current and getattr(span, "end_time", None) is not None


def _nothing() -> None:
    """How an iterator is closed that cannot be."""
