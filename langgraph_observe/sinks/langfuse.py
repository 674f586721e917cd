"""Traces: every finished run as a Langfuse observation, interrupts and retries as events, feedback as scores.

One span, two vocabularies: the observation has the ids that the run has in every sink, but it is built from the record and
sent by a connection of its own. So the content that Langfuse is configured for reaches no other backend, no tracer provider
is installed or needed, and a span limit or a sampler of OpenTelemetry costs nothing here.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from langgraph_observe.payloads import text
from langgraph_observe.records import Finished, Noted, Scored, Started
from langgraph_observe.sinks import gen_ai, observation
from langgraph_observe.sinks.deferred import Deferred, at_exit
from langgraph_observe.sinks.ingestion import Ingestion
from langgraph_observe.sinks.otlp import REQUEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace.export import SpanExporter

    from langgraph_observe.records import Record
    from langgraph_observe.sinks.gen_ai import Attributes

log: Final = logging.getLogger("langgraph_observe")
CLOUD: Final = "https://cloud.langfuse.com"
INTERVAL: Final = 1.0
"""Seconds that a record may wait for company: a request a second."""


class Traces:
    """Send what has finished to Langfuse, on a thread of its own."""

    context: Final = True
    """A run should be made current: spans of `@observe` in user code nest by the same ids."""

    def __init__(
        self,
        *,
        public_key: str | None = None,
        secret_key: str | None = None,
        base_url: str | None = None,
        environment: str | None = None,
        release: str | None = None,
        version: str | None = None,
        span_exporter: SpanExporter | None = None,
        timeout: float | None = None,
    ) -> None:
        """What is not given is as the `LANGFUSE_*` variables say; `timeout` is seconds for one request, retries included.

        A `span_exporter` takes the spans in place of Langfuse's endpoint. Raises ValueError naming the keys that are missing,
        and for a base URL without a scheme or a host.
        """
        keys = {
            "LANGFUSE_PUBLIC_KEY": public_key or os.environ.get("LANGFUSE_PUBLIC_KEY"),
            "LANGFUSE_SECRET_KEY": secret_key or os.environ.get("LANGFUSE_SECRET_KEY"),
        }
        public, secret = keys.values()
        if not (public and secret):
            missing = " and ".join(name for name, value in keys.items() if not value)
            message = f"Langfuse needs {missing}"
            raise ValueError(message)
        self._ingestion = Ingestion(
            base_url=_addressed(base_url or _variable("BASE_URL") or _variable("HOST") or CLOUD),
            public_key=public,
            secret_key=secret,
            timeout=timeout or float(_variable("TIMEOUT") or 5),
            limit=int(_variable("OTEL_MAX_BATCH_SIZE_BYTES") or REQUEST),
        )
        self._exporter = span_exporter or self._ingestion
        self._environment = environment or _variable("TRACING_ENVIRONMENT")
        self._everywhere = gen_ai.known(
            {
                "langfuse.environment": self._environment,
                "langfuse.release": release or _variable("RELEASE"),
                "langfuse.version": version,
            }
        )
        self._resource = Resource.create()
        self._nested: set[str] = set()
        self._deferred: Deferred[tuple[Record, bool]] = Deferred(self, name="langfuse.Traces", interval=INTERVAL)
        at_exit(self.close)

    def __call__(self, record: Record) -> None:
        """Hand a record to the thread. Of a root that begins, remember whether Langfuse will have its parent."""
        if isinstance(record, Started):
            if record.kind == "model":
                _calls.add(record.span_id)
            if record.parent_id is None and _from_langfuse(record):
                self._nested.add(record.span_id)
            return
        root = False
        if isinstance(record, Finished) and record.run.parent_id is None:
            root = record.run.span_id not in self._nested
            self._nested.discard(record.run.span_id)
        self._deferred((record, root))

    def write(self, batch: Sequence[tuple[Record, bool]]) -> None:
        """Send a batch: records, each with whether it is the root of what Langfuse will see. On Deferred's thread."""
        told = [self._told(record, root=root) for record, root in batch]
        spans = [one for one in told if isinstance(one, ReadableSpan)]
        scores = [one for one in told if isinstance(one, dict)]
        token = otel.attach(otel.set_value(_SUPPRESS_INSTRUMENTATION_KEY, value=True))  # our own requests are not to be traced
        try:
            if spans and self._exporter.export(spans) is not SpanExportResult.SUCCESS and self._exporter is not self._ingestion:
                self._ingestion.lose(len(spans), "the span exporter did not take the spans")
            if scores:
                self._ingestion.score(scores)
        finally:
            otel.detach(token)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that has finished before now is sent, or given up. False after `timeout` seconds, at once after `close`."""
        return self._deferred.flush(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Send what waits, for at most `timeout` seconds, and take no more."""
        if self._deferred.closed:  # by the Observer, and again at exit: a silent server is waited for once
            return
        deadline = time.monotonic() + timeout
        self._deferred.close(timeout)
        if time.monotonic() >= deadline:
            log.warning("Langfuse did not take everything in %.0f s before the end", timeout)
        self._exporter.shutdown()

    def health(self) -> dict[str, int]:
        """Deferred's counts, and what was `lost` because the server did not take it."""
        return self._deferred.health() | {"lost": self._ingestion.lost}

    def _told(self, record: Record, *, root: bool) -> ReadableSpan | dict[str, object] | None:
        try:
            match record:
                case Finished():
                    return self._run(record, root=root)
                case Noted(kind=kind) if kind in observation.EVENTS:
                    return self._event(record)
                case Scored(value=float(value)) if not math.isfinite(value):
                    self._ingestion.lose(1, "a score is no finite number")
                case Scored():
                    return observation.score(record, self._environment)
        except Exception as error:  # one record that cannot be told must not cost the 511 around it
            self._ingestion.lose(1, f"a record could not be told ({type(error).__name__})")
        return None

    def _run(self, record: Finished, *, root: bool) -> ReadableSpan:
        run = record.run
        failed = record.outcome == "error"
        return self._readable(
            run.name,
            (run.trace_id, run.span_id, run.parent_span_id),
            (run.at_ns, record.at_ns),
            observation.attributes(record) | ({"langfuse.internal.is_app_root": True} if root else {}),
            trace.Status(trace.StatusCode.ERROR, text(observation.status(record))) if failed else trace.Status(),
        )

    def _event(self, record: Noted) -> ReadableSpan:
        run = record.run
        told = f"{run.span_id} {record.kind} {record.name} {record.at_ns}"
        own = hashlib.blake2b(text(told).encode(), digest_size=8).hexdigest()  # the same moment, sent again, is the same event
        ids = (run.trace_id, own, run.span_id)
        return self._readable(record.name or record.kind, ids, (record.at_ns, record.at_ns), observation.noted(record))

    def _readable(
        self,
        name: str,
        ids: tuple[str, str, str | None],
        times: tuple[int, int],
        attributes: Attributes,
        status: trace.Status | None = None,
    ) -> ReadableSpan:
        trace_id, span_id, parent_id = ids
        return ReadableSpan(
            name=text(name),
            context=_context(trace_id, span_id),
            parent=_context(trace_id, parent_id) if parent_id else None,
            resource=self._resource,
            attributes=attributes | self._everywhere,
            status=status or trace.Status(),
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=InstrumentationScope(gen_ai.SCOPE, gen_ai.VERSION),
        )


