"""Taken away and gone back to: a page, JSON, a score that reaches its backends, LangGraph's time travel."""

import json
import re

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import MessagesState, StateGraph
from langgraph.types import Command
from recorded import AGENT, HOSTILE, OTHER, agent, hostile, run, trace, traces

from langgraph_observe import Observer, demo
from langgraph_observe.explore import Memory, StoreFile, Traces
from langgraph_observe.explore.annotate import meant
from langgraph_observe.sinks.store import Store


def test_a_page_of_its_own_has_the_tree_the_graph_and_the_talk(tmp_path):
    page = trace(agent()).to_html()
    assert trace(agent()).to_html(tmp_path / "run.html") is None, "a notebook would show the whole page as text"
    assert (tmp_path / "run.html").read_text("utf-8") == page
    assert page.startswith("<!doctype html>")
    assert all(text in page for text in ("<title>support 4bf92f35</title>", "data:image/svg+xml", "Where is order 4711?"))
    assert not re.search(r"<script|https?://|var\(", page)


def test_a_page_of_its_own_needs_no_graph_and_no_talk_and_fears_no_braces():
    page = trace([run("a1", None, "tool", "{name} <b>")]).to_html()
    assert "{name} &lt;b&gt;" in page
    assert "<script" not in trace(hostile()).to_html()


def test_json_has_all_that_was_recorded(tmp_path):
    whole = json.loads(trace(agent()).to_json())
    assert trace(agent()).to_json(tmp_path / "run.json") is None
    assert json.loads((tmp_path / "run.json").read_text("utf-8")) == whole
    assert whole["trace_id"] == AGENT
    model, tool = (next(run for run in whole["runs"] if run["span_id"] == span) for span in ("d1", "f1"))
    assert model["usage"]["cost"] == "0.0031"
    assert not {"run", "measured"} & model.keys()
    assert model["stream"]["timeline"] == [[0.4, 1], [0.6, 20], [1.0, 45]]
    assert model["output"]["messages"][0]["tool_calls"][0]["args"] == {"order": 4711}
    assert (tool["failure"]["type"], tool["events"][0]["kind"], tool["outcome"]) == ("httpx.ReadTimeout", "retry", "error")
    assert whole["scores"][0]["name"] == "helpful"
    assert json.loads(trace(hostile()).to_json())["runs"][0]["failure"]["message"] == HOSTILE


@pytest.fixture
def observer(tmp_path):
    memory = Memory()
    with Observer(memory, Store(tmp_path / "traces.db", keep_days=None)) as observer:
        yield observer


def test_a_score_from_the_notebook_reaches_the_store_and_every_other_sink(tmp_path, observer):
    found = Traces(StoreFile(tmp_path / "traces.db"), before=observer.flush, scorer=observer.score)
    for record in agent():
        observer.emit(record)
    one = found[AGENT]
    one.score("correct", 1, comment="all of it")
    one.score("fast", False, run="find", id="k")
    one.score("fast", True, run=one.run("f1"), id="k")
    scores = {score.name: score for score in found[AGENT].scores}
    assert (scores["correct"].value, scores["correct"].comment, scores["correct"].source) == (1, "all of it", "notebook")
    assert (scores["fast"].value, scores["fast"].span_id, scores["fast"].run_id) == (True, "f1", "run-f1")
    assert {score.name for score in Traces(observer.sinks[0])[AGENT].scores} == {"helpful", "correct", "fast"}


def test_scores_of_traces_that_are_filtered_listed_and_walked_find_their_way(observer):
    found = Traces(observer.sinks[0], scorer=observer.score)
    for record in agent():
        observer.emit(record)
    for one in (found.last(), *found.filter(graph="support"), *found.last(1), found[AGENT[:4]]):
        one.score("seen", 1, id="s")
    assert sorted(score.name for score in found.last().scores) == ["helpful", "seen"]


def test_without_an_observer_a_score_says_what_is_missing_and_one_can_be_given(observer):
    one = traces(agent()).last()
    with pytest.raises(LookupError, match="observer=observer"):
        one.score("good", 1)
    assert one.score("good", 1, observer=observer).trace_id == AGENT


def annotated(observer, *answers):
    """The scores, and what was shown, of going through two traces with these answers."""
    said, shown = iter(answers), []
    found = Traces(Memory([*agent(), *agent(OTHER)]), scorer=observer.score)
    return found.annotate("helpful", ask=lambda _: next(said), show=shown.append), shown


def test_annotating_shows_each_trace_and_scores_it(observer):
    scores, shown = annotated(observer, "1 just right", "n")
    assert [(s.trace_id[:4], s.value, s.comment, s.source) for s in scores] == [
        ("5af9", 1.0, "just right", "annotation"), ("4bf9", False, None, "annotation"),
    ]  # fmt: skip
    assert shown[0].splitlines()[0].startswith("✓ support · 3.40 s")
    assert "in: user: Where is order 4711?" in shown[0]


def test_annotating_skips_on_enter_and_stops_on_q(observer):
    assert [score.trace_id[:4] for score in annotated(observer, "", "5")[0]] == ["4bf9"]
    scores, shown = annotated(observer, "q")
    assert (scores, len(shown)) == ([], 1)


def test_annotating_again_replaces(observer):
    assert annotated(observer, "1", "2")[0][0].id == annotated(observer, "3", "4")[0][0].id


@pytest.mark.parametrize(
    ("answer", "value"), [("0.5", 0.5), ("Yes", True), ("no", False), ("good", "good"), ("nan", "nan"), ("inf", "inf")]
)
def test_what_an_answer_means(answer, value):
    assert meant(answer) == value


def asked():
    """The refund desk, which asks before it sends; and the traces of its two calls."""
    memory = Memory()
    with Observer(memory) as observer:
        desk = observer.watch(demo.refund_desk())
        thread = {"configurable": {"thread_id": "t1"}}
        desk.invoke({"to": "Grace", "text": "", "sent": False}, thread)
        desk.invoke(Command(resume="yes"), thread)
    return desk, *list(Traces(memory))[::-1]


def test_a_thread_is_gone_back_to():
    assert asked()[1].replay_config() == {"configurable": {"thread_id": "t1", "checkpoint_ns": ""}}


def test_with_the_graph_the_very_checkpoint_is_found():
    desk, first, second = asked()
    start, before = first.replay_config(desk), first.replay_config(desk, before="approve")
    assert desk.get_state(start).next == ("__start__",)
    assert desk.get_state(second.replay_config(desk)).next == ("send",)
    assert desk.get_state(before).next == ("approve",)
    again = desk.invoke(None, before)
    assert again["__interrupt__"][0].value["question"] == "Send this?"


def test_where_nothing_can_be_gone_back_to_it_is_said():
    desk, first, _ = asked()
    with pytest.raises(LookupError, match="before nowhere"):
        first.replay_config(desk, before="nowhere")
    with pytest.raises(LookupError, match=r"replay_config\(graph"):
        first.replay_config(before="approve")
    with pytest.raises(LookupError, match="no thread"):
        trace([run("a1", None, "graph", "g")]).replay_config()
    other = StateGraph(MessagesState).add_node("a", lambda s: s).set_entry_point("a").compile(checkpointer=InMemorySaver())
    with pytest.raises(LookupError, match="no checkpoint of trace"):
        first.replay_config(other)
