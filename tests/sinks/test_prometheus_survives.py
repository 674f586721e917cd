"""prometheus.Metrics survives any name, any number of them, failures, forks, and a scrape at any moment."""
# ruff: noqa: F811 - fixtures are imported

import gc
import os
import subprocess
import sys
import threading

import pytest
from capture.graphs import linear
from hypothesis import given
from hypothesis import strategies as st
from metric_records import NS, finished, give, metrics, model, registry, series, started, value  # noqa: F401
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from langgraph_observe import Observer
from langgraph_observe.payloads import Payload
from langgraph_observe.records import Failure, Lazy, Noted, Stream
from langgraph_observe.sinks import prometheus
from langgraph_observe.sinks.prometheus import OTHER, Metrics
from langgraph_observe.sinks.prometheus.catalog import SERIES
from langgraph_observe.sinks.prometheus.families import printable


def test_a_scrape_inside_the_sinks_own_thread_does_not_wait_for_itself(registry, metrics):
    scraped = []

    class Scraping:
        def __str__(self):
            scraped.append(generate_latest(registry))
            return "x"

    metrics(finished(started("tool", Scraping())))
    assert metrics.flush(20)
    assert len(scraped) == 1


def test_a_label_has_its_fill_of_values_and_the_overflow_is_counted(registry):
    metrics = Metrics(registry=registry, limits={"tool": 3})
    give(metrics, *[finished(started("tool", f"tool {n}")) for n in (0, 1, 2, 3, 4, 3, 0)])
    counts = {labels: n for labels, n in series(registry, "tool_duration_seconds_count").items() if n}
    assert counts == {("tool 0", "ok"): 2, ("tool 1", "ok"): 1, ("tool 2", "ok"): 1, (OTHER, "ok"): 3}
    assert series(registry, "label_overflow_total") == {("tool",): 3}
    metrics.close()


def test_memory_is_bounded_whatever_the_names_are(registry, metrics):
    give(
        metrics,
        *[finished(started("tool", f"tool {n}\n", serial=n), outcome="error", failure=Failure(f"E{n}", "")) for n in range(2_000)],
    )
    assert metrics.flush(20)
    assert len(series(registry, "tool_duration_seconds_count")) == 602
    assert len(metrics._families._children) < 2_000
    assert len(series(registry, "errors_total")) <= 401


@given(st.text(st.characters(), max_size=200))
def test_no_name_can_break_a_scrape(name):
    registry = CollectorRegistry()
    metrics = Metrics(registry=registry)
    give(metrics, finished(started("tool", name), outcome="error", failure=Failure(name, name)))
    text = generate_latest(registry).decode()
    openmetrics(registry).decode()
    metrics.close()
    labels = {s.labels["tool"] for f in text_string_to_metric_families(text) for s in f.samples if "tool" in s.labels}
    assert labels == {printable(name)}
    assert len(printable(name)) <= 100
    assert printable(name).isprintable()


def test_a_record_that_cannot_be_counted_is_a_loss_and_the_next_is_counted(registry, metrics, caplog):
    class Broken:
        def __str__(self):
            raise ValueError("sk-secret")

    give(metrics, finished(started("tool", Broken())), finished())
    assert metrics.flush()
    assert metrics.health()["errors"] == 1
    assert value(registry, "dropped_total", component="prometheus.Metrics", reason="failed") == 1
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 1
    assert "sk-secret" not in caplog.text


def test_payloads_are_never_read(registry, metrics):
    class Unread(Payload):
        __slots__ = ()

        def fold(self, message):
            raise AssertionError

    run = started(input=Unread(1), tools=Unread(1))
    give(metrics, run, finished(run, output=Unread(1)), Noted(run=model(), kind="retry", at_ns=0, payload=Unread(1)))
    assert metrics.flush()
    assert metrics.health()["errors"] == 0
    assert Metrics.payloads is False


