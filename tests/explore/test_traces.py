"""Traces, and the sources that it reads: every question gets the same answer from memory and from a file."""

import re
import sqlite3
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from langgraph_observe.explore import Filter, Memory, StoreFile, Traces
from langgraph_observe.payloads import Lazy, Payload
from langgraph_observe.records import Finished, Noted, Scored, Started, Usage
from langgraph_observe.sinks.store import Store, StoreError
from langgraph_observe.sinks.store.schema import configured_path
from langgraph_observe.sinks.store.writer import Writer

HOUR_NS = 3600 * 10**9
NOW = 1_700_000_000 * 10**9


def finished(trace, span="1", parent=None, outcome="ok", answered=None, usage=None, **over):
    return Finished(
        run=started(trace, span, parent, **over),
        outcome=outcome,
        seconds=0.5,
        model=answered,
        measured=Lazy(usage),
        output=Payload(span),
    )


def started(trace, span="1", parent=None, **over):
    identity = {"id": f"run-{trace}-{span}", "root_id": "r", "trace_id": trace, "span_id": f"{trace}{span}"}
    above = {"parent_id": parent, "parent_span_id": parent and f"{trace}{parent}"}
    return Started(**identity | above | {"kind": "graph", "name": "support", "at_ns": NOW} | over)


SPENT = Usage(input_tokens=10, output_tokens=5, cost=Decimal("0.0031"), estimated=True)
RECORDS = [
    finished("aa1", at_ns=NOW - 3 * HOUR_NS, graph="support", thread_id="1", session_id="s1", user_id="u1", tags=("x", "y")),
    finished("aa1", "2", "1", kind="model", model="gpt-4.1", answered="gpt-4.1-2025", usage=SPENT, at_ns=NOW - 2 * HOUR_NS),
    finished("ab2", at_ns=NOW - HOUR_NS, graph="mail", thread_id="2", session_id="s2", user_id="u2", outcome="error", tags=("y",)),
    finished("ab2", "2", "1", kind="tool", model="gpt-4.1", graph="support", outcome="cancelled", at_ns=NOW - HOUR_NS),
    started("ab2", at_ns=NOW - HOUR_NS, graph="mail", thread_id="2", session_id="s2", user_id="u2", tags=("y",)),
    started("ac3", at_ns=NOW, graph="support", thread_id="1"),
    finished("ad4", "5", "gone", at_ns=NOW - 4 * HOUR_NS, graph="support"),
    Scored(trace_id="elsewhere", name="good", value=1.0, at_ns=NOW, id="k"),
    Noted(run=started("ae5", at_ns=NOW - 5 * HOUR_NS), kind="custom", at_ns=NOW),
]


def in_file(tmp_path, records):
    writer = Writer(tmp_path / "traces.db", keep_days=None, keep_bytes=None, busy_seconds=5.0)
    writer.write(records)
    writer.close()
    return StoreFile(tmp_path / "traces.db")


@pytest.fixture(params=[lambda tmp_path, records: Memory(records), in_file], ids=["memory", "file"])
def source(request, tmp_path):
    return request.param(tmp_path, RECORDS)


@pytest.fixture
def traces(source):
    return Traces(source, now=lambda: NOW)


def ids(traces):
    return [trace.id for trace in traces]


def test_the_latest_come_first_and_nothing_with_a_run_is_left_out(source):
    assert source.ids(Filter()) == ["ac3", "ab2", "aa1", "ad4", "ae5"]
    assert source.ids(Filter(), limit=2) == ["ac3", "ab2"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"graph": "support"}, ["ac3", "ab2", "aa1", "ad4"]),
        ({"graph": "support", "thread": "2"}, []),  # not of one run
        ({"outcome": "error"}, ["ab2"]),
        ({"outcome": "running"}, ["ac3", "ae5"]),
        ({"outcome": "cancelled"}, []),
        ({"thread": "1"}, ["ac3", "aa1"]),
        ({"session": "s1"}, ["aa1"]),
        ({"user": "u2"}, ["ab2"]),
        ({"tag": "y"}, ["ab2", "aa1"]),
        ({"tag": "x", "thread": "2"}, []),
        ({"model": "gpt-4.1"}, ["aa1"]),
        ({"model": "gpt-4.1-2025"}, ["aa1"]),
        ({"since": "2h"}, ["ac3", "ab2"]),
        ({"since": timedelta(minutes=90)}, ["ac3", "ab2"]),
        ({"since": datetime.fromtimestamp(NOW / 1e9, UTC)}, ["ac3"]),
        ({"since": "1w"}, ["ac3", "ab2", "aa1", "ad4", "ae5"]),
        ({"graph": "a' OR 1=1 --"}, []),
    ],
)
def test_filters(traces, wanted, found):
    assert ids(traces.filter(**wanted)) == found
    assert len(traces.filter(**wanted)) == len(found)


