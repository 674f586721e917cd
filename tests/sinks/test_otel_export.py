from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_records import failed, finished, noted, started
from otlp_server import Server, attributes
from span_bench import Bench

from langgraph_observe.sinks import otel
from langgraph_observe.sinks.otlp import Bounded, request, requests


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_exporting_to_a_url(path):
    with Server() as server:
        spans = otel.exporting(server.url + path, {"x-team": "a"})
        run = started(graph="g")
        spans(run)
        spans(finished(run))
        assert spans.flush(5)
        spans.close()
    (received,) = server.requests
    assert (received.path, received.headers["x-team"]) == ("/v1/traces", "a")
    assert received.resource["service.name"] == "langgraph-observe"
    assert attributes(received.spans[0])["gen_ai.operation.name"] == "invoke_workflow"


def test_exporting_as_the_environment_says(monkeypatch):
    with Server() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
        before = trace.get_tracer_provider()
        spans = otel.exporting()
        run = started()
        spans(run)
        spans(finished(run))
        spans.close()
    assert server.requests[0].resource["service.name"] == "shop"
    assert trace.get_tracer_provider() is before


@pytest.mark.parametrize("status", [401, 400, 500])
def test_a_server_that_refuses_is_said_once_and_counted(caplog, status):
    with Server(status=status) as server:
        spans = otel.exporting(server.url, {"authorization": "Bearer secret"})
        for _ in range(3):
            run = started()
            spans(run)
            spans(finished(run))
            spans.flush(5)
        assert spans.health()["lost"] == 3
        spans.close()
    (line,) = caplog.records
    assert (line.name, str(status) in line.getMessage()) == ("langgraph_observe", True)
    assert "secret" not in caplog.text


def encodable(tracer, name):
    span = tracer.start_span(name)
    span.end()
    return span


def test_a_span_that_cannot_be_encoded_is_counted_and_said_once_and_takes_no_other_with_it(caplog):
    tracer, memory = TracerProvider(shutdown_on_exit=False).get_tracer("t"), InMemorySpanExporter()
    exporter = Bounded(memory, name="test")
    names = ["a", "b", "broken \ud800", "c", "broken too \udfff", "d"]
    assert exporter.export([encodable(tracer, name) for name in names]) is SpanExportResult.FAILURE
    assert [span.name for span in memory.get_finished_spans()] == ["a", "b", "c", "d"]
    assert exporter.lost == 2
    (line,) = caplog.records
    assert "cannot be encoded" in line.getMessage()
    assert "broken" not in line.getMessage()


STATED = trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(1), trace_state=trace.TraceState([("a", "b")]))
REMOTE = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"attributes": {"text": "é", "yes": True, "count": 3, "part": 0.5, "many": ["a", "b"], "none": []}},
        {"attributes": {"bytes": b"x"}},
        {"attributes": {"inner": {"a": [1, None]}}},
        {"attributes": {f"key{number}": number for number in range(5)}},
        {"kind": trace.SpanKind.CLIENT},
        {"links": [trace.Link(STATED, {"a": 1})]},
        {"context": trace.set_span_in_context(REMOTE)},
        {"context": trace.set_span_in_context(trace.NonRecordingSpan(STATED))},
    ],
    ids=["nothing", "values", "bytes", "inner", "many", "client", "link", "remote", "state"],
)
@pytest.mark.parametrize("ends", [("OK", None), ("ERROR", "why"), ("event", None)])
def test_a_request_is_what_the_sdks_own_encoder_makes(options, ends):
    provider = TracerProvider(shutdown_on_exit=False, span_limits=SpanLimits(max_span_attributes=4))
    spans = [provider.get_tracer("t").start_span(name, **options) for name in ("first", "second")]
    for span in spans:
        if ends[0] == "event":
            span.add_event("moment", {"a": 1})
        else:
            span.set_status(trace.StatusCode[ends[0]], ends[1])
        span.end()
    assert request(spans) == encode_spans(spans)


def test_an_exporter_that_raises_is_counted_and_said_once(caplog):
    class Raising(InMemorySpanExporter):
        def export(self, spans):
            raise ValueError("secret")

    exporter = Bounded(Raising(), name="test")
    span = encodable(TracerProvider(shutdown_on_exit=False).get_tracer("t"), "a")
    assert [exporter.export([span]) for _ in range(2)] == [SpanExportResult.FAILURE] * 2
    assert exporter.lost == 2
    assert [("ValueError" in line.getMessage(), "secret" in line.getMessage()) for line in caplog.records] == [(True, False)]


