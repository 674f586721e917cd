from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import warnings
import weakref
from pathlib import Path

import pytest
from capture.graphs import linear
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from opentelemetry import _logs as logs
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from otel_records import NOW, TRACE, answered, chat, failed, finished, noted, started
from otlp_server import Server

from langgraph_observe import Observer, observe
from langgraph_observe.payloads import Message, Payload
from langgraph_observe.records import Scored
from langgraph_observe.sinks import shown
from langgraph_observe.sinks.events import SWITCH, Events
from langgraph_observe.testing import ScriptedModel

DETAILS, EXCEPTION = "gen_ai.client.inference.operation.details", "gen_ai.client.operation.exception"
SECRET = "the prompt was: my secret diary"


class Bench:
    """A sink on an SDK provider of its own, and what came out of it."""

    def __init__(self, provider=None, **options):
        self.memory = InMemoryLogRecordExporter()
        self.provider = provider or LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.memory))
        self.events = Events(**{"logger_provider": self.provider, **options})

    def __call__(self, *records):
        for record in records:
            self.events(record)
        return self

    def run(self, run, **over):
        return self(run, finished(run, **over)).out()

    def out(self):
        assert self.events.flush(5)
        assert self.events.health() == {"queued": 0, "dropped": 0, "errors": 0, "open": 0}
        return [one.log_record for one in self.memory.get_finished_logs()]

    def names(self):
        return [record.event_name for record in self.out()]


def scored(value=1.0, **over):
    return Scored(**{"trace_id": TRACE, "name": "helpful", "value": value, "at_ns": NOW, "id": "s-1", **over})


# --- what a model was asked ------------------------------------------------------------------------------------------


def test_a_model_call_is_told_with_its_attributes_and_its_messages_as_structures():
    run = chat(tools=Payload([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]))
    (event,) = Bench(content="EVENT_ONLY")(run, answered(run)).out()
    held = dict(event.attributes)
    assert (event.event_name, event.severity_number) == (DETAILS, logs.SeverityNumber.DEBUG)
    assert {name: held[name] for name in ("gen_ai.operation.name", "gen_ai.response.id", "gen_ai.usage.input_tokens")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.usage.input_tokens": 100,
    }
    assert held["gen_ai.input.messages"][1] == {
        "role": "user",
        "parts": ({"type": "text", "content": "What is the weather in Paris?"},),
    }
    call = {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}}
    assert held["gen_ai.output.messages"] == ({"role": "assistant", "parts": (call,), "finish_reason": "stop"},)
    assert held["gen_ai.tool.definitions"] == ({"type": "function", "name": "weather", "parameters": {"type": "object"}},)


def test_an_event_has_the_ids_of_the_span_and_the_time_of_the_end():
    run = chat()
    (event,) = Bench(details=True)(run, answered(run)).out()
    assert (f"{event.trace_id:032x}", f"{event.span_id:016x}") == (TRACE, run.span_id)
    assert (event.timestamp, event.trace_flags) == (NOW + 1_500_000_000, 1)


@pytest.mark.parametrize(
    ("content", "emit", "told", "shown_", "warned"),
    [
        ("", "", False, False, 0),
        ("SPAN_ONLY", "", False, False, 0),
        ("true", "", False, False, 0),
        ("EVENT_ONLY", "", True, True, 0),
        ("span_and_event", "", True, True, 0),
        ("NO_CONTENT", "true", True, False, 0),
        ("SPAN_ONLY", "TRUE", True, False, 0),
        ("EVENT_ONLY", "false", False, False, 0),
        ("EVENT_ONLY", "perhaps", True, True, 1),
        ("loud", "", False, False, 1),
    ],
)
def test_what_the_environment_wants_to_be_told(monkeypatch, caplog, content, emit, told, shown_, warned):
    monkeypatch.setenv(shown.SWITCH, content)
    monkeypatch.setenv(SWITCH, emit)
    run = chat()
    out = Bench()(run, answered(run)).out()
    assert [event.event_name for event in out] == [DETAILS] * told
    assert ["gen_ai.input.messages" in event.attributes for event in out] == [shown_] * told
    assert len(caplog.records) == warned


