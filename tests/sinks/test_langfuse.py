from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import textwrap
import time
from decimal import Decimal
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from otel_records import NOW, TRACE, answer, answered, chat, failed, finished, noted, question, started
from otlp_server import Server, attributes

from langgraph_observe.records import Link, Message, Payload, Prompt, Scored, Usage
from langgraph_observe.sinks import langfuse, otel

KEYS = {"public_key": "pk-lf-1", "secret_key": "sk-lf-secret"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("LANGFUSE_", "OTEL_"))]:
        monkeypatch.delenv(name)


class Bench:
    """A sink whose spans stay in memory."""

    def __init__(self, **options):
        self.memory = InMemorySpanExporter()
        self.traces = langfuse.Traces(span_exporter=self.memory, **KEYS, **options)

    def __call__(self, *records):
        for record in records:
            self.traces(record)
        assert self.traces.flush(5)
        return list(self.memory.get_finished_spans())


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.traces.close()
    assert made.traces.health() == {"queued": 0, "dropped": 0, "errors": 0, "lost": 0}


def told(span, prefix="langfuse."):
    """What Langfuse reads of a span, as text."""
    shown = {k: v for k, v in span.attributes.items() if k.startswith((prefix, "session.", "user."))}
    return "\n".join(f"{key} = {value!r}" for key, value in sorted(shown.items()))


def one(bench, run, **over):
    (span,) = bench(finished(run, **over))
    return span.attributes


def test_a_generation_in_full(bench):
    run = chat(
        prompt=Prompt("qa", 3),
        session_id="session-1",
        user_id="ada",
        trace_name="support",
        tags=("beta", "eu"),
        labels={"tenant": "acme"},
        metadata={"plan": "gold", "seats": 3, "nested": {"a": [1]}},
        node="agent",
        step=2,
        parent_id="p",
        parent_span_id="00000000000000aa",
        tools=Payload([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]),
    )
    (span,) = bench(
        answered(
            run,
            first_token_seconds=0.25,
            usage=Usage(
                input_tokens=100,
                output_tokens=20,
                cache_read_tokens=60,
                reasoning_tokens=5,
                service_tier="flex",
                cost=Decimal("0.00125"),
                cost_source="genai-prices 0.2.3",
            ),
        )
    )
    assert (span.name, span.parent.span_id, f"{span.context.span_id:016x}") == ("ChatOpenAI", 0xAA, run.span_id)
    assert (span.start_time, span.end_time) == (NOW, NOW + 1_500_000_000)
    assert told(span) == textwrap.dedent("""\
        langfuse.observation.completion_start_time = '"2026-09-21T14:13:20.250000+00:00"'
        langfuse.observation.cost_details = '{"total":0.00125}'
        langfuse.observation.input = '{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"What is the weather in Paris?"}],"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object"}}}]}'
        langfuse.observation.level = 'DEFAULT'
        langfuse.observation.metadata.cost_source = 'genai-prices 0.2.3'
        langfuse.observation.metadata.finish_reason = 'stop'
        langfuse.observation.metadata.langgraph_node = 'agent'
        langfuse.observation.metadata.langgraph_step = 2
        langfuse.observation.metadata.ls_provider = 'openai'
        langfuse.observation.metadata.nested = '{"a":[1]}'
        langfuse.observation.metadata.plan = 'gold'
        langfuse.observation.metadata.seats = 3
        langfuse.observation.model.name = 'gpt-4o-2024-08-06'
        langfuse.observation.model.parameters = '{"temperature":0,"max_tokens":100,"stop":"END","n":1,"reasoning_effort":"low","service_tier":"flex"}'
        langfuse.observation.output = '{"role":"assistant","content":"","tool_calls":[{"id":"c1","type":"function","function":{"name":"weather","arguments":"{\\\\"city\\\\":\\\\"Paris\\\\"}"}}]}'
        langfuse.observation.prompt.name = 'qa'
        langfuse.observation.prompt.version = 3
        langfuse.observation.type = 'generation'
        langfuse.observation.usage_details = '{"input":40,"input_cache_read":60,"output":15,"output_reasoning":5,"total":120}'
        langfuse.trace.metadata.tenant = 'acme'
        langfuse.trace.name = 'support'
        langfuse.trace.tags = ['beta', 'eu']
        session.id = 'session-1'
        user.id = 'ada'""")
    assert span.attributes["gen_ai.request.model"] == "gpt-4o"


