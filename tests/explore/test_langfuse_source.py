"""Traces out of Langfuse: what our sink has sent there is read back by its read API, from the stand-in for its server."""

import re

import pytest
from langfuse_server import KEYS, Langfuse

from langgraph_observe import Observer, demo
from langgraph_observe.explore import Memory, Traces
from langgraph_observe.explore.langfuse import Langfuse as Source
from langgraph_observe.sinks.langfuse import Traces as Sink


@pytest.fixture(scope="module")
def server():
    with Langfuse() as server:
        server.memory = Memory()
        with Observer(server.memory, Sink(base_url=server.url, **KEYS)) as observer:
            demo.run(observer)
            for trace in Traces(server.memory):
                observer.score("helpful", 0.5, trace_id=trace.id, comment="so so")
                observer.score("kind", "very", trace_id=trace.id, span_id=trace.root.span_id)
            observer.flush()
        yield server


@pytest.fixture
def traces(server):
    return Traces(Source(base_url=server.url, **KEYS))


@pytest.fixture
def kept(server):
    return Traces(server.memory)


def lines(trace):
    """Without times and order: Langfuse keeps milliseconds, in which two tools may have begun at once; of a graph, no first chunk."""
    text = re.sub(r"\d[\d.]* (ms|s)\b", "TIME", str(trace))
    return sorted(re.sub("(graph .*) · first token TIME", r"\1", line).lstrip("├└│─ ") for line in text.splitlines())


def test_the_trees_are_those_that_were_recorded(traces, kept):
    assert [lines(trace) for trace in traces] == [lines(trace) for trace in kept]


def test_what_was_said_is_there(traces, kept):
    for trace, same in zip(traces, kept, strict=True):
        assert spoken(trace) == spoken(same)


def test_the_talk_reads_the_same(traces, kept):
    """Langfuse is sent OpenAI's form of a tool call."""
    for trace, same in zip(traces, kept, strict=True):
        assert str(trace.messages()) == str(same.messages())


def spoken(trace):
    return [(run.name, len(run.input.messages), run.output.messages[0].plain["role"]) for run in trace.find(kind="model")]


def test_tokens_cost_and_names_are_those_that_were_recorded(traces, kept):
    for trace, same in zip(traces, kept, strict=True):
        assert (trace.usage.input_tokens, trace.usage.output_tokens, trace.cost) == (
            same.usage.input_tokens,
            same.usage.output_tokens,
            same.cost,
        )
        for run in trace:
            begun, was = run.started, same.run(run.span_id).started
            assert (begun.kind, begun.name, begun.graph, begun.node, begun.step, begun.user_id) == (
                was.kind,
                was.name,
                was.graph,
                was.node,
                was.step,
                was.user_id,
            )


def test_a_pause_is_told_with_its_question(traces):
    (asked,) = traces.filter(outcome="interrupted")
    (event,) = [event for run in asked for event in run.events if event.kind == "interrupt" and run.kind == "graph"]
    assert "refund" in str(event.payload.value)


def test_scores_come_along(traces):
    trace = traces.last()
    assert sorted((score.name, score.value, score.comment, score.span_id) for score in trace.scores) == [
        ("helpful", 0.5, "so so", None),
        ("kind", "very", None, trace.root.span_id),
    ]


def test_a_trace_is_had_by_its_id_with_no_more_than_is_needed(server, traces, kept):
    one = kept.filter(tool="weather").last()
    before = len(server.requests)
    assert traces[one.id].id == one.id
    asked = [request.path for request in server.requests[before:]]
    assert asked
    assert all(one.id in path for path in asked)
    assert traces[one.id[:9]].id == one.id


def test_it_is_asked_page_by_page(server, traces, monkeypatch):
    monkeypatch.setattr(server, "page", 2)
    assert len(traces) == 4
    assert sum(len(trace) for trace in traces) == 27


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"graph": "travel_agent"}, 1),
        ({"tool": "weather"}, 1),
        ({"node": "approve"}, 2),
        ({"user": "grace"}, 2),
        ({"session": "refund-4711"}, 2),
        ({"thread": "refund-4711"}, 2),
        ({"model": "claude-sonnet-4-5"}, 1),
        ({"text": "lisbon"}, 1),
        ({"outcome": "interrupted"}, 1),
        ({"since": "1h"}, 4),
        ({"since": "0s"}, 0),
        ({"min_cost": 0.0001}, 1),
    ],
)
def test_filters(traces, wanted, found):
    assert len(traces.filter(**wanted)) == found


def test_tables_are_made_of_it_as_of_any_source(traces, kept):
    def counted(table):
        return sorted((row["graph"], row["node"], row["runs"], row["input_tokens"], row["cost_usd"]) for row in table)

    assert counted(traces.nodes()) == counted(kept.nodes())
    assert len(counted(traces.nodes())) == 8


def test_nobody_at_home_is_said_in_words(traces):
    nobody = Traces(Source(base_url="http://user:secret@127.0.0.1:9/?key=hidden", **KEYS))
    with pytest.raises(ConnectionError, match=r"Langfuse does not answer at http://127\.0\.0\.1:9/ \(ConnectError\)"):
        nobody.last()
    assert "does not answer" in repr(nobody)
    assert "secret" not in repr(nobody) + str(nobody.source)


def test_wrong_keys_are_said_in_words(server):
    wrong = Traces(Source(base_url=server.url, public_key="pk-lf-1", secret_key="no"))
    with pytest.raises(PermissionError, match="look at LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY"):
        wrong.last()


def test_missing_keys_are_named():
    with pytest.raises(ValueError, match="LANGFUSE_SECRET_KEY"):
        Source(public_key="pk")
