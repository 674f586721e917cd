"""Payloads: plain, redacted, made once; whatever is put in, JSON comes out."""

import enum
import json
import math
import threading
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_observe.payloads import DEEPEST, REDACTION_FAILED, TOO_DEEP, Lazy, Message, Payload, plain


class Colour(enum.Enum):
    RED = "red"


class Shade(enum.StrEnum):
    DARK = "dark"


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "something else"


class Unreadable:
    def __str__(self):
        raise ZeroDivisionError


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(st.characters(categories=["Cs", "Lu", "Cc"])),
    st.binary(max_size=20),
    st.decimals(),
    st.complex_numbers(),
    st.uuids(),
    st.datetimes(),
    st.sampled_from([Colour.RED, Shade.DARK, Text("real"), Unreadable(), object, bytearray(b"x"), memoryview(b"y")]),
)
KEYS = st.one_of(st.text(), st.integers(), st.none(), st.tuples(st.integers(), st.text()), st.sampled_from([Colour.RED, Text("k")]))
NESTED = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
        st.tuples(inner, inner),
        st.frozensets(st.one_of(st.integers(), st.text(), st.none()), max_size=4),
        st.builds(lambda content: Message({"role": "user", "content": content}), inner),
    ),
    max_leaves=20,
)


def exact(value):
    if type(value) is dict:
        return all(type(k) is str and exact(v) for k, v in value.items())
    if type(value) is list:
        return all(map(exact, value))
    return type(value) in {str, int, bool, type(None)} or (type(value) is float and math.isfinite(value))


@given(NESTED)
def test_whatever_goes_in_plain_data_and_strict_json_come_out(value):
    payload = Payload(value)
    assert exact(payload.value)
    assert json.loads(payload.json) == json.loads(json.dumps(payload.value, allow_nan=False))


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_plain_data_comes_out_as_it_went_in(value):
    assert Payload(value).value == value
    assert json.loads(Payload(value).json) == value


@given(NESTED)
def test_a_redactor_that_changes_nothing_changes_nothing(value):
    assert plain(value, (lambda _, item: item,)) == plain(value)


def test_what_json_does_not_know_is_named():
    value = [b"secret", float("nan"), 2**70, Colour.RED, Shade.DARK, Text("real"), Decimal("1.50"), "a\ud800", Unreadable(), {2, 1}]
    assert plain(value) == [
        "<bytes: 6 bytes>", "nan", str(2**70), "red", "dark", "real", "1.50", "a?", "<unreadable: ZeroDivisionError>", [1, 2],
    ]  # fmt: skip


def test_a_cycle_and_a_bottomless_pit_are_cut_off_and_the_rest_is_kept():
    loop = {"name": "loop"}
    loop["self"] = [loop]
    assert plain(loop) == {"name": "loop", "self": [TOO_DEEP]}
    deep = current = []
    for _ in range(DEEPEST * 100):
        current.append([])
        current = current[0]
    assert json.dumps(plain({"deep": deep, "near": 1})).count("[") == DEEPEST - 1
    assert plain({"deep": deep, "near": 1})["near"] == 1


def test_one_list_twice_is_no_cycle():
    twice = [1]
    assert plain([twice, {"again": twice}]) == [[1], {"again": [1]}]


def test_a_redactor_sees_keys_values_objects_made_text_and_the_insides_of_what_it_lets_pass():
    seen = []

    def redactor(key, value):
        seen.append((key, value))
        return value

    number = Decimal("1.5")
    plain({"a": [1, number]}, (redactor,))
    assert seen == [(None, {"a": [1, number]}), (None, "a"), ("a", [1, number]), (None, 1), (None, number), (None, "1.5")]


def test_text_that_stands_for_an_object_is_redacted():
    class Secretive:
        def __str__(self):
            return "hidden treasure"

    redactor = lambda _, value: "***" if value == "hidden treasure" else value  # noqa: E731 - a redactor in a line
    assert plain({"x": Secretive()}, (redactor,)) == {"x": "***"}
    assert plain({"hidden treasure": 1}, (redactor,)) == {"***": 1}
    assert plain([enum.Enum("E", {"A": "hidden treasure"}).A], (redactor,)) == ["***"]
    assert plain([enum.Enum("E", {"A": ["hidden treasure"]}).A], (redactor,)) == [["***"]]


