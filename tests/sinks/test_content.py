from __future__ import annotations

import json

import pytest
from genai_rules import faults, schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from otel_records import finished, started

from langgraph_observe.records import Message, Payload
from langgraph_observe.sinks import content, observation

untimed = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8)
TYPES = st.sampled_from(
    [
        "text",
        "reasoning",
        "thinking",
        "image",
        "image_url",
        "input_audio",
        "audio",
        "file",
        "tool_use",
        "server_tool_use",
        "uri",
        "blob",
    ]
)
KEYS = ["text", "thinking", "summary", "image_url", "source", "base64", "url", "file_id", "name", "id", "input_audio", "mime_type"]
ANY = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3))
BLOCKS = st.builds(lambda kind, rest: {"type": kind, **rest}, TYPES, st.dictionaries(st.sampled_from(KEYS), ANY, max_size=4))
CALLS = st.lists(st.dictionaries(st.sampled_from(["id", "name", "args"]), ANY) | SCALARS, max_size=3) | ANY
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "developer"])},
    optional={
        "content": ANY | st.lists(BLOCKS | ANY, max_size=4),
        "tool_calls": CALLS,
        "invalid_tool_calls": CALLS,
        "name": ANY,
        "tool_call_id": ANY,
    },
)


@untimed
@given(st.lists(MESSAGES, max_size=4), st.lists(st.text(max_size=5), max_size=2))
def test_whatever_a_provider_or_a_redactor_leaves_of_a_message_keeps_the_schema(messages, reasons):
    payload = Payload([Message(one) for one in messages])
    taken, given_ = content.conversation(payload, "user"), content.answers(payload, reasons)
    assert faults(json.loads(taken), schema("STRICT-gen-ai-input-messages")) == []
    assert faults(json.loads(given_), schema("STRICT-gen-ai-output-messages")) == []


@untimed
@given(ANY)
def test_whatever_stands_for_tools_and_documents_keeps_the_schema(value):
    for made, name in (
        (content.definitions(value), "gen-ai-tool-definitions"),
        (content.documents(value), "gen-ai-retrieval-documents"),
    ):
        assert faults(json.loads(json.dumps(made)), schema(name)) == []


@untimed
@given(MESSAGES)
def test_whatever_is_left_of_a_message_has_an_openai_form(message):
    assert json.loads(json.dumps(observation.openai(message)))["role"] == message["role"]


@untimed
@given(ANY, st.integers(64, 400))
def test_what_is_fitted_is_whole_json_within_its_limit(value, limit):
    text = content.fit([value] * 20, limit)
    assert len(text) <= limit
    json.loads(text)


BYTES = "iVBORw0KGgo" * 400


@pytest.mark.parametrize(
    "held",
    [
        f"data:image/png;base64,{BYTES}",
        {"type": "image", "base64": BYTES, "mime_type": "image/png"},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": BYTES}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{BYTES}"}},
        {"type": "media", "mime_type": "audio/mp3", "data": BYTES},
    ],
)
def test_media_are_named_by_their_hash_wherever_they_lie(held):
    """In a state, in what a tool gave, in a block of a kind that nobody knows."""
    message = Message({"role": "tool", "tool_call_id": "c1", "content": [held, {"type": "novelty", "of": held}]})
    for kind in ("node", "tool", "model", "retriever"):
        run = started(kind, input=Payload({"held": held, "more": [held]}))
        made = content.attributes(finished(run, output=Payload({"messages": [message], "held": held})))
        assert BYTES[:100] not in str(made)
        assert kind == "retriever" or content._digest(BYTES) in str(made)


def test_what_only_looks_like_media_is_shown():
    run = started("node", input=Payload({"data": "short", "text": "data:image/png;base64,", "base64": "not so: " * 20}))
    assert json.loads(content.attributes(finished(run))["input.value"]) == run.input.value


@untimed
@given(st.lists(MESSAGES, max_size=4), st.integers(100, 400))
def test_within_any_limit_of_the_sdk_json_is_whole(messages, limit):
    messages = [Message(one) for one in messages]
    for kind in ("model", "tool", "node"):
        run = started(kind, input=Payload({"messages": messages}), tools=Payload([{"name": "t" * 500, "parameters": {}}]))
        for name, text in content.attributes(finished(run, output=Payload(messages)), limit).items():
            assert len(text) <= limit
            if not name.endswith("mime_type"):
                json.loads(text)


def test_a_query_is_cut_and_without_media():
    run = started("retriever", input=Payload(f"like data:image/png;base64,{BYTES}? " + "who " * 20_000))
    told = content.attributes(finished(run))["gen_ai.retrieval.query.text"]
    assert told.startswith(f"like data:image/png;{content._digest(BYTES)}? who")
    assert len(told) == content.MESSAGE
    assert content.attributes(finished(run), 100)["gen_ai.retrieval.query.text"] == told[:100]


@pytest.mark.parametrize("side", ["input", "output"])
def test_a_message_of_too_many_parts_is_a_message_still(side):
    crowd = Message({"role": "assistant", "content": [{"type": "text", "text": "a few words"}] * 5_000})
    run = started("model", input=Payload([crowd]))
    made = content.attributes(finished(run, output=Payload([crowd]), finish_reasons=("stop",)))
    (message,) = json.loads(made[f"gen_ai.{side}.messages"])
    assert [part["type"] for part in message["parts"]] == ["text"]
    assert message["parts"][0]["content"].endswith("characters>")
    assert message.get("finish_reason") == {"input": None, "output": "stop"}[side]
