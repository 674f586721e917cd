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
from langgraph_observe.sinks import gen_ai, langfuse_sdk, observation
from langgraph_observe.sinks.around import SAMPLED
from langgraph_observe.sinks.deferred import Deferred, at_exit
from langgraph_observe.sinks.ingestion import Ingestion
from langgraph_observe.sinks.langfuse_sdk import NOTHING, Around, calls, others
from langgraph_observe.sinks.otlp import REQUEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace.export import SpanExporter

    from langgraph_observe.records import Record
    from langgraph_observe.sinks.gen_ai import Attributes

__all__ = ["Traces", "others"]

log: Final = logging.getLogger("langgraph_observe")
CLOUD: Final = "https://cloud.langfuse.com"
INTERVAL: Final = 1.0
"""Seconds that a record may wait for company: a request a second."""
SCOPE: Final = InstrumentationScope(gen_ai.SCOPE, gen_ai.VERSION)
NO_STATUS: Final = trace.Status()
REMEDY: Final = "Langfuse(should_export_span=langgraph_observe.sinks.langfuse.others)"


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

        A server that names a time to come back, of a rate limit, is given that too, up to a minute.
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
        self._public_key = public
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
        self._around: dict[str, Around] = {}
        self._warned = False
        self._deferred: Deferred[tuple[Record, Around]] = Deferred(self, name="langfuse.Traces", interval=INTERVAL)
        at_exit(self.close)

    def __call__(self, record: Record) -> None:
        """Hand a record to the thread, with what its root found around it."""
        match record:
            case Started():
                self._begin(record)
            case Finished(run=run) | Noted(run=run):
                self._deferred((record, self._around.get(run.root_id, NOTHING)))
                if run.parent_id is None and isinstance(record, Finished):
                    self._around.pop(run.root_id, None)
            case Scored():
                self._deferred((record, NOTHING))

    def _begin(self, run: Started) -> None:
        if run.kind == "model":
            calls.add(run.span_id)
        if run.parent_id is None and (found := langfuse_sdk.around(run, self._public_key)) != NOTHING:
            self._around[run.root_id] = found

    def write(self, batch: Sequence[tuple[Record, Around]]) -> None:
        """Send a batch: records, each with what is around its root. On Deferred's thread."""
        if not self._warned and langfuse_sdk.sends_ours(self._public_key):
            self._warned = True
            log.warning("Langfuse's SDK sends spans of model calls, and of otel.Spans, a second time: %s stops that", REMEDY)
        told = [self._told(record, around) for record, around in batch]
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

    def _told(self, record: Record, around: Around) -> ReadableSpan | dict[str, object] | None:
        try:
            match record:
                case Finished():
                    return self._run(record, around)
                case Noted(kind=kind) if kind in observation.EVENTS:
                    return self._event(record, around)
                case Scored(value=float(value)) if not math.isfinite(value):
                    self._ingestion.lose(1, "a score is no finite number")
                case Scored():
                    return observation.score(record, self._environment)
        except Exception as error:  # one record that cannot be told must not cost the 511 around it
            self._ingestion.lose(1, f"a record could not be told ({type(error).__name__})")
        return None

    def _run(self, record: Finished, around: Around) -> ReadableSpan:
        run = record.run
        failed = record.outcome == "error"
        root = run.parent_id is None and not around.nested
        return self._readable(
            run.name,
            (run.trace_id, run.span_id, run.parent_span_id),
            (run.at_ns, record.at_ns),
            observation.attributes(record) | self._of_all(run, around) | ({"langfuse.internal.is_app_root": True} if root else {}),
            trace.Status(trace.StatusCode.ERROR, text(observation.status(record))) if failed else NO_STATUS,
        )

    def _of_all(self, run: Started, around: Around) -> Attributes:
        """What is on every observation. What the call itself says is nearer than what is said around it."""
        if not around.said:
            return self._everywhere
        own = {
            "session.id": run.session_id,
            "user.id": run.user_id,
            "langfuse.trace.name": run.trace_name,
            "langfuse.trace.tags": run.tags,
        }
        return self._everywhere | {key: value for key, value in around.said.items() if not own.get(key)}

    def _event(self, record: Noted, around: Around) -> ReadableSpan:
        run = record.run
        told = f"{run.span_id} {record.kind} {record.name} {record.at_ns}"
        own = hashlib.blake2b(text(told).encode(), digest_size=8).hexdigest()  # the same moment, sent again, is the same event
        ids = (run.trace_id, own, run.span_id)
        attributes = observation.noted(record) | self._of_all(run, around)
        return self._readable(record.name or record.kind, ids, (record.at_ns, record.at_ns), attributes)

    def _readable(
        self,
        name: str,
        ids: tuple[str, str, str | None],
        times: tuple[int, int],
        attributes: Attributes,
        status: trace.Status = NO_STATUS,
    ) -> ReadableSpan:
        trace_id, span_id, parent_id = ids
        return ReadableSpan(
            name=gen_ai.short(name),
            context=_context(trace_id, span_id),
            parent=_context(trace_id, parent_id) if parent_id else None,
            resource=self._resource,
            attributes=attributes,
            status=status,
            start_time=times[0],
            end_time=times[1],
            instrumentation_scope=SCOPE,
        )


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
    return trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=SAMPLED)
