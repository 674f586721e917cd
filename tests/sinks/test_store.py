"""What the store keeps, once, and what it forgets. What it survives is in test_store_survives.py."""

import json
import sqlite3
from dataclasses import fields, replace
from decimal import Decimal
from itertools import count

import pytest

from langgraph_observe.explore.source import Filter
from langgraph_observe.explore.storefile import StoreFile
from langgraph_observe.payloads import Lazy, Message, Payload
from langgraph_observe.records import Failure, Finished, Link, Noted, Prompt, Scored, Started, Stream, Usage
from langgraph_observe.sinks.store import Store, default_path
from langgraph_observe.sinks.store.batch import Batch
from langgraph_observe.sinks.store.writer import DAY_NS, Writer

TRACE = "0af7651916cd43dd8448eb211c80319c"
spans = count(1)

FULL = Started(
    id="run",
    parent_id="parent",
    root_id="root",
    trace_id=TRACE,
    span_id="00f067aa0ba902b7",
    parent_span_id="b7ad6b7169203331",
    kind="model",
    name="ChatModel\x1b[31m ü \ud800",
    at_ns=1_700_000_000_123_456_789,
    graph="support",
    node="agent",
    agent="helper",
    step=3,
    attempt=2,
    checkpoint_ns="agent:1",
    triggers=("branch:to:agent",),
    thread_id="42",
    session_id="s",
    user_id="u",
    trace_name="Support",
    tags=("a", "b"),
    model="gpt-4.1",
    provider="openai",
    base_url="https://api.example",
    remote=True,
    parameters={"temperature": 0.5, "stop": ["\n"]},
    tools=Payload([{"name": "search"}]),
    tool_call_id="call_1",
    description="d",
    prompt=Prompt("greeting", 7),
    streaming=True,
    input=Payload({"q": 1}, omitted={"messages": 4, "docs": None}),
    links=(Link("1" * 32, "2" * 16, "resumed_from"),),
    labels={"variant": "b"},
    metadata={"any": {"thing": [1, None]}},
)
SPENT = Usage(
    input_tokens=812,
    output_tokens=45,
    cache_read_tokens=1,
    cache_write_tokens=2,
    cache_write_5m_tokens=3,
    cache_write_1h_tokens=4,
    reasoning_tokens=5,
    input_audio_tokens=6,
    output_audio_tokens=7,
    service_tier="flex",
    estimated=True,
    method="o200k_base×1.18",
    cost=Decimal("0.003100001"),
    cost_source="genai-prices 1",
)
ENDED = Finished(
    run=FULL,
    outcome="error",
    seconds=1.25,
    reason="timeout",
    first_token_seconds=0.2,
    stream=Stream(pieces=9, kinds={"values": 9}, last_seconds=0.5, timeline=((0.2, 1), (0.5, 9))),
    measured=Lazy(SPENT),
    model="gpt-4.1-2025",
    response_id="resp_1",
    finish_reasons=("stop",),
    cached=True,
    goto=("tools",),
    output=Payload({"answer": 42}),
    failure=Failure("TimeoutError", "too late", "stack"),
)


def started(**over):
    return Started(
        **{
            "id": "run",
            "root_id": "run",
            "trace_id": TRACE,
            "span_id": f"{next(spans):016x}",
            "kind": "node",
            "name": "agent",
            "at_ns": 1000,
        }
        | over
    )


def finished(run=None, **over):
    return Finished(**{"run": run or started(), "outcome": "ok", "seconds": 0.5} | over)


def messages(n, start=0):
    return [Message({"role": "user", "content": f"message {i} " + "x" * 100}) for i in range(start, start + n)]


def writer(path, **over):
    return Writer(path, **{"keep_days": None, "keep_bytes": None, "busy_seconds": 5.0} | over)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "traces.db"


def write(path, *records, **over):
    one = writer(path, **over)
    one.write(records)
    one.close()
    assert one.dropped == 0


def rows(path, sql):
    db = sqlite3.connect(path)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def stored(path, trace=TRACE):
    return StoreFile(path).records(trace)


