"""Each rule of the conventions can be broken: a good span or log record, broken in one way, breaks that rule and no other."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from genai_rules import RULES, told, violations, violations_of_event
from genai_table import CLIENT, INTERNAL, SPANS
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.trace import Status, StatusCode
from otel_records import answered, chat, failed, finished, noted, started
from span_bench import Bench

from langgraph_observe.payloads import Message, Payload
from langgraph_observe.records import Link
from langgraph_observe.sinks.events import Events

TOOLS = Payload([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}])
DOCUMENTS = Payload([{"id": "d1", "metadata": {"score": 0.5}, "page_content": "text"}])
IMAGE = {"type": "image", "base64": "aGVsbG8=", "mime_type": "image/png"}
CALL = {"id": "c1", "name": "weather", "args": {}}
SAID = Payload(
    [Message({"role": "user", "content": [IMAGE, {"type": "image", "url": "https://e.org/a.png"}], "tool_calls": [CALL]})]
)
LINK = Link("a" * 32, "b" * 16, "resumed_from")
ENDS = {
    "chat": answered(chat(tools=TOOLS, input=SAID)),
    "execute_tool": finished(started("tool", name="weather", input=Payload({"a": 1}), tool_call_id="c1"), output=Payload("rain")),
    "retrieval": finished(started("retriever", parameters={"k": 4}, input=Payload("what?")), output=DOCUMENTS),
    "invoke_agent": finished(started("agent", name="helper", agent="helper", links=(LINK,))),
    "invoke_agent elsewhere": finished(started("graph", name="far", graph="far", remote=True)),
    "invoke_workflow": finished(started("graph", name="flow", graph="flow", input=Payload({"x": 1})), **failed()),
    "invoke_node": finished(started("node", name="plan", node="plan", step=1, triggers=("a",))),
    None: finished(started("chain", name="parser")),
}


def spans():
    """A good one of each operation, by the sink itself, with all that is to be broken; and what it was made of."""
    made = {}
    for operation, end in ENDS.items():
        bench = Bench(content="SPAN_ONLY", names="both")
        bench(end.run, noted(end.run, payload="which?", name="interrupt"), end)
        made[operation] = bench.out()[None]
        bench.spans.close()
    return made


@pytest.fixture(scope="module")
def good():
    return spans()


def broken(span, held=None, without=(), **over):
    """A copy, with other attributes, without some, and with other fields."""
    fields = ("name", "kind", "status", "events", "links", "start_time", "end_time", "context")
    attributes = {name: value for name, value in {**span.attributes, **(held or {})}.items() if name not in without}
    return SimpleNamespace(**{field: getattr(span, field) for field in fields} | {"attributes": attributes} | over)


def test_a_good_span_of_each_operation_breaks_nothing(good):
    assert good.keys() == SPANS.keys() | {"invoke_agent elsewhere"}
    for operation, span in good.items():
        assert violations(broken(span), content=True) == told(span, ENDS[operation], content=True) == []


def _messages(side="input", **over):
    return {f"gen_ai.{side}.messages": json.dumps([{"role": "user", "parts": [], **over}])}


def _part(**part):
    return _messages(parts=[part])


def _event(name, **attributes):
    return {"events": [SimpleNamespace(name=name, attributes=attributes)]}


def _link(**attributes):
    return {"links": [SimpleNamespace(attributes=attributes)]}


FAILED = Status(StatusCode.ERROR, "openai.RateLimitError")
BROKEN = [
    ("operation", "chat", {"held": {"gen_ai.operation.name": "talk"}}),
    ("span name", "chat", {"name": "ChatOpenAI"}),
    ("span name", "invoke_workflow", {"without": ["gen_ai.workflow.name"]}),
    ("span name", "retrieval", {"name": "retrieval Library"}),
    ("span kind", "chat", {"kind": INTERNAL}),
    ("span kind", "execute_tool", {"kind": CLIENT}),
    ("span kind", None, {"kind": CLIENT}),
    ("required", "chat", {"without": ["gen_ai.provider.name"]}),
    ("required", "invoke_agent elsewhere", {"without": ["gen_ai.provider.name"]}),
    ("required", "execute_tool", {"without": ["gen_ai.tool.name"], "name": "execute_tool"}),
    ("allowed", "invoke_agent", {"held": {"gen_ai.provider.name": "openai"}}),
    ("allowed", "invoke_agent", {"held": {"gen_ai.usage.cache_read.input_tokens": 1}}),
    ("allowed", "retrieval", {"held": {"gen_ai.request.top_k": 4}}),
    ("allowed", "invoke_node", {"held": {"langgraph.node.mood": "good"}}),
    ("allowed", None, {"held": {"gen_ai.node.name": "parser"}}),
    ("type", "chat", {"held": {"gen_ai.request.max_tokens": 100.0}}),
    ("type", "chat", {"held": {"gen_ai.usage.output_tokens": "20"}}),
    ("type", "chat", {"held": {"gen_ai.response.finish_reasons": "stop"}}),
    ("type", "chat", {"held": {"gen_ai.request.seed": True}}),
    ("value", "execute_tool", {"held": {"gen_ai.tool.type": "method"}}),
    ("value", "chat", {"held": {"gen_ai.request.stream": False}}),
    ("value", "chat", {"held": {"gen_ai.output.type": "prose"}}),
    ("plain", "chat", {"held": {"gen_ai.response.model": None}}),
    ("plain", "chat", {"held": {"gen_ai.response.model": ""}}),
    ("plain", "chat", {"held": {"gen_ai.request.stop_sequences": ("END", 1)}}),
    ("plain", "chat", {"held": {"gen_ai.response.finish_reasons": ()}}),
    ("type's name", "invoke_workflow", {"held": {"gen_ai.workflow.name": "LangGraph"}, "name": "invoke_workflow LangGraph"}),
    ("status", "chat", {"status": Status(StatusCode.OK)}),
    ("error", "chat", {"status": FAILED}),
    ("error", "chat", {"held": {"error.type": "openai.RateLimitError"}}),
    ("error.type", "invoke_workflow", {"held": {"error.type": "the prompt was: my secret diary"}}),
    ("address and port", "chat", {"without": ["server.port"]}),
    ("address and port", "chat", {"without": ["server.address"]}),
    ("choices", "chat", {"held": {"gen_ai.request.choice.count": 1}}),
    ("parts of tokens", "chat", {"held": {"gen_ai.usage.cache_read.input_tokens": 101}}),
    ("parts of tokens", "chat", {"held": {"gen_ai.usage.reasoning.output_tokens": 21}}),
    ("time", "chat", {"end_time": None}),
    ("time", "chat", {"end_time": 1}),
    ("JSON", "execute_tool", {"held": {"gen_ai.tool.call.result": '{"cut": "of'}}),
    ("JSON", "chat", {"held": {"gen_ai.input.messages": ("hello",)}}),
    ("note", "chat", _event("gen_ai.content.prompt")),
    ("note", "chat", _event("langgraph.interrupt", **{"langgraph.interrupt.secret": "x"})),
    ("link", "chat", _link()),
    ("shape", "chat", {"held": _messages(parts=None)}),
    ("shape", "chat", {"held": _part(content="no type")}),
    ("shape", "chat", {"held": _part(type="text")}),
    ("shape", "chat", {"held": _part(type="tool_call", id=1, name="weather")}),
    ("shape", "chat", {"held": {"gen_ai.output.messages": json.dumps({"role": "assistant"})}}),
    ("shape", "chat", {"held": {"gen_ai.tool.definitions": json.dumps([{"type": "function"}])}}),
    ("shape", "retrieval", {"held": {"gen_ai.retrieval.documents": json.dumps([{"id": "d1", "score": "high"}])}}),
    ("unknown key", "chat", {"held": _messages(content="in the old place")}),
    ("unknown key", "chat", {"held": _messages(finish_reason="stop")}),
    ("unknown key", "chat", {"held": _part(type="text", content="hello", text="hello")}),
    ("unknown key", "retrieval", {"held": {"gen_ai.retrieval.documents": json.dumps([{"id": "d1", "page_content": "text"}])}}),
    ("unknown key", "chat", {"held": {"gen_ai.tool.definitions": json.dumps([{"type": "function", "name": "a", "function": {}}])}}),
    ("unknown role", "chat", {"held": _messages(role="human")}),
    ("unknown part", "chat", {"held": _part(type="image_url", image_url="https://e.org/a.png")}),
    ("unknown modality", "chat", {"held": _part(type="file", modality="picture", file_id="f1")}),
    ("unknown finish reason", "chat", {"held": _messages("output", finish_reason="tool_calls")}),
    ("arguments as text", "chat", {"held": _part(type="tool_call", name="weather", arguments='{"city": "Paris"}')}),
    ("data in a URI", "chat", {"held": _part(type="uri", modality="image", uri="data:image/png;base64,aGk=")}),
    ("media in full", "chat", {"held": _part(type="blob", modality="image", content="aGVsbG8gd29ybGQ=")}),
    (
        "broken function",
        "chat",
        {"held": {"gen_ai.tool.definitions": json.dumps([{"type": "function", "name": "a", "parameters": 1}])}},
    ),
    ("broken instruction", "chat", {"held": {"gen_ai.system_instructions": json.dumps([{"type": "blob", "content": "x"}])}}),
]


@pytest.mark.parametrize(("rule", "operation", "how"), BROKEN, ids=[f"{rule}-{number}" for number, (rule, *_) in enumerate(BROKEN)])
def test_a_broken_rule_is_named_and_no_other(good, rule, operation, how):
    assert [found.rule for found in violations(broken(good[operation], **how), content=True)] == [rule]


ELSEWHERE = {"era", "content", "known", "severity", "context"}
"""Rules of the tests below."""


def test_every_rule_is_broken_once():
    assert {rule for rule, *_ in BROKEN} | ELSEWHERE == RULES.keys()


@pytest.mark.parametrize(("names", "wrong"), [("released", "cache_write"), ("latest", "cache_creation"), ("both", None)])
def test_of_two_names_for_one_thing_the_one_that_was_asked_for_is_told(good, names, wrong):
    expected = [("era", f"gen_ai.usage.{wrong}.input_tokens")] if wrong else []
    assert violations(good["chat"], names=names) == expected


def test_where_both_names_were_asked_for_one_alone_is_named(good):
    one = broken(good["chat"], without=["gen_ai.usage.cache_write.input_tokens"])
    assert [found.rule for found in violations(one, names="both")] == ["era"]


def test_content_that_is_switched_off_is_named_wherever_it_is(good):
    hidden = {found.where for found in violations(good["invoke_workflow"], content=False) if found.rule == "content"}
    assert hidden == {
        *("input.value", "input.mime_type", "langgraph.interrupt.payload"),
        *("exception.message", "exception.stacktrace", "the prompt was: my secret diary"),
    }


@pytest.mark.parametrize(
    ("operation", "changed", "name"),
    [
        ("chat", {"without": ["gen_ai.conversation.id"]}, "gen_ai.conversation.id"),
        ("execute_tool", {"held": {"gen_ai.conversation.id": "made-up"}}, "gen_ai.conversation.id"),
        ("chat", {"without": ["gen_ai.request.model"]}, "gen_ai.request.model"),
        ("chat", {"held": {"gen_ai.request.stream": True}}, "gen_ai.request.stream"),
        ("chat", {"held": {"gen_ai.output.type": "json"}}, "gen_ai.output.type"),
        ("execute_tool", {"without": ["gen_ai.tool.call.id"]}, "gen_ai.tool.call.id"),
        ("invoke_agent", {"without": ["gen_ai.agent.name"]}, "gen_ai.agent.name"),
        ("invoke_node", {"held": {"gen_ai.node.name": "another"}}, "gen_ai.node.name"),
        ("invoke_workflow", {"without": ["gen_ai.workflow.name"]}, "gen_ai.workflow.name"),
        ("invoke_workflow", {"without": ["error.type"]}, "error.type"),
        ("chat", {"held": {"error.type": "ValueError"}}, "error.type"),
        ("chat", {"without": ["gen_ai.output.messages"]}, "output"),
        ("chat", {"start_time": 1}, "ids or times"),
    ],
)
def test_what_the_record_knows_and_the_span_does_not_tell_is_named(good, operation, changed, name):
    found = told(broken(good[operation], **changed), ENDS[operation], content=True)
    assert [(one.rule, one.where.partition(" of ")[0]) for one in found] == [("known", name)]


# --- log records -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logs():
    """A good one of each event, by its name."""
    memory, provider = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    events = Events(logger_provider=provider, content="EVENT_ONLY", names="latest")
    run = chat(tools=TOOLS, input=SAID)
    for record in (run, noted(run, payload=[{"id": "i1"}]), answered(run, **failed())):
        events(record)
    events.close()
    return {one.log_record.event_name: one for one in memory.get_finished_logs()}


DETAILS, EXCEPTION, PAUSED = "gen_ai.client.inference.operation.details", "gen_ai.client.operation.exception", "gen_ai.agent.paused"


def test_a_good_log_record_breaks_nothing(logs):
    assert logs.keys() == {DETAILS, EXCEPTION, PAUSED}
    assert [found for log in logs.values() for found in violations_of_event(log, names="latest", content=True)] == []


def changed(log, held=None, without=(), **over):
    was = log.log_record
    fields = {name: getattr(was, name) for name in ("event_name", "severity_number", "trace_id", "span_id")}
    attributes = {name: value for name, value in {**was.attributes, **(held or {})}.items() if name not in without}
    return SimpleNamespace(log_record=SimpleNamespace(**fields | {"attributes": attributes} | over))


@pytest.mark.parametrize(
    ("rule", "event", "how"),
    [
        ("operation", PAUSED, {"event_name": "gen_ai.agent.tired"}),
        ("severity", EXCEPTION, {"severity_number": SeverityNumber.ERROR}),
        ("context", DETAILS, {"span_id": 0}),
        ("context", EXCEPTION, {"trace_id": 0}),
        ("required", EXCEPTION, {"without": ["exception.type"]}),
        ("allowed", PAUSED, {"held": {"langgraph.interrupt.payload": "which?"}}),
        ("type", DETAILS, {"held": {"gen_ai.request.max_tokens": "100"}}),
        ("shape", DETAILS, {"held": {"gen_ai.input.messages": ({"role": "user"},)}}),
        ("shape", DETAILS, {"held": {"gen_ai.input.messages": "[]"}}),
    ],
)
def test_a_broken_rule_of_a_log_record_is_named_and_no_other(logs, rule, event, how):
    found = violations_of_event(changed(logs[event], **how), names="latest", content=True)
    assert [one.rule for one in found] == [rule]


@pytest.mark.parametrize(
    ("event", "options"), [(PAUSED, {"names": "released"}), (DETAILS, {"content": False}), (EXCEPTION, {"content": False})]
)
def test_a_log_record_of_other_names_or_with_content_unasked_is_named(logs, event, options):
    found = violations_of_event(logs[event], **{"names": "latest", **options})
    assert [one.rule for one in found] == ["era" if "names" in options else "content"]
