"""The requests that Langfuse gets: headers, keys, bounds, refusals, scores, and what happens to them at the end of a process."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from langfuse_server import KEYS
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_records import NOW, TRACE, answered, chat, failed, finished, noted, started
from otlp_server import Server, attributes

from langgraph_observe.records import Payload, Scored
from langgraph_observe.sinks import ingestion, langfuse, otel


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("LANGFUSE_", "OTEL_"))]:
        monkeypatch.delenv(name)


# --- the wire --------------------------------------------------------------------------------------------------------


def test_the_request_that_langfuse_gets(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-honeycomb-team=secret")
    with Server() as server:
        traces = langfuse.Traces(base_url=server.url + "/", **KEYS)
        traces(finished(started()))
        assert traces.flush(5)
        traces.close()
    (request,) = server.requests
    assert request.path == "/api/public/otel/v1/traces"
    assert request.headers["authorization"] == "Basic " + base64.b64encode(b"pk-lf-1:sk-lf-secret").decode()
    assert request.headers["x-langfuse-ingestion-version"] == "4"
    assert (request.headers["content-type"], request.headers["content-encoding"]) == ("application/x-protobuf", "gzip")
    assert "x-honeycomb-team" not in request.headers
    assert "x-langfuse-sdk-name" not in request.headers


def test_keys_and_server_from_the_environment(monkeypatch):
    with Server() as server:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk")
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk")
        monkeypatch.setenv("LANGFUSE_HOST", server.url)
        traces = langfuse.Traces()
        traces(finished(started()))
        traces.close()
    assert len(server.spans) == 1


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY"),
        ({"public_key": "pk"}, "LANGFUSE_SECRET_KEY"),
        ({"secret_key": "sk"}, "LANGFUSE_PUBLIC_KEY"),
    ],
)
def test_missing_keys_are_named(given, missing):
    with pytest.raises(ValueError, match=f"^Langfuse needs {missing}$"):
        langfuse.Traces(**given)


@pytest.mark.parametrize("url", ["langfuse.example", "//user:hunter2@langfuse.example?key=hunter2", "ftp://h", "https://"])
def test_a_base_url_without_a_scheme_or_a_host_is_named(url):
    with pytest.raises(ValueError, match="needs a scheme and a host") as caught:
        langfuse.Traces(base_url=url, **KEYS)
    assert "hunter2" not in str(caught.value)
    assert url in str(caught.value) or "@" in url


def test_a_span_that_cannot_be_encoded_takes_no_other_with_it(monkeypatch, caplog):
    with Server() as server:
        traces = langfuse.Traces(base_url=server.url, **KEYS)
        monkeypatch.setattr(langfuse.gen_ai, "short", lambda value: value)  # a way for such text that nobody has thought of
        for name in ("a", "b\ud800", "c"):
            traces(finished(started(name=name)))
        traces.close()
    assert [span.name for span in server.spans] == ["a", "c"]
    assert traces.health()["lost"] == 1
    ours = [line.getMessage() for line in caplog.records if line.name == "langgraph_observe"]
    assert ["cannot be encoded" in line for line in ours] == [True]


def test_text_that_utf_8_cannot_hold_costs_its_character_only():
    bad = "\ud800"
    run = started(
        name=bad, node=bad, user_id=bad, tags=(bad,), labels={bad: bad}, metadata={bad: bad}, provider=bad, parameters={bad: bad}
    )
    with Server() as server:
        traces = langfuse.Traces(base_url=server.url, **KEYS)
        traces(finished(run, **failed(bad), goto=(bad,)))
        traces(noted(run, "custom", bad, bad))
        traces(scored(name=bad, comment=bad, value=bad))
        traces.close()
    assert traces.health() == {"queued": 0, "dropped": 0, "errors": 0, "lost": 0}
    span, event = server.spans
    assert (span.name, span.status.message, event.name) == ("?", "openai.RateLimitError: ?", "?")
    held = attributes(span)
    assert (held["user.id"], held["langfuse.trace.metadata.?"], held["langfuse.observation.metadata.goto"]) == ("?", "?", '["?"]')
    (score,) = server.requests[-1].json
    assert (score["name"], score["comment"], score["value"]) == ("?", "?", "?")


def test_a_large_span_does_not_take_the_others_with_it(monkeypatch, caplog):
    monkeypatch.setenv("LANGFUSE_OTEL_MAX_BATCH_SIZE_BYTES", "20000")
    with Server() as server:
        traces = langfuse.Traces(base_url=server.url, **KEYS)
        for size in [10, 5_000, 5_000, 5_000, 30_000, 5_000, 10]:
            traces(finished(started(input=Payload("x" * size))))
        traces.close()
    assert len(server.spans) == 6
    assert max(len(request.body) for request in server.requests) <= 20_000
    assert traces.health()["lost"] == 1
    assert "larger than a request" in caplog.text


def test_a_server_that_is_busy_is_asked_again(caplog):
    with Server(statuses=[429, 503]) as server:
        traces = langfuse.Traces(base_url=server.url, **KEYS)
        traces(finished(started()))
        assert traces.flush(10)
        traces.close()
        assert len(server.requests) == 3
    assert traces.health()["lost"] == 0
    assert caplog.records == []


def test_a_server_that_asks_for_more_time_than_there_is_is_not_asked_again():
    with Server(status=429, headers={"retry-after": "3600"}) as server:
        traces = langfuse.Traces(base_url=server.url, **KEYS)
        traces(finished(started()))
        assert traces.flush(5)
        traces.close()
    assert len(server.requests) == 1
    assert traces.health()["lost"] == 1


@pytest.fixture
def at_once(monkeypatch):
    """It is tried three times, with no time between."""
    monkeypatch.setattr(ingestion, "_PAUSES", (0.0, 0.0))


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "keys are refused (status 401)"), (403, "keys are refused"), (400, "status 400"), (500, "status 500")],
)
def test_what_the_server_refuses_is_said_once_and_counted(caplog, at_once, status, words):
    with Server(status=status) as server:
        traces = langfuse.Traces(base_url=server.url, timeout=60, **KEYS)
        for _ in range(3):
            traces(finished(started()))
            assert traces.flush(60)
        traces.close()
    assert len(server.requests) == (9 if status == 500 else 3)
    assert traces.health() == {"queued": 0, "dropped": 0, "errors": 0, "lost": 3}
    (line,) = [line for line in caplog.records if line.levelname == "WARNING"]
    assert line.name == "langgraph_observe"
    assert words in line.getMessage()
    assert "secret" not in caplog.text


def test_a_dead_server_is_said_once_and_counted(caplog, at_once):
    traces = langfuse.Traces(base_url="http://127.0.0.1:9", timeout=60, **KEYS)
    for _ in range(2):
        traces(finished(started()))
        assert traces.flush(60)
    traces.close()
    assert traces.health()["lost"] == 2
    assert ["cannot be reached" in line.getMessage() for line in caplog.records] == [True]


def test_flush_and_close_are_bounded_against_a_silent_server(caplog):
    with Server(silent=True) as server:
        traces = langfuse.Traces(base_url=server.url, timeout=10, **KEYS)
        traces(finished(started()))
        assert not traces.flush(0.2)
        traces.close(0.2)
        traces.close(30)
        assert traces.health()["lost"] == 0  # the request still waits
    assert "did not take everything" in caplog.text


def test_what_a_given_exporter_does_not_take_is_counted(caplog):
    class Full(InMemorySpanExporter):
        def export(self, spans):
            return SpanExportResult.FAILURE

    traces = langfuse.Traces(span_exporter=Full(), **KEYS)
    traces(finished(started()))
    traces.close()
    assert traces.health()["lost"] == 1


def test_our_own_requests_are_not_traced():
    seen = []

    class Spying(InMemorySpanExporter):
        def export(self, spans):
            seen.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
            return super().export(spans)

    traces = langfuse.Traces(span_exporter=Spying(), **KEYS)
    traces(finished(started()))
    assert traces.flush(5)
    traces.close()
    assert seen == [True]


def test_no_tracer_provider_is_installed_and_no_langfuse_imported():
    code = """
        import sys
        from opentelemetry import trace
        before = trace.get_tracer_provider()
        from langgraph_observe.sinks import langfuse
        langfuse.Traces(public_key="a", secret_key="b").close()
        assert trace.get_tracer_provider() is before
        assert "langfuse" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=30)


