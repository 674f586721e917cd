"""prometheus.Metrics on registries: shared, namespaced, labelled, and exactly what the catalogue says."""
# ruff: noqa: F811 - fixtures are imported

import gc
import importlib
import subprocess
import sys
import threading
import weakref

import prometheus_client
import pytest
from metric_records import NS, everything, finished, give, metrics, model, registry, series, started, value  # noqa: F401
from prometheus_client import CollectorRegistry, Counter, generate_latest

from langgraph_observe import Observer
from langgraph_observe.records import Lazy
from langgraph_observe.sinks.prometheus import CATALOG, Metrics


def test_labels_of_the_users_are_on_the_metrics_of_runs(registry):
    metrics = Metrics(registry=registry, labels=("team", "env"))
    give(metrics, started(labels={"env": "prod", "other": "x"}), finished(started(labels={"team": "red", "env": "prod"})))
    assert value(registry, "runs_active", graph="g", team="", env="prod") == 0
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok", team="red", env="prod") == 1
    assert ("red",) not in {labels[2:] for labels in series(registry, "score_count")}
    metrics.close()


def test_two_on_one_registry_share_and_the_last_takes_the_metrics_away(registry, metrics):
    other = Metrics(registry=registry)
    give(metrics, finished())
    give(other, finished(started(serial=2)))
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 2
    other.close()
    other.close()
    other(finished())
    metrics(finished())
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 3
    metrics.close()
    assert generate_latest(registry) == b""
    again = Metrics(registry=registry)
    again(finished())
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 1
    again.close()


def test_what_nobody_closes_is_let_go_and_its_counts_stay(registry, metrics):
    other = Metrics(registry=registry)
    give(other, finished())
    assert other.flush()
    reference = weakref.ref(other)
    del other
    gc.collect()
    assert reference() is None
    assert len(metrics._families.users()) == 1
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 1


def test_close_waits_no_longer_than_it_is_told(registry, metrics):
    gate, done = threading.Event(), threading.Event()

    def wait(usage):
        gate.wait(4)
        done.set()
        return usage

    metrics(finished(model(), measured=Lazy(None, wait)))
    metrics.close(0)
    assert not done.is_set()
    gate.set()


def test_two_namespaces_stay_apart(registry, metrics):
    other = Metrics(registry=registry, namespace="mine")
    other(finished())
    assert registry.get_sample_value("mine_run_duration_seconds_count", {"graph": "g", "status": "ok"}) == 1
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") is None
    other.close()