def test_the_agents_thread_takes_no_lock_of_prometheus(registry, metrics):
    """A callback may come out of the garbage collector while this very thread holds a metric's lock."""
    metrics(finished())
    assert metrics.flush()
    child = metrics._families.child("run_duration_seconds", "g", "ok")
    with child._sum._lock, metrics._families._metrics["run_duration_seconds"]._lock:
        give(metrics, *[finished(started(serial=n)) for n in range(100)])
        gc.collect()
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 101


def test_several_processes_are_added_up(tmp_path):
    """Each worker writes its own files; a scrape in any of them adds up what all have counted."""
    code = """
import sys
from langgraph_observe.records import Finished, Started
from langgraph_observe.sinks.prometheus import Metrics
metrics = Metrics()
run = Started(id="1", root_id="1", trace_id="a" * 32, span_id="b" * 16, kind="graph", name="g", graph="g", at_ns=0)
metrics(run)
metrics(Finished(run=run, outcome="ok", seconds=0.2))
metrics(run)
assert metrics.flush() and metrics.health()["errors"] == 0
if sys.argv[1] == "scrape":
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    print(generate_latest(registry).decode())
"""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for task in ("count", "scrape"):
        done = subprocess.run([sys.executable, "-c", code, task], env=environment, capture_output=True, text=True, check=True)
    assert f'{NS}run_duration_seconds_count{{graph="g",status="ok"}} 2.0' in done.stdout
    assert f'{NS}runs_active{{graph="g"}} 2.0' in done.stdout
    info = [line for line in done.stdout.splitlines() if line.startswith(f"{NS}build_info{{")]
    assert len(info) == 1
    assert info[0].endswith(" 1.0")
    assert "pid=" not in done.stdout


def test_every_label_that_others_fill_is_bounded(registry, metrics):
    """10,000 names each of nodes, tools, models, routes, events, graphs and errors, and a metric that multiplies them."""
    for n in range(10_000):
        stream = Stream(pieces=1, kinds={f"event {n}": 1})
        runs = (
            started("graph", f"g{n}"),
            started("node", "n", graph=f"g{n}", node=f"n{n}"),
            started("tool", f"t{n}"),
            started("retriever", f"r{n}"),
            model(provider=f"p{n}", model=f"m{n}"),
        )
        give(metrics, *(finished(run, outcome="error", failure=Failure(f"E{n}", "")) for run in runs))
        give(metrics, runs[2], finished(started("stream", f"/{n}"), stream=stream))
        if n % 1000 == 0:
            assert metrics.flush(60)
    assert metrics.flush(60)
    assert metrics.health() == {"queued": 0, "dropped": 0, "errors": 0}
    samples = {family.name.removeprefix(NS): len(family.samples) for family in registry.collect()}
    assert max(samples.values()) < 2_100 * 17
    assert sum(samples.values()) < 100_000
    assert len(metrics._families._children) < 10_000
    assert len(metrics._tally._born) <= SERIES
    assert set(series(registry, "label_overflow_total")) >= {("node",), ("tool",), ("model",), ("route",), ("graph",), ("event",)}


def test_a_metric_of_many_labels_is_bounded_as_a_whole(registry, metrics):
    """300 names and 100 classes of error would make 30,000 series."""
    for n in range(3_000):
        metrics(finished(started("tool", f"t{n % 250}"), outcome="error", failure=Failure(f"E{n % 90}", "")))
    assert metrics.flush(20)
    errors = series(registry, "errors_total")
    assert len(errors) == SERIES + 1
    assert errors[("tool", OTHER, OTHER)] == 3_000 - (sum(errors.values()) - errors[("tool", OTHER, OTHER)])
    assert sum(errors.values()) == 3_000


@pytest.mark.parametrize(
    "name", ["\ud800", "x" * 1_000_000, "a\nb\n# EOF\n", '"} 1\nevil{x="', "\x00\x1b[31m", "", " ", "\u2028", "{}", "__name__"]
)
def test_hostile_names_stay_inside_their_label(registry, metrics, name):
    give(
        metrics,
        model(provider=name, model=name),
        finished(model(provider=name, model=name), outcome="error", failure=Failure(name, name)),
    )
    give(metrics, finished(started("stream", name), stream=Stream(pieces=1, kinds={name: 1})))
    give(metrics, Noted(run=model(model=name), kind="fallback", at_ns=0, name=name))
    text = generate_latest(registry).decode()
    assert metrics.health()["errors"] == 0
    assert len(text) < 100_000
    families = {family.name for family in text_string_to_metric_families(text)}
    assert {family.removeprefix(NS) for family in families if family.startswith(NS)} == {f.removeprefix(NS) for f in families}
    assert "llm_duration_seconds" in {family.removeprefix(NS) for family in families}
    openmetrics(registry).decode()