@pytest.mark.parametrize(
    ("kind", "type_"),
    [
        *(("graph", "chain"), ("node", "chain"), ("agent", "agent"), ("model", "generation"), ("tool", "tool")),
        *(("retriever", "retriever"), ("chain", "chain"), ("stream", "span")),
    ],
)
def test_the_type_is_the_kind_and_never_the_name(bench, kind, type_):
    assert one(bench, started(kind, name="reagent"))["langfuse.observation.type"] == type_


def test_every_observation_carries_session_user_and_tags_itself(bench):
    root = started(thread_id="t-1", user_id="ada", tags=("x",))
    parts = [started(kind, root, thread_id="t-1", user_id="ada", tags=("x",)) for kind in ("node", "model", "tool")]
    spans = bench(*(finished(run) for run in (*parts, root)), noted(parts[0], payload="?"))
    assert [(s.attributes["session.id"], s.attributes["user.id"], s.attributes["langfuse.trace.tags"]) for s in spans] == [
        ("t-1", "ada", ["x"])
    ] * 5


def test_only_a_root_is_marked_as_the_applications_root(bench):
    root = started(parent_span_id="00000000000000aa")
    child, outer = bench(finished(started("node", root)), finished(root))
    assert "langfuse.internal.is_app_root" not in child.attributes
    assert outer.attributes["langfuse.internal.is_app_root"] is True
    assert outer.attributes["langfuse.trace.name"] == "LangGraph"


def test_a_root_inside_a_langfuse_observation_is_no_root(bench):
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("langfuse-sdk")
    with tracer.start_as_current_span("handler") as outer:
        ids = outer.get_span_context()
        run = started(trace_id=f"{ids.trace_id:032x}", parent_span_id=f"{ids.span_id:016x}")
        bench(run)
    (span,) = bench(finished(run))
    assert "langfuse.internal.is_app_root" not in span.attributes
    assert bench.traces._nested == set()


def test_environment_release_and_version_are_on_every_observation(monkeypatch):
    monkeypatch.setenv("LANGFUSE_TRACING_ENVIRONMENT", "staging")
    monkeypatch.setenv("LANGFUSE_RELEASE", "r7")
    held = one(Bench(version="1.2"), started())
    assert {k: held[k] for k in ("langfuse.environment", "langfuse.release", "langfuse.version")} == {
        "langfuse.environment": "staging",
        "langfuse.release": "r7",
        "langfuse.version": "1.2",
    }
    assert one(Bench(environment="prod"), started())["langfuse.environment"] == "prod"


# --- usage and cost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "usage", "buckets"),
    [
        ("openai", Usage(input_tokens=10, output_tokens=5), {"input": 10, "output": 5, "total": 15}),
        (
            "anthropic",
            Usage(
                input_tokens=3_000,
                output_tokens=128,
                cache_read_tokens=500,
                cache_write_tokens=2_048,
                cache_write_5m_tokens=2_000,
                cache_write_1h_tokens=48,
                reasoning_tokens=100,
            ),
            {
                "input": 452,
                "input_cache_read": 500,
                "input_cache_creation_5m": 2_000,
                "input_cache_creation_1h": 48,
                "output": 128,
                "total": 3_128,
            },
        ),
        (
            "google_genai",
            Usage(
                input_tokens=10,
                output_tokens=50,
                cache_write_tokens=4,
                reasoning_tokens=40,
                input_audio_tokens=3,
                output_audio_tokens=2,
            ),
            {
                "input": 3,
                "input_cache_creation": 4,
                "input_audio": 3,
                "output": 8,
                "output_reasoning": 40,
                "output_audio": 2,
                "total": 60,
            },
        ),
        ("openai", Usage(input_tokens=10, output_tokens=5, cache_read_tokens=99), {"input": 10, "output": 5, "total": 15}),
        ("openai", Usage(output_tokens=5), {"output": 5}),
    ],
)
def test_usage_becomes_disjoint_buckets(bench, provider, usage, buckets):
    details = json.loads(one(bench, chat(provider=provider), usage=usage)["langfuse.observation.usage_details"])
    assert details == buckets
    assert details.pop("total", None) in {None, sum(details.values())}


def test_unknown_usage_and_cost_are_absent(bench):
    held = one(bench, chat(), usage=Usage())
    assert not [key for key in held if "usage_details" in key or "cost" in key]


