"""Spans: one OpenTelemetry span per run, by the tracer provider that the application runs, in the gen_ai vocabulary."""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from opentelemetry import context as otel
from opentelemetry import trace

from langgraph_observe.payloads import text
from langgraph_observe.records import Finished, Noted, Started
from langgraph_observe.sinks import completion, gen_ai
from langgraph_observe.sinks import content as said
from langgraph_observe.sinks.around import suppressed
from langgraph_observe.sinks.deferred import Deferred, at_exit
from langgraph_observe.sinks.ids import minted, spans_of, tracer_of
from langgraph_observe.sinks.lazy import Lazy, begun, puts_off
from langgraph_observe.sinks.otlp import Bounded, Counted, Load, within
from langgraph_observe.sinks.shown import Shown, exceptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langgraph_observe.records import Link, Record
    from langgraph_observe.sinks.shown import Mode

log: Final = logging.getLogger("langgraph_observe")
_ANY: Final = otel.Context()
"""That of a span which is made late: there is nobody who looks at more of it than the span above (see `lazy`)."""
DESCRIPTION: Final = 200
"""Characters of a status description."""


class _Open(NamedTuple):
    """A run that has begun. No tracer: there was none for its root. Not owned: the span is an ancestor's."""

    tracer: trace.Tracer | None
    span: trace.Span
    owned: bool
    others: dict[str, trace.Span] | None = None
    """The spans that are open on the tracer's provider."""
    links: int = 0
    """Known at the start; a run learns what it resumes a little later."""
    lazy: trace.SpanContext | None = None
    """The root's, if the spans below it may be made late."""


_Ended: TypeAlias = tuple[Finished | Noted, _Open | None]
"""What is told of a run that has begun or, with None, whose span is yet to be made."""