def test_a_scrape_in_the_middle_of_a_burst_loses_nothing_and_never_goes_back(registry, metrics):
    def burst():
        for n in range(2_000):
            give(metrics, run := started(serial=n + 1), finished(run))

    threads = [threading.Thread(target=burst) for _ in range(4)]
    for thread in threads:
        thread.start()
    seen = [0]
    while any(thread.is_alive() for thread in threads):
        seen.append(value(registry, "run_duration_seconds_count", graph="g", status="ok") or 0)
    assert metrics.flush(60)
    assert seen == sorted(seen)
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 8_000
    assert value(registry, "runs_active", graph="g") == 0
    assert metrics.health() == {"queued": 0, "dropped": 0, "errors": 0}


def test_a_slow_price_holds_up_neither_a_scrape_nor_a_fork_nor_the_end(registry, metrics, monkeypatch):
    monkeypatch.setattr("langgraph_observe.sinks.prometheus.families.SCRAPE_WAITS", 0.0)
    asked, gate = threading.Event(), threading.Event()

    def slow(usage):
        asked.set()
        gate.wait(60)
        return usage

    metrics(finished(model(), measured=Lazy(None, slow)))
    assert asked.wait(60)
    free = metrics._families.counting.acquire(blocking=False)
    if not free:
        gate.set()
    assert free
    metrics._families.counting.release()
    assert b"langgraph_build_info{" in generate_latest(registry)
    metrics.close(0)
    assert not gate.is_set()
    gate.set()


def test_a_scrape_may_come_while_a_metrics_is_being_made(registry, monkeypatch):
    made = prometheus.Tally

    def scraped(*arguments, **options):
        assert b"# HELP langgraph_run_duration_seconds" in generate_latest(registry)
        return made(*arguments, **options)

    monkeypatch.setattr(prometheus, "Tally", scraped)
    Metrics(registry=registry).close()


def test_runs_whose_end_was_lost_do_not_pile_up(registry, metrics, monkeypatch):
    monkeypatch.setattr("langgraph_observe.sinks.prometheus.tally.OPEN", 3)
    give(metrics, *(started(serial=n) for n in range(10)))
    assert value(registry, "runs_active", graph="g") == 3


def test_ids_that_are_none_make_no_exemplar(registry, metrics):
    """prometheus_client raises for more than 128 characters, and after it has counted half."""
    metrics(finished(started(trace_id="a" * 200), outcome="error"))
    assert value(registry, "errors_total", kind="run", name="g", error_type="") == 1
    assert b"# {" not in openmetrics(registry)
    assert metrics.health()["errors"] == 0


FORK = """
import os, sys, threading, time
from prometheus_client import REGISTRY, generate_latest
from langgraph_observe.records import Finished, Started
from langgraph_observe.sinks.prometheus import Metrics

inside, go_on = threading.Event(), threading.Event()

class Slow:
    def __str__(self):
        inside.set()
        go_on.wait(30)
        return "slow"

def run(name, serial=1):
    return Started(id="1", root_id="1", trace_id="a" * 32, span_id=f"{serial:016x}", kind="graph", name=name, graph="g", at_ns=0)

metrics = Metrics()
metrics(run("open", 7))
metrics(Finished(run=run(Slow()), outcome="ok", seconds=0.2))
inside.wait(30)
threading.Timer(0.2, go_on.set).start()
if os.fork():
    _, status = os.wait()
    print(REGISTRY.get_sample_value("langgraph_runs_active", {"graph": "open"}))
    sys.exit(status >> 8)
print(REGISTRY.get_sample_value("langgraph_run_duration_seconds_count", {"graph": "slow", "status": "ok"}))
print(REGISTRY.get_sample_value("langgraph_runs_active", {"graph": "open"}))
metrics(Finished(run=run("child"), outcome="ok", seconds=0.2))
print(REGISTRY.get_sample_value("langgraph_run_duration_seconds_count", {"graph": "child", "status": "ok"}))
sys.stdout.flush()
os._exit(0)
"""


