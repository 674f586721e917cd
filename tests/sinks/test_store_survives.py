"""What the store survives: other people's files, full and read-only disks, kill -9, forks, company."""

import fcntl
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from langgraph_observe.explore.source import Filter
from langgraph_observe.explore.storefile import StoreFile
from langgraph_observe.payloads import Message, Payload
from langgraph_observe.records import Finished, Started
from langgraph_observe.sinks.store import Store, StoreError, schema
from langgraph_observe.sinks.store.writer import Writer


def finished(trace="t", span="s", size=0):
    run = Started(
        id="run", root_id="run", trace_id=trace, span_id=span, kind="node", name="agent", at_ns=1, input=Payload("x" * size)
    )
    return Finished(run=run, outcome="ok", seconds=0.5)


def writer(path, **over):
    return Writer(path, **{"keep_days": None, "keep_bytes": None, "busy_seconds": 5.0} | over)


def spans(path):
    return {record.run.span_id for trace in StoreFile(path).ids(Filter()) for record in StoreFile(path).records(trace)}


def sound(path):
    db = sqlite3.connect(path)
    try:
        return db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        db.close()


PRELUDE = """
import os, sys
from pathlib import Path
from langgraph_observe.payloads import Payload
from langgraph_observe.records import Finished, Started
from langgraph_observe.sinks.store import Store
from langgraph_observe.sinks.store.writer import Writer
path, name = sys.argv[1:]
def finished(i, size=0):
    run = Started(id="run", root_id="run", trace_id=name, span_id=f"{name}-{i}", kind="node", name="agent", at_ns=1, input=Payload("x" * size))
    return Finished(run=run, outcome="ok", seconds=0.5)
"""


def python(code, path, name="t", **options):
    script = PRELUDE + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", script, str(path), name], stdout=subprocess.PIPE, text=True, **options)


def damage(path):
    with path.open("r+b") as file:
        file.write(b"garbage " * 64)


def make_newer(path):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def make_foreign(path):
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE customers(name)")
    db.close()


@pytest.mark.parametrize(
    ("spoil", "advice"), [(damage, "move it away"), (make_newer, "version 99"), (make_foreign, "a path of its own")]
)
def test_an_unusable_file_costs_one_clear_line_and_counted_records(tmp_path, caplog, spoil, advice):
    path = tmp_path / "traces.db"
    one = writer(path)
    one.write([finished()])
    one.close()
    spoil(path)
    before = path.read_bytes()
    for _ in range(3):
        one.write([finished(), finished(span="b")])
    assert one.dropped == 6
    assert path.read_bytes() == before
    (line,) = caplog.messages
    assert str(path) in line
    assert advice in line
    with pytest.raises(StoreError, match=str(path)):
        StoreFile(path).ids(Filter())
    path.unlink()
    one.write([finished(span="after")])
    one.close()
    assert spans(path) == {"after"}
    assert len(caplog.messages) == 1


def test_a_file_of_an_older_version_is_brought_up_to_date(tmp_path, monkeypatch):
    path = tmp_path / "traces.db"
    one = writer(path)
    one.write([finished()])
    one.close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("ALTER TABLE runs ADD COLUMN mood TEXT",)))
    monkeypatch.setattr(schema, "VERSION", 2)
    one.write([finished(span="b")])
    one.close()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (2,)
    assert db.execute("SELECT count(*), count(mood) FROM runs").fetchone() == (2, 0)
    db.close()


def test_a_file_that_a_newer_process_migrates_under_an_open_writer_is_left_to_it(tmp_path, caplog):
    path = tmp_path / "traces.db"
    one = writer(path)
    one.write([finished()])
    make_newer(path)
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE runs RENAME COLUMN seconds TO duration")
    db.close()
    one.write([finished(span="b")])
    one.write([finished(span="c")])
    one.close()
    assert one.dropped == 2
    assert "version 99" in caplog.messages[-1]


def test_an_empty_file_is_a_new_store(tmp_path):
    path = tmp_path / "traces.db"
    path.touch()
    assert StoreFile(path).ids(Filter()) == []
    one = writer(path)
    one.write([finished()])
    one.close()
    assert spans(path) == {"s"}


def test_a_missing_file_has_no_traces_and_is_not_made_by_reading(tmp_path):
    source = StoreFile(tmp_path / "none.db")
    assert (source.ids(Filter()), source.records("t"), source.path.exists()) == ([], [], False)


def test_a_file_moved_away_is_made_anew(tmp_path):
    path = tmp_path / "traces.db"
    one = writer(path)
    one.write([finished(span="before")])
    for left in tmp_path.iterdir():
        left.rename(tmp_path / f"old-{left.name}")
    one.write([finished(span="after")])
    one.close()
    assert spans(path) == {"after"}


