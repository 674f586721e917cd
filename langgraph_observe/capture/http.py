"""`StreamMiddleware`: a `text/event-stream` response as a run of kind "stream".

Pure ASGI: nothing is buffered, no byte, exception or order changes, and the application's own awaits are all there are.
Starlette's `BaseHTTPMiddleware` returns when a response begins, and hides how it ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.capture.served import Served, amend, serving
from langgraph_observe.capture.sse import Events
from langgraph_observe.observer import Observer, checked, default
from langgraph_observe.payloads import text
from langgraph_observe.records import Failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping

    from typing_extensions import Unpack

    from langgraph_observe.capture.run import Run
    from langgraph_observe.capture.tracker import Tracker
    from langgraph_observe.observer import Options
    from langgraph_observe.records import Outcome

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

UNMATCHED: Final = "unmatched"
"""The name of a stream whose route nobody tells: a path may hold anything, and anybody makes one up."""
_SSE: Final = "text/event-stream"
_SEEN: Final = "langgraph_observe.streams"
"""In a request's scope: the Observers that see it already."""
_TURNS: Final = 10
_BROKEN: Final = 500
"""From this status on it is the server's fault; OpenTelemetry's conventions have it so."""
_PLAIN: Final = ("", "identity")


class StreamMiddleware:
    """ASGI middleware: `app.add_middleware(StreamMiddleware)`, in FastAPI, Starlette or around any ASGI application.

    An event stream is a run, parent of the graphs, chains and models called for it and child of the server's span. Any
    other response goes straight through. Inside of a `BaseHTTPMiddleware` it sees how a response really ends; outside of
    one, what that leaves of it. It belongs inside of what compresses: an encoded body is not read.
    """

    def __init__(self, app: App, *, observer: Observer | None = None, **options: Unpack[Options]) -> None:
        """Without an Observer, the process's own, made from the environment. Options are those of `observe`."""
        self._app = app
        self._observer = observer or default()
        self._options = checked(options)
        self._open: set[Response] = set()
        self._serving = False
        """Between a server's start-up and its shutdown, if it tells."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] == "http" and self._observer.sinks and self._observer not in (seen := scope.get(_SEEN, ())):
            scope[_SEEN] = (*seen, self._observer)
            await self._answer(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, self._until_shutdown(receive), send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = Response(self._observer, self._options, scope, self._open)
        outer = serving.get()
        inner = (*outer, response)
        serving.set(inner)
        try:
            await self._app(scope, response.hear(receive), response.tell(send))
        except asyncio.CancelledError:
            self._cancelled(response)
            raise
        except BaseException as error:
            response.end(error)
            raise
        finally:
            if serving.get() is inner:  # a coroutine may be closed in another context than it began in, and so no token
                serving.set(outer)
        response.end()

    def _cancelled(self, response: Response, turns: int = _TURNS) -> None:
        """A server that shuts down may cancel first and say so a few turns of its loop later."""
        if turns and self._serving:
            asyncio.get_running_loop().call_soon(self._cancelled, response, turns - 1)
        else:
            response.end(asyncio.CancelledError())

    def _until_shutdown(self, receive: Receive) -> Receive:
        """A server that will not wait any longer may exit without a word to those who still stream."""
        self._serving = True

        async def heard() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self._serving = False
                for response in list(self._open):
                    response.end()
            return message

        return heard


class Response(Served):
    """The answer to one HTTP request. It is in `open` while it streams."""

    def __init__(self, observer: Observer, options: Options, scope: Scope, open_: set[Response]) -> None:
        super().__init__(observer, options)
        self._scope = scope
        self._open = open_
        self._started = False
        self._events: Events | None = None
        self._instead: int | None = None
        """The status of what was answered where a stream was expected."""

    def around(self, tracker: Tracker) -> Run | None:
        """FastAPI's own event streams are under way before the response has begun: the route tells, or what the client accepts."""
        if self.run is None and not self._started and tracker is self.tracker and _expected(self._scope):
            self._stream({})
        return super().around(tracker)

    def end(self, error: BaseException | None = None) -> None:
        """See Served."""
        self._open.discard(self)
        self._started, self._scope = True, {}  # a task that goes on keeps this in its context
        super().end(error)

    def _ending(self, error: BaseException | None) -> tuple[Outcome, str | None]:
        """What is no stream has not come to the end of one."""
        ending = super()._ending(error)
        if self._instead is None or ending[0] != "ok":
            return ending
        return ("error", None) if self._instead >= _BROKEN else ("ok", "not_streamed")

    def _failure(self, error: BaseException | None) -> Failure | None:
        return Failure(str(self._instead), "") if error is None else super()._failure(error)

    def hear(self, receive: Receive) -> Receive:
        """`receive`, and whether the client has left. A server says so after the last body, too."""

        async def heard() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not self.complete:
                self.gone = True
            return message

        return heard

    def tell(self, send: Send) -> Send:
        """`send`, and what has gone out. What is no event stream goes straight on."""

        async def told(message: Message) -> None:
            if not message.get("more_body") and message["type"] == "http.response.body":
                self.complete = not self.gone
            try:
                await send(message)
            except OSError:
                self.gone, self.complete = True, False
                raise
            if (events := self._events) is not None and (body := message.get("body")):
                try:
                    events.feed(body if type(body) is bytes else bytes(body), now())
                except Exception as fault:
                    self._observer.failed("capture", fault)

        def tells(message: Message) -> Awaitable[None]:
            if not self._started and message["type"] == "http.response.start":
                self._start(message)
            return send(message) if self.run is None else told(message)

        now = self.tracker.now
        return tells

    def _start(self, message: Message) -> None:
        """Now it is known what it is. Before that goes out: whoever makes the body in this context is to find the run current."""
        self._started = True
        try:
            if not isinstance(given := message.get("headers", ()), (list, tuple)):
                message["headers"] = given = list(given)  # ASGI takes any iterable, and one may be read only once
            headers, status = _texts(given), {"http.response.status_code": message["status"]}
            streams = _is_sse(headers.get("content-type", ""))
            if self.run is not None:
                amend(self.run, metadata={**self.run.metadata, **status})
            elif streams:
                self._stream(status)
            if self._events is not None:
                self._events.opaque = headers.get("content-encoding", "") not in _PLAIN
            if not streams and self.run is not None:
                self._events = self.run.pieces = None
                self._instead = int(message["status"])
        except Exception as fault:
            self._observer.failed("capture", fault)

    def _stream(self, status: Mapping[str, object]) -> None:
        request = _texts(self._scope["headers"])
        self._events = Events(resumed="last-event-id" in request)
        self._open.add(self)
        self.begin(_route(self._scope), self._events, {"http.request.method": self._scope["method"], **status})


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _is_sse(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == _SSE


def _expected(scope: Scope) -> bool:
    """Whether the route declares an event stream, or the client accepts nothing else."""
    declared = getattr(getattr(scope.get("route"), "response_class", None), "media_type", None)
    return declared == _SSE or _is_sse(_texts(scope["headers"]).get("accept", ""))


def _route(scope: Scope) -> str:
    """The route's template, as Starlette and FastAPI, or Litestar, leave it in the scope."""
    path = getattr(scope.get("route"), "path", None) or scope.get("path_template")
    return text(path) if isinstance(path, str) else UNMATCHED
