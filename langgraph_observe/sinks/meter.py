"""Meters: runs as metrics of OpenTelemetry's meter, by the meter provider that the application runs. `measures` says which.

The agent's thread queues records; the SDK, whose instruments take locks, is met on a thread of its own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry import metrics
from opentelemetry.metrics._internal import _ProxyMeterProvider  # no public way to ask whether one is installed

from langgraph_observe.records import Finished, Noted, Started
from langgraph_observe.sinks import around, gen_ai
from langgraph_observe.sinks.around import SAMPLED
from langgraph_observe.sinks.deferred import Deferred, at_exit
from langgraph_observe.sinks.measures import ACTIVE, CALLS, INSTRUMENTS, RETRIES, active, calls, measures, retried

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import TraceFlags

    from langgraph_observe.records import Record

    Item: TypeAlias = tuple[Started | Finished | Noted, "_Open | None"]
    """A record and what is kept of its run; None if its beginning was not seen."""


@dataclass(slots=True)
class _Open:
    """A run that has begun. Its calls and its gauge are touched on the sink's thread only."""

    flags: TraceFlags
    """The caller's: of what was not sampled, no trace is to be shown as an example."""
    silent: bool
    """The caller of its root suppresses instrumentation."""
    calls: Counter[str] | None
    """Of the agent that it is, or is inside of: calls made so far, by kind."""
    gauge: Any = None
    """The instrument that counts it as active."""


class Meters:
    """Histograms and counters of the GenAI conventions, and of what only LangGraph has.

    Values are the durations of the spans, recorded under their ids, so that exemplars lead to the trace. No attribute is
    a conversation, a run or a user. The application's provider is used, never installed, replaced or shut down.
    """

    payloads: Final = False

    def __init__(self, *, meter_provider: metrics.MeterProvider | None = None, names: gen_ai.Names | None = None) -> None:
        """Without a provider, the global one at each record; while there is none, nothing is kept.

        `names` of metrics that the conventions have renamed: `released`, `latest` or `both`. Defaults to what
        OTEL_SEMCONV_STABILITY_OPT_IN asks for, and that to `released`. Raises ValueError for anything else.
        """
        self._eras = gen_ai.eras(names)
        self._given = meter_provider
        self._open: dict[str, _Open] = {}
        self._seen: metrics.MeterProvider | None = None
        self._made_by: metrics.MeterProvider | None = None
        self._meter: metrics.Meter | None = None
        self._made: dict[str, Any] = {}
        self._deferred: Deferred[Item] = Deferred(self._record, name="meter.Meters")
        self._listened()

    def __call__(self, record: Record) -> None:
        """Queue a record with what is kept of its run. Takes no lock of ours, and may be entered again from within."""
        match record:
            case Started():
                self._begin(record)
            case Finished():
                self._queue(record, self._open.pop(record.run.span_id, None))
            case Noted(kind="retry") if record.run.kind != "node":  # a node's attempts are runs, counted as they start
                self._queue(record, self._open.get(record.run.span_id))

    def flush(self, timeout: float = 5.0) -> bool:
        """Measure what was recorded before now. False after `timeout` seconds.

        When the provider exports is its own affair: a collection that nobody asked for takes the exemplars away from the next
        one, and has a Prometheus reader expose everything twice.
        """
        return self._deferred.flush(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Measure what is queued."""
        self._deferred.close(timeout)

    def health(self) -> dict[str, int]:
        """Counts since the start: queued now, dropped, errors; open runs."""
        return self._deferred.health() | {"open": len(self._open)}

    def _begin(self, run: Started) -> None:
        if not self._listened():
            return
        above = self._open.get(run.parent_span_id or "")
        made = above.calls if above else None
        if run.kind == "agent":
            made = None if run.remote else Counter()  # what a remote one calls is not seen here
        silent, flags = (above.silent, above.flags) if above else (around.suppressed(), around.flags(run))
        self._open[run.span_id] = was = _Open(flags, silent, made)
        self._queue(run, was)

    def _queue(self, record: Started | Finished | Noted, was: _Open | None) -> None:
        if not (was and was.silent) and self._listened():
            self._deferred((record, was))

    def _provider(self) -> metrics.MeterProvider:
        return self._given or metrics.get_meter_provider()

    def _listened(self) -> bool:
        """Whether there is a provider to be told."""
        provider = self._provider()
        if isinstance(provider, (_ProxyMeterProvider, metrics.NoOpMeterProvider)):  # the API's own, until one is installed
            return False
        if provider is not self._seen:
            self._seen = provider
            # A provider shuts down at exit, and exit hooks run last in, first out: what waits here must reach it before.
            at_exit(self._deferred.flush)
        return True

    def _record(self, item: Item) -> None:
        provider = self._provider()
        if provider is not self._made_by:
            self._made_by, self._made, self._meter = provider, {}, provider.get_meter(gen_ai.SCOPE, gen_ai.VERSION)
        if isinstance(self._meter, metrics.NoOpMeter):  # OTEL_SDK_DISABLED
            return
        match item:
            case (Started() as run, _Open() as was):
                self._started(run, was)
            case (Finished() as end, was):
                self._finished(end, was)
            case (Noted(run=run), was):
                self._add(RETRIES, 1, retried(run), _context(run, was))

    def _started(self, run: Started, was: _Open) -> None:
        if was.calls is not None and run.kind in CALLS:
            was.calls[run.kind] += 1
        if run.kind in {"graph", "agent"}:
            was.gauge = self._instrument(ACTIVE)
            was.gauge.add(1, active(run), _context(run, was))
        if run.attempt > 1:
            self._add(RETRIES, 1, retried(run), _context(run, was))

    def _finished(self, end: Finished, was: _Open | None) -> None:
        run, context = end.run, _context(end.run, was)
        for name, value, attributes in measures(end, self._eras):
            self._add(name, value, attributes, context)
        if was is None:  # what was not seen to begin was not counted as active, and nor were its calls
            return
        if was.gauge is not None:
            was.gauge.add(-1, active(run), context)
        if was.calls is not None and run.kind == "agent":
            for name, value, attributes in calls(run, was.calls):
                self._add(name, value, attributes, context)
        elif was.calls is not None and run.kind in CALLS and end.cached:
            was.calls[run.kind] -= 1  # no model was called

    def _add(self, name: str, value: float, attributes: gen_ai.Attributes, context: Context) -> None:
        instrument = self._instrument(name)
        (instrument.record if INSTRUMENTS[name].kind == "histogram" else instrument.add)(value, attributes, context)

    def _instrument(self, name: str) -> Any:
        if name not in self._made:
            one = INSTRUMENTS[name]
            advice = {"explicit_bucket_boundaries_advisory": one.buckets} if one.buckets else {}
            create = getattr(self._meter, f"create_{one.kind}")
            self._made[name] = create(name, unit=one.unit, description=one.description, **advice)
        return self._made[name]


def _context(run: Started, was: _Open | None) -> Context:
    return around.context(run, was.flags if was else SAMPLED)
