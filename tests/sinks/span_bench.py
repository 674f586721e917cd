"""otel.Spans on a provider of its own, and what came out."""

from __future__ import annotations

from genai_rules import violations
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_records import finished

from langgraph_observe.sinks import otel


class Bench:
    """A sink on an SDK provider of its own, and what came out of it."""

    def __init__(self, provider=None, **options):
        self.memory = InMemorySpanExporter()
        self.provider = provider or TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.spans = otel.Spans(tracer_provider=self.provider, **options)

    def __call__(self, *records):
        for record in records:
            self.spans(record)
        return self

    def run(self, run, **over):
        """Begin and end a run; its span."""
        return self(run, finished(run, **over)).out()[None]

    def out(self):
        assert self.spans.flush(5)
        found = self.memory.get_finished_spans()
        for span in found:
            assert violations(span) == []
        return {span.name: span for span in found} | {None: found[-1] if found else None}