def others(span: ReadableSpan) -> bool:
    """For `Langfuse(should_export_span=others)`, in an application that uses the SDK (`@observe`) beside this sink.

    The SDK's processor takes every span with a `gen_ai` attribute from the application's provider. Left out here are those of
    `otel.Spans`, which would arrive twice, and what a provider's client (Anthropic's traces by itself) or an instrumentation of
    one tells of a model call that is recorded already: its tokens would be paid for twice.
    """
    from langfuse.span_filter import is_default_export_span

    scope = span.instrumentation_scope
    return (scope is None or scope.name != gen_ai.SCOPE) and is_default_export_span(span) and not _told_twice(span)


def _told_twice(span: ReadableSpan) -> bool:
    """Whether it is a generation inside of a model call of ours. What a user observes in a model of his own is none."""
    kind = (span.attributes or {}).get("langfuse.observation.type", "generation")
    return kind == "generation" and span.parent is not None and trace.format_span_id(span.parent.span_id) in _calls


class _Recent:
    """The last few thousand ids. Not those of open calls only: a client whose stream is broken off ends its span later.

    Takes no lock, and may be entered again from within.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._new: set[str] = set()
        self._old: set[str] = set()

    def add(self, name: str) -> None:
        if len(self._new) >= self._most:
            self._new, self._old = set(), self._new
        self._new.add(name)

    def __contains__(self, name: str) -> bool:
        return name in self._new or name in self._old


_calls: Final = _Recent()
"""Model calls that are sent to Langfuse, of every sink: `others` is a function, not a method, since it is needed before any."""


def _variable(name: str) -> str | None:
    return os.environ.get(f"LANGFUSE_{name}") or None


def _addressed(base_url: str) -> str:
    url = urlsplit(base_url)
    if url.scheme not in {"http", "https"} or not url.hostname:
        shown = base_url.rpartition("@")[2].partition("?")[0]  # no password, no query
        message = f"Langfuse's base URL needs a scheme and a host, as {CLOUD} has: {shown!r}"
        raise ValueError(message)
    return base_url


def _context(trace_id: str, span_id: str) -> trace.SpanContext:
    return trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=trace.TraceFlags(1))


def _from_langfuse(run: Started) -> bool:
    """Whether the parent is a span of the Langfuse SDK (`@observe`), which sends it itself: then the run is no root there."""
    parent = trace.get_current_span()
    scope = getattr(parent, "instrumentation_scope", None)
    named = trace.format_span_id(parent.get_span_context().span_id)
    return getattr(scope, "name", None) == "langfuse-sdk" and named == run.parent_span_id
