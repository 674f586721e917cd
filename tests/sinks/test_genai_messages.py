"""Our models of messages, tools and documents judge as the published schemas do, and are stricter where we say so."""

from __future__ import annotations

import copy
import json

import pytest
from genai_messages import PARTS, STRICTER, faults
from genai_schemas import FILES, SCHEMAS, differences, schema
from genai_schemas import faults as published
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(not SCHEMAS.exists(), reason="no copy of the published schemas is at hand")

HASH = "sha256:" + "0" * 64
GOOD_PARTS = {
    "text": {"content": "hello"},
    "reasoning": {"content": "well"},
    "compaction": {"id": "x1", "content": None},
    "tool_call": {"id": None, "name": "weather", "arguments": {"city": "Paris"}},
    "tool_call_response": {"id": "c1", "response": [1, {"a": None}]},
    "server_tool_call": {"id": "s1", "name": "search", "server_tool_call": {"type": "search", "query": "?"}},
    "server_tool_call_response": {"id": "s1", "server_tool_call_response": {"type": "search", "found": []}},
    "blob": {"modality": "image", "mime_type": "image/png", "content": HASH, "transcript": None},
    "file": {"modality": "document", "file_id": "f1"},
    "uri": {"modality": "video", "mime_type": None, "uri": "gs://bucket/film.mp4"},
    "block": {"block": {"type": "image_url"}},
}
MESSAGE = {"role": "user", "name": None, "parts": [{"type": kind, **part} for kind, part in GOOD_PARTS.items()]}
GOOD = {
    "input": [MESSAGE],
    "output": [
        MESSAGE | {"role": "assistant", "finish_reason": "tool_call"},
        {"role": "assistant", "parts": [], "finish_reason": None},
    ],
    "instructions": [{"type": "text", "content": "Be brief."}],
    "tools": [
        {"type": "function", "name": "a", "description": "b", "parameters": {"type": "object"}},
        {"type": "search", "name": "c"},
    ],
    "documents": [{"id": "d1", "score": 0.5}, {"score": None}, {"score": 1}, {}],
}
ANY = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1, 1) | st.text(max_size=4) | st.just([]) | st.just({})
WORDS = st.sampled_from(
    ["text", "tool_call", "blob", "block", "generic", "function", "search", "picture", "human", "content", "type"]
)


def test_what_is_good_is_good_to_both():
    assert GOOD_PARTS.keys() == PARTS.keys()
    assert GOOD.keys() == FILES.keys()
    assert [faults(shape, value) for shape, value in GOOD.items()] == [[]] * len(GOOD)
    assert [published(value, schema(FILES[shape])) for shape, value in GOOD.items()] == [[]] * len(GOOD)


def _places(value, path=()):
    """The way to everything inside."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from _places(item, (*path, key))


def _changed(value, path, change):
    """A copy in which what is at the end of the path is changed: `change(container, key)`."""
    whole = [copy.deepcopy(value)]
    container, key = whole, 0
    for step in path:
        container, key = container[key], step
    change(container, key)
    return whole[0] if whole else None


def _set(value):
    return lambda container, key: container.__setitem__(key, value)


def _drop(container, key):
    del container[key]


EVERY = [(shape, path) for shape, value in GOOD.items() for path in _places(value)]


@pytest.mark.parametrize(
    "change", [_drop, *map(_set, (None, 5, True, "x", [], {}, ["x"]))], ids=["dropped", "null", "5", "true", "x", "[]", "{}", "[x]"]
)
def test_whatever_is_left_out_or_replaced_both_say_the_same(change):
    """Every key and every item of all that is good, one after the other."""
    found = [(shape, path, one) for shape, path in EVERY for one in differences(shape, _changed(GOOD[shape], path, change))]
    assert found == []


@given(st.sampled_from(EVERY), ANY | WORDS, st.dictionaries(WORDS, ANY | WORDS, min_size=1, max_size=3), st.booleans())
def test_whatever_is_broken_at_random_both_say_the_same(place, value, more, replaced):
    shape, path = place

    def change(container, key):
        inside = container[key]
        container[key] = value if replaced or not isinstance(inside, dict) else inside | more

    assert differences(shape, _changed(GOOD[shape], path, change)) == []


@given(
    st.sampled_from(sorted(FILES)),
    st.recursive(ANY | WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner)),
)
def test_of_anything_else_both_say_the_same(shape, value):
    assert differences(shape, value) == []


def _one(**part):
    return [{"role": "user", "parts": [part]}]


@pytest.mark.parametrize(
    ("rule", "shape", "value"),
    [
        ("unknown key", "input", _one(type="text", content="a", text="a")),
        ("unknown key", "documents", [{"id": "a", "page_content": "text"}]),
        ("unknown role", "input", [{"role": "human", "parts": []}]),
        ("unknown part", "input", _one(type="image_url", url="a")),
        ("unknown modality", "input", _one(type="file", modality="picture", file_id="a")),
        ("unknown finish reason", "output", [{"role": "assistant", "parts": [], "finish_reason": "end_turn"}]),
        ("arguments as text", "input", _one(type="tool_call", name="a", arguments='{"b": 1}')),
        ("data in a URI", "input", _one(type="uri", modality="image", uri="data:image/png;base64,aGk=")),
        ("media in full", "input", _one(type="blob", modality="image", content="aGk=")),
        ("broken function", "tools", [{"type": "function", "name": "a", "parameters": "b"}]),
        ("broken instruction", "instructions", [{"type": "blob"}]),
    ],
)
def test_where_we_are_stricter_the_schema_says_nothing(rule, shape, value):
    assert {found.rule for found in faults(shape, value)} == {rule}
    assert published(value, schema(FILES[shape])) == []
    assert rule in STRICTER


def test_a_call_with_arguments_that_are_no_json_is_shown_as_the_model_said_it():
    assert faults("input", _one(type="tool_call", name="a", arguments='{"b": ')) == []


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ("input", {"role": "user", "parts": []}),
        ("input", ["hello"]),
        ("input", [{"role": "user", "content": "hello"}]),
        ("input", [{"role": None, "parts": []}]),
        ("input", [{"role": "user", "parts": "hello"}]),
        ("input", _one(type="text", text="hello")),
        ("input", _one(content="hello")),
        ("input", _one(type="tool_call", id="c1", arguments={})),
        ("input", _one(type="tool_call_response", id="c1", result="rain")),
        ("input", _one(type="server_tool_call", name="search", server_tool_call={"query": "?"})),
        ("input", _one(type="blob", modality="image", data="aGk=")),
        ("output", [{"role": "assistant", "parts": [], "finish_reason": ["stop"]}]),
        ("instructions", [{"role": "system", "parts": []}]),
        ("instructions", ["Be brief."]),
        ("tools", [{"type": "function", "function": {"name": "weather"}}]),
        ("documents", [{"id": 5}]),
        ("documents", [{"id": "d1", "score": "0.5"}]),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, list) else None,
)
def test_what_is_often_done_wrong_is_wrong_to_both(shape, value):
    assert "shape" in {found.rule for found in faults(shape, value)}
    assert published(value, schema(FILES[shape])) != []