def test_a_directory_that_cannot_be_made_costs_one_line_and_recovers(tmp_path, caplog):
    (tmp_path / "home").touch()
    one = writer(tmp_path / "home" / "traces.db")
    one.write([finished()])
    one.write([finished()])
    assert one.dropped == 2
    assert len(caplog.messages) == 1
    (tmp_path / "home").unlink()
    one.write([finished()])
    one.close()
    assert spans(tmp_path / "home" / "traces.db") == {"s"}
    assert one.dropped == 2


def may_become_nobody():
    """Root, and not that of a user namespace, which knows nobody else."""
    ids = Path("/proc/self/uid_map")
    return os.getuid() == 0 and (not ids.exists() or int(ids.read_text().split()[2]) > 65534)


@pytest.mark.skipif(not may_become_nobody(), reason="needs a root that can become somebody who may not write")
def test_a_read_only_directory_can_be_read_and_only_costs_records_to_write():
    with tempfile.TemporaryDirectory() as home:  # not tmp_path: pytest's directories are root's alone
        read_only(Path(home) / "traces.db")


def read_only(path):
    one = writer(path)
    one.write([finished(span="there")])
    one.close()
    path.chmod(0o644)
    path.parent.chmod(0o755)
    code = """
    from langgraph_observe.explore.source import Filter
    from langgraph_observe.explore.storefile import StoreFile
    os.setgid(65534), os.setuid(65534)
    one = Writer(Path(path), keep_days=None, keep_bytes=None, busy_seconds=1)
    one.write([finished(1)])
    print(one.dropped, StoreFile(path).ids(Filter()))
    """
    out, _ = python(code, path).communicate()
    assert out.split() == ["1", "['t']"]
    assert spans(path) == {"there"}


def test_a_full_disk_costs_one_line_and_recording_goes_on_when_there_is_room(tmp_path):
    code = f"""
    import logging, resource, signal
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    one = Writer(Path(path), keep_days=None, keep_bytes=None, busy_seconds=1)
    one.write([finished("before")])
    limit = lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, {resource.RLIM_INFINITY}))
    limit(200_000)
    for i in range(5):
        one.write([finished(i, size=300_000)])
    limit({resource.RLIM_INFINITY})
    one.write([finished("after")])
    one.close()
    print(one.dropped)
    """
    out, _ = python(code, tmp_path / "traces.db").communicate()
    *lines, dropped = out.splitlines()
    assert dropped == "5"
    assert len(lines) == 1
    assert "traces.db" in lines[0]
    assert spans(tmp_path / "traces.db") == {"t-before", "t-after"}
    assert sound(tmp_path / "traces.db")


def test_a_disk_without_wal_costs_one_line(tmp_path, caplog, monkeypatch):
    connect = sqlite3.connect  # with SQLite's own file system that has no shared memory, as a network disk has none
    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: connect(f"file:{path}?vfs=unix-dotfile", uri=True, **options))
    for span in ("a", "b"):
        one = writer(tmp_path / "traces.db")
        one.write([finished(span=span)])
        one.close()
        one.write([finished(span=f"{span}2")])
        one.close()
    monkeypatch.undo()
    assert spans(tmp_path / "traces.db") == {"a", "a2", "b", "b2"}
    assert [line for line in caplog.messages if "without WAL" in line] == caplog.messages
    assert len(caplog.messages) == 2  # a line a writer


def test_kill_9_while_writing_loses_nothing_that_was_flushed(tmp_path):
    path = tmp_path / "traces.db"
    code = """
    store = Store(path, keep_days=None)
    for i in range(10**9):
        store(finished(i))
        if i % 100 == 99:
            store.flush()
            print(i + 1, flush=True)
    """
    process = python(code, path)
    for _ in range(10):
        acknowledged = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = spans(path)
    assert found >= {f"t-{i}" for i in range(acknowledged)}
    assert sound(path)
    one = writer(path)
    one.write([finished(span="after")])
    one.close()
    assert one.dropped == 0
    assert spans(path) == {*found, "after"}


def test_four_processes_write_one_file_while_it_is_read(tmp_path):
    path = tmp_path / "traces.db"
    code = """
    store = Store(path, keep_days=None, busy_seconds=30)
    for i in range(1500):
        store(finished(i))
        if i % 50 == 0:
            store.flush(30)
    store.close(30)
    print(store.health()["dropped"])
    """
    processes = [python(code, path, f"p{n}") for n in range(4)]
    seen = [0]
    while any(process.poll() is None for process in processes):
        seen.append(len(spans(path)))
    assert [process.communicate()[0].strip() for process in processes] == ["0"] * 4
    assert seen == sorted(seen)
    assert spans(path) == {f"p{n}-{i}" for n in range(4) for i in range(1500)}
    assert sound(path)


