from __future__ import annotations

import textwrap
import threading

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, ParentBased, StaticSampler
from opentelemetry.trace import SpanKind, StatusCode
from otel_records import NOW, TRACE, answered, chat, failed, finished, noted, started
from span_bench import Bench

from langgraph_observe.records import Link, Payload, Prompt, Scored, Usage
from langgraph_observe.sinks import otel
from langgraph_observe.sinks.ids import Ids


def test_a_span_has_the_ids_and_the_times_of_its_record(bench):
    run = started(name="support", graph="support")
    span = bench.run(run, seconds=1.5)
    assert (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") == (TRACE, run.span_id)
    assert (span.start_time, span.end_time) == (NOW, NOW + 1_500_000_000)
    assert span.parent is None


def test_other_spans_of_the_provider_keep_its_own_ids(bench):
    bench.run(started())
    other = bench.provider.get_tracer("langgraph_observe", otel.gen_ai.VERSION).start_span("user's")
    assert f"{other.get_span_context().trace_id:032x}" != TRACE


def told(span):
    """A span's attributes as text."""
    return "\n".join(f"{key} = {value!r}" for key, value in sorted(span.attributes.items()))


def test_a_model_call_in_full(bench):
    run = chat(prompt=Prompt("qa", 3), streaming=True, agent="helper", session_id="s")
    span = bench(run, answered(run, first_token_seconds=0.25)).out()["chat gpt-4o"]
    assert span.kind is SpanKind.CLIENT
    assert told(span) == textwrap.dedent("""\
        gen_ai.agent.name = 'helper'
        gen_ai.conversation.id = 'thread-1'
        gen_ai.operation.name = 'chat'
        gen_ai.prompt.name = 'qa'
        gen_ai.prompt.version = '3'
        gen_ai.provider.name = 'openai'
        gen_ai.request.max_tokens = 100
        gen_ai.request.model = 'gpt-4o'
        gen_ai.request.reasoning.level = 'low'
        gen_ai.request.stop_sequences = ('END',)
        gen_ai.request.stream = True
        gen_ai.request.temperature = 0.0
        gen_ai.response.finish_reasons = ('stop',)
        gen_ai.response.id = 'chatcmpl-1'
        gen_ai.response.model = 'gpt-4o-2024-08-06'
        gen_ai.response.time_to_first_chunk = 0.25
        gen_ai.usage.cache_creation.input_tokens = 10
        gen_ai.usage.cache_read.input_tokens = 60
        gen_ai.usage.input_tokens = 100
        gen_ai.usage.output_tokens = 20
        gen_ai.usage.reasoning.output_tokens = 5
        server.address = 'api.openai.com'
        server.port = 443
        session.id = 's'""")


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (started("graph", name="LangGraph", graph="LangGraph"), "invoke_workflow"),
        (started("graph", name="nightly", graph="LangGraph"), "invoke_workflow nightly"),
        (started("graph", name="LangGraph", graph="support"), "invoke_workflow support"),
        (started("agent", agent="researcher"), "invoke_agent researcher"),
        (started("agent", name="LangGraph", graph="LangGraph"), "invoke_agent"),
        (started("node", node="plan"), "invoke_node plan"),
        (started("tool", name="weather", tool_call_id="c1", description="Tells"), "execute_tool weather"),
        (started("retriever", name="FAISS", parameters={"k": 4}), "retrieval"),
        (started("model"), "chat"),
        (started("chain", name="StrOutputParser"), "StrOutputParser"),
        (started("stream", name="GET /chat"), "GET /chat"),
    ],
)
def test_the_name_of_a_span(bench, run, name):
    assert set(bench(run, finished(run)).out()) == {name, None}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("azure", "azure.ai.openai"), ("xai", "x_ai"), ("anthropic-bedrock", "aws.bedrock"), ("ollama", "ollama"), (None, "unknown")],
)
def test_providers_have_the_names_of_the_conventions(bench, ours, theirs):
    run = chat(provider=ours)
    assert bench(run, finished(run)).out()[None].attributes["gen_ai.provider.name"] == theirs


def test_children_hang_under_their_parents(bench):
    root = started(graph="support")
    node = started("node", root, node="plan")
    model = chat(parent=root, parent_id=node.id, parent_span_id=node.span_id)
    out = bench(root, node, model, answered(model), finished(node), finished(root)).out()
    assert out["chat gpt-4o"].parent.span_id == int(node.span_id, 16)
    assert out["invoke_node plan"].parent.span_id == int(root.span_id, 16)


