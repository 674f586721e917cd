"""The list of traces is had without reading them; much content of a trace is read over one connection."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from decimal import Decimal

import pytest
from recorded import AGENT, OTHER, SPENT, agent, hostile, run, trace

from langgraph_observe import Observer, demo
from langgraph_observe.explore import Memory, StoreFile, Traces, storefile
from langgraph_observe.explore.otlp import OtlpFile
from langgraph_observe.explore.row import Row, rows
from langgraph_observe.explore.source import Filter
from langgraph_observe.explore.storefiles import StoreFiles
from langgraph_observe.records import Link, Usage
from langgraph_observe.sinks.store import Store
from langgraph_observe.sinks.store.schema import StoreError
from langgraph_observe.sinks.store.writer import Writer

ESTIMATED = Usage(input_tokens=7, estimated=True, cost=Decimal("0.000000003"))
SHOWN = ("id", "at_ns", "name", "outcome", "seconds", "incomplete", "thread_id")


def model(span, at, **more):
    return run(span, "a1", "model", "m", at, 0.5, **more)


ROOT = run("a1", None, "graph", "g", 0, 3, graph="desk")
KINDS = {
    "an agent": agent(),
    "whatever is in it": hostile("it's \" 100% \x1b[31m"),
    "a name of its own": [run("a1", None, "graph", "g", graph="desk", trace_name="refunds")],
    "no graph": [run("a1", None, "chain", "prompt")],
    "a run that goes on": [ROOT.run, model("b1", 0.1, usage=SPENT)],
    "a call that goes on": [ROOT, model("b1", 0.1).run],
    "two roots, one failed": [ROOT, run("b1", None, "tool", "t", 2.5, 9, outcome="error"), run("c1", None, "tool", "t", 1, 0.1)],
    "two roots, one goes on": [ROOT, run("b1", None, "tool", "t", 1, 9).run],
    "an orphan": [run("b1", "gone", "tool", "t", 1, 9, outcome="cancelled", thread_id="t-1")],
    "a thread below a web request": [run("a1", None, "stream", "/chat"), run("b1", "a1", "graph", "g", 0.1, thread_id="t-2")],
    "an unknown price": [ROOT, model("b1", 0.1, usage=SPENT), model("c1", 0.2, usage=replace(SPENT, cost=None))],
    "a call that told nothing": [ROOT, model("b1", 0.1)],
    "an estimate": [ROOT, model("b1", 0.1, usage=SPENT), model("c1", 0.2, usage=ESTIMATED)],
    "an answer from the cache": [ROOT, model("b1", 0.1, usage=SPENT, cached=True), model("c1", 0.2, usage=ESTIMATED)],
    "a ring": [run("a1", "b1", "chain", "a"), run("b1", "a1", "chain", "b", 1)],
    "resumed": [run("a1", None, "graph", "g", links=(Link("resumed_from", OTHER, "x"),), thread_id="t")],
}


def stored(path, records):
    writer = Writer(path, keep_days=None, keep_bytes=None, busy_seconds=5)
    writer.write(list(records))
    writer.close()
    return StoreFile(path)


@pytest.mark.parametrize("records", KINDS.values(), ids=list(KINDS))
def test_a_row_says_what_the_trace_says(tmp_path, records):
    source = stored(tmp_path / "traces.db", records)
    (row,), trace = rows(source, Filter(), 9), Traces(source)[AGENT]
    assert [getattr(row, name) for name in SHOWN] == [getattr(trace, name) for name in SHOWN]
    told, whole = row.usage, trace.usage
    assert (told.input_tokens, told.output_tokens, told.estimated, told.cost) == (
        whole.input_tokens,
        whole.output_tokens,
        whole.estimated,
        whole.cost,
    )


def test_a_store_lists_without_reading_a_trace(tmp_path, monkeypatch):
    source = stored(tmp_path / "traces.db", [*agent(), *agent(OTHER)])
    monkeypatch.setattr(StoreFile, "records", lambda *_: 1 / 0)
    assert [type(row) for row in rows(source, Filter(), 9)] == [Row, Row]
    assert repr(Traces(source)).count("support") == 2
    assert Traces(source)._repr_html_().count("<tr") == 3


def test_the_list_is_the_same_from_the_store_and_from_memory(tmp_path):
    memory = Memory()
    with Observer(memory, Store(tmp_path / "traces.db")) as observer:
        demo.run(observer)
    lists = [str(Traces(source).filter(user="grace").table()) for source in (memory, StoreFile(tmp_path / "traces.db"))]
    assert len({text.replace(str(tmp_path / "traces.db"), "memory") for text in lists}) == 1
    assert lists[0].count("refund_desk") == 2


def test_as_many_rows_as_are_asked_for_the_latest_first(tmp_path):
    later = [replace(one, run=replace(one.run, at_ns=one.run.at_ns + 1)) for one in [run("a1", None, "graph", "g", trace=OTHER)]]
    source = stored(tmp_path / "traces.db", [run("a1", None, "graph", "g"), *later])
    assert [row.id for row in rows(source, Filter(), 9)] == [OTHER, AGENT]
    assert [row.id for row in rows(source, Filter(), 1)] == [OTHER]
    assert rows(source, Filter(graph="another"), 9) == []


@pytest.fixture
def opened(monkeypatch):
    """The connections made since."""
    made = []

    class Connection(sqlite3.Connection):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.open = True
            made.append(self)

        def close(self):
            self.open = False
            super().close()

    connect = sqlite3.connect
    monkeypatch.setattr(storefile.sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Connection, **kwargs))
    return made


@pytest.mark.parametrize(
    "reads",
    [lambda t: t.to_json(), lambda t: t.to_otlp(), lambda t: t.to_html(), lambda t: t._repr_html_(), lambda t: t.messages()],
)
def test_all_the_content_of_a_trace_is_read_over_one_connection(tmp_path, opened, reads):
    trace = Traces(stored(tmp_path / "traces.db", agent())).last()
    del opened[:]
    reads(trace)
    assert [one.open for one in opened] == [False]


def test_one_run_opens_the_file_for_each_question_and_lets_it_go(tmp_path, opened):
    """A reader that stays keeps the write-ahead log from being taken over."""
    call = Traces(stored(tmp_path / "traces.db", agent())).last().run("find")
    del opened[:]
    assert call.input.value == {"order": 4711}
    assert [one.open for one in opened] == [False]


def test_together_closes_what_it_opened_when_a_reader_fails(tmp_path, opened):
    call = Traces(stored(tmp_path / "traces.db", agent())).last().run("find")
    del opened[:]
    with pytest.raises(ZeroDivisionError), storefile.together(), storefile.together():
        1 / call.input.value["order"] / 0
    assert [one.open for one in opened] == [False]
    assert storefile._kept.get() is None


def test_a_damaged_file_is_named_there_too(tmp_path):
    source = stored(tmp_path / "traces.db", agent())
    call = Traces(source).last().run("find")
    with closing(sqlite3.connect(source.path)) as db:
        db.execute("DROP TABLE payloads")
    with pytest.raises(StoreError, match=r"traces\.db cannot be read now"), storefile.together():
        call.input.value  # noqa: B018 - it is read when it is asked for


def test_what_is_read_together_is_what_is_read_alone(tmp_path):
    trace = Traces(stored(tmp_path / "traces.db", agent())).last()
    alone = {one.span_id: (one.input and one.input.value, one.output and one.output.value) for one in trace}
    again = Traces(StoreFile(tmp_path / "traces.db")).last()
    told = {one["span_id"]: (one["input"], one["output"]) for one in json.loads(again.to_json())["runs"]}
    assert told == alone


@pytest.mark.parametrize("made", [StoreFile, StoreFiles, OtlpFile])
def test_a_list_that_is_passed_on_does_not_name_its_owner(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(made(tmp_path / "runs" / "x")) == "~/runs/x"
    assert str(made(tmp_path.parent / "x")) == str(tmp_path.parent / "x")


def test_a_trace_with_one_root_lasts_as_long_as_that_was_measured_to_last():
    """Not from one reading of the wall clock, in nanoseconds, to another."""
    assert trace([run("a1", None, "graph", "g", seconds=1 / 3)]).seconds == 1 / 3
