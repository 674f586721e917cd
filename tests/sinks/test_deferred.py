"""Deferred: what is queued is delivered in order, what is not is counted, and nothing reaches the thread that calls."""

import gc
import itertools
import logging
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest

from langgraph_observe.records import Scored
from langgraph_observe.sinks import deferred
from langgraph_observe.sinks.deferred import PAUSE, TURN, Deferred, at_exit, in_turns


def score(number=0):
    return Scored(trace_id="0" * 32, name=str(number), value=1.0, at_ns=0, id=str(number))


class Gate:
    """A sink that lets nothing pass until it is opened."""

    def __init__(self):
        self.seen = []
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, record):
        self.entered.set()
        assert self.opened.wait(10)
        self.seen.append(record)


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert condition()


def test_records_arrive_in_the_order_they_were_given():
    seen = []
    deferred = Deferred(seen.append)
    given = [score(n) for n in range(2_000)]
    for record in given:
        deferred(record)
    assert deferred.flush()
    assert seen == given
    assert deferred.health() == {"queued": 0, "dropped": 0, "errors": 0}
    deferred.close()


def test_records_arrive_without_a_flush():
    seen = []
    deferred = Deferred(seen.append, interval=0.001)
    deferred(score())
    until(lambda: seen)
    deferred.close()


def test_a_sink_that_writes_gets_batches_no_larger_than_asked():
    batches = []

    class Writer:
        def __call__(self, record):
            raise AssertionError

        def write(self, records):
            batches.append(list(records))

    deferred = Deferred(Writer(), batch=10, interval=30)
    given = [score(n) for n in range(25)]
    for record in given:
        deferred(record)
    assert deferred.flush()
    assert [record for batch in batches for record in batch] == given
    assert max(map(len, batches)) == 10
    deferred.close()


def test_what_does_not_fit_is_dropped_and_counted_and_logged_once_on_another_thread(caplog):
    gate = Gate()
    deferred = Deferred(gate, capacity=5, interval=0.001, name="narrow")
    threads = []
    handler = logging.Handler()
    handler.emit = lambda _: threads.append(threading.current_thread())
    logger = logging.getLogger("langgraph_observe")
    logger.addHandler(handler)
    try:
        deferred(score(0))
        assert gate.entered.wait(10)
        for n in range(1, 21):
            deferred(score(n))
        until(lambda: threads and "narrow" in caplog.text)  # caplog's handler comes after ours
    finally:
        logger.removeHandler(handler)
    assert deferred.dropped == 15
    assert deferred.health() == {"queued": 5, "dropped": 15, "errors": 0}
    assert [record.levelname for record in caplog.records if "narrow" in record.getMessage()] == ["WARNING"]
    assert threading.current_thread() not in threads
    gate.opened.set()
    assert deferred.flush()
    assert [record.name for record in gate.seen] == [str(n) for n in range(6)]
    deferred.close()