def plainly(value):
    """A record as comparable data: payloads and lazies opened."""
    match value:
        case Payload():
            return (value.value, dict(value.omitted))
        case Lazy():
            return value.value
        case Started() | Finished():
            return {f.name: plainly(getattr(value, f.name)) for f in fields(value)}
        case _:
            return value


def test_every_field_of_a_finished_run_comes_back(path):
    write(path, FULL, ENDED)
    (back,) = stored(path)
    name = "ChatModel\x1b[31m ü ?"  # what UTF-8 can hold
    assert plainly(back) == plainly(replace(ENDED, run=replace(FULL, name=name)))


def test_the_sample_leaves_no_field_at_its_default():
    for record in (FULL, ENDED, SPENT):
        at_default = {f.name for f in fields(record) if getattr(record, f.name) in (f.default, None, (), {})}
        assert at_default <= {"input"}  # Finished.input: the next test's


def test_an_input_known_at_the_end_wins(path):
    write(path, finished(started(input=Payload("early")), input=Payload("late")))
    (back,) = stored(path)
    assert back.run.input.value == "late"


def test_a_run_that_is_going_on_is_visible_without_an_outcome(path):
    write(path, FULL)
    (back,) = stored(path)
    assert isinstance(back, Started)
    assert back.input.value == {"q": 1}
    assert rows(path, "SELECT outcome, seconds, cached, estimated FROM runs") == [(None,) * 4]


def test_a_run_that_ends_in_a_later_batch_has_one_row(path):
    run = started(input=Payload(messages(3)))
    write(path, run)
    write(path, finished(run))
    (back,) = stored(path)
    assert back.outcome == "ok"
    assert rows(path, "SELECT count(*) FROM runs") == [(1,)]
    assert rows(path, "SELECT max(refs) FROM histories") == [(1,)]


def test_a_beginning_that_comes_after_the_end_changes_nothing(path):
    run = started()
    write(path, finished(run))
    write(path, run)
    assert [record.outcome for record in stored(path)] == ["ok"]


def test_unknown_is_null_and_never_zero(path):
    write(path, finished(started(kind="model"), measured=Lazy(Usage())))
    columns = "input_tokens, output_tokens, cache_read_tokens, reasoning_tokens, cost_nusd, first_token_seconds, chunks, step"
    assert rows(path, f"SELECT {columns} FROM runs") == [(None,) * 8]
    assert stored(path)[0].usage == Usage()


def test_no_usage_stays_no_usage(path):
    write(path, finished())
    assert stored(path)[0].usage is None


def test_cost_is_whole_nano_dollars(path):
    write(path, ENDED)
    assert rows(path, "SELECT cost_nusd, typeof(cost_nusd) FROM runs") == [(3_100_001, "integer")]


def test_moments_and_scores_come_back(path):
    run = started()
    noted = Noted(run=run, kind="custom", at_ns=5, name="progress", payload=Payload([1, *messages(1)], omitted={"a": 1}))
    scores = [Scored(trace_id=TRACE, name="good", value=value, id=str(value), at_ns=6) for value in (True, 0.5, "fine")]
    write(path, noted, *scores)
    first, event, *scored = stored(path)
    assert first == replace(run, input=None)
    assert (event.run, event.kind, event.name, event.at_ns) == (run, "custom", "progress", 5)
    assert (event.payload.value, event.payload.omitted) == (noted.payload.value, {"a": 1})
    assert scored == scores
    assert [type(one.value) for one in scored] == [bool, float, str]


def test_a_score_with_the_same_id_replaces(path):
    one = Scored(trace_id=TRACE, name="good", value=1.0, id="k", at_ns=6)
    write(path, started(), one)
    write(path, replace(one, value=2.0))
    assert stored(path)[1:] == [replace(one, value=2.0)]