class Spans:
    """One span per run, with the record's own ids where the provider is the SDK's.

    A root's span starts inline. What is below has its ids at once, so that it can be current while user code works; where
    nobody can tell the difference, the SDK makes it later (see `lazy`). All are filled and ended on a thread of their own.
    The application's provider is used, never installed, replaced or shut down.
    """

    context: Final = True
    """A run should be made current: `span(run)` tells its span."""

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        content: Mode | None = None,
        names: gen_ai.Names | None = None,
        node_spans: bool = True,
        exception_events: bool | None = None,
        on_close: Callable[[], object] | None = None,
        health: Callable[[], Mapping[str, int]] = dict,
    ) -> None:
        """Without a provider, the global one at each root. `content` defaults to the environment's switch, and that to none.

        `names` of attributes that the conventions have renamed: `released`, `latest` or `both`; defaults to what
        OTEL_SEMCONV_STABILITY_OPT_IN asks for, and that to `released`. Raises ValueError where either is anything else.
        Without `node_spans` (their operation is a proposal still) what runs in a node hangs under the node's parent.
        `exception_events`, which the conventions give up for log records, are made unless
        OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN is `logs`.
        `on_close` and `health` belong to a provider of this sink's own: see `exporting`.
        """
        self._given = tracer_provider
        self._shown = Shown("span", content)
        self._eras = gen_ai.eras(names)
        self._completed = completion.hook()
        self._node_spans = node_spans
        self._exception_events = "span" in exceptions() if exception_events is None else exception_events
        self._on_close, self._health = on_close, health
        self._open: dict[str, _Open] = {}
        self._tracer: tuple[trace.TracerProvider, trace.Tracer] | None = None
        self._load = Load(self._provider)
        self._deferred: Deferred[_Ended] = Deferred(self._complete, name="otel.Spans")
        if tracer_provider is not None:
            self._found()

    def __call__(self, record: Record) -> None:
        """Start the span of a run, or hand its end to the thread. Takes no lock of ours, and may be entered again from within."""
        match record:
            case Started() if not self._deferred.closed:
                self._begin(record)
            case Finished():
                was = self._take(record.run)
                if was is None or (was.owned and was.span.is_recording()):
                    self._later(record, was)
            case Noted():
                was = self._open.get(record.run.span_id)
                if was is not None and was.owned and was.span.is_recording():
                    self._later(record, was)

    def span(self, run: Started) -> trace.Span | None:
        """The live span for user code in this run: its own or, where it has none, that of the run around it."""
        was = self._open.get(run.span_id)
        return was.span if was and was.tracer else None

    def flush(self, timeout: float = 5.0) -> bool:
        """End what has ended and have the provider export it. False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        drained = self._deferred.flush(timeout)
        left = deadline - time.monotonic()
        return drained and within(left, lambda: self._load.export(left))

    def close(self, timeout: float = 5.0) -> None:
        """End what has ended; shut down a provider of our own."""
        deadline = time.monotonic() + timeout
        self._deferred.close(timeout)
        if (end := self._on_close) is not None:
            self._on_close = None
            within(deadline - time.monotonic(), end)

    def health(self) -> dict[str, int]:
        """Deferred's counts, `open` spans and, with an exporter of our own, the spans it `lost`."""
        return self._deferred.health() | {"open": len(self._open), **self._health()}

    def _begin(self, run: Started) -> None:
        parent = self._open.get(run.parent_span_id or "")
        if minted.ids is not None and (parent is None or parent.lazy is None):
            # The garbage collector closed a generator in the middle of a start on this very thread, and its `finally` runs
            # something. A processor's lock may be held below: this run's span is made when it ends.
            return
        tracer = parent.tracer if parent else self._found()
        self._open[run.span_id] = self._start(run, parent, tracer) if tracer else _Open(None, trace.INVALID_SPAN, owned=False)

    def _start(self, run: Started, parent: _Open | None, tracer: trace.Tracer) -> _Open:
        context = _beyond(run) if parent is None else _ANY if parent.lazy else otel.get_current()
        above = parent.span if parent else trace.get_current_span(context)
        lazy = parent.lazy if parent else begun(tracer, run)
        others = spans_of(tracer) if parent is None or parent.others is None else parent.others
        if run.kind == "node" and not self._node_spans:
            return _Open(tracer, above, owned=False, others=others, lazy=lazy)
        if (span := others.get(run.id)) is not None:  # another Observer's: a run is one span of a provider
            return _Open(tracer, span, owned=False, others=others, lazy=lazy)
        make = partial(_made, tracer, above, context)
        if lazy is not None:
            span = Lazy(run, lazy, make)
        else:
            span = make(run)
            lazy = span.get_span_context() if parent is None and puts_off(tracer, span) else None
        others[run.id] = span
        return _Open(tracer, span, owned=True, others=others, links=len(run.links), lazy=lazy)

    def _take(self, run: Started) -> _Open | None:
        was = self._open.pop(run.span_id, None)
        if was is not None and was.owned and was.others is not None:
            was.others.pop(run.id, None)
        return was

    def _provider(self) -> trace.TracerProvider:
        return self._given or trace.get_tracer_provider()

    def _found(self) -> trace.Tracer | None:
        """The tracer for a new tree. None where the caller suppresses instrumentation, or nobody has installed a provider."""
        if suppressed():
            return None
        provider = self._provider()
        if isinstance(provider, trace.ProxyTracerProvider):  # the API's own, until one is installed
            return None
        if self._tracer is None or self._tracer[0] is not provider:
            self._tracer = (provider, tracer_of(provider))
            # A provider shuts down at exit, and exit hooks run last in, first out: what waits here must reach it before.
            at_exit(self._deferred.flush)
        tracer = self._tracer[1]
        return None if isinstance(tracer, trace.NoOpTracer) else tracer  # OTEL_SDK_DISABLED

    def _later(self, record: Finished | Noted, was: _Open | None) -> None:
        self._deferred((record, was))

    def _complete(self, item: _Ended) -> None:
        match item:
            case (Noted() as record, _Open(span=span)):
                self._note(record, span)
            case (Finished() as record, _Open() as was):
                self._end(record, was)
            case (Finished() as record, None):
                self._begin(record.run)
                made = self._take(record.run)
                if made is not None and made.owned:
                    self._end(record, made)

    def _note(self, record: Noted, span: trace.Span) -> None:
        event = f"langgraph.{record.kind}"
        payload = record.payload if self._shown(record.run) else None
        shown = said.lean(payload.json.decode(), said.MESSAGE) if payload else None
        told = gen_ai.known({f"{event}.name": record.name, f"{event}.payload": shown})
        self._load.weigh(told)
        span.add_event(event, told, record.at_ns)

    def _end(self, record: Finished, was: _Open) -> None:
        span = was.span.made(bare=self._completed is None) if isinstance(was.span, Lazy) else was.span
        try:
            for link in record.run.links[was.links :]:
                span.add_link(*_linked(link))
            self._fill(record, span)
        finally:
            span.end(record.at_ns)
        self._load.add()

    def _fill(self, record: Finished, span: trace.Span) -> None:
        content: dict[str, str] = {}
        try:
            if self._shown(record.run):
                limits = getattr(span, "_limits", None)  # the SDK's, which would cut JSON anywhere; it tells them nowhere else
                content = said.attributes(record, getattr(limits, "max_span_attribute_length", None))
                self._load.weigh(content)
            if self._completed is not None:
                span.set_attributes(content)
                content = {}
                self._completed(record, span)
        finally:
            # Last, and those of the start again: there may be too many, of the user's or ours, and the SDK keeps the newest.
            span.set_attributes({**content, **gen_ai.ended(record, self._eras)})
            self._fail(record, span)

    def _fail(self, record: Finished, span: trace.Span) -> None:
        """Status and exception, with no word of the message while content is off: a message may hold a prompt."""
        if (error := gen_ai.error_type(record)) is None:
            return
        failure = record.failure
        detail = gen_ai.exception(failure, shown=self._shown(record.run)) if failure else {}
        self._load.weigh(detail)
        line = str(detail.get("exception.message", "")).strip().partition("\n")[0][:DESCRIPTION]
        span.set_status(trace.Status(trace.StatusCode.ERROR, line or text(error)))
        if detail and self._exception_events:
            span.add_event("exception", detail, record.at_ns)