def test_a_fork_waits_for_what_is_being_counted_and_the_child_counts_on():
    """Forked while another thread holds one of prometheus_client's locks, the child would hang in its first scrape."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1.0", "0.0", "1.0", "1.0"], done.stderr


def test_a_forked_worker_begins_its_own_file_and_its_own_gauges(tmp_path):
    code = """
import os, sys
from langgraph_observe.records import Finished, Started
from langgraph_observe.sinks.prometheus import Metrics
from langgraph_observe.sinks.prometheus.endpoint import Scraped
from prometheus_client import REGISTRY, generate_latest
metrics = Metrics()
runs = [
    Started(id="1", root_id="1", trace_id="a" * 32, span_id=f"{n:016x}", kind="graph", name="g", graph="g", at_ns=0) for n in (1, 2)
]
for run in runs:
    metrics(run)
assert metrics.flush()
if os.fork():
    os.wait()
else:
    metrics(runs[0])
    metrics(Finished(run=runs[0], outcome="ok", seconds=0.2))
    metrics(runs[0])
    assert metrics.flush() and metrics.health()["errors"] == 0
sys.stdout.write(generate_latest(Scraped(REGISTRY)).decode())
sys.stdout.flush()
os._exit(0)
"""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith(f"{NS}runs_active{{")] == [
        f'{NS}runs_active{{graph="g"}} 3.0',
        f'{NS}runs_active{{graph="g"}} 2.0',
    ], done.stderr
    assert lines.count(f'{NS}run_duration_seconds_count{{graph="g",status="ok"}} 1.0') == 2


def test_two_observers_on_one_registry_add_up_and_a_run_that_both_see_is_one(registry):
    graph = linear(lambda state: {"n": 1}, compile_with={"name": "g"})
    first, second = (Observer(Metrics(registry=registry)) for _ in range(2))
    for watched in (first.watch(graph), second.watch(graph), first.watch(second.watch(graph))):
        watched.invoke({"n": 1})
    for what, labels in (("run", ("g", "ok")), ("node", ("g", "<lambda>", "ok"))):
        assert series(registry, f"{what}_duration_seconds_count")[labels] == 3
    assert value(registry, "runs_active", graph="g") == 0
    first.close()
    second.close()


def test_two_observers_of_one_sink_count_a_run_once(registry, metrics):
    graph = linear(lambda state: {"n": 1}, compile_with={"name": "g"})
    first, second = Observer(metrics), Observer(metrics)
    for watched in (first.watch(graph), second.watch(graph), first.watch(second.watch(graph))):
        watched.invoke({"n": 1})
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 3
    assert value(registry, "runs_active", graph="g") == 0


def test_what_is_remembered_of_who_told_what_is_bounded(registry, metrics, monkeypatch):
    monkeypatch.setattr("langgraph_observe.sinks.prometheus.families.TOLD", 3)
    other = Metrics(registry=registry)
    give(metrics, *(finished(started(serial=n)) for n in range(10)))
    give(other, *(finished(started(serial=n)) for n in range(9, 12)))
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 12
    assert len(metrics._families._told) == 3
    other.close()


def test_a_run_is_active_no_longer_once_another_observer_has_told_its_end(registry, metrics, monkeypatch):
    monkeypatch.setattr("langgraph_observe.sinks.prometheus.families.TOLD", 2)
    other, run = Metrics(registry=registry), started(serial=1)
    for one, record in (
        (metrics, run),
        (metrics, started("tool", "t", serial=2)),
        (other, finished(run)),
        (metrics, finished(run)),
    ):
        one(record)
        assert one.flush(60)
    assert value(registry, "runs_active", graph="g") == 0
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 1
    other.close()
