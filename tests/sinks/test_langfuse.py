from __future__ import annotations

import json
import os
import textwrap
from decimal import Decimal

import pytest
from langfuse_server import KEYS
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from otel_records import NOW, answer, answered, chat, failed, finished, noted, question, started
from otlp_server import Server, attributes

from langgraph_observe.records import Link, Message, Payload, Prompt, Usage
from langgraph_observe.sinks import langfuse, otel


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
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("langfuse-sdk", attributes={"public_key": KEYS["public_key"]})
    with tracer.start_as_current_span("handler") as outer:
        ids = outer.get_span_context()
        run = started(trace_id=f"{ids.trace_id:032x}", parent_span_id=f"{ids.span_id:016x}")
        bench(run)
    (span,) = bench(finished(run))
    assert "langfuse.internal.is_app_root" not in span.attributes
    assert bench.traces._around == {}


def test_a_root_inside_an_observation_of_another_project_is_a_root_here(bench):
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("langfuse-sdk", attributes={"public_key": "pk-another"})
    with tracer.start_as_current_span("handler") as outer:
        run = started(trace_id=f"{outer.context.trace_id:032x}", parent_span_id=f"{outer.context.span_id:016x}")
        bench(run)
    (span,) = bench(finished(run))
    assert span.attributes["langfuse.internal.is_app_root"] is True


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


@pytest.mark.parametrize(
    ("reason", "words"),
    [("closed", "Observer was closed"), ("forgotten", "nobody ended it"), ("sibling_failed", "a node beside it failed")],
)
def test_an_ending_is_told_in_words(bench, reason, words):
    assert words in one(bench, started(), outcome="abandoned", reason=reason)["langfuse.observation.status_message"]


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


# --- beside other sinks ----------------------------------------------------------------------------------------------


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