def test_a_cached_answer_costs_nothing(bench):
    held = one(bench, chat(), usage=Usage(input_tokens=10, output_tokens=5), cached=True)
    assert held["langfuse.observation.cost_details"] == '{"total":0.0}'
    assert held["langfuse.observation.metadata.cached"] is True


def test_an_estimate_is_marked(bench):
    held = one(bench, chat(), usage=Usage(output_tokens=5, estimated=True, method="o200k_base×1.18"))
    assert held["langfuse.observation.metadata.usage_estimated"] == "o200k_base×1.18"


# --- endings and events ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "level", "message"),
    [
        ({"outcome": "ok"}, "DEFAULT", None),
        (failed("no quota"), "ERROR", "openai.RateLimitError: no quota"),
        ({"outcome": "interrupted", "reason": "interrupt"}, "DEFAULT", "interrupted: waits for a human"),
        ({"outcome": "cancelled", "reason": "stream_closed"}, "WARNING", "stream closed by its consumer"),
        ({"outcome": "cancelled", "reason": "task_cancelled"}, "WARNING", "cancelled"),
        ({"outcome": "abandoned"}, "WARNING", "abandoned"),
        ({"outcome": "ok", "reason": "handoff"}, "DEFAULT", "handed off to another graph"),
        ({"outcome": "cancelled", "reason": "of our own time"}, "WARNING", "of our own time"),
    ],
)
def test_levels_and_their_words(bench, ending, level, message):
    (span,) = bench(finished(started("node"), **ending))
    assert span.attributes["langfuse.observation.level"] == level
    assert span.attributes.get("langfuse.observation.status_message") == message
    assert span.status.status_code is (StatusCode.ERROR if level == "ERROR" else StatusCode.UNSET)


def test_a_failed_stream_keeps_what_came(bench):
    held = one(bench, chat(), **failed(), usage=Usage(input_tokens=10, output_tokens=2), output=Payload(answer()))
    assert json.loads(held["langfuse.observation.output"])["role"] == "assistant"
    assert json.loads(held["langfuse.observation.usage_details"])["output"] == 2


@pytest.mark.parametrize(
    ("kind", "level"), [("interrupt", "DEFAULT"), ("resume", "DEFAULT"), ("retry", "WARNING"), ("custom", "DEFAULT")]
)
def test_moments_are_events(bench, kind, level):
    run = started("node", node="ask", step=3)
    moment = noted(run, kind, {"question": "ok?"}, name="approve")
    (span,) = bench(moment)
    assert (span.name, span.parent.span_id, span.start_time) == ("approve", int(run.span_id, 16), moment.at_ns)
    assert told(span, "langfuse.observation") == textwrap.dedent(f"""\
        langfuse.observation.input = '{{"question":"ok?"}}'
        langfuse.observation.level = '{level}'
        langfuse.observation.metadata.event = '{kind}'
        langfuse.observation.metadata.langgraph_node = 'ask'
        langfuse.observation.metadata.langgraph_step = 3
        langfuse.observation.type = 'event'""")
    assert span.context.span_id == bench(moment)[-1].context.span_id != int(run.span_id, 16)


def test_routes_and_first_bytes_are_no_events(bench):
    assert bench(noted(started(), "route"), noted(started(), "first_byte")) == []


def test_where_a_run_came_from_and_went_to(bench):
    run = started("node", links=(Link("a" * 32, "b" * 16, "resumed_from"),), attempt=2)
    held = one(bench, run, goto=("end",))
    assert held["langfuse.observation.metadata.resumed_from"] == f'["{"a" * 32}"]'
    assert held["langfuse.observation.metadata.goto"] == '["end"]'
    assert held["langfuse.observation.metadata.attempt"] == 2


# --- payloads --------------------------------------------------------------------------------------------------------


def test_every_choice_is_kept(bench):
    held = one(bench, chat(), output=Payload([answer(), Message({"role": "assistant", "content": "22°"})]))
    assert [message["content"] for message in json.loads(held["langfuse.observation.output"])] == ["", "22°"]


@pytest.mark.parametrize("given", [[question()], {"messages": [question()]}, "What is the weather in Paris?"])
def test_a_models_input_is_messages_however_it_came(bench, given):
    held = one(bench, chat(input=Payload(given)))
    assert held["langfuse.observation.input"] == '{"messages":[{"role":"user","content":"What is the weather in Paris?"}]}'