def test_only_models_have_details():
    bench = Bench(content="SPAN_AND_EVENT")
    for kind in ("graph", "node", "agent", "tool", "retriever", "chain"):
        run = started(kind, input=Payload({"messages": [Message({"role": "user", "content": "hi"})]}))
        bench(run, finished(run))
    assert bench.out() == []


@pytest.mark.parametrize(
    ("of_call", "expected"),
    [("EVENT_ONLY", [DETAILS]), ("NO_CONTENT", []), (False, []), (True, []), ("SPAN_AND_EVENT", [DETAILS]), (["?"], [])],
)
@pytest.mark.parametrize("content", ["NO_CONTENT", "EVENT_ONLY"])
def test_a_call_says_for_itself_what_is_shown(content, of_call, expected):
    run = chat(metadata={shown.OF_CALL: of_call})
    assert Bench(content=content)(run, answered(run)).names() == expected


def test_a_mode_that_there_is_not_is_refused():
    for wrong in ({"content": "YES"}, {"names": "newest"}):
        with pytest.raises(ValueError, match="is one of"):
            Events(**wrong)


def test_the_newer_names_by_the_switch(monkeypatch):
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http,gen_ai_latest_experimental")
    run = chat()
    (event,) = Bench(details=True)(run, answered(run)).out()
    assert [name for name in event.attributes if "cache_" in name] == [
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
    ]


def test_odd_structures_are_held_by_otlp():
    """Numbers of more than 64 bits with their sign, nulls, depth, and what has no UTF-8."""
    deep = "the bottom"
    for _ in range(25):
        deep = {"in": [deep]}
    odd = {"id": "c1", "name": "f", "args": {"big": 2**64 - 1, "low": -(2**63), "none": None, "\ud800": 1.5, "deep": deep}}
    run = chat(input=Payload([Message({"role": "assistant", "content": "", "tool_calls": [odd]})]))
    with Server() as server:
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(f"{server.url}/v1/logs")))
        bench = Bench(provider, content="EVENT_ONLY")
        bench(run, answered(run)).out()
    (request,) = server.requests
    (record,) = ExportLogsServiceRequest.FromString(request.body).resource_logs[0].scope_logs[0].log_records
    text = str(record)
    assert record.event_name == DETAILS
    assert (str(2**64 - 1) in text, str(-(2**63)) in text, "the bottom" in text) == (True, True, True)


