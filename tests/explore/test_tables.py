"""Tables of many traces: the same from memory, from a store's file and from a directory of them; and what SQL may ask."""

import sqlite3
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_observe.explore import Filter, Memory, StoreFile, Traces
from langgraph_observe.explore.database import Spread
from langgraph_observe.explore.storefiles import StoreFiles
from langgraph_observe.explore.table import Table
from langgraph_observe.payloads import Lazy, Message, Payload
from langgraph_observe.records import Failure, Finished, Scored, Started, Usage
from langgraph_observe.sinks.store import Store, StoreError
from langgraph_observe.sinks.store.writer import Writer

DAY_NS = 86_400 * 10**9
NOON = 1_700_049_600 * 10**9  # a Wednesday, noon in UTC


def ended(trace, span, parent=None, outcome="ok", seconds=0.5, usage=None, failure=None, answered=None, cached=False, **over):
    ids = {"id": f"run-{trace}-{span}", "root_id": "r", "trace_id": trace, "span_id": f"{trace}{span}"}
    above = {"parent_id": parent, "parent_span_id": parent and f"{trace}{parent}"}
    run = Started(**ids | above | {"kind": "graph", "name": "support", "graph": "support", "at_ns": NOON} | over)
    more = {
        "failure": failure,
        "model": answered,
        "cached": cached,
        "measured": Lazy(usage),
        "output": Payload("said 50% \\ _ \u0000 Ünï"),
    }
    return Finished(run=run, outcome=outcome, seconds=seconds, **more)


def spent(tokens, cost, **more):
    return Usage(input_tokens=tokens, output_tokens=1, cost=cost and Decimal(cost), **more)


NO = Failure("builtins.ValueError", "no 7\nsecret second line")
RECORDS = [
    ended("a", "1", thread_id="t1", user_id="u"),
    ended("a", "2", "1", kind="node", name="think", node="think", seconds=1.0, thread_id="t1"),
    ended("a", "3", "2", kind="model", name="m", node="think", model="big", answered="big-1", provider="p", thread_id="t1",
          usage=spent(10, "0.5"), input=Payload([Message({"role": "user", "content": "Where is my REFUND?"})])),
    ended("a", "4", "2", kind="model", name="m", node="think", model="big", answered="big-1", provider="p", thread_id="t1",
          usage=spent(10, "0.5"), cached=True),
    ended("a", "5", "1", kind="tool", name="mail", node="act", outcome="error", failure=NO, seconds=3.0, thread_id="t1"),
    ended("b", "1", at_ns=NOON + DAY_NS, outcome="error", failure=NO, thread_id="t1", tags=("x",)),
    ended("b", "2", "1", kind="node", name="think", node="think", outcome="error", failure=NO, seconds=2.0, at_ns=NOON + DAY_NS),
    ended("b", "3", "2", kind="model", name="m", node="think", model="own", provider="q", at_ns=NOON + DAY_NS,
          usage=spent(7, None, estimated=True)),
    ended("b", "4", "1", kind="tool", name="mail", attempt=2, seconds=1.0, at_ns=NOON + DAY_NS),
    Started(id="c", root_id="c", trace_id="c", span_id="c1", kind="graph", name="slow", at_ns=NOON + 2 * DAY_NS),
    Scored(trace_id="a", name="good", value=True, at_ns=NOON, id="k1", comment="yes"),
    Scored(trace_id="b", name="good", value="no", span_id="b2", at_ns=NOON + 1, id="k2"),
]  # fmt: skip


def in_file(path, records):
    writer = Writer(path, keep_days=None, keep_bytes=None, busy_seconds=5.0)
    writer.write(records)
    writer.close()


def of_memory(tmp_path):
    return Traces(Memory(RECORDS))


def of_file(tmp_path):
    in_file(tmp_path / "traces.db", RECORDS)
    return Traces().open(tmp_path / "traces.db")


def of_directory(tmp_path):
    """Two workers: what is of trace a in one, the rest in the other."""

    def of_a(record):
        return (record.run if isinstance(record, Finished) else record).trace_id == "a"

    in_file(tmp_path / "worker-1.db", [one for one in RECORDS if of_a(one)])
    in_file(tmp_path / "worker-2.db", [one for one in RECORDS if not of_a(one)])
    (tmp_path / "notes.db").write_text("no store at all")
    return Traces().open(tmp_path)


@pytest.fixture(params=[of_memory, of_file, of_directory])
def traces(request, tmp_path):
    return request.param(tmp_path)