def test_a_reader_that_stays_open_neither_waits_nor_makes_wait(tmp_path):
    path = tmp_path / "traces.db"
    one = writer(path, busy_seconds=0)
    one.write([finished(span="a")])
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    one.write([finished(span="b")])
    assert one.dropped == 0
    assert reader.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    assert spans(path) == {"a", "b"}
    reader.close()
    one.close()


def test_another_programs_lock_costs_the_batch_and_then_it_goes_on(tmp_path, caplog):
    path = tmp_path / "traces.db"
    one = writer(path, busy_seconds=0)
    one.write([finished(span="a")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    one.write([finished(span="lost")])
    other.execute("ROLLBACK")
    other.close()
    one.write([finished(span="b")])
    one.close()
    assert one.dropped == 1
    assert "locked" in caplog.text
    assert spans(path) == {"a", "b"}


def test_a_writer_that_hangs_holds_up_nobody(tmp_path):
    path = tmp_path / "traces.db"
    with Path(f"{path}-lock").open("w") as other:  # a process that was stopped while it wrote
        fcntl.flock(other, fcntl.LOCK_EX)
        store = Store(path, keep_days=None, capacity=10)
        for i in range(100):
            store(finished(span=str(i)))
        assert not store.flush(0.2)
    assert store.flush()
    store.close()
    assert 0 < len(spans(path)) == 100 - store.health()["dropped"]


def test_a_running_store_survives_a_fork_in_parent_and_child(tmp_path):
    path = tmp_path / "traces.db"
    code = """
    store = Store(path, keep_days=None)
    run = finished("both").run
    store(run)
    store(finished("before"))
    assert store.flush()
    child = os.fork()
    who = "parent" if child else "child"
    store(finished(who))
    store(Finished(run=run, outcome="ok", seconds=0.1 if child else 0.2))
    done = store.flush()
    store.close()
    if not child:
        os._exit(0 if done else 1)
    assert done and os.waitpid(child, 0)[1] == 0
    print(store.health())
    """
    out, _ = python(code, path).communicate(timeout=30)
    assert out.strip() == "{'queued': 0, 'dropped': 0, 'errors': 0}"
    assert spans(path) == {"t-both", "t-before", "t-parent", "t-child"}
    assert sound(path)


def test_forks_in_the_middle_of_writing_lose_nothing(tmp_path):
    path = tmp_path / "traces.db"
    code = """
    store, children = Store(path, keep_days=None), []
    for fork in range(4):
        for i in range(300):
            store(finished(f"parent{fork}{i}"))
        if child := os.fork():
            children.append(child)
            continue
        for i in range(300):
            store(finished(f"child{fork}{i}"))
        store.close(30)
        os._exit(store.health()["dropped"])
    store.close(30)
    print([os.waitpid(child, 0)[1] for child in children], store.health()["dropped"])
    """
    out, _ = python(code, path).communicate(timeout=60)
    assert out.strip() == "[0, 0, 0, 0] 0"
    assert spans(path) == {f"t-{who}{fork}{i}" for who in ("parent", "child") for fork in range(4) for i in range(300)}
    assert sound(path)


def test_a_child_that_inherited_an_open_file_leaves_it_alone(tmp_path, caplog):
    path = tmp_path / "traces.db"
    one = writer(path)
    one.write([finished(span="a")])
    one.after_fork_in_child()  # as if the batch had not ended in time
    one.write([finished(span="b")])
    assert one.dropped == 1
    assert "forked" in caplog.text
    assert spans(path) == {"a"}


def test_a_store_in_a_broken_place_never_raises_into_the_agent(tmp_path):
    (tmp_path / "file").touch()
    store = Store(tmp_path / "file" / "traces.db")
    for i in range(10):
        store(finished(span=str(i)))
    assert store.flush()
    store.close()
    assert store.health() == {"queued": 0, "dropped": 10, "errors": 0}


def test_a_forgotten_payload_says_so(tmp_path):
    path = tmp_path / "traces.db"
    one = writer(path)
    one.write([finished(size=3)])
    (record,) = StoreFile(path).records("t")
    one.close()
    one = writer(path, keep_days=1, now=time.time_ns)
    one.write([finished(trace="young", size=5)])
    one.close()
    assert record.run.input.value == "<no longer stored>"


def test_a_history_that_is_forgotten_between_two_readings_says_so(tmp_path):
    path = tmp_path / "traces.db"
    one = writer(path)
    said = Message({"role": "user", "content": "hi"})
    one.write([replace(finished(), output=Payload({"messages": [1, said], "last": said}))])
    one.close()
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM histories")
    db.close()
    (record,) = StoreFile(path).records("t")
    assert record.output.value == {"messages": [1, "<no longer stored>"], "last": "<no longer stored>"}
