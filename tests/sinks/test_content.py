from __future__ import annotations

import json

from genai_rules import faults, schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