def test_without_node_spans_what_runs_in_a_node_hangs_under_the_graph():
    bench = Bench(node_spans=False)
    root = started(graph="support")
    node = started("node", root, node="plan")
    tool = started("tool", node)
    bench(root, node, tool)
    assert bench.spans.span(node) is bench.spans.span(root)
    out = bench(finished(tool), finished(node), finished(root)).out()
    assert set(out) == {"execute_tool tool", "invoke_workflow support", None}
    assert out["execute_tool tool"].parent.span_id == int(root.span_id, 16)
    assert bench.spans.health()["open"] == 0


def test_a_root_hangs_under_the_callers_current_span(bench):
    with bench.provider.get_tracer("web").start_as_current_span("POST /chat") as web:
        ids = web.get_span_context()
        root = started(trace_id=f"{ids.trace_id:032x}", parent_span_id=f"{ids.span_id:016x}")
        bench(root, finished(root))
    out = bench.memory.get_finished_spans() if bench.spans.flush(5) else ()
    assert {span.name: span.parent and span.parent.span_id for span in out} == {"invoke_workflow": ids.span_id, "POST /chat": None}


def test_a_root_that_the_record_says_is_one_has_no_parent_whatever_is_current(bench):
    with bench.provider.get_tracer("web").start_as_current_span("other"):
        span = bench.run(started())
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" == TRACE


def test_a_parent_without_a_span_here_is_known_by_its_ids(bench):
    span = bench.run(started("tool", parent_id="gone", parent_span_id="00000000000000aa"))
    assert (span.parent.span_id, f"{span.parent.trace_id:032x}") == (0xAA, TRACE)


def test_an_unsampled_caller_is_respected(bench):
    caller = trace.SpanContext(int(TRACE, 16), 0xAA, is_remote=True, trace_flags=trace.TraceFlags(0))
    token = otel_context.attach(trace.set_span_in_context(trace.NonRecordingSpan(caller)))
    try:
        run = started(parent_span_id="00000000000000aa")
        bench(run, finished(run))
    finally:
        otel_context.detach(token)
    assert bench.out() == {None: None}


def test_links_lead_to_where_a_run_came_from(bench):
    span = bench.run(started(links=(Link("a" * 32, "b" * 16, "resumed_from"),)))
    (link,) = span.links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == ("a" * 32, "b" * 16)
    assert dict(link.attributes) == {"langgraph.link.kind": "resumed_from"}


def test_the_live_span_of_a_run_takes_the_users_attributes_and_is_gone_with_the_end(bench):
    run = started()
    assert bench.spans.span(run) is None
    bench(run)
    bench.spans.span(run).set_attribute("user.plan", "gold")
    bench(finished(run))
    assert bench.spans.span(run) is None
    assert bench.out()[None].attributes["user.plan"] == "gold"


def test_our_attributes_survive_a_user_who_fills_the_span(bench, caplog):
    run = chat()
    bench(run)
    for number in range(300):
        bench.spans.span(run).set_attribute(f"user.{number}", number)
    held = bench(answered(run)).out()[None].attributes
    assert len(held) == 128
    assert {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.usage.input_tokens"} <= held.keys()


# --- how runs end ----------------------------------------------------------------------------------------------------


def test_success_leaves_the_status_unset(bench):
    assert bench.run(started()).status.status_code is StatusCode.UNSET


def test_an_error_says_its_type_and_never_the_message_while_content_is_off(bench):
    span = bench.run(chat(), **failed())
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "openai.RateLimitError")
    assert [(event.name, dict(event.attributes)) for event in span.events] == [
        ("exception", {"exception.type": "openai.RateLimitError"})
    ]
    assert "secret" not in span.to_json()


