"""What refers to a history or a message is counted, whatever is written, replaced and forgotten; and few statements do it."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import count
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langgraph_observe.explore.storefile import StoreFile
from langgraph_observe.payloads import Message, Payload
from langgraph_observe.records import Finished, Noted, Started
from langgraph_observe.sinks.store import batch, bulk
from langgraph_observe.sinks.store.writer import Writer

DAY_NS = 86_400 * 10**9
STATEMENTS = 60
"""Of a batch, however many records it has. Each may cost 5 ms where agents want the interpreter."""


def run_of(trace, span, messages, at_ns=1):
    payload = Payload({"messages": messages, "n": span}) if messages is not None else None
    return Started(
        id=f"{span}", root_id="0", trace_id=trace, span_id=f"{span:016x}", kind="node", name="n", at_ns=at_ns, input=payload
    )


def said(numbers):
    return [Message({"role": "user", "content": f"message {number}"}) for number in numbers]


def rows(path, sql):
    with closing(sqlite3.connect(path)) as file:
        return file.execute(sql).fetchall()


def referred(path):
    """Who refers to what, counted anew: histories, messages."""
    histories = dict(rows(path, "SELECT id, 0 FROM histories"))
    for (told,) in rows(path, "SELECT histories FROM payloads UNION ALL SELECT histories FROM events"):
        for history in json.loads(told or "[]"):
            histories[history] += 1
    messages = dict.fromkeys((digest for (digest,) in rows(path, "SELECT digest FROM messages")), 0)
    for parent, digest in rows(path, "SELECT parent, digest FROM histories"):
        messages[digest] += 1
        if parent is not None:
            histories[parent] += 1
    return histories, messages


talks = st.builds(
    lambda count, fork, more: [*range(count), *range(100 * fork, 100 * fork + more)],
    st.integers(0, 30),
    st.integers(1, 2),
    st.integers(0, 6),
)
"""The beginning of one talk, which goes on in one of two ways."""
told = st.tuples(st.sampled_from(["ended", "begun", "noted"]), st.integers(0, 2), st.integers(1, 3), talks)
batches = st.lists(st.tuples(st.lists(told, max_size=12), st.booleans()), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=batches, heavy=st.sampled_from([1, 300, batch.HEAVY]))
def test_every_reference_is_counted_and_what_nobody_refers_to_is_gone(tmp_path_factory, batches, heavy):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batch, "HEAVY", heavy)
        every_reference_is_counted(tmp_path_factory, batches)


def every_reference_is_counted(tmp_path_factory, batches):
    path = tmp_path_factory.mktemp("store") / "traces.db"
    now = DAY_NS
    writer = Writer(path, keep_days=1, keep_bytes=None, busy_seconds=5, now=lambda: now)
    last = {}
    for records, forgets in batches:
        now += 2 * DAY_NS if forgets else 0
        told = []
        for kind, trace, span, numbers in records:
            run = run_of(f"{trace:032x}", span, said(numbers), at_ns=now)
            if kind == "noted":
                told.append(Noted(run=run, kind="custom", at_ns=now, payload=Payload(said(numbers))))
            else:
                told.append(run if kind == "begun" else Finished(run=run, outcome="ok", seconds=1.0))
            if kind == "ended":
                last[run.trace_id, run.span_id] = [f"message {number}" for number in numbers]
        writer.write(told)
        assert writer.dropped == 0
        histories, messages = referred(path)
        assert dict(rows(path, "SELECT id, refs FROM histories")) == histories
        assert dict(rows(path, "SELECT digest, refs FROM messages")) == messages
        assert all(histories.values())
        assert all(messages.values())
        for trace in {trace for trace, _ in last} & {trace for (trace,) in rows(path, "SELECT trace_id FROM traces")}:
            ended = [record for record in StoreFile(path).records(trace) if isinstance(record, Finished)]
            for record in ended:
                shown = [message["content"] for message in record.run.input.value["messages"]]
                assert shown == last[trace, record.run.span_id]
    writer.close()


@pytest.fixture
def statements(monkeypatch):
    """Those that a writer's connections have run since it was last asked."""
    seen = []
    connect = sqlite3.connect

    def watched(*args, **options):
        file = connect(*args, **options)
        file.set_trace_callback(seen.append)
        return file

    monkeypatch.setattr(sqlite3, "connect", watched)

    def asked():
        some = list(seen)
        seen.clear()
        return some

    return asked


