"""What one play leaves in OpenTelemetry's exporters under several settings at once, and what of it breaks the conventions."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import metric_rules
from genai_rules import told, violations, violations_of_event
from genai_schemas import differences
from genai_table import JSON
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter as Counted
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langgraph_observe import Finished, Observer
from langgraph_observe.sinks.events import Events
from langgraph_observe.sinks.meter import Meters
from langgraph_observe.sinks.otel import Spans

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from langgraph_observe import Record

DELTA = dict.fromkeys((Counted, Histogram), AggregationTemporality.DELTA)


class Setting(NamedTuple):
    """What the sinks are told."""

    names: str
    content: str
    node_spans: bool = True

    @property
    def shown(self) -> bool:
        return self.content != "NO_CONTENT"


SETTINGS = (
    Setting("released", "SPAN_AND_EVENT"),
    Setting("latest", "NO_CONTENT"),
    Setting("both", "SPAN_AND_EVENT", node_spans=False),
)


class Outlet:
    """One setting: spans, log records and metrics, each by a provider of its own."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.spans, self.logs, self.metrics = InMemorySpanExporter(), InMemoryLogRecordExporter(), InMemoryMetricReader(DELTA)
        self._tracers, self._loggers = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
        self._meters = MeterProvider([self.metrics], shutdown_on_exit=False)
        self._tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self._loggers.add_log_record_processor(SimpleLogRecordProcessor(self.logs))

    def sinks(self) -> tuple[Spans, Events, Meters]:
        names, content, node_spans = self.setting
        return (
            Spans(tracer_provider=self._tracers, names=names, content=content, node_spans=node_spans),
            Events(logger_provider=self._loggers, names=names, content=content, details=True, all_exceptions=True),
            Meters(meter_provider=self._meters, names=names),
        )

    def judged(self, ends: dict[str, Finished]) -> Iterator[tuple[str, list[str]]]:
        """Each thing that was exported since the last time: what it is, and what is wrong with it."""
        yield from self._spans(ends)
        for log in self.logs.get_finished_logs():
            yield (
                f"event {log.log_record.event_name}",
                _told(violations_of_event(log, names=self.setting.names, content=self.setting.shown)),
            )
        self.logs.clear()
        data = self.metrics.get_metrics_data()
        for metric in data.resource_metrics[0].scope_metrics[0].metrics if data else ():
            yield f"metric {metric.name}", [*metric_rules.violations(metric), *self._of_other_names(metric)]

    def _spans(self, ends: dict[str, Finished]) -> Iterator[tuple[str, list[str]]]:
        names, shown = self.setting.names, self.setting.shown
        runs = {number: end for number, end in ends.items() if self.setting.node_spans or end.run.kind != "node"}
        counted = Counter(f"{span.context.span_id:016x}" for span in self.spans.get_finished_spans())
        for span in self.spans.get_finished_spans():
            end = runs.get(f"{span.context.span_id:016x}")
            wrong = violations(span, names=names, content=shown) + (told(span, end, content=shown) if end else [])
            yield span.attributes.get("gen_ai.operation.name", "(none)"), [*_told(wrong), *_unlike_the_schemas(span)]
        self.spans.clear()
        yield "every run", [] if counted == Counter(runs.keys()) else [f"spans {counted}, runs {[*runs]}"]

    def _of_other_names(self, metric) -> list[str]:
        era = metric_rules.TABLE[metric.name].era if metric.name in metric_rules.TABLE else None
        return [] if era is None or self.setting.names in {"both", era} else [f"{metric.name} is of the names {era}"]


class Bench:
    """All settings behind one Observer."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.outlets = [Outlet(setting) for setting in SETTINGS]
        self.observer = Observer(self.records.append, *(sink for outlet in self.outlets for sink in outlet.sinks()))
        self.checked: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()

    def problems(self) -> list[str]:
        """Everything that was exported since the last time is judged, and counted. What is wrong, in words."""
        assert self.observer.flush(10)
        ends = {record.run.span_id: record for record in self.records if isinstance(record, Finished)}
        self.records.clear()
        found = []
        for outlet in self.outlets:
            for what, wrong in outlet.judged(ends):
                self.checked[what] += 1
                self.wrong[what] += len(wrong)
                found += [f"{outlet.setting.names}, {outlet.setting.content}: {what}: {problem}" for problem in wrong]
        return found

    def table(self) -> Iterator[str]:
        """What was checked, how often, and how much of it was wrong."""
        for what in sorted(self.checked):
            yield f"{what} · {self.checked[what]} checked · {self.wrong[what]} violations"
        spans = [what for what in self.checked if not what.startswith(("event ", "metric ", "every "))]
        yield f"spans in all · {sum(self.checked[what] for what in spans)} checked · {sum(self.wrong[what] for what in spans)} violations"


def _told(found: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{rule}: {where}" for rule, where in found]


def _unlike_the_schemas(span) -> list[str]:
    """The published schemas are asked, too."""
    shapes = {name: JSON[name] for name in JSON.keys() & span.attributes.keys() if JSON[name] != "any"}
    return [f"{name}: {one}" for name, shape in shapes.items() for one in _difference(shape, span.attributes[name])]


_asked: dict[tuple[str, str], list[str]] = {}


def _difference(shape: str, text: str) -> list[str]:
    """Once for each text: most are told three times."""
    if (shape, text) not in _asked:
        _asked[shape, text] = differences(shape, json.loads(text))
    return _asked[shape, text]