def test_messages_come_back_in_their_places_as_messages(path):
    value = {"messages": ["before", *messages(2), 5, *messages(1)], "last": messages(1, 7)[0], "none": []}
    write(path, finished(started(input=Payload(value))))
    back = stored(path)[0].run.input
    assert back.value == Payload(value).value
    assert [m.json for m in back.messages] == [m.json for m in Payload(value).messages]
    (kept,) = rows(path, "SELECT input FROM payloads")
    assert "content" not in kept[0]
    assert rows(path, "SELECT count(*) FROM messages") == [(3,)]


def test_nobodys_data_can_pose_as_a_reference(path):
    forged = {"$messages": 1, "$$messages": [{"$messages": 1}], "a$messages": 2, "$messages2": 3}
    write(path, finished(started(input=Payload(messages(1)))), finished(started(input=Payload([forged, forged]))))
    values = [record.run.input.value for record in stored(path)]
    assert [forged, forged] in values


def test_a_long_history_is_stored_once_and_grows_by_the_new_messages(path):
    history = messages(10_000)
    write(path, finished(started(kind="model", input=Payload({"messages": history}))))
    before = path.stat().st_size
    for i in range(20):
        history = [*history, *messages(1, 10_000 + i)]
        write(path, finished(started(kind="model", input=Payload({"messages": history}))))
    assert path.stat().st_size - before < 20 * 2_000
    assert len(stored(path)[-1].run.input.messages) == 10_020


@pytest.mark.parametrize("known", [0, 1, 400, 996, 999, 1_000])
def test_a_few_questions_tell_how_much_of_a_long_history_is_stored(path, known):
    history = messages(1_000)
    write(path, finished(started(input=Payload(history[:known]))))
    db = sqlite3.connect(path)
    asked = []
    db.set_trace_callback(asked.append)
    Batch([finished(started(input=Payload(history))), finished(started(input=Payload(history)))]).write(db)
    db.commit()
    assert sum("FROM histories WHERE hash" in statement for statement in asked) <= 14
    assert rows(path, "SELECT count(*) FROM messages") == rows(path, "SELECT count(*) FROM histories") == [(1_000,)]
    assert [run.run.input.value == [m.plain for m in history] for run in stored(path)][-2:] == [True, True]


def test_the_same_messages_in_another_order_are_another_history(path):
    one, two = messages(2)
    write(path, finished(started(input=Payload([one, two]))), finished(started(input=Payload([two, one]))))
    assert {json.dumps(r.run.input.value) for r in stored(path)} == {
        json.dumps([a.plain, b.plain]) for a, b in ((one, two), (two, one))
    }


def test_old_traces_are_forgotten_whole_with_the_messages_only_they_had(path):
    shared, own = messages(2), messages(3, 50)
    old = started(trace_id="old", input=Payload([*shared, *own]), at_ns=1)
    event = Noted(run=old, kind="custom", at_ns=1, payload=Payload(messages(1, 90)))
    score = Scored(trace_id="old", name="good", value=1.0, id="k", at_ns=1)
    young = finished(started(trace_id="young", input=Payload(shared), at_ns=2 * DAY_NS))
    write(path, finished(old, output=Payload(own)), event, score, young)
    write(path, finished(started(trace_id="young", at_ns=2 * DAY_NS)), keep_days=1, now=lambda: 2 * DAY_NS + 5)
    assert StoreFile(path).ids(Filter()) == ["young"]
    left = {
        table: rows(path, f"SELECT count(*) FROM {table}")[0][0] for table in ("runs", "payloads", "events", "scores", "traces")
    }
    assert left == {"runs": 2, "payloads": 2, "events": 0, "scores": 0, "traces": 1}
    assert rows(path, "SELECT refs FROM messages") == [(1,), (1,)]
    assert rows(path, "SELECT refs FROM histories ORDER BY id") == [(1,), (1,)]
    young_input = next(r.run.input for r in stored(path, "young") if r.run.input)
    assert young_input.value == [m.plain for m in shared]


