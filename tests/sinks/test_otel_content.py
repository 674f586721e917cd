from __future__ import annotations

import json

import pytest
from capture.graphs import linear
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from otel_records import answered, chat, failed, finished, noted, question, started
from span_bench import Bench

from langgraph_observe import observe
from langgraph_observe.records import Message, Payload
from langgraph_observe.sinks import content, otel
from langgraph_observe.sinks.shown import EXCEPTIONS, OF_CALL, SWITCH
from langgraph_observe.testing import ScriptedModel


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
        ("EVENT_ONLY", False, 0),
        ("true", True, 0),
        ("false", False, 0),
        ("yes please", False, 1),
    ],
)
def test_the_environments_switch(monkeypatch, caplog, switch, shown, warned):
    monkeypatch.setenv(SWITCH, switch)
    bench = Bench()
    monkeypatch.setenv(SWITCH, "changed later")
    for run in (chat(), chat()):
        bench(run, answered(run))
    assert ("gen_ai.input.messages" in bench.out()[None].attributes) is shown
    assert len(caplog.records) == warned


@pytest.mark.parametrize(
    ("of_call", "said"), [("SPAN_ONLY", True), (True, True), ("EVENT_ONLY", False), (False, False), ("oops", False), ({}, False)]
)
@pytest.mark.parametrize("content", ["NO_CONTENT", "SPAN_AND_EVENT"])
def test_a_call_says_for_itself_what_is_shown(content, of_call, said):
    """Messages, what was noted and what failed; whatever the sink was told."""
    bench = Bench(content=content)
    run = chat(metadata={OF_CALL: of_call})
    bench(run, noted(run, "custom", "a question"), answered(run, **failed("a word")))
    span = bench.out()[None]
    shown = ["Paris" in span.to_json(), "a question" in span.to_json(), span.status.description == "a word"]
    assert shown == [said] * 3


@pytest.mark.parametrize(
    ("of_graph", "of_call", "said"),
    [({}, {}, False), ({}, {OF_CALL: True}, True), ({OF_CALL: True}, {}, True), ({OF_CALL: True}, {OF_CALL: False}, False)],
)
def test_a_call_speaks_for_all_that_runs_inside_it(bench, of_graph, of_call, said):
    """Of a real graph: what the call's metadata say wins over what `observe` was told."""
    graph = linear(("ask", lambda state: {"n": len(ScriptedModel(respond=lambda _: "word").invoke("w").text)}))
    observe(graph, bench.spans, metadata=of_graph).invoke({"n": 1}, {"metadata": of_call})
    out = bench.out()
    shown = [name for name, span in out.items() if name and {"input.value", "gen_ai.input.messages"} & span.attributes.keys()]
    assert shown == (["chat scripted-1", "invoke_node ask", "invoke_workflow"] if said else [])


def test_a_mode_that_there_is_not_is_refused():
    for wrong in ({"content": "YES"}, {"names": "newest"}):
        with pytest.raises(ValueError, match="is one of"):
            otel.Spans(**wrong)


@pytest.mark.parametrize(
    ("given", "environment", "written"),
    [
        (None, "", {"cache_creation"}),
        (None, "http/dup,gen_ai_latest_experimental", {"cache_write"}),
        (None, "gen_ai_latest_experimental/dup", {"cache_creation", "cache_write"}),
        ("both", "", {"cache_creation", "cache_write"}),
        ("released", "gen_ai_latest_experimental", {"cache_creation"}),
    ],
)
def test_names_that_have_changed_by_the_switch(monkeypatch, given, environment, written):
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", environment)
    run = chat()
    held = Bench(names=given)(run, answered(run)).out()[None].attributes
    assert {name.split(".")[2] for name in held if "usage.cache_" in name} - {"cache_read"} == written


def test_json_stays_json_where_the_sdk_cuts_values():
    provider = TracerProvider(span_limits=SpanLimits(max_span_attribute_length=200), shutdown_on_exit=False)
    bench = Bench(provider, content="SPAN_ONLY")
    run = chat(input=Payload([Message({"role": "user", "content": "word " * 500})]))
    text = bench(run, answered(run)).out()[None].attributes["gen_ai.input.messages"]
    assert 64 < len(text) <= 200
    assert json.loads(text)[0]["role"] == "user"


def test_where_there_is_room_for_a_few_attributes_the_required_ones_have_it():
    provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=4), shutdown_on_exit=False)
    bench = Bench(provider, content="SPAN_ONLY")
    run = chat(thread_id="t")
    assert bench(run, answered(run, **failed())).out()[None].attributes.keys() >= {"gen_ai.operation.name", "error.type"}
    tool = started("tool", input=Payload("x"), tool_call_id="c1", description="d", agent="a", thread_id="t")
    assert bench(tool, finished(tool)).out()[None].attributes.keys() >= {"gen_ai.operation.name", "gen_ai.tool.name"}


@pytest.mark.parametrize(
    ("given", "signal", "told"), [(None, "", 1), (None, "logs", 0), (None, "logs/dup", 1), (True, "logs", 1), (False, "", 0)]
)
def test_exceptions_as_span_events_by_the_switch(monkeypatch, given, signal, told):
    monkeypatch.setenv(EXCEPTIONS, signal)
    span = Bench(exception_events=given).run(chat(), **failed())
    assert [event.name for event in span.events] == ["exception"] * told
    assert span.status.description == "openai.RateLimitError"


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


@pytest.mark.parametrize(
    ("given", "names"), [([question()], {"gen_ai.input.messages", "input.value"}), ([["user", "hi"]], {"input.value"})]
)
def test_an_agent_shows_its_state_and_messages_where_it_was_given_messages(talking, given, names):
    run = started("agent", agent="a", input=Payload({"messages": given}))
    held = talking(run, finished(run, output=Payload({"messages": [question()]}))).out()[None].attributes
    assert {"gen_ai.input.messages", "input.value"} & held.keys() == names


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


def test_a_retriever_shows_ids_and_scores_by_the_conventions_and_texts_beside_them(talking):
    run = started("retriever", input=Payload("who?"))
    found = [{"page_content": "secret text", "id": "d1", "metadata": {"score": 0.5, "source": "a.txt"}}, {"page_content": "t"}]
    span = talking(run, finished(run, output=Payload(found))).out()[None]
    assert span.attributes["gen_ai.retrieval.query.text"] == "who?"
    assert json.loads(span.attributes["gen_ai.retrieval.documents"]) == [{"id": "d1", "score": 0.5}, {}]
    assert json.loads(span.attributes["output.value"]) == found


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
