"""What is in an event stream, by the WHATWG's rules, however its bytes are cut into pieces."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_observe.capture.sse import KINDS, Events

LINES = st.one_of(
    st.sampled_from([b"", b"", b"data", b"data:", b"data: x", b"event: token", b"event:", b"event", b": ping", b":", b"id: 7", b"retry: 5", b"\xff\xfe"]),
    st.binary(max_size=8),
    st.builds(lambda name: b"event: " + name, st.binary(min_size=80, max_size=130)),
)  # fmt: skip
BODIES = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=30).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


def read(*parts):
    events = Events()
    for number, part in enumerate(parts):
        events.feed(part, number)
    return events.told(0)


def counts(stream):
    return stream.pieces, stream.kinds, stream.keepalives, stream.bytes, stream.errors


def by_the_book(body):
    """The rules, slowly: lines, then fields. Pieces by type, and comments."""
    text = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    kinds, comments, kind, data = {}, 0, b"", False
    for line in text.split(b"\n")[:-1]:
        name, _, value = line.partition(b":")
        if not line:
            if data:
                kinds[kind or b"message"] = kinds.get(kind or b"message", 0) + 1
            kind, data = b"", False
        elif line.startswith(b":"):
            comments += 1
        elif name == b"data":
            data = True
        elif name == b"event":
            kind = value.removeprefix(b" ")
    return kinds, comments


@given(BODIES, st.booleans())
def test_events_and_comments_are_those_of_the_specification(body, mark):
    body = b"\xef\xbb\xbf" * mark + body
    kinds, comments = by_the_book(body)
    told = read(body)
    assert (told.pieces, told.keepalives, told.bytes) == (sum(kinds.values()), comments, len(body))
    short = {kind for kind in kinds if len(kind) < 80 and b"|" not in kind}
    if len(kinds) <= KINDS and short == set(kinds):
        assert sum(told.kinds.values()) == told.pieces
        assert set(told.kinds) == {kind.decode(errors="replace") for kind in kinds}


@given(BODIES, st.lists(st.integers(0, 200)))
def test_it_does_not_matter_where_a_body_is_cut(body, cuts):
    places = sorted({min(cut, len(body)) for cut in cuts} | {0, len(body)})
    parts = [body[start:end] for start, end in pairwise(places)]
    assert counts(read(*parts)) == counts(read(body))


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_malformed_stream_cut_at_every_byte_counts_as_whole(end):
    lines = [
        b"\xef\xbb\xbfevent: a",
        b"data: 1",
        b"",
        b": hm",
        b"data",
        b"",
        b"event: lost",
        b"",
        b"\xff\x00:",
        b"data: 2",
        b"id: 3",
        b"",
        b"data: cut off",
    ]
    body = end.join(lines)
    whole = counts(read(body))
    assert whole == (3, {"a": 1, "message": 2}, 1, len(body), 0)
    assert counts(read(*(body[at : at + 1] for at in range(len(body))))) == whole
    for at in range(len(body)):
        assert counts(read(body[:at], body[at:])) == whole


def test_an_event_without_data_is_none():
    assert read(b"event: ping\nid: 4\n\n").pieces == 0


def test_a_failure_told_in_a_stream_that_goes_well_is_counted():
    told = read(b"event: error\ndata: {}\n\ndata: 1\n\n")
    assert (told.pieces, told.errors) == (2, 1)


def test_a_sub_graphs_events_are_of_the_type_before_the_bar():
    told = read(b"event: values|sub:1b4e28ba\ndata: {}\n\nevent: values|sub:2fa1\ndata: {}\n\n")
    assert told.kinds == {"values": 2}


def test_types_without_end_are_told_apart_up_to_a_limit_and_errors_always():
    body = b"".join(b"event: %d\ndata: x\n\n" % number for number in range(100))
    told = read(body + b"event: error\ndata: x\n\n")
    assert told.kinds["__other__"] == 100 - KINDS
    assert (told.pieces, told.errors, len(told.kinds)) == (101, 1, KINDS + 2)


def test_a_type_that_is_no_text_is_one_all_the_same():
    assert read(b"event: \xff\ndata: x\n\n").kinds == {"�": 1}


def test_a_frame_of_any_size_is_one_event_and_is_not_kept():
    events, part = Events(), b"x" * 1_000_000
    events.feed(b"data: ", 0)
    tracemalloc.start()
    try:
        for _ in range(20):
            events.feed(part, 1)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    events.feed(b"\n\n", 2)
    assert events.told(0).pieces == 1
    assert most < 300_000


def test_a_body_that_is_encoded_is_not_read():
    events = Events()
    events.opaque = True
    events.feed(b"\x1f\x8b: data:\n\n", 0)
    events.feed(b"", 1)
    told = events.told(0)
    assert (told.pieces, told.kinds, told.keepalives, told.bytes) == (1, {}, None, 11)