def test_a_reload_of_the_module_shares_too():
    code = """
import importlib, sys
from prometheus_client import REGISTRY
import langgraph_observe.sinks.prometheus as module
first = module.Metrics()
for name in [n for n in sys.modules if n.startswith("langgraph_observe")]:
    del sys.modules[name]
again = importlib.import_module("langgraph_observe.sinks.prometheus")
assert again is not module
second = again.Metrics()
first.close()
print(REGISTRY.get_sample_value("langgraph_dropped_total", {"component": "prometheus.Metrics", "reason": "failed"}))
second.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.0"


def test_names_that_others_have_taken_are_a_clear_error(registry):
    Counter(f"{NS}errors", "Someone else's.", registry=registry)
    before = generate_latest(registry)
    with pytest.raises(ValueError, match=r"namespace 'langgraph' are taken.*langgraph_errors_total"):
        Metrics(registry=registry)
    assert generate_latest(registry) == before
    Metrics(registry=registry, namespace="mine").close()


def test_options_that_cannot_be_are_a_clear_error(registry, metrics):
    with pytest.raises(ValueError, match="in use on this registry with other labels"):
        Metrics(registry=registry, labels=("team",))
    other = CollectorRegistry()
    for labels in (("graph",), "tenant", ("team", "team"), ("",), (7,)):
        with pytest.raises(ValueError, match="labels"):
            Metrics(registry=other, labels=labels)
    for limit in (-1, "x", 1.5, True, None):
        with pytest.raises(ValueError, match="a limit of"):
            Metrics(registry=other, limits={"graph": limit})
    with pytest.raises(ValueError, match="buckets for nonsense"):
        Metrics(registry=other, buckets={"nonsense": (1, 2)})
    with pytest.raises(ValueError, match="limit for nonsense"):
        Metrics(registry=other, limits={"nonsense": 1})


def test_own_buckets(registry):
    metrics = Metrics(registry=registry, buckets={"tool_duration_seconds": (1, 2)})
    metrics(finished(started("tool", "t"), seconds=1.5))
    bounds = {s.labels["le"]: s.value for f in registry.collect() for s in f.samples if s.name.endswith("tool_duration_seconds_bucket")
              and s.labels["status"] == "ok"}  # fmt: skip
    assert bounds == {"1.0": 0, "2.0": 1, "+Inf": 1}
    metrics.close()


def test_losses_of_others_are_shown(registry, metrics):
    health = {"otel.Spans": {"dropped": 2, "errors": 0, "queued": 7, "lost": 3}, "capture": {"open": 1}}
    metrics.watch(lambda: health)
    assert series(registry, "dropped_total")[("otel.Spans", "not_delivered")] == 3
    assert series(registry, "export_queue_size") == {("otel.Spans",): 7, ("capture",): 0}
    assert series(registry, "dropped_total")[("otel.Spans", "queue_full")] == 2
    health["otel.Spans"] = {"dropped": 5, "errors": 1}
    lost = series(registry, "dropped_total")
    assert (lost[("otel.Spans", "queue_full")], lost[("otel.Spans", "failed")], lost[("capture", "queue_full")]) == (5, 1, 0)


STRANGE = [
    None,
    {"x": None},
    {"x": {"queued": None, "dropped": "many"}},
    {"x": {"queued": float("nan"), "dropped": float("nan")}},
    {"x": {"dropped": float("inf"), "errors": 1.5}},
]


@pytest.mark.parametrize("answer", STRANGE, ids=repr)
def test_whatever_others_say_of_their_health_a_scrape_is_answered_and_a_close_closes(registry, metrics, answer):
    metrics.watch(lambda: answer)
    metrics(finished())
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 1
    assert set(series(registry, "dropped_total").values()) | set(series(registry, "export_queue_size").values()) <= {0}
    metrics.close()
    assert generate_latest(registry) == b""


def test_a_health_that_cannot_be_asked_fails_no_scrape(registry, metrics):
    def broken():
        raise LookupError

    metrics.watch(broken)
    metrics(finished())
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == 1
    metrics.close()
    assert generate_latest(registry) == b""


def test_an_observer_says_of_a_sinks_health_only_whole_numbers(registry, metrics):
    class Strange:
        def __call__(self, record):
            pass

        def health(self):
            return {"lag_seconds": 1.5, "queued": None, "dropped": "many", "kept": 2}

    report = Observer(Strange()).health()
    assert [counts for name, counts in report.items() if name != "capture"] == [{"errors": 0, "kept": 2}]


def test_two_observers_on_one_registry_show_the_sum_of_what_waits(registry, metrics):
    other = Metrics(registry=registry)
    metrics.watch(lambda: {"x": {"queued": 900}})
    other.watch(lambda: {"x": {"queued": 7}})
    for _ in range(2):
        assert value(registry, "export_queue_size", component="x") == 907
    other.close()
    assert value(registry, "export_queue_size", component="x") == 900


def test_scrapes_at_once_count_losses_once(registry, metrics):
    metrics.watch(lambda: {"x": {"dropped": 100}})
    start = threading.Barrier(8)

    def scrape():
        start.wait()
        generate_latest(registry)

    threads = [threading.Thread(target=scrape) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(registry, "dropped_total", component="x", reason="queue_full") == 100


def test_the_catalogue_is_what_is_exposed(registry, metrics):
    everything(metrics)
    exposed = {family.name: family for family in registry.collect()}
    assert set(exposed) == {NS + name.removesuffix("_total") for name in CATALOG}
    for name, one in CATALOG.items():
        family = exposed[NS + name.removesuffix("_total")]
        assert family.type == one.type
        assert family.documentation == one.help
        samples = [s for s in family.samples if not s.name.endswith("_created")]
        assert {tuple(k for k in s.labels if k != "le") for s in samples} == {one.labels}, name


def test_the_default_registry_is_prometheus_clients():
    importlib.import_module("langgraph_observe.sinks.prometheus")
    metrics = Metrics(namespace="test_default")
    metrics(finished())
    assert (
        prometheus_client.REGISTRY.get_sample_value("test_default_run_duration_seconds_count", {"graph": "g", "status": "ok"}) == 1
    )
    metrics.close()
    assert prometheus_client.REGISTRY.get_sample_value("test_default_build_info") is None
