"""Langfuse's HTTP ingestion: spans by OTLP, scores by its public API, on one connection pool.

Not the SDK's `LangfuseSpanProcessor`: its queue would be a second one behind ours, dropping the oldest unseen by `health()`;
its flush waits without a limit; a batch above the limit is dropped whole; and the OTLP exporter inside it sends
`OTEL_EXPORTER_OTLP_HEADERS`, the keys of another backend, to Langfuse too.
"""

from __future__ import annotations

import gzip
import logging
import os
import threading
import time
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import httpx
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from langgraph_observe.payloads import encode
from langgraph_observe.sinks.otlp import REQUEST, requests, weight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

T = TypeVar("T")
log: Final = logging.getLogger("langgraph_observe")
SPANS: Final = "/api/public/otel/v1/traces"
SCORES: Final = "/api/public/scores"
SCORES_A_REQUEST: Final = 15
"""As the SDK has it: the server takes 1 MB."""
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_REFUSED: Final = frozenset({401, 403})
_TOO_LARGE: Final = 413
_PAUSES: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts, as far as the timeout allows."""
PATIENCE: Final = 60.0
"""Seconds that a server may ask for before the next attempt. What comes meanwhile waits in the queue."""
_HEADERS: Final = {
    SPANS: {"content-type": "application/x-protobuf", "content-encoding": "gzip", "x-langfuse-ingestion-version": "4"},
    SCORES: {"content-type": "application/json"},
}


class _Refusal(NamedTuple):
    """What went wrong with a request."""

    problem: str
    wait: float | None = None
    """Seconds after which trying again may help; None if never."""
    rejected: int | None = None
    """How many of the items; None if all."""
    too_large: bool = False


class Ingestion(SpanExporter):
    """Send, a few times if the server asks for it, within `timeout` seconds; count and say once what it does not take.

    A server that names a time (`Retry-After`, of a rate limit) is given it, up to `PATIENCE` seconds.
    """

    def __init__(self, *, base_url: str, public_key: str, secret_key: str, timeout: float, limit: int = REQUEST) -> None:
        """`limit` in bytes of one request of spans before compression."""
        self.lost = 0
        self._base_url, self._timeout, self._limit = base_url.rstrip("/"), timeout, limit
        self._auth = httpx.BasicAuth(public_key, secret_key)
        self._closing = threading.Event()
        self._sending = False
        self._said: set[str] = set()
        self._client: tuple[int, httpx.Client] | None = None

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, in requests of a bounded size. FAILURE if any was lost."""
        before = self.lost
        for part, body in chain.from_iterable(requests(some, self._limit) for some in _weighed(spans, self._limit)):
            if body is None:
                self.lose(len(part), "a span cannot be encoded")
            elif len(body) > self._limit:
                self.lose(len(part), f"a span of {len(body)} bytes is larger than a request may be")
            else:
                self._send(SPANS, gzip.compress(body, 6), part, self.export)
        return SpanExportResult.FAILURE if self.lost > before else SpanExportResult.SUCCESS

    def score(self, scores: Sequence[object]) -> None:
        """Send score bodies."""
        for start in range(0, len(scores), SCORES_A_REQUEST):
            part = scores[start : start + SCORES_A_REQUEST]
            self._send(SCORES, encode(part), part, self.score)

    def _send(self, path: str, body: bytes, items: Sequence[T], again: Callable[[Sequence[T]], object]) -> None:
        """One request; in halves, `again`, where the server or a proxy before it (nginx: 1 MB) finds it too large."""
        self._sending = True
        try:
            refusal = self._tried(path, body)
        finally:
            self._sending = False
            if self._closing.is_set():
                self._disconnect()
        if refusal is None:
            return
        if refusal.too_large and len(items) > 1:
            middle = len(items) // 2
            again(items[:middle])
            again(items[middle:])
        else:
            self.lose(len(items) if refusal.rejected is None else refusal.rejected, refusal.problem)

    def _tried(self, path: str, body: bytes) -> _Refusal | None:
        deadline = time.monotonic() + self._timeout
        for pause in (*_PAUSES, float("inf")):
            refusal = self._attempt(path, body, max(0.1, deadline - time.monotonic()))
            if refusal is None or refusal.wait is None or refusal.wait > PATIENCE:
                break
            deadline += refusal.wait
            longest = max(pause, refusal.wait)
            if time.monotonic() + longest > deadline or self._closing.wait(longest):
                break
        return refusal

    def _attempt(self, path: str, body: bytes, timeout: float) -> _Refusal | None:
        try:
            answer = self._http().post(path, content=body, headers=_HEADERS[path], timeout=timeout)
        except httpx.TimeoutException:
            return _Refusal("the server does not answer in time")
        except httpx.HTTPError as error:
            return _Refusal(f"the server cannot be reached ({type(error).__name__})", wait=0.0)
        return _refusal(answer)

    def lose(self, count: int, problem: str) -> None:
        """Count what is lost; say each problem once."""
        self.lost += count
        if problem not in self._said:
            self._said.add(problem)
            place = httpx.URL(self._base_url).netloc.decode().rpartition("@")[2]
            log.warning("Langfuse at %s: %s. What is lost is counted, the agent goes on", place, problem)

    def _http(self) -> httpx.Client:
        """One client a process: a forked child must not share a connection, or a lock, with its parent."""
        pid = os.getpid()
        if self._client is None or self._client[0] != pid:
            self._client = (pid, httpx.Client(base_url=self._base_url, auth=self._auth))
        return self._client[1]

    def shutdown(self) -> None:
        """No more attempts; the one that is under way ends by its own timeout, and closes the connection itself."""
        self._closing.set()
        if not self._sending:
            self._disconnect()

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client[1].close()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the SDK's signature; nothing is kept here
        """Nothing is kept here."""
        return True


def _weighed(spans: Sequence[ReadableSpan], limit: int) -> Iterator[Sequence[ReadableSpan]]:
    """Spans in parts of about `limit` characters, so that hardly any is encoded, the dear part, only to be found too much."""
    start = total = 0
    for position, span in enumerate(spans):
        size = weight(span.attributes or {})
        if total + size > limit and position > start:
            yield spans[start:position]
            start, total = position, 0
        total += size
    if start < len(spans):
        yield spans[start:]


def _refusal(answer: httpx.Response) -> _Refusal | None:
    code = answer.status_code
    if code in _REFUSED:
        return _Refusal(f"the keys are refused (status {code}): check LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY")
    if code == httpx.codes.MULTI_STATUS:
        return _Refusal("some of it is rejected (status 207)", rejected=_rejected(answer))
    if answer.is_success:
        return None
    return _Refusal(f"status {code}", _retry_after(answer) if code in _AGAIN else None, too_large=code == _TOO_LARGE)


def _rejected(answer: httpx.Response) -> int | None:
    """How many of a list of scores were, where the server tells."""
    try:
        told = answer.json()["rejected"]
    except (ValueError, KeyError, TypeError):
        return None
    return told if isinstance(told, int) else None


def _retry_after(answer: httpx.Response) -> float:
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isdecimal() else 0.0  # a date is left to our own pauses