def test_an_error_says_all_where_content_is_on(talking):
    span = talking.run(chat(), **failed("first line " + "x" * 500 + "\nsecond"))
    assert span.status.description == ("first line " + "x" * 500)[:200]
    assert span.events[0].attributes["exception.stacktrace"] == "Traceback …\nboom"
    assert span.attributes["error.type"] == "openai.RateLimitError"


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ({"outcome": "error"}, "_OTHER"),
        ({"outcome": "interrupted", "reason": "interrupt"}, None),
        ({"outcome": "ok", "reason": "handoff", "goto": ("b",)}, None),
        ({"outcome": "ok", "reason": "drained"}, None),
        ({"outcome": "cancelled", "reason": "stream_closed"}, None),
        ({"outcome": "cancelled", "reason": "task_cancelled"}, "asyncio.exceptions.CancelledError"),
        ({"outcome": "cancelled", "reason": "process_stopped"}, "process_stopped"),
        ({"outcome": "abandoned", "reason": "root_ended"}, None),
    ],
)
def test_only_failures_and_cancellations_are_errors(bench, ending, error):
    span = bench.run(started("node", node="a"), **ending)
    assert span.status.is_ok is (error is None)
    assert span.attributes.get("error.type") == error
    assert span.attributes.get("langgraph_observe.end_reason") == ending.get("reason")
    assert span.attributes.get("langgraph.interrupted") == (True if ending["outcome"] == "interrupted" else None)
    assert span.attributes.get("langgraph.command.goto") == ending.get("goto")


def test_a_generation_cut_by_its_consumer_says_so(bench):
    run = chat(streaming=True)
    span = bench.run(run, outcome="cancelled", reason="stream_closed")
    assert span.attributes["gen_ai.response.finish_reasons"] == ("error",)


def test_unknown_numbers_are_absent_and_estimates_marked(bench):
    span = bench.run(chat(), usage=Usage(output_tokens=7, estimated=True, method="o200k_base"))
    assert {key: value for key, value in span.attributes.items() if "usage" in key} == {
        "gen_ai.usage.output_tokens": 7,
        "langgraph_observe.usage.estimated": True,
        "langgraph_observe.usage.method": "o200k_base",
    }


def test_an_answer_from_the_cache_consumed_nothing(bench):
    span = bench.run(chat(), usage=Usage(input_tokens=10, output_tokens=10), cached=True)
    assert not [key for key in span.attributes if key.startswith("gen_ai.usage")]
    assert span.attributes["langgraph_observe.cached"] is True


def test_what_is_noted_is_an_event_without_its_payload_while_content_is_off(bench):
    run = started("node", node="ask")
    (event,) = bench(run, noted(run, payload={"question": "secret?"}, name="approve"), finished(run)).out()[None].events
    assert (event.name, dict(event.attributes)) == ("langgraph.interrupt", {"langgraph.interrupt.name": "approve"})
    assert event.timestamp == run.at_ns + 1000


def test_what_is_noted_shows_its_payload_where_content_is_on(talking):
    run = started("node", node="ask")
    (event,) = talking(run, noted(run, payload={"question": "ok?"}), finished(run)).out()[None].events
    assert event.attributes["langgraph.interrupt.payload"] == '{"question":"ok?"}'


def test_a_score_is_not_for_spans(bench):
    bench(Scored(trace_id=TRACE, name="helpful", value=1, at_ns=NOW, id="s"))
    assert bench.out() == {None: None}


# --- providers, suppression, threads ---------------------------------------------------------------------------------


@pytest.fixture
def no_global_provider(monkeypatch):
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    return lambda provider: monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)


def test_the_global_provider_is_looked_up_at_each_root(no_global_provider):
    spans, memories = otel.Spans(), []
    early = started()
    spans(early)
    for _ in range(2):
        provider, memory = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(memory))
        no_global_provider(provider)
        memories.append(memory)
        root = started(graph="g")
        spans(root)
        spans(finished(root))
    spans(finished(early))
    assert spans.flush(5)
    assert [[span.name for span in memory.get_finished_spans()] for memory in memories] == [["invoke_workflow g"]] * 2
    spans.close()


def test_a_tree_stays_with_the_provider_of_its_root(no_global_provider):
    bench = Bench()
    no_global_provider(bench.provider)
    spans = otel.Spans()
    root = started()
    spans(root)
    no_global_provider(TracerProvider(shutdown_on_exit=False))
    child = started("tool", root)
    for record in (child, finished(child), finished(root)):
        spans(record)
    assert spans.flush(5)
    assert len(bench.memory.get_finished_spans()) == 2
    spans.close()