def test_redactors_after_one_that_changed_something_still_see_the_rest():
    first = lambda _, value: value.replace("one", "1") if isinstance(value, str) and "one" in value else value  # noqa: E731
    second = lambda _, value: value.replace("two", "2") if isinstance(value, str) and "two" in value else value  # noqa: E731
    assert plain("one two", (first, second)) == "1 2"


def test_messages_that_a_redactor_lets_pass_in_a_list_of_its_own_are_redacted():
    message = Message({"role": "user", "content": "secret"})
    shorten = lambda _, value: [value[-1]] if isinstance(value, list) and len(value) > 1 else value  # noqa: E731
    hide = lambda _, value: "***" if value == "secret" else value  # noqa: E731
    payload = Payload([message, message])
    payload.redact((hide, shorten))
    assert payload.value == [{"role": "user", "content": "***"}]
    assert b"secret" not in message.json


def test_a_redactor_that_raises_costs_the_content():
    def broken(key, value):
        raise ValueError(value)

    payload = Payload({"messages": [Message({"role": "user", "content": "secret"})]})
    payload.redact((broken,))
    assert payload.value == REDACTION_FAILED
    assert json.loads(payload.json) == REDACTION_FAILED
    assert payload.messages == []


def test_a_redactor_that_fails_on_a_message_costs_that_message():
    def broken(key, value):
        if key == "content":
            raise ValueError(value)
        return value

    payload = Payload([Message({"role": "user", "content": "secret"}), "kept"])
    payload.redact((broken,))
    assert payload.value == [{"role": "user", "content": REDACTION_FAILED}, "kept"]


def test_a_message_is_made_once_for_all_payloads_that_hold_it():
    calls = []

    def redactor(key, value):
        calls.append(value)
        return value

    message = Message({"role": "user", "content": "hello"})
    for _ in range(3):
        payload = Payload({"messages": [message]})
        payload.redact((redactor,))
        assert payload.value == {"messages": [{"role": "user", "content": "hello"}]}
        assert json.loads(payload.json) == payload.value
    assert calls.count("hello") == 1
    assert message.cached("mine", lambda m: [m["content"]]) is message.cached("mine", lambda m: pytest.fail("made twice"))


def test_another_redactor_makes_a_message_anew():
    message = Message({"role": "user", "content": "hello"})
    before = message.digest
    message.redact((lambda _, value: "***" if value == "hello" else value,))
    assert message.plain["content"] == "***"
    assert message.digest != before
    assert len(message.digest) == 32


def test_messages_are_found_anywhere_in_order():
    first, second = (Message({"role": role, "content": ""}) for role in ("system", "user"))
    payload = Payload({"a": {"b": [first]}, "c": (second, 1)})
    assert payload.messages == [first, second]
    assert [m.role for m in payload.messages] == ["system", "user"]


def test_a_payload_is_made_when_read_and_made_anew_only_for_a_new_redactor():
    calls = []

    def redactor(key, value):
        calls.append(value)
        return value

    payload = Payload({"a": "b"}, omitted={"messages": 3})
    payload.redact((redactor,))
    assert calls == []
    assert payload.value is payload.value
    made = len(calls)
    assert payload.json is payload.json
    assert len(calls) == made, "redacted once, whatever is made of it"
    assert payload.omitted == {"messages": 3}
    assert repr(payload) == 'Payload({"a":"b"})'
    payload.redact((lambda _, value: "***" if value == "b" else value,))
    assert payload.value == {"a": "***"}


def test_a_message_is_shown_as_the_payload_that_holds_it_is_redacted_whoever_read_it_since():
    message = Message({"role": "user", "content": "b"})
    one, two = Payload([message]), Payload([message])
    one.redact((lambda _, value: "1" if value == "b" else value,))
    two.redact((lambda _, value: "2" if value == "b" else value,))
    for _ in range(2):
        assert [payload.fold(lambda m: m.plain["content"]) for payload in (one, two)] == [["1"], ["2"]]


def test_a_lazy_value_is_made_by_its_first_reader_and_kept():
    calls = []

    def step(value):
        calls.append(value)
        return value + 1

    lazy = Lazy(1, step)
    lazy.then(step)
    assert calls == []
    assert [lazy.value, lazy.value] == [3, 3]
    assert calls == [1, 2]
    lazy.then(step)
    assert lazy.value == 4


def test_readers_at_once_agree():
    for _ in range(50):
        start = threading.Barrier(4)
        lazy = Lazy(0, *[lambda value: value + 1] * 20)
        seen = []

        def read(lazy=lazy, seen=seen, start=start):
            start.wait()
            seen.append(lazy.value)

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [20] * 4
