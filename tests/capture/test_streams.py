"""What is streamed, over time: by a model, and by a graph to its caller."""

import itertools

import pytest
from graphs import linear
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_observe import CallbackHandler, Finished, Observer, observe
from langgraph_observe.capture.pieces import POINTS, Pieces
from langgraph_observe.capture.tracker import Tracker
from langgraph_observe.records import STALL_SECONDS
from langgraph_observe.testing import Clock, ScriptedModel

SECOND = 1_000_000_000
IN = {"messages": [("user", "hi")]}


def streamed(*seconds):
    """Pieces that came so many seconds after the start."""
    pieces = Pieces()
    for at in seconds:
        pieces.add(round(at * SECOND))
    return pieces.told(0)


def ended(records, kind):
    return next(record for record in records if isinstance(record, Finished) and record.run.kind == kind)


# -- the accounting


def test_pieces_over_time():
    told = streamed(1, 1.5, 4)
    assert (told.pieces, told.last_seconds, told.longest_gap_seconds, told.stalls) == (3, 4, 2.5, 0)
    assert told.timeline == ((1, 1), (1.5, 2), (4, 3))


def test_what_never_came_has_no_times():
    told = streamed()
    assert (told.pieces, told.last_seconds, told.longest_gap_seconds, told.timeline) == (0, None, None, ())
    assert streamed(2).longest_gap_seconds is None


def test_a_stall_is_a_gap_that_is_too_long_and_the_wait_for_the_first_is_none():
    assert streamed(60, 60 + STALL_SECONDS, 61 + 2 * STALL_SECONDS, 62 + 4 * STALL_SECONDS).stalls == 2


@given(st.lists(st.integers(0, 10 * SECOND), max_size=400))
def test_the_longest_gap_is_the_longest(gaps):
    pieces, moments = Pieces(), list(itertools.accumulate(gaps))
    for moment in moments:
        pieces.add(moment)
    told = pieces.told(0)
    assert told.longest_gap_seconds == (max(gaps[1:]) / SECOND if len(gaps) > 1 else None)
    assert told.stalls == sum(gap > STALL_SECONDS * SECOND for gap in gaps[1:])
    assert told.pieces == len(gaps)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=2_000))
def test_a_timeline_is_short_and_goes_from_the_first_piece_to_the_last(portions):
    pieces = Pieces()
    for moment, portion in enumerate(portions, 1):
        for _ in range(portion):
            pieces.add(moment * SECOND)
    timeline = pieces.told(0).timeline
    assert len(timeline) <= POINTS
    assert timeline[0] == (1, portions[0])
    assert timeline[-1] == (len(portions), sum(portions))
    assert all(before < after for before, after in itertools.pairwise(timeline))


def test_a_timeline_has_points_all_the_way():
    pieces = Pieces()
    for moment in range(100_000):
        pieces.add(moment)
    counts = [count for _, count in pieces.told(0).timeline]
    assert len(counts) > POINTS // 2
    assert max(after - before for before, after in itertools.pairwise(counts)) <= 100_000 / len(counts) * 2


# -- models


class Halting(ScriptedModel):
    """Says nothing, a word, nothing again, and a word."""

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        for said in ("", "one", "", " two"):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=said))
            if run_manager is not None:
                run_manager.on_llm_new_token(said, chunk=chunk)
            yield chunk


def test_only_what_holds_something_is_a_piece_of_a_models_stream():
    records = []
    list(Halting(respond=str).stream("q", {"callbacks": [CallbackHandler(records.append)]}))
    end = ended(records, "model")
    assert end.stream.pieces == 2
    assert end.stream.timeline[0] == (end.first_token_seconds, 1)


async def test_a_model_that_is_called_streams_nothing():
    records, model = [], ScriptedModel(respond=lambda _: "one two")
    config = {"callbacks": [CallbackHandler(records.append)]}
    model.invoke("q", config)
    await model.ainvoke("q", config)
    assert [record.stream for record in records if isinstance(record, Finished)] == [None, None]


def test_a_models_times_are_those_of_its_runs_clock():
    records = []
    observer = Observer(records.append)
    observer._tracker = Tracker(observer, clock=Clock(step=SECOND))
    list(ScriptedModel(respond=lambda _: "one two").stream("q", {"callbacks": [observer.handler]}))
    end = ended(records, "model")
    assert end.stream.timeline == ((1.0, 1), (2.0, 2))
    assert (end.first_token_seconds, end.stream.longest_gap_seconds) == (1, 1)


def test_a_handler_that_is_given_twice_counts_once():
    records = []
    observer = Observer(records.append)
    list(FakeListChatModel(responses=["abcdef"]).stream("q", {"callbacks": [observer.handler] * 2}))
    stream = ended(records, "model").stream
    assert stream.pieces == 6
    assert stream.timeline[-1][1] == 6


# -- graphs


def talking():
    model = ScriptedModel(respond=lambda _: "one two three")
    builder = StateGraph(MessagesState)
    builder.add_node("say", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_edge(START, "say")
    return builder.compile(name="talking")


@pytest.mark.parametrize("way", ["stream", "astream"])
@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({}, {"updates"}),
        ({"stream_mode": "values"}, {"values"}),
        ({"stream_mode": ["updates", "messages"]}, {"updates", "messages"}),
        ({"stream_mode": ["values", "messages"], "subgraphs": True}, {"values", "messages"}),
        ({"stream_mode": ["values", "messages"], "version": "v2"}, {"values", "messages"}),
        ({"stream_mode": "messages", "version": "v2", "subgraphs": True}, {"messages"}),
    ],
)
async def test_what_the_caller_takes_is_counted_by_mode(way, options, kinds):
    records = []
    graph = observe(talking(), records.append)
    chunks = list(graph.stream(IN, **options)) if way == "stream" else [chunk async for chunk in graph.astream(IN, **options)]
    end = ended(records, "graph")
    assert (end.stream.pieces, set(end.stream.kinds)) == (len(chunks), kinds)
    assert sum(end.stream.kinds.values()) == len(chunks)
    assert end.stream.timeline[0] == (end.first_token_seconds, 1)


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_nobody_takes_chunks_of_a_graph_that_is_called(way):
    records = []
    graph = observe(talking(), records.append)
    await graph.ainvoke(IN) if way == "ainvoke" else graph.invoke(IN)
    end = ended(records, "graph")
    assert (end.stream, end.first_token_seconds) == (None, None)


def test_a_graph_called_in_a_node_is_called_and_the_one_around_it_is_streamed():
    records = []
    observer = Observer(records.append)
    inner = observer.watch(linear(("in", lambda _: {"n": 2})))
    outer = observer.watch(linear(("out", lambda state: {"n": inner.invoke({})["n"]})))
    assert list(outer.stream({})) == [{"out": {"n": 2}}]
    first, second = [record.stream for record in records if isinstance(record, Finished) and record.run.kind == "graph"]
    assert (first, second.pieces) == (None, 1)


def test_a_stream_that_is_closed_early_has_what_was_taken_of_it():
    records = []
    chunks = observe(linear(("a", lambda _: {"n": 1}), ("b", lambda _: {"n": 2})), records.append).stream({})
    next(chunks)
    chunks.close()
    end = ended(records, "graph")
    assert (end.outcome, end.reason, end.stream.pieces) == ("cancelled", "stream_closed", 1)


def test_each_observer_of_a_graph_counts_for_itself():
    one, two = [], []
    list(observe(observe(talking(), one.append), two.append).stream(IN, stream_mode="messages"))
    first, second = ended(one, "graph").stream, ended(two, "graph").stream
    assert first.pieces == second.pieces >= 3