def test_a_batch_takes_few_statements_however_many_records_it_has(tmp_path, statements):
    now, traces = 1, count()
    writer = Writer(tmp_path / "traces.db", keep_days=1, keep_bytes=None, busy_seconds=5, now=lambda: now)
    writer.write([])
    statements()
    runs = []
    for _ in range(40):
        trace, talk = f"{next(traces):032x}", []
        for span in range(1, 26):
            talk = [*talk, *said([trace, span])]
            runs.append(run_of(trace, span, talk))
    writer.write(runs)
    assert len(statements()) < STATEMENTS, "that begin"
    moments = [Noted(run=run, kind="custom", at_ns=1, payload=run.input) for run in runs]
    writer.write([*(Finished(run=run, outcome="ok", seconds=1.0) for run in runs), *moments])
    assert len(statements()) < 1.5 * STATEMENTS, "that end in another batch"
    now = 3 * DAY_NS
    young = [run_of("f" * 32, span, said([span]), at_ns=now) for span in range(1, 100)]
    writer.write(young)
    assert len(statements()) < 2.5 * STATEMENTS, "and that are forgotten"
    assert rows(writer._path, "SELECT count(*) FROM traces") == [(1,)]
    writer.close()


def test_a_statement_is_prepared_for_no_more_than_it_may_keep(tmp_path, statements):
    writer = Writer(tmp_path / "traces.db", keep_days=None, keep_bytes=None, busy_seconds=5)
    large = "x" * 50_000
    writer.write([run_of("0" * 32, span, [*said([span]), Message({"role": "user", "content": large})]) for span in range(1, 60)])
    writer.write([Noted(run=run_of("0" * 32, 1, None), kind="custom", at_ns=1, payload=Payload(large)) for _ in range(60)])
    writer.write([run_of("0" * 32, span, None, at_ns=1) for span in range(100, 160)])
    assert max(map(len, statements())) < bulk.LARGE + 100_000
    writer.close()


def test_a_message_is_kept_as_each_payload_says_it(tmp_path):
    """A processor may redact what one kind of run shows, and not what another shows of the same messages."""
    (message,) = said([1])
    hide = (lambda _, value: "[gone]" if value == "message 1" else value,)
    path, spans = tmp_path / "traces.db", count(1)
    writer = Writer(path, keep_days=None, keep_bytes=None, busy_seconds=5)

    def showing(*redactors):
        payload = Payload({"messages": [message]})
        payload.redact(redactors)
        return Started(
            id="1", root_id="0", trace_id="a" * 32, span_id=f"{next(spans):016x}", kind="node", name="n", at_ns=1, input=payload
        )

    for together in ([showing(*hide), showing()], [showing(*hide)], [showing()], [showing(), showing(*hide)]):
        writer.write(together)
    shown = [record.input.value["messages"][0]["content"] for record in StoreFile(path).records("a" * 32)]
    assert shown == ["[gone]", "message 1", "[gone]", "message 1", "message 1", "[gone]"]
    writer.close()


def used(path):
    """Bytes of the pages that hold something."""
    pages = "pragma_page_size, pragma_page_count, pragma_freelist_count"
    ((size,),) = rows(path, f"SELECT page_size * (page_count - freelist_count) FROM {pages}")
    return size


@pytest.mark.parametrize(("size", "traces"), [(200_000, 40), (20_000, 300)])
def test_no_more_is_forgotten_than_must_be(tmp_path, size, traces):
    path = tmp_path / "traces.db"
    keeping = Writer(path, keep_days=None, keep_bytes=None, busy_seconds=5)
    noise = Random(1)
    for number in range(traces):
        run = run_of(f"{number:032x}", 1, None, at_ns=number)
        keeping.write([replace(run, input=Payload(noise.randbytes(size // 2).hex()))])
    keeping.close()
    before = used(path)
    limit = int(0.9 * before)
    forgetting = Writer(path, keep_days=None, keep_bytes=limit, busy_seconds=5)
    for _ in range(traces):
        forgetting.write([])
    forgetting.close()
    assert limit - 2 * before / traces < used(path) <= limit
