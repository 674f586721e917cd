from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from pathlib import Path

import pytest
from genai_rules import violations
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, ParentBased, StaticSampler
from opentelemetry.trace import SpanKind, StatusCode
from otel_records import NOW, TRACE, answered, chat, failed, finished, noted, question, started
from otlp_server import Server, attributes

from langgraph_observe.records import Link, Message, Payload, Prompt, Scored, Usage
from langgraph_observe.sinks import content, otel
from langgraph_observe.sinks.ids import Ids
from langgraph_observe.sinks.otlp import Bounded, requests


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


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.spans.close()
    assert made.spans.health() == {"queued": 0, "dropped": 0, "errors": 0, "open": 0}


@pytest.fixture
def talking():
    made = Bench(content="SPAN_ONLY")
    yield made
    made.spans.close()
    assert made.spans.health()["errors"] == 0


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
        gen_ai.usage.cache_write.input_tokens = 10
        gen_ai.usage.input_tokens = 100
        gen_ai.usage.output_tokens = 20
        gen_ai.usage.reasoning.output_tokens = 5
        server.address = 'api.openai.com'
        server.port = 443""")


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


# --- content ---------------------------------------------------------------------------------------------------------


def test_no_content_by_default(bench):
    run = chat(tools=Payload([{"type": "function", "function": {"name": "weather"}}]))
    assert "Paris" not in bench(run, answered(run)).out()[None].to_json()


@pytest.mark.parametrize(
    ("switch", "shown", "warned"),
    [
        ("", False, 0),
        ("no_content", False, 0),
        ("span_only", True, 0),
        ("SPAN_AND_EVENT", True, 0),
        ("EVENT_ONLY", False, 1),
        ("true", True, 0),
        ("false", False, 0),
        ("yes please", False, 1),
    ],
)
def test_the_environments_switch(monkeypatch, caplog, switch, shown, warned):
    monkeypatch.setenv(otel.SWITCH, switch)
    bench = Bench()
    monkeypatch.setenv(otel.SWITCH, "changed later")
    for run in (chat(), chat()):
        bench(run, answered(run))
    assert ("gen_ai.input.messages" in bench.out()[None].attributes) is shown
    assert len(caplog.records) == warned


def test_messages_in_the_shape_of_the_conventions(talking):
    run = chat(tools=Payload([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]))
    held = talking(run, answered(run)).out()[None].attributes
    assert json.loads(held["gen_ai.input.messages"]) == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "What is the weather in Paris?"}]},
    ]
    assert json.loads(held["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}}],
            "finish_reason": "stop",
        }
    ]
    assert json.loads(held["gen_ai.tool.definitions"]) == [
        {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    ]


PIXEL = "iVBORw0KGgo="
BLOCKS = [
    "plain",
    {"type": "text", "text": "a text"},
    {"type": "thinking", "thinking": "hm"},
    {"type": "reasoning", "summary": [{"text": "so"}]},
    {"type": "reasoning", "reasoning": "therefore"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    {"type": "image_url", "image_url": "https://x.org/cat.png"},
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
    {"type": "audio", "base64": PIXEL, "mime_type": "audio/wav"},
    {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
    {"type": "file", "file_id": "f1"},
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"q": "x"}},
    {"type": "tool_use", "id": "c1", "name": "weather", "input": {}},
    {"type": "novelty", "of": "tomorrow"},
    {"type": "text"},
]


def test_every_kind_of_content_block_keeps_the_schema(talking):
    many = [
        Message({"role": "user", "content": BLOCKS}),
        Message({"role": "tool", "content": "22°", "tool_call_id": "c1", "name": "weather"}),
        Message({"role": "assistant", "content": None, "invalid_tool_calls": [{"id": "c2", "name": "f", "args": "{"}]}),
        Message({"role": "developer", "content": "x"}),
    ]
    run = chat(input=Payload(many))
    text = talking(run, answered(run, output=Payload(many))).out()[None].attributes["gen_ai.input.messages"]
    assert [part["type"] for part in json.loads(text)[0]["parts"]] == [
        *("text", "text", "reasoning", "reasoning", "reasoning", "blob", "uri", "blob", "blob", "blob", "file"),
        *("server_tool_call", "block", "block"),
    ]
    assert PIXEL not in text


@pytest.mark.parametrize(("given", "name"), [([question()], "gen_ai.input.messages"), ([["user", "hi"]], "input.value")])
def test_an_agent_shows_messages_where_it_was_given_messages(talking, given, name):
    run = started("agent", agent="a", input=Payload({"messages": given}))
    held = talking(run, finished(run, output=Payload({"messages": [question()]}))).out()[None].attributes
    assert {"gen_ai.input.messages", "input.value"} & held.keys() == {name}


def test_a_tool_shows_arguments_and_result(talking):
    run = started("tool", input=Payload({"city": "Paris"}))
    held = talking(run, finished(run, output=Payload("22°"))).out()[None].attributes
    assert (held["gen_ai.tool.call.arguments"], held["gen_ai.tool.call.result"]) == ('{"city":"Paris"}', '"22°"')


def test_the_result_of_a_tool_is_the_content_of_its_message(talking):
    run = started("tool", input=Payload("Paris"))
    said = Message({"role": "tool", "content": "22°", "tool_call_id": "c1"})
    assert talking(run, finished(run, output=Payload(said))).out()[None].attributes["gen_ai.tool.call.result"] == '"22°"'


def test_what_a_plain_model_says_is_a_message_too(talking):
    run = chat(input=Payload("Once upon"))
    held = talking(run, finished(run, output=Payload("a time"))).out()[None].attributes
    assert json.loads(held["gen_ai.input.messages"]) == [{"role": "user", "parts": [{"type": "text", "content": "Once upon"}]}]
    assert json.loads(held["gen_ai.output.messages"]) == [{"role": "assistant", "parts": [{"type": "text", "content": "a time"}]}]


def test_a_retriever_shows_ids_and_scores_but_no_text(talking):
    run = started("retriever", input=Payload("who?"))
    found = [{"page_content": "secret text", "id": "d1", "metadata": {"score": 0.5, "source": "a.txt"}}, {"page_content": "t"}]
    span = talking(run, finished(run, output=Payload(found))).out()[None]
    assert span.attributes["gen_ai.retrieval.query.text"] == "who?"
    assert json.loads(span.attributes["gen_ai.retrieval.documents"]) == [{"id": "d1", "score": 0.5}, {}]
    assert "secret" not in span.to_json()


def test_a_state_is_shown_under_the_names_that_backends_read(talking):
    run = started("node", node="a", input=Payload({"x": float("nan"), "messages": [question()]}))
    held = talking(run, finished(run, output=Payload({"y": 1}))).out()[None].attributes
    assert json.loads(held["input.value"])["messages"][0]["content"] == "What is the weather in Paris?"
    assert (held["output.value"], held["output.mime_type"]) == ('{"y":1}', "application/json")


@pytest.mark.parametrize("size", [10, 1_000, 30_000, 300_000])
def test_an_attribute_is_bounded_and_its_json_whole(talking, size):
    history = [
        Message({"role": "system", "content": "Be brief."}),
        *(Message({"role": "user", "content": "x" * size}) for _ in range(40)),
    ]
    run = chat(input=Payload(history), tools=Payload([{"name": "f", "description": "y" * size}]))
    held = talking(run, answered(run, output=Payload(history))).out()[None].attributes
    texts = [held[f"gen_ai.{name}"] for name in ("input.messages", "output.messages", "tool.definitions")]
    assert max(map(len, texts)) <= content.ATTRIBUTE
    first, *_, last = json.loads(texts[0])
    assert first["parts"][0]["content"] == "Be brief."
    assert last["parts"][0]["content"].startswith("x" * min(size, 10_000))


@pytest.mark.parametrize("value", [["z" * 10] * 100_000, {"k" * 300_000: 1}, {str(n): "v" for n in range(50_000)}, "w" * 10**6])
def test_whatever_is_too_large_ends_as_whole_json(value):
    text = content.fit(value, 1_000)
    assert len(text) <= 1_000
    json.loads(text)


def test_a_history_is_converted_once_a_message():
    history = [Message({"role": "user", "content": str(n)}) for n in range(3)]
    first = content.conversation(Payload(history), "user")
    made = [message.cached("gen_ai", lambda _: pytest.fail("made again")) for message in history]
    assert first == f"[{','.join(made)}]"


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


@pytest.mark.parametrize("key", ["suppress_instrumentation", otel._SUPPRESS_INSTRUMENTATION_KEY])
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


def test_a_payload_that_cannot_be_told_ends_its_span_all_the_same(caplog):
    class Broken(Payload):
        @property
        def json(self):
            raise OSError("disk")

    bench = Bench(content="SPAN_ONLY")
    run = started("node", node="a", input=Broken({}))
    assert bench(run, finished(run)).out()[None].name == "invoke_node a"
    assert bench.spans.health()["errors"] == 1
    assert len(caplog.records) == 1


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


# --- exporting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_exporting_to_a_url(path):
    with Server() as server:
        spans = otel.exporting(server.url + path, {"x-team": "a"})
        run = started(graph="g")
        spans(run)
        spans(finished(run))
        assert spans.flush(5)
        spans.close()
    (request,) = server.requests
    assert (request.path, request.headers["x-team"]) == ("/v1/traces", "a")
    assert request.resource["service.name"] == "langgraph-observe"
    assert attributes(request.spans[0])["gen_ai.operation.name"] == "invoke_workflow"


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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_exports_its_own():
    with Server() as server:
        in_a_process(f"""
            import os
            spans = otel.exporting({server.url!r})
            if os.fork() == 0:
                run = chat(model="child")
                spans(run)
                spans(answered(run))
                spans.close()
                os._exit(0)
            os.wait()
        """)
    assert sorted(span.name for span in server.spans) == ["chat child", "chat gpt-4o"]