def test_filters_add_up(traces):
    support = traces.filter(graph="support")
    assert ids(support.filter(since="2h")) == ["ac3", "ab2"]
    assert ids(support) == ["ac3", "ab2", "aa1", "ad4"]


def test_a_period_that_is_none_says_how_to_write_one(traces):
    with pytest.raises(ValueError, match="'2h'"):
        traces.filter(since="soon")


def test_the_last(traces):
    assert traces.last().id == "ac3"
    assert [trace.id for trace in traces.last(2)] == ["ac3", "ab2"]
    assert traces.filter(user="nobody").last(3) == []
    with pytest.raises(LookupError, match="no such traces in"):
        traces.filter(user="nobody").last()


def test_by_the_beginning_of_an_id(traces):
    assert traces["ab"].id == "ab2"
    assert traces["run-aa1"].id == "aa1"
    assert traces["ad4"].root.span_id == "ad45"  # its root was not recorded
    assert traces.filter(graph="mail")["a"].id == "ab2"
    with pytest.raises(LookupError, match="no trace"):
        traces["run-aa1-2"]  # a root's only
    with pytest.raises(LookupError, match="more than one"):
        traces["a"]
    with pytest.raises(LookupError, match="no trace"):
        traces["zz"]
    with pytest.raises(LookupError, match="no trace"):
        traces["%"]


def test_the_table(traces, monkeypatch):
    table = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", repr(traces)).splitlines()
    assert re.split(r"\s{2,}", table[0]) == ["time", "graph", "outcome", "duration", "tokens", "cost", "thread", "id"]
    assert [re.split(r"\s{2,}", line) for line in table[1:4]] == [
        ["TIME", "support", "… running", "—", "—", "—", "1", "ac3"],
        ["TIME", "mail", "✖ error", "500 ms", "—", "—", "2", "ab2"],
        ["TIME", "support", "✓ ok", "500 ms", "~15", "~$0.0031", "1", "aa1"],
    ]
    assert table[-1] == f"5 of 5 in {traces.source}"


def test_the_table_shows_twenty(tmp_path):
    assert repr(Traces(Memory(finished(f"t{i}") for i in range(25)))).endswith("20 of 25 in memory")


def test_hostile_names_keep_the_table_in_shape():
    lines = repr(Traces(Memory([finished("t\n\x1b", graph="a\x1b[2J\nb" * 50, thread_id="\u202e")]))).split("\n")
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)


def test_reading_sees_what_was_written_just_before(tmp_path):
    store = Store(tmp_path / "traces.db", keep_days=None)
    traces = Traces(StoreFile(store.path), before=store.flush)
    for n, read in enumerate(
        (lambda: len(traces), lambda: len(list(traces)), lambda: len(traces.last(9)), lambda: len(traces.filter()))
    ):
        store(finished(f"t{n}"))
        assert read() == n + 1
    store(finished("u"))
    assert traces["u"].id == "u"
    store(finished("v", at_ns=NOW + 1))
    assert traces.last().id == "v"
    store(finished("w"))
    assert "7 of 7" in repr(traces)
    store(finished("x"))
    assert len(traces.open(store.path)) == 8
    store.close()


def test_with_no_source_the_environment_says_where(monkeypatch, tmp_path):
    in_file(tmp_path, RECORDS)
    traces = Traces()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("LANGGRAPH_OBSERVE_STORE", raising=False)
    assert repr(traces) == f"no traces in {tmp_path / 'langgraph-observe' / 'traces.db'}"
    monkeypatch.setenv("LANGGRAPH_OBSERVE_STORE", str(tmp_path / "traces.db"))
    assert len(traces) == 5
    monkeypatch.setenv("LANGGRAPH_OBSERVE_STORE", " ")
    assert traces.source.path == tmp_path / "langgraph-observe" / "traces.db"
    for off in ("off", "OFF", "false", "0", "No"):
        monkeypatch.setenv("LANGGRAPH_OBSERVE_STORE", off)
        assert len(traces) == 0
    traces.memory(finished("fed"))
    assert ids(traces.filter(outcome="ok")) == ["fed"]