@pytest.mark.parametrize(
    ("options", "names"), [({}, ["chat gpt-4o", "@observe"]), ({"should_export_span": langfuse.others}, ["@observe"])]
)
def test_the_sdks_own_processor_can_leave_our_spans_to_us(options, names):
    from langfuse._client.span_processor import LangfuseSpanProcessor

    memory, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    processor = LangfuseSpanProcessor(**KEYS, base_url="http://127.0.0.1:9", span_exporter=memory, **options)
    provider.add_span_processor(processor)
    spans = otel.Spans(tracer_provider=provider)
    run = chat()
    spans(run)
    spans(answered(run))
    assert spans.flush(5)
    provider.get_tracer("langfuse-sdk", attributes={"public_key": KEYS["public_key"]}).start_span("@observe").end()
    assert provider.force_flush()
    assert [span.name for span in memory.get_finished_spans()] == names
    spans.close()
    provider.shutdown()


# --- scores ----------------------------------------------------------------------------------------------------------


def scored(**over):
    return Scored(**{"trace_id": TRACE, "name": "helpful", "value": 0.5, "at_ns": NOW, "id": "score-1"} | over)


def test_scores_go_to_the_scores_api_by_their_id():
    with Server(status=202) as server:
        traces = langfuse.Traces(base_url=server.url, environment="prod", **KEYS)
        traces(scored(span_id="00f067aa0ba902b7", comment="yes", source="app"))
        traces(scored(id="2", value=True))
        traces(scored(id="3", value="good"))
        traces.close()
    (request,) = server.requests
    assert request.path == "/api/public/scores"
    assert request.headers["authorization"].startswith("Basic ")
    assert request.json[0] == {
        "id": "score-1",
        "traceId": TRACE,
        "observationId": "00f067aa0ba902b7",
        "name": "helpful",
        "value": 0.5,
        "dataType": "NUMERIC",
        "comment": "yes",
        "environment": "prod",
        "timestamp": "2026-09-21T14:13:20+00:00",
        "metadata": {"source": "app"},
    }
    assert [(body["value"], body["dataType"]) for body in request.json[1:]] == [(1, "BOOLEAN"), ("good", "CATEGORICAL")]