def picked(table, *columns):
    return [tuple(row[column] for column in columns) for row in table]


def test_nodes(traces):
    found = picked(
        traces.nodes(), "node", "runs", "errors", "p50_ms", "max_ms", "model_calls", "input_tokens", "cost_usd", "unpriced"
    )
    assert found == [("think", 2, 1, 1000.0, 2000.0, 3, 17, 0.5, 1), ("act", 0, 0, None, None, 0, None, None, 0)]


def test_models(traces):
    columns = ("provider", "model", "calls", "cached", "input_tokens", "output_tokens", "cost_usd", "unpriced", "estimated")
    assert picked(traces.models(), *columns) == [("p", "big-1", 2, 1, 10, 1, 0.5, 0, 0), ("q", "own", 1, 0, 7, 1, None, 1, 1)]


@pytest.fixture
def in_utc(monkeypatch):
    """Days are local."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_models_by_day_and_costs_by_anything(traces, in_utc):
    assert picked(traces.models(by="day"), "day", "model") == [("2023-11-16", "own"), ("2023-11-15", "big-1")]
    assert picked(traces.costs(by=["week", "graph"]), "week", "graph", "calls", "cost_usd") == [("2023-11-13", "support", 3, 0.5)]
    assert picked(traces.costs("thread"), "thread", "calls") == [("t1", 2), (None, 1)]
    assert picked(traces.costs(), "model", "cost_usd") == [("big-1", 0.5), ("own", None)]
    with pytest.raises(ValueError, match="colour is not among hour, day"):
        traces.costs(by="colour")


def test_tools(traces):
    columns = ("tool", "calls", "errors", "retries", "p50_ms", "max_ms", "slowest")
    assert picked(traces.tools(), *columns) == [("mail", 2, 1, 1, 1000.0, 3000.0, "a")]


def test_an_error_is_told_where_it_began(traces):
    found = picked(traces.errors(), "error", "kind", "node", "message", "runs", "latest")
    assert sorted(found, key=str) == [
        ("builtins.ValueError", "node", "think", "no 7", 1, "b"),
        ("builtins.ValueError", "tool", "act", "no 7", 1, "a"),
    ]


def test_threads(traces):
    noon = datetime.fromtimestamp(NOON / 1e9, UTC)
    (thread,) = traces.threads()
    assert (thread["thread"], thread["user"], thread["traces"], thread["failed"], thread["outcome"]) == ("t1", "u", 2, 1, "error")
    assert (thread["first"], thread["cost_usd"]) == (noon, 0.5)


def test_scores(traces):
    assert picked(traces.scores(), "name", "value", "comment", "trace", "span", "graph") == [
        ("good", "no", None, "b", "b2", "support"),
        ("good", True, "yes", "a", None, "support"),
    ]


def test_every_run_is_a_row(traces):
    runs = traces.runs()
    assert len(runs) == 10
    assert runs[0]["at"] == datetime.fromtimestamp(NOON / 1e9, UTC)
    assert sorted(runs["cost_usd"], key=str) == [0.5, 0.5, *[None] * 8]
    assert runs["outcome"][-1] is None


def test_a_filter_narrows_every_table(traces):
    day_two = traces.filter(tag="x")
    assert day_two.nodes()["runs"] == [1]
    assert day_two.scores()["value"] == ["no"]
    assert traces.filter(user="nobody").runs().rows == []
    assert day_two.sql("SELECT count(*) AS n FROM runs")["n"] == [4]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"node": "think"}, ["b", "a"]),
        ({"node": "think", "tag": "x"}, []),  # not of one run
        ({"tool": "mail"}, ["b", "a"]),
        ({"tool": "think"}, []),
        ({"min_cost": 0.5}, ["a"]),
        ({"min_cost": 0.51}, []),
        ({"min_cost": 0}, ["a"]),
        ({"text": "my refund"}, ["a"]),
        ({"text": "50% \\ _ \u0000 Ünï"}, ["b", "a"]),
        ({"text": "5_% "}, []),
        ({"text": "SECRET second"}, ["b", "a"]),
        ({"text": "no 7\nsecret"}, ["b", "a"]),
        ({"text": '"role"'}, []),
        ({"model": "big"}, ["a"]),
    ],
)
def test_filters_by_what_is_in_a_trace(traces, wanted, found):
    assert [trace.id for trace in traces.filter(**wanted)] == found


def test_a_text_in_a_history_that_another_continues_is_found(tmp_path):
    said = [Message({"role": "user", "content": f"number {n}"}) for n in range(4)]
    in_file(tmp_path / "t.db", [ended("a", "1", input=Payload({"messages": said}))])
    file = Traces().open(tmp_path / "t.db")
    assert [len(file.filter(text=f"number {n}")) for n in (0, 3, 4)] == [1, 1, 0]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_percentiles_are_values_that_were_seen_in_order(values):
    spread = Spread()
    for value in values:
        spread.step(value)
    p50, p95, p99 = map(float, spread.finalize().split())
    assert p50 <= p95 <= p99
    assert {p50, p95, p99} <= set(values)
    assert sum(value <= p95 for value in values) >= 0.9 * len(values) - 1


def test_sql_reads_inputs_too(traces):
    if isinstance(traces.source, StoreFiles):
        pytest.skip("inputs stay in their files")
    found = traces.sql("SELECT output FROM payloads JOIN runs USING (key) WHERE name = ? LIMIT 1", ["mail"])
    assert "said 50%" in found["output"][0]


@pytest.mark.parametrize(
    "question",
    [
        "INSERT INTO runs(key) VALUES(1)",
        "DELETE FROM traces",
        "DROP TABLE runs",
        "CREATE TEMP TABLE t(a)",
        "ATTACH 'other.db' AS other",
        "PRAGMA user_version = 3",
        "PRAGMA journal_mode",
        "VACUUM INTO 'copy.db'",
        "SELECT load_extension('x')",
        "BEGIN IMMEDIATE",
    ],
)
def test_sql_refuses_what_does_not_read(traces, question, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises((PermissionError, ValueError)):
        traces.sql(question)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(("-wal", "-shm"))) == [
        name for name in before if not name.endswith(("-wal", "-shm"))
    ]
    assert len(traces) == 3


def test_sql_has_an_end(traces):
    with pytest.raises(TimeoutError, match=r"no answer in 0\.1 s"):
        traces.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n", seconds=0.1)


def test_sql_that_is_none_is_said(traces):
    with pytest.raises(ValueError, match="syntax error"):
        traces.sql("SELEC 1")
    with pytest.raises(ValueError, match="no such column"):
        traces.sql("SELECT colour FROM runs")
    assert repr(traces.sql("")) == "nothing"


@pytest.mark.parametrize("engine", ["pandas", "polars", "pyarrow", "arrow", None])
def test_frames(traces, engine):
    pytest.importorskip("pandas")
    name = {"arrow": "pyarrow"}.get(engine, engine or "pandas")
    pytest.importorskip(name)
    frame = traces.df(engine)
    assert type(frame).__module__.startswith(name)
    assert len(frame) == 10
    assert str(frame["duration_ms"][0]) == "500.0"
    assert len(traces.filter(user="nobody").df(engine)) == 0


def test_without_a_library_it_is_said_what_to_install_and_tables_work(traces, monkeypatch):
    for library in ("pandas", "polars", "pyarrow"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match="pandas, polars or pyarrow: pip install pandas"):
        traces.df()
    with pytest.raises(ImportError, match="needs polars: pip install polars"):
        traces.nodes().df("polars")
    with pytest.raises(ValueError, match="engine is one of pandas"):
        traces.df("excel")
    assert "think" in repr(traces.nodes())


def test_a_table_as_text(traces):
    lines = repr(traces.models()).splitlines()
    assert "cache_read_tokens" not in lines[0], "of what nothing is known there is no column"
    assert lines[2].split() == ["q", "own", "1", "0", "0", "7", "1", "—", "1", "1", "500", "ms", "500", "ms", "500", "ms"]
    assert repr(traces.filter(user="nobody").scores()).startswith("no rows of at, name, value")
    assert "<$" not in repr(traces.costs())


HOSTILE = "\x1b[31mred\x1b[0m\n\u202eevil\x00<script>alert(1)</script>"


def test_hostile_names_are_shown_as_text():
    traces = Traces(Memory([ended("a", "1", kind="tool", name=HOSTILE)]))
    for shown in (repr(traces.tools()), traces.tools()._repr_html_()):
        assert not {"\x1b", "\u202e", "\x00"} & set(shown)
        assert "\\x1b[31mred" in shown
    assert "<script" not in traces.tools()._repr_html_()
    assert repr(traces.tools()).count("\n") == 1
    assert traces.tools()["tool"] == [HOSTILE]


def test_a_long_table_shows_its_first_rows_and_has_them_all():
    table = Table(["n"], [(n,) for n in range(100)])
    assert repr(table).splitlines()[-2:] == ["39", "40 of 100 rows"]
    assert len(table) == 100
    assert repr(table.head(3)).splitlines() == ["n", "0", "1", "2"]
    assert table.csv().splitlines()[:2] == ["n", "0"]
    with pytest.raises(KeyError):
        table["m"]


def test_a_directory_is_looked_at_anew_and_damage_is_named(tmp_path):
    traces = of_directory(tmp_path)
    assert [trace.id for trace in traces] == ["c", "b", "a"]
    assert [trace.id for trace in traces.last(2)] == ["c", "b"]
    in_file(tmp_path / "worker-3.db", [ended("d", "1", at_ns=NOON + 3 * DAY_NS), ended("a", "9", "1")])
    assert traces.last().id == "d"
    assert len(traces["a"]) == 6
    content = (tmp_path / "worker-2.db").read_bytes()
    (tmp_path / "worker-2.db").write_bytes(content[:4096] + b"?" * (len(content) - 4096))
    with pytest.raises(StoreError, match=r"worker-2\.db is damaged"):
        traces.last()


def test_tables_are_of_one_moment_while_somebody_writes(tmp_path):
    writer = Writer(tmp_path / "t.db", keep_days=None, keep_bytes=None, busy_seconds=5.0)
    traces = Traces().open(tmp_path / "t.db")
    for n in range(30):
        writer.write([ended(f"{n:02}{m:02}", "1", kind="tool", name="x") for m in range(20)])
        assert traces.tools()["calls"] == [20 * (n + 1)]
    writer.close()


def test_a_table_sees_what_was_written_just_before(tmp_path):
    store = Store(tmp_path / "t.db", keep_days=None)
    traces = Traces(StoreFile(store.path), before=store.flush)
    for n, read in enumerate((lambda: traces.tools()["calls"], lambda: traces.sql("SELECT count(*) AS n FROM runs")["n"])):
        store(ended(f"{n}", "1", kind="tool", name="x"))
        assert read() == [n + 1]
    store.close()


def test_another_program_s_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE t(a)")
    db.close()
    with pytest.raises(StoreError, match="another program's database"):
        Traces().open(tmp_path / "other.db").nodes()


def test_ten_megabytes_in_one_run_do_not_reach_a_table(tmp_path):
    big = ended("a", "1", kind="tool", name="x", input=Payload("x" * 10**7))
    in_file(tmp_path / "t.db", [big])
    for traces in (Traces().open(tmp_path / "t.db"), Traces(Memory([big]))):
        assert traces.tools()["calls"] == [1]
        assert traces.filter(text="xxxx").source.ids(Filter(text="xxxx")) == ["a"]
        assert len(repr(traces.sql("SELECT input FROM payloads"))) < 1000


def test_a_percentile_is_the_nearest_rank():
    spread = Spread()
    for value in (1.0, 2.0, 3.0, 4.0):
        spread.step(value)
    assert spread.finalize() == "2.0 4.0 4.0"


def test_two_columns_of_one_name_are_two_columns(traces):
    table = traces.sql("SELECT 1 AS n, 2 AS n, 3 AS n_2, 4 AS n")
    assert list(table) == [{"n": 1, "n_2": 2, "n_2_2": 3, "n_3": 4}]
    assert table["n_2"] == [2]


def test_a_filter_narrows_the_table_of_traces(traces):
    assert traces.filter(tag="x").sql("SELECT trace_id FROM traces")["trace_id"] == ["b"]


def test_other_programs_files_in_a_directory_are_passed_over(tmp_path):
    with sqlite3.connect(tmp_path / "checkpoints.sqlite") as db:
        db.execute("CREATE TABLE checkpoints(a)")
    db.close()
    (tmp_path / "sub.db").mkdir()
    assert [trace.id for trace in of_directory(tmp_path)] == ["c", "b", "a"]


def test_a_store_that_is_still_in_its_log_is_one_of_the_directory_s(tmp_path):
    writer = Writer(tmp_path / "t.db", keep_days=None, keep_bytes=None, busy_seconds=5.0)
    writer.write([ended("a", "1")])
    assert (tmp_path / "t.db").read_bytes()[68:72] == bytes(4), "or nothing is seen here"
    assert [trace.id for trace in Traces().open(tmp_path)] == ["a"]
    writer.close()