def test_a_state_is_shown_with_its_messages_and_what_it_left_out(bench):
    held = one(bench, started("node", input=Payload({"messages": [question()]}, omitted={"messages": 7, "plan": None})))
    assert held["langfuse.observation.input"] == '{"messages":[{"role":"user","content":"What is the weather in Paris?"}]}'
    assert held["langfuse.observation.metadata.input_omitted"] == '{"messages":7,"plan":null}'


def test_plain_text_stays_plain(bench):
    held = one(bench, started("tool", input=Payload("Paris")), output=Payload(["22°", float("inf"), b"\0"]))
    assert held["langfuse.observation.input"] == "Paris"
    assert held["langfuse.observation.output"] == '["22°","inf","<bytes: 1 bytes>"]'


def test_odd_metadata_and_parameters_are_told(bench):
    run = chat(metadata={"nan": float("nan"), "o": object, "none": None, "many": {"x": {1, 2}}}, parameters={"f": object()})
    held = one(bench, run)
    assert held["langfuse.observation.metadata.many"] == '{"x":[1,2]}'
    assert held["langfuse.observation.metadata.nan"] == "nan"
    assert "langfuse.observation.metadata.none" not in held


def test_hundreds_of_metadata_keys_all_arrive():
    with Server() as server:
        traces = langfuse.Traces(base_url=server.url, **KEYS)
        traces(finished(chat(metadata={f"k{n}": n for n in range(400)})))
        traces.close()
    held = attributes(server.spans[0])
    assert held["langfuse.observation.metadata.k399"] == 399
    assert held["langfuse.observation.metadata.k0"] == 0
    assert held["langfuse.observation.type"] == "generation"


def test_a_record_that_cannot_be_told_costs_no_other(caplog):
    class Broken(Payload):
        def fold(self, message):
            raise OSError("disk")

    bench = Bench()
    assert len(bench(finished(started()), finished(started(input=Broken(1))), finished(started()))) == 2
    assert bench.traces.health()["lost"] == 1
    assert [line.levelname for line in caplog.records] == ["WARNING"]


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
        monkeypatch.setattr(langfuse, "text", lambda value: value)  # a way for such text that nobody has thought of
        for name in ("a", "b\ud800", "c"):
            traces(finished(started(name=name)))
        traces.close()
    assert [span.name for span in server.spans] == ["a", "c"]
    assert traces.health()["lost"] == 1
    assert ["cannot be encoded" in line.getMessage() for line in caplog.records] == [True]


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


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "keys are refused (status 401)"), (403, "keys are refused"), (400, "status 400"), (500, "status 500")],
)
def test_what_the_server_refuses_is_said_once_and_counted(caplog, status, words):
    with Server(status=status) as server:
        traces = langfuse.Traces(base_url=server.url, timeout=0.2, **KEYS)
        for _ in range(3):
            traces(finished(started()))
            assert traces.flush(5)
        traces.close()
    assert traces.health() == {"queued": 0, "dropped": 0, "errors": 0, "lost": 3}
    (line,) = [line for line in caplog.records if line.levelname == "WARNING"]
    assert line.name == "langgraph_observe"
    assert words in line.getMessage()
    assert "secret" not in caplog.text


def test_a_dead_server_is_said_once_and_counted(caplog):
    traces = langfuse.Traces(base_url="http://127.0.0.1:9", timeout=0.2, **KEYS)
    for _ in range(2):
        traces(finished(started()))
        assert traces.flush(5)
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
            seen.append(otel.otel.get_value(otel._SUPPRESS_INSTRUMENTATION_KEY))
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


def test_one_run_has_one_identity_in_both_sinks_and_content_in_one(bench):
    memory, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    spans = otel.Spans(tracer_provider=provider)
    run = chat()
    for record in (run, answered(run)):
        spans(record)
        bench(record)
    assert spans.flush(5)
    (theirs,), (ours,) = memory.get_finished_spans(), bench()
    assert trace.format_span_id(theirs.context.span_id) == trace.format_span_id(ours.context.span_id)
    assert "Paris" in ours.to_json()
    assert "Paris" not in theirs.to_json()
    spans.close()


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


@pytest.mark.parametrize(
    ("reason", "words"),
    [("closed", "Observer was closed"), ("forgotten", "nobody ended it"), ("sibling_failed", "a node beside it failed")],
)
def test_an_ending_is_told_in_words(bench, reason, words):
    assert words in one(bench, started(), outcome="abandoned", reason=reason)["langfuse.observation.status_message"]


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