def test_text_that_utf_8_cannot_hold_costs_its_character_only(talking):
    bad = "\ud800"
    run = started(graph=f"g{bad}", name=f"g{bad}", thread_id=bad)
    talking(run, noted(run, "custom", bad, bad), finished(run, **failed(f"message {bad}"), goto=(bad,)))
    span = talking.out()["invoke_workflow g?"]
    assert [part for _, part in requests([span])] != [None]
    assert span.attributes["gen_ai.conversation.id"] == "?"
    assert span.attributes["langgraph.command.goto"] == ("?",)
    assert span.status.description == "message ?"
    assert [event.attributes.get("exception.message") for event in span.events] == [None, "message ?"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"ENDPOINT": "http://h"}, True),
        ({"TRACES_ENDPOINT": "http://h"}, True),
        ({"ENDPOINT": "http://h", "EXPORTER": "none"}, False),
        ({"ENDPOINT": "http://h", "EXPORTER": "console"}, False),
        ({"ENDPOINT": "http://h", "EXPORTER": "console,otlp"}, True),
    ],
)
def test_what_the_environment_asks_for(monkeypatch, environment, expected):
    for name, value in environment.items():
        monkeypatch.setenv("OTEL_TRACES_EXPORTER" if name == "EXPORTER" else f"OTEL_EXPORTER_OTLP_{name}", value)
    assert otel.wanted() is expected


@pytest.mark.parametrize(("protocol", "warned"), [("grpc", 1), ("http/protobuf", 0), ("", 0)])
def test_a_protocol_that_is_not_here_is_said_once(monkeypatch, caplog, protocol, warned):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    otel.exporting("http://127.0.0.1:9").close()
    assert ["sent as http/protobuf" in line.getMessage() for line in caplog.records] == [True] * warned


def test_other_exporters_still_log(caplog):
    spans = otel.exporting("http://127.0.0.1:9")
    logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").error("somebody else's")
    assert "somebody else's" in caplog.text
    spans.close()


def test_a_large_span_does_not_take_the_others_with_it():
    class Small(InMemorySpanExporter):
        def export(self, spans):
            if len(spans) > 1 and sum(len(span.name) for span in spans) > 4_000:
                return SpanExportResult.FAILURE
            return super().export(spans)

    provider, memory = TracerProvider(shutdown_on_exit=False), Small()
    spans = [provider.get_tracer("t").start_span("n" * (5_000 if n == 3 else 10)) for n in range(8)]
    exporter = Bounded(memory, name="test", limit=4_000)
    for span in spans:
        span.end()
    exporter.export(spans)
    assert len(memory.get_finished_spans()) == 8
    assert exporter.lost == 0


def test_close_is_bounded_against_a_silent_server():
    with Server(silent=True) as server:
        spans = otel.exporting(server.url)
        run = started()
        spans(run)
        spans(finished(run))
        spans.close(0.3)
        assert spans.health() == {"queued": 0, "dropped": 0, "errors": 0, "open": 0, "lost": 0}  # the exporter still waits


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from otel_records import chat, answered
from langgraph_observe.sinks import otel
{setup}
run = chat()
spans(run)
spans(answered(run))
"""


def in_a_process(setup):
    code = SCRIPT.format(tests=str(Path(__file__).parent), setup=textwrap.dedent(setup))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_what_ended_is_exported_at_the_end_of_the_interpreter():
    with Server() as server:
        in_a_process(f"spans = otel.exporting({server.url!r})")
    assert [span.name for span in server.spans] == ["chat gpt-4o"]


def test_at_exit_the_spans_reach_a_provider_that_was_installed_after_the_sink():
    with Server() as server:
        in_a_process(f"""
            spans = otel.Spans()
            from opentelemetry import trace
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            provider = TracerProvider()
            provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter({server.url + "/v1/traces"!r})))
            trace.set_tracer_provider(provider)
        """)
    assert [span.name for span in server.spans] == ["chat gpt-4o"]


OF_THE_APPLICATION = """otel.Spans(tracer_provider=(provider := TracerProvider()))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter({url!r} + "/v1/traces")))"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("spans", ["otel.exporting({url!r})", OF_THE_APPLICATION], ids=["own", "the application's"])
def test_a_forked_child_exports_its_own_and_nothing_that_waited_before(spans):
    setup = """
import os
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

def tell(model):
    run = chat(model=model)
    spans(run)
    spans(answered(run))

spans = {spans}
tell("in the SDK's queue")
spans._deferred.flush(5)
tell("in ours")
if os.fork() == 0:
    tell("child")
    spans.flush()
    os._exit(0)
os.wait()
"""
    with Server() as server:
        in_a_process(setup.format(spans=spans.format(url=server.url)))
    assert sorted(span.name for span in server.spans) == ["chat child", "chat gpt-4o", "chat in ours", "chat in the SDK's queue"]


def test_what_comes_after_the_close_is_counted_and_leaves_nothing_open(caplog):
    bench = Bench()
    bench.spans.close()
    run = started()
    bench.spans(run)
    bench.spans(finished(run))
    assert bench.spans.health() == {"queued": 0, "dropped": 1, "errors": 0, "open": 0}
    assert bench.spans.flush(5)


def test_many_threads_leave_nothing_behind(bench):
    def work():
        for _ in range(50):
            root = started()
            child = started("tool", root)
            bench(root, child, finished(child), finished(root))

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert bench.spans.flush(10)
    assert len({span.context.span_id for span in bench.memory.get_finished_spans()}) == 400


def test_nothing_is_kept_alive_by_the_exit_hook():
    spans = otel.exporting("http://127.0.0.1:9")
    reference = weakref.ref(spans)
    del spans
    gc.collect()
    assert reference() is None