def test_a_narrow_limit_keeps_the_required_attributes():
    provider = LoggerProvider(shutdown_on_exit=False, log_record_limits=LogRecordLimits(max_log_record_attributes=4))
    run = chat()
    with warnings.catch_warnings(action="ignore"):
        (event,) = Bench(provider, content="EVENT_ONLY")(run, answered(run)).out()
    assert set(event.attributes) >= {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"}


# --- what failed -----------------------------------------------------------------------------------------------------


def test_an_exception_is_a_warning_without_its_words_while_content_is_off():
    (event,) = Bench().run(chat(), **failed())
    assert (event.event_name, event.severity_number) == (EXCEPTION, logs.SeverityNumber.WARN)
    assert dict(event.attributes) == {"exception.type": "openai.RateLimitError"}


def test_an_exception_says_all_where_content_is_shown_in_events():
    (_, event) = Bench(content="EVENT_ONLY").run(chat(), **failed())
    assert dict(event.attributes) == {
        "exception.type": "openai.RateLimitError",
        "exception.message": SECRET,
        "exception.stacktrace": "Traceback …\nboom",
    }


@pytest.mark.parametrize(
    ("signal", "expected"), [("", [EXCEPTION]), ("logs", ["exception", EXCEPTION]), ("logs/dup", ["exception", EXCEPTION])]
)
def test_exceptions_of_what_stays_in_the_process_by_the_switch(monkeypatch, signal, expected):
    monkeypatch.setenv(shown.EXCEPTIONS, signal)
    bench, tool, model = Bench(), started("tool"), chat()
    bench(tool, finished(tool, **failed()), model, finished(model, **failed()))
    assert bench.names() == expected


@pytest.mark.parametrize("ending", [{"outcome": "interrupted"}, {"outcome": "cancelled", "reason": "stream_closed"}])
def test_what_is_no_error_is_no_exception(ending):
    assert Bench(all_exceptions=True).run(chat(), **failed() | ending) == []


# --- what was judged, what waits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, {"score.value": 0.5}),
        (3, {"score.value": 3.0}),
        (True, {"score.value": 1.0, "score.label": "true"}),
        ("good", {"score.label": "good"}),
    ],
)
def test_an_evaluation(value, expected):
    (event,) = Bench()(scored(value, span_id="00000000000000aa", comment=SECRET)).out()
    assert (event.event_name, event.timestamp, event.span_id, f"{event.trace_id:032x}") == (
        "gen_ai.evaluation.result",
        NOW,
        0xAA,
        TRACE,
    )
    assert dict(event.attributes) == {
        "langgraph_observe.evaluation.id": "s-1",
        "langgraph_observe.evaluation.source": "api",
        "gen_ai.evaluation.name": "helpful",
        **{f"gen_ai.evaluation.{name}": told for name, told in expected.items()},
    }


def test_an_evaluation_of_a_whole_trace_is_explained_where_content_is_shown():
    (event,) = Bench(content="EVENT_ONLY")(scored(comment="polite")).out()
    assert (event.span_id, f"{event.trace_id:032x}") == (0, TRACE)
    assert event.attributes["gen_ai.evaluation.explanation"] == "polite"


@pytest.mark.parametrize(("names", "told"), [("released", False), ("latest", True), ("both", True)])
def test_pauses_are_proposals_and_told_with_the_latest_names(names, told):
    run = started(thread_id="t-1", agent="helper")
    bench = Bench(names=names)
    bench(run, noted(run, payload=[{"id": "i-1", "value": SECRET}], name="interrupt"), noted(run, "resume"), finished(run))
    out = bench.out()
    assert [event.event_name for event in out] == ["gen_ai.agent.paused", "gen_ai.agent.resumed"] * told
    assert [dict(event.attributes) for event in out[:1]] == [
        {
            "langgraph.interrupt.reason": "interrupt",
            "langgraph.interrupt.ids": ("i-1",),
            "gen_ai.agent.pause.id": "i-1",
            "gen_ai.conversation.id": "t-1",
            "gen_ai.agent.name": "helper",
        }
    ] * told


# --- the provider and the caller -------------------------------------------------------------------------------------


def test_of_a_real_graph_nothing_is_said_that_was_not_to_be():
    """Model, question, failure: by the environment's default, no event has a word of them."""

    def ask(state):
        answer = ScriptedModel(respond=lambda _: SECRET).invoke(SECRET)
        return {"n": interrupt(answer.content)}

    def fail(state):
        raise ValueError(SECRET)

    bench = Bench(details=True, names="both", all_exceptions=True)
    observer = Observer(bench.events)
    graph = observe(linear(ask, fail, compile_with={"checkpointer": InMemorySaver()}), bench.events)
    config = {"configurable": {"thread_id": "t"}}
    graph.invoke({"n": 1}, config)
    with pytest.raises(ValueError, match="secret"):
        graph.invoke(Command(resume=2), config)
    observer.close()
    names = bench.names()
    assert {DETAILS, "exception", "gen_ai.agent.paused", "gen_ai.agent.resumed"} == set(names)
    assert not [event for event in bench.out() if "secret" in str(dict(event.attributes))]