def test_scores_fit_the_api_that_the_sdk_describes():
    from langfuse.api.core.serialization import convert_and_respect_annotation_metadata
    from langfuse.api.scores.types.create_score_request import CreateScoreRequest

    body = langfuse.observation.score(scored(span_id="00f067aa0ba902b7", comment="yes"), "prod")
    named = convert_and_respect_annotation_metadata(object_=body, annotation=CreateScoreRequest, direction="read")
    assert set(named) <= set(CreateScoreRequest.model_fields)
    assert CreateScoreRequest(**named).observation_id == "00f067aa0ba902b7"


def test_a_score_that_is_no_number_costs_no_other(caplog):
    with Server() as server:
        traces = langfuse.Traces(base_url=server.url, **KEYS)
        for value in (float("nan"), 0.5, float("inf"), True):
            traces(scored(value=value))
        traces.close()
    assert [body["value"] for body in server.requests[0].json] == [0.5, 1]
    assert traces.health()["lost"] == 2
    assert ["no finite number" in line.getMessage() for line in caplog.records] == [True]


def test_rejected_scores_are_counted():
    with Server(status=207) as server:
        traces = langfuse.Traces(base_url=server.url, **KEYS)
        for number in range(20):
            traces(scored(id=str(number)))
        traces.close()
    assert [len(request.json) for request in server.requests] == [15, 5]
    assert traces.health()["lost"] == 20


# --- the process -----------------------------------------------------------------------------------------------------


def in_a_process(code, url):
    head = f"""
        import os, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from otel_records import chat, answered
        from langgraph_observe.sinks import langfuse
        traces = langfuse.Traces(public_key="a", secret_key="b", base_url={url!r}, timeout=60)
    """
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code)], check=True, timeout=60)
    return time.monotonic() - begun


def test_what_ended_is_sent_at_the_end_of_the_interpreter():
    with Server() as server:
        in_a_process("traces(answered(chat()))", server.url)
    assert len(server.spans) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_sends_its_own():
    code = """
        traces(answered(chat(user_id="parent")))
        traces.flush(10)
        if os.fork() == 0:
            traces(answered(chat(user_id="child")))
            traces.close()
            os._exit(0)
        os.wait()
    """
    with Server() as server:
        in_a_process(code, server.url)
    assert [attributes(span)["user.id"] for span in server.spans] == ["parent", "child"]
    assert len({request.peer for request in server.requests}) == 2


def test_one_connection_serves_many_requests():
    with Server() as server:
        traces = langfuse.Traces(base_url=server.url, **KEYS)
        for _ in range(3):
            traces(finished(started()))
            assert traces.flush(5)
        traces.close()
    assert len({request.peer for request in server.requests}) == 1