def test_a_message_in_two_histories_stays_until_both_are_forgotten(path):
    first, second = messages(2)
    write(path, finished(started(trace_id="old", at_ns=1, input=Payload([first, second]))))
    write(path, finished(started(trace_id="older", at_ns=0, input=Payload([second]))))
    at_noon = {"at_ns": DAY_NS // 2}
    write(path, finished(started(input=Payload([second, first]), **at_noon)), keep_days=1, now=lambda: DAY_NS + 1)
    assert StoreFile(path).ids(Filter()) == [TRACE, "old"]
    assert stored(path, "old")[0].run.input.value == [first.plain, second.plain]
    write(path, finished(started(**at_noon)), keep_days=1, now=lambda: DAY_NS + 2)
    assert StoreFile(path).ids(Filter()) == [TRACE]
    assert rows(path, "SELECT refs FROM messages") == [(1,), (1,)]


def test_the_file_stays_within_its_size(path):
    one = writer(path, keep_bytes=400_000)
    for i in range(60):
        one.write([finished(started(trace_id=f"t{i:03}", at_ns=i, input=Payload("x" * 20_000)))])
    one.close()
    assert path.stat().st_size < 600_000
    ids = StoreFile(path).ids(Filter())
    assert ids == [f"t{i:03}" for i in range(59, 59 - len(ids), -1)]
    assert len(ids) > 5


def test_forgetting_keeps_up_with_many_small_traces(path):
    one = writer(path, keep_bytes=300_000)
    for i in range(20):
        one.write([finished(started(trace_id=f"t{i:02}{j:03}", at_ns=i * 1000 + j)) for j in range(256)])
    one.close()
    assert path.stat().st_size < 600_000


def test_a_trace_is_forgotten_by_its_earliest_run(path):
    write(path, started(trace_id="old", at_ns=2 * DAY_NS))
    write(path, started(trace_id="old", at_ns=1))
    write(path, started(trace_id="old", at_ns=3 * DAY_NS))
    write(path, started(at_ns=2 * DAY_NS), keep_days=1, now=lambda: 2 * DAY_NS + 5)
    assert StoreFile(path).ids(Filter()) == [TRACE]


def test_a_record_that_cannot_be_read_costs_itself_only(path, caplog):
    def broken(_):
        raise ValueError("secret")

    one = writer(path)
    one.write([finished(measured=Lazy(None, broken)), finished()])
    one.close()
    assert one.dropped == 1
    assert len(stored(path)) == 1
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_odd_values_in_open_fields_are_kept_as_text(path):
    metadata = {"bad": "\ud800", "big": 2**70, 5: {1, 2}, "nan": float("nan"), "object": Decimal(1)}
    write(path, finished(started(metadata=metadata, thread_id=7, trace_id=TRACE)))
    (back,) = stored(path)
    assert back.run.metadata == {"bad": "?", "big": str(2**70), "5": [1, 2], "nan": "nan", "object": "1"}
    assert back.run.thread_id == "7"


def test_a_number_too_big_for_the_file_costs_no_record(path):
    write(path, finished(measured=Lazy(Usage(input_tokens=2**64, output_tokens=True))))
    assert rows(path, "SELECT input_tokens, output_tokens FROM runs") == [(2.0**64, 1)]


def test_a_field_that_a_newer_writer_added_is_left_out(path):
    write(path, finished(started(tags=("a",))))
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("UPDATE payloads SET rest = json_set(rest, '$.started.mood', 'good', '$.finished.mood', 'good', '$.mood', 1)")
    db.close()
    assert stored(path)[0].run.tags == ("a",)


def test_a_payload_of_nothing_is_not_no_payload(path):
    write(path, finished(started(input=Payload(None))))
    (back,) = stored(path)
    assert back.run.input.value is None
    assert back.output is None


def test_store_writes_on_its_own_thread_and_flush_waits_for_it(path):
    store = Store(path, keep_days=None)
    store(finished())
    assert store.flush()
    assert len(stored(path)) == 1
    store.close()
    store(finished())
    assert store.health() == {"queued": 0, "dropped": 1, "errors": 0}


def test_the_file_and_its_directory_are_private(path):
    write(path, started())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_default_place_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_path() == tmp_path / "langgraph-observe" / "traces.db"
    assert Store().path == default_path()
    assert not default_path().exists()
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".local" / "share" / "langgraph-observe" / "traces.db"