def test_redaction_is_before_the_events():
    bench = Bench(content="EVENT_ONLY")
    ScriptedModel(respond=lambda _: "done").invoke(
        "my key is sk-abcdefghijklmnopqrstuvwxyz123456", {"callbacks": [Observer(bench.events).handler]}
    )
    (event,) = bench.out()
    assert "my key is" in str(event.attributes["gen_ai.input.messages"])
    assert "sk-abc" not in str(event.attributes["gen_ai.input.messages"])


def test_without_a_provider_nothing_is_kept(monkeypatch):
    events = Events(details=True)
    run = chat()
    events(run)
    events(answered(run))
    assert events.health() == {"queued": 0, "dropped": 0, "errors": 0, "open": 0}
    bench = Bench()
    monkeypatch.setattr(logs, "get_logger_provider", lambda: bench.provider)
    events(run)
    events(answered(run))
    assert events.flush(5)
    assert bench.names() == [DETAILS]


def test_a_sdk_that_is_disabled_is_told_nothing(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    run = chat()
    assert Bench(LoggerProvider(shutdown_on_exit=False), details=True)(run, answered(run)).out() == []


@pytest.mark.parametrize("key", ["suppress_instrumentation", otel_context._SUPPRESS_INSTRUMENTATION_KEY], ids=["older", "api"])
def test_suppressed_instrumentation_is_remembered_for_the_tree(key):
    bench, root = Bench(details=True, all_exceptions=True), started()
    child = chat(parent=root, parent_id=root.id, parent_span_id=root.span_id)
    token = otel_context.attach(otel_context.set_value(key, True))
    bench(root)
    otel_context.detach(token)
    assert bench(child, finished(child, **failed()), finished(root, **failed())).out() == []


def test_an_unsampled_caller_is_said_in_the_flags_of_the_tree():
    bench, root = Bench(details=True), started(parent_span_id="00000000000000aa")
    child = chat(parent=root, parent_id=root.id, parent_span_id=root.span_id)
    caller = trace.SpanContext(int(TRACE, 16), 0xAA, is_remote=True, trace_flags=trace.TraceFlags(0))
    token = otel_context.attach(trace.set_span_in_context(trace.NonRecordingSpan(caller)))
    bench(root)
    otel_context.detach(token)
    assert [event.trace_flags for event in bench(child, answered(child), finished(root)).out()] == [0]


def test_what_nobody_listens_to_is_not_made():
    """A processor that wants warnings only: the details are not emitted."""

    class Warnings(SimpleLogRecordProcessor):
        def enabled(self, *, severity_number=None, **more):
            return severity_number is not None and severity_number.value >= logs.SeverityNumber.WARN.value

    memory, provider = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(Warnings(memory))
    events, run = Events(logger_provider=provider, details=True), chat()
    events(run)
    events(finished(run, **failed()))
    assert events.flush(5)
    assert [one.log_record.event_name for one in memory.get_finished_logs()] == [EXCEPTION]


def test_nothing_is_kept_alive_by_the_exit_hook():
    events = Events(logger_provider=LoggerProvider(shutdown_on_exit=False))
    reference = weakref.ref(events)
    del events
    gc.collect()
    assert reference() is None


def test_at_exit_the_events_reach_a_provider_that_was_installed_after_the_sink():
    code = """
        import sys
        sys.path.insert(0, {tests!r})
        from langgraph_observe.sinks.events import Events
        events = Events(details=True)
        from opentelemetry import _logs
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from otel_records import answered, chat
        provider = LoggerProvider()
        provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter({url!r})))
        _logs.set_logger_provider(provider)
        run = chat()
        events(run)
        events(answered(run))
    """
    with Server() as server:
        filled = textwrap.dedent(code).format(tests=str(Path(__file__).parent), url=f"{server.url}/v1/logs")
        subprocess.run([sys.executable, "-c", filled], check=True, timeout=60)
    assert [request.path for request in server.requests] == ["/v1/logs"]