@pytest.mark.parametrize("failure", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_sink_that_raises_costs_its_record_only(caplog, failure):
    seen = []

    def sink(record):
        if record.name in {"1", "2"}:
            raise failure("sk-secret")
        seen.append(record.name)

    deferred = Deferred(sink, name="fragile")
    for n in range(4):
        deferred(score(n))
    assert deferred.flush()
    assert seen == ["0", "3"]
    assert deferred.errors == 2
    lines = [line for line in map(logging.LogRecord.getMessage, caplog.records) if "fragile" in line]
    assert len(lines) == 1
    assert failure.__name__ in lines[0]
    assert "sk-secret" not in lines[0]
    deferred.close()


def test_a_batch_that_fails_is_counted_whole():
    class Writer:
        def __call__(self, record):
            raise AssertionError

        def write(self, records):
            raise OSError

    deferred = Deferred(Writer(), interval=30)
    for n in range(7):
        deferred(score(n))
    deferred.flush()
    assert deferred.errors == 7
    deferred.close()


def test_flush_gives_up_at_its_deadline_when_the_sink_is_stuck():
    gate = Gate()
    deferred = Deferred(gate, interval=0.001)
    deferred(score())
    assert gate.entered.wait(10)
    assert deferred.flush(0.01) is False
    gate.opened.set()
    assert deferred.flush() is True
    deferred.close()


def test_flush_inside_the_sink_returns_at_once_with_false():
    answers = []
    deferred = Deferred(lambda _: answers.append(deferred.flush(60)))
    deferred(score())
    assert deferred.flush(30)
    assert answers == [False]
    deferred.close()


def test_close_delivers_what_is_queued_and_later_records_are_counted_as_dropped():
    seen = []
    deferred = Deferred(seen.append, interval=30)
    deferred(score(1))
    deferred.close()
    assert [record.name for record in seen] == ["1"]
    assert deferred._thread is None
    deferred(score(2))
    assert deferred.dropped == 1
    assert len(seen) == 1


def test_close_and_flush_after_close_return_at_once():
    deferred = Deferred(lambda _: None)
    deferred(score())
    deferred.close()
    before = time.monotonic()
    deferred.close(600)
    assert deferred.flush(600)
    assert time.monotonic() - before < 300
    assert deferred.health()["queued"] == 0


def test_nothing_is_started_before_the_first_record():
    deferred = Deferred(lambda _: None)
    assert deferred.flush()
    deferred.close()
    assert deferred._thread is None


def test_without_any_thread_flush_delivers_by_itself(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    seen = []
    deferred = Deferred(seen.append)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        deferred(score(1))
        assert deferred.flush()
    assert [record.name for record in seen] == ["1"]
    deferred(score(2))
    assert deferred.flush()
    assert [record.name for record in seen] == ["1", "2"]
    deferred.close()


def test_fifty_threads_lose_nothing_and_keep_their_own_order():
    seen = []
    deferred = Deferred(seen.append)
    start = threading.Barrier(50)

    def work(who):
        start.wait()
        for n in range(100):
            deferred(score(f"{who} {n}"))

    threads = [threading.Thread(target=work, args=(who,)) for who in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert deferred.flush()
    for who in range(50):
        assert [r.name for r in seen if r.name.startswith(f"{who} ")] == [f"{who} {n}" for n in range(100)]
    assert deferred.dropped == 0
    deferred.close()


def test_a_finaliser_may_record_in_the_middle_of_a_record():
    """The garbage collector runs where it likes: here at every allocation, inside the call and on the sink's thread."""
    seen = []
    deferred = Deferred(seen.append)

    class Abandoned:
        def __init__(self):
            self.me = self

        def __del__(self):
            deferred(score("finaliser"))

    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for n in range(300):
            Abandoned()
            deferred(score(n))
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert deferred.flush()
    names = [record.name for record in seen]
    assert names.count("finaliser") == 300
    assert [name for name in names if name != "finaliser"] == [str(n) for n in range(300)]
    deferred.close()


def _child(deferred, seen, pipe):
    deferred(score("child"))
    pipe.send((deferred.flush(), [record.name for record in seen]))
    pipe.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_starts_empty_with_a_thread_of_its_own():
    gate = Gate()
    deferred = Deferred(gate, interval=0.001)
    deferred(score("parent, held in the sink"))
    assert gate.entered.wait(10)
    deferred(score("parent, queued"))
    held, gate.opened = gate.opened, threading.Event()  # the child's own; the parent's thread waits on the old one
    gate.opened.set()
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_child, args=(deferred, gate.seen, theirs))
    child.start()
    assert ours.poll(20)
    flushed, names = ours.recv()
    child.join(20)
    held.set()
    assert flushed
    assert names == ["child"]


def test_a_thread_without_work_ends_and_the_next_record_starts_another():
    seen = []
    deferred = Deferred(seen.append, interval=0, idle=0.001)
    for number in range(3):
        deferred(number)
        until(lambda: deferred._thread is None)
        assert len(seen) == number + 1
    assert seen == [0, 1, 2]


def test_what_nobody_closes_is_collected_in_the_end():
    deferred = Deferred(lambda _: None, interval=0, idle=0.001)
    reference = weakref.ref(deferred)
    deferred(score())
    del deferred
    until(lambda: gc.collect() >= 0 and reference() is None)


def test_a_record_that_comes_while_the_thread_ends_is_delivered_by_itself():
    seen = []
    deferred = Deferred(seen.append, interval=0, idle=0.001)
    turn = deferred._turn

    def and_one_more(source):
        goes_on = turn(source)
        if not goes_on and len(seen) == 1:
            deferred("late")
        return goes_on

    deferred._turn = and_one_more
    deferred("first")
    until(lambda: seen == ["first", "late"])


def test_no_record_is_lost_to_threads_that_end_all_the_time():
    seen = []
    deferred = Deferred(seen.append, interval=0, idle=0)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=lambda: [deferred(n) for n in range(2_000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: len(seen) == 8_000)
    finally:
        sys.setswitchinterval(interval)
    assert deferred.dropped == 0


def test_a_record_is_let_go_when_it_is_delivered():
    class Item:
        pass

    deferred = Deferred(lambda _: None, interval=0)
    item = Item()
    reference = weakref.ref(item)
    deferred(item)
    del item
    assert deferred.flush()
    until(lambda: reference() is None)
    deferred.close()


def test_who_waits_for_a_stuck_sink_is_not_counted_as_queued():
    gate = Gate()
    deferred = Deferred(gate, interval=0)
    deferred(score())
    assert gate.entered.wait(10)
    assert [deferred.flush(0) for _ in range(3)] == [False] * 3
    deferred.close(0)
    assert deferred.health()["queued"] == 0
    gate.opened.set()


def test_a_stuck_sink_is_waited_for_once():
    gate = Gate()
    deferred = Deferred(gate, interval=0)
    deferred(score())
    assert gate.entered.wait(10)
    deferred.close(0)
    before = time.monotonic()
    deferred.close(600)
    assert deferred.flush(600) is False
    assert time.monotonic() - before < 300
    gate.opened.set()


def python(tmp_path, code):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_at_exit_the_queue_of_what_was_dropped_is_delivered(tmp_path):
    code = """
        import gc
        from langgraph_observe.sinks.deferred import Deferred
        Deferred(print, interval=60)("delivered")
        gc.collect()
    """
    assert python(tmp_path, code) == ["delivered"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_at_exit_a_forked_child_delivers_its_own(tmp_path):
    code = """
        import os
        from langgraph_observe.sinks.deferred import Deferred
        deferred = Deferred(lambda word: print(word, flush=True), interval=60)
        if os.fork() == 0:
            deferred("child")
        else:
            os.wait()
            deferred("parent")
    """
    assert python(tmp_path, code) == ["child", "parent"]


def test_at_exit_thirty_hung_sinks_take_the_time_of_one_and_the_others_deliver(tmp_path):
    """One after the other, with the 5 s of a flush, would take 150 s; the process has 60."""
    code = """
        import threading
        from langgraph_observe.sinks import deferred

        class Owner:
            def __init__(self):
                self.deferred = deferred.Deferred(lambda _: threading.Event().wait(), interval=0)
                self.deferred(1)
                deferred.at_exit(self.deferred.close)

        deferred.EXIT = 0.3
        owners = [Owner() for _ in range(15)]
        hung = [deferred.Deferred(lambda _: threading.Event().wait(), interval=0) for _ in range(15)]
        for one in hung:
            one(1)
        deferred.Deferred(print, interval=60)("delivered")
    """
    assert python(tmp_path, code) == ["delivered"]


def test_an_exit_hook_keeps_nothing_alive():
    class Owner:
        def close(self, timeout):
            raise AssertionError

    owner = Owner()
    reference = weakref.ref(owner)
    at_exit(owner.close)
    del owner
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_child_of_multiprocessing_delivers_before_it_leaves(tmp_path, method):
    code = f"""
        import multiprocessing
        from pathlib import Path
        from langgraph_observe.sinks.deferred import Deferred

        def keep(word):
            with Path(__file__).with_name("kept").open("a") as file:
                print(word, file=file)

        inherited = Deferred(keep, interval=60)

        def work():
            inherited("inherited")
            Deferred(keep, interval=60)("own")

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            child = context.Process(target=work)
            child.start()
            child.join()
            assert child.exitcode == 0
    """
    python(tmp_path, code)
    assert sorted((tmp_path / "kept").read_text().split()) == ["inherited", "own"]


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_child_of_multiprocessing_that_is_the_first_to_record_delivers_too(tmp_path, method):
    code = f"""
        import multiprocessing
        from pathlib import Path

        def work():
            from langgraph_observe.sinks.deferred import Deferred
            Deferred(Path(__file__).with_name("kept").write_text, interval=60)("own")

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            child = context.Process(target=work)
            child.start()
            child.join()
            assert child.exitcode == 0
    """
    python(tmp_path, code)
    assert (tmp_path / "kept").read_text() == "own"


def test_a_thread_that_works_through_many_items_stands_back_every_half_millisecond(monkeypatch):
    slept = []
    clock = type("Clock", (), {"perf_counter": staticmethod(itertools.count(step=TURN * 0.4).__next__), "sleep": slept.append})
    monkeypatch.setattr(deferred, "time", clock)
    assert list(in_turns(range(9))) == list(range(9))
    assert slept == [PAUSE] * 3