def test_a_disabled_sdk_makes_nothing(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    bench = Bench()
    run = chat()
    bench(run)
    assert bench.spans.span(run) is None
    assert bench(answered(run)).out() == {None: None}
    assert bench.spans.health() == {"queued": 0, "dropped": 0, "errors": 0, "open": 0}


def test_without_a_provider_there_are_no_spans_to_make_current(no_global_provider):
    assert not otel.installed()
    spans = otel.Spans()
    run = started()
    spans(run)
    assert spans.span(run) is None
    spans(finished(run))
    assert spans.health() == {"queued": 0, "dropped": 0, "errors": 0, "open": 0}
    no_global_provider(TracerProvider(shutdown_on_exit=False))
    assert otel.installed()


def test_a_foreign_provider_keeps_its_own_ids():
    class Foreign(trace.TracerProvider):
        def __init__(self, inner):
            self.inner = inner

        def get_tracer(self, *arguments, **more):
            return ForeignTracer(self.inner.get_tracer(*arguments, **more))

    class ForeignTracer(trace.Tracer):
        def __init__(self, inner):
            self.inner = inner

        def start_span(self, *arguments, **more):
            return self.inner.start_span(*arguments, **more)

        def start_as_current_span(self, *arguments, **more):
            raise NotImplementedError

    inner, memory = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    inner.add_span_processor(SimpleSpanProcessor(memory))
    spans = otel.Spans(tracer_provider=Foreign(inner))
    root = started()
    child = started("tool", root)
    for record in (root, child, finished(child), finished(root)):
        spans(record)
    assert spans.flush(5)
    tool, graph = memory.get_finished_spans()
    assert tool.parent.span_id == graph.context.span_id != int(root.span_id, 16)
    spans.close()


def test_two_sinks_on_one_provider_both_work():
    bench = Bench()
    second = otel.Spans(tracer_provider=bench.provider)
    run = started(graph="g")
    for sink in (bench.spans, second):
        sink(run)
        sink(finished(run))
        assert sink.flush(5)
    assert {span.context.span_id for span in bench.memory.get_finished_spans()} == {int(run.span_id, 16)}
    assert len(bench.memory.get_finished_spans()) == 2
    assert not isinstance(second._found().id_generator._own, Ids)
    second.close()


@pytest.mark.parametrize("key", ["suppress_instrumentation", _SUPPRESS_INSTRUMENTATION_KEY], ids=["older", "api"])
def test_suppressed_instrumentation_is_remembered_for_the_tree(bench, key):
    root = started()
    child = started("tool", root)
    token = otel_context.attach(otel_context.set_value(key, True))
    bench(root)
    otel_context.detach(token)
    bench(child, finished(child))
    assert bench.spans.span(root) is None
    bench(finished(root))
    assert bench.out() == {None: None}


def test_what_is_not_sampled_is_neither_read_nor_queued():
    class Unread(Payload):
        @property
        def messages(self):
            pytest.fail("read")

    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    bench = Bench(provider, content="SPAN_ONLY")
    run = chat(input=Unread([]))
    bench(run, answered(run))
    assert bench.spans.health() == {"queued": 0, "dropped": 0, "errors": 0, "open": 0}


def test_samplers_see_what_matters():
    seen = []

    class Sampler(StaticSampler):
        def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, *more):
            seen.append((f"{trace_id:032x}", name, attributes["gen_ai.request.model"]))
            return super().should_sample(parent_context, trace_id, name, kind, attributes, *more)

    bench = Bench(TracerProvider(sampler=Sampler(Decision.RECORD_AND_SAMPLE), shutdown_on_exit=False))
    bench.run(chat())
    assert seen == [(TRACE, "chat gpt-4o", "gpt-4o")]


def test_a_start_out_of_the_garbage_collector_in_the_middle_of_a_start_does_not_deadlock():
    lock = threading.Lock()
    inner = []

    class Locking(SpanProcessor):
        """As LangfuseSpanProcessor has it: a plain lock in on_start."""

        def on_start(self, span, parent_context=None):
            assert lock.acquire(timeout=5), "entered twice"
            try:
                if not inner:
                    run = started("tool", name="cleanup")
                    inner.append(run)
                    bench(run, finished(run))  # what a generator's `finally` would do, here
            finally:
                lock.release()

    bench = Bench()
    bench.provider.add_span_processor(Locking())
    outer = started(graph="g")
    out = bench(outer, finished(outer)).out()
    assert out["execute_tool cleanup"].context.span_id == int(inner[0].span_id, 16)
    assert out["invoke_workflow g"].context.span_id == int(outer.span_id, 16)
    assert bench.spans.health()["open"] == 0