def installed() -> bool:
    """Whether the application has a tracer provider."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def wanted() -> bool:
    """Whether the environment asks for `exporting()`: it names an OTLP endpoint, and the application has no tracer provider.

    `OTEL_TRACES_EXPORTER`, if set, must have `otlp` in its list: with `none`, nothing is to leave.
    """
    named = os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return bool(_of_traces("ENDPOINT")) and "otlp" in (named or "otlp") and not installed()


def exporting(endpoint: str | None = None, headers: Mapping[str, str] | None = None, *, content: Mode | None = None) -> Spans:
    """Spans with a provider of their own that sends OTLP over HTTP, for an application that has installed none.

    `endpoint` is a base URL or one that ends in `/v1/traces`; what is not given is as the `OTEL_*` variables say.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: "langgraph-observe"}))
    if (_of_traces("PROTOCOL") or "http/protobuf") != "http/protobuf":
        log.warning("OTEL_EXPORTER_OTLP_PROTOCOL asks for what is not here: spans are sent as http/protobuf")
    host, port = gen_ai.server(endpoint or _of_traces("ENDPOINT"))
    place = f"{host}:{port}" if host else "localhost"  # no more of the URL: it may hold a key
    exporter = Bounded(OTLPSpanExporter(_traces(endpoint), headers=headers), name=f"the OTLP endpoint at {place}")
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(Counted(exporter))
    spans = Spans(tracer_provider=provider, content=content, on_close=provider.shutdown, health=lambda: {"lost": exporter.lost})
    at_exit(spans.close)
    return spans


def _of_traces(name: str) -> str | None:
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")


def _traces(endpoint: str | None) -> str | None:
    if endpoint is None:
        return None
    base = endpoint.rstrip("/")
    return base if base.endswith("/v1/traces") else f"{base}/v1/traces"


def _beyond(run: Started) -> otel.Context:
    """The context of a run whose parent has no span here.

    The record knows who the parent is; where that is the caller's current span, its own flags and state are taken.
    """
    if run.parent_span_id is None:
        return trace.set_span_in_context(trace.INVALID_SPAN)
    current = trace.get_current_span().get_span_context()
    parent = _remote(run.trace_id, run.parent_span_id)
    if (current.trace_id, current.span_id) == (parent.trace_id, parent.span_id):
        return otel.get_current()
    return trace.set_span_in_context(trace.NonRecordingSpan(parent))


def _made(tracer: trace.Tracer, above: trace.Span, context: otel.Context, run: Started, *, bare: bool = False) -> trace.Span:
    """The SDK's span, with the record's ids. In the middle of such a start on this thread (see `_begin`), none.

    `bare` is one that is about to end: what is told at the start is told again then.
    """
    if minted.ids is not None:
        return trace.INVALID_SPAN
    minted.ids = (int(run.trace_id, 16), int(run.span_id, 16))
    try:
        return tracer.start_span(
            gen_ai.span_name(run),
            trace.set_span_in_context(above, context),
            gen_ai.span_kind(run),
            None if bare else gen_ai.begun(run),
            [trace.Link(*_linked(link)) for link in run.links],
            run.at_ns,
        )
    finally:
        minted.ids = None


def _linked(link: Link) -> tuple[trace.SpanContext, dict[str, str]]:
    return _remote(link.trace_id, link.span_id), {"langgraph.link.kind": link.kind}


def _remote(trace_id: str, span_id: str) -> trace.SpanContext:
    return trace.SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
    )