def test_a_file_that_is_no_store_is_said_once_asked_and_shown_without_raising(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary " * 100)
    traces = Traces(StoreFile(path))
    assert str(path) in repr(traces)
    with pytest.raises(StoreError, match=r"notes\.txt"):
        len(traces)
    assert str(tmp_path) in repr(traces.open(tmp_path))


def test_a_trace_forgotten_while_it_is_read_is_left_out():
    class Forgetful(Memory):
        def records(self, trace_id, /):
            return [] if trace_id == "b" else super().records(trace_id)

    assert sorted(ids(Traces(Forgetful([finished("a"), finished("b"), finished("c")])))) == ["a", "c"]


def test_memory_keeps_the_last_records_only():
    memory = Memory(capacity=2)
    for trace in ("a", "b", "c"):
        memory(finished(trace))
    assert set(memory.ids(Filter())) == {"b", "c"}
    assert [record.output.value for record in memory.records("c")] == ["1"]


def test_how_many_of_the_last_is_a_number_and_not_negative(traces):
    assert traces.last(0) == []
    with pytest.raises(TypeError, match="str"):
        traces.last("x")
    with pytest.raises(ValueError, match="-1"):
        traces.last(-1)


def test_what_is_no_text_is_a_wrong_argument_and_no_damage(traces):
    with pytest.raises(TypeError, match="thread must be str, not int"):
        traces.filter(thread=4711)
    with pytest.raises(TypeError, match="graph must be str, not list"):
        traces.filter(graph=["support"])
    with pytest.raises(TypeError, match="prefix must be str, not int"):
        traces[0]


def test_damage_is_said_of_a_damaged_file_only(tmp_path):
    file = in_file(tmp_path, RECORDS)
    with pytest.raises(sqlite3.IntegrityError):
        file.ids(Filter(), limit="x")
    content = bytearray(file.path.read_bytes())
    content[4096:] = b"?" * len(content[4096:])
    file.path.write_bytes(content)
    with pytest.raises(StoreError, match="is damaged"):
        file.ids(Filter())


def test_showing_traces_never_raises_and_their_table_does():
    class Broken(Memory):
        def records(self, trace_id, /):
            raise RuntimeError("the disk is gone")

    traces = Traces(Broken(RECORDS))
    assert repr(traces) == "RuntimeError: the disk is gone"
    with pytest.raises(RuntimeError):
        traces.table()


def test_reading_sees_what_any_observer_of_the_process_was_told(tmp_path):
    from langgraph_observe import Observer, traces

    with Observer(Store(tmp_path / "traces.db", keep_days=None)) as observer:
        observer.emit(finished("t1"))
        assert traces.open(tmp_path / "traces.db").last().id == "t1"


@pytest.mark.parametrize("ask", ["overview", "outcomes", "latency", "spending", "last"])
def test_no_chart_is_of_less_than_no_traces(traces, ask):
    with pytest.raises(ValueError, match="-1 traces"):
        getattr(traces, ask)(-1)


def test_what_comes_is_told_after_none_of_the_past_or_some(traces):
    with pytest.raises(ValueError, match="-3 traces"):
        next(traces.follow(last=-3))


def test_a_filter_that_nothing_matches_is_no_empty_store(traces):
    assert repr(traces.filter(user="nobody")) == f"no such traces in {traces.source}"
    assert traces.table(0) == f"0 of 5 in {traces.source}"


def test_a_cost_is_a_number(traces):
    with pytest.raises(TypeError, match="min_cost must be a number, not str"):
        traces.filter(min_cost="0.01")


@pytest.mark.parametrize("since", ["2023-11-14", date(2023, 11, 14), "2023-11-14T00:00"])
def test_since_a_day(source, since):
    day = datetime.fromisoformat("2023-11-14").timestamp()
    assert Traces(source).filter(since=since)._wanted.since_ns == day * 10**9


def test_no_place_is_no_directory(traces):
    with pytest.raises(ValueError, match="at a path or an address"):
        traces.open("")


def test_a_row_that_is_damaged_is_said(tmp_path):
    file = in_file(tmp_path, RECORDS)
    with sqlite3.connect(file.path) as db:
        db.execute("UPDATE payloads SET rest = '{'")
    db.close()
    with pytest.raises(StoreError, match="is damaged: trace aa1 cannot be read"):
        file.records("aa1")


def test_a_store_in_the_home_directory_may_be_named_by_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LANGGRAPH_OBSERVE_STORE", "~/t.db")
    assert configured_path() == tmp_path / "t.db"
