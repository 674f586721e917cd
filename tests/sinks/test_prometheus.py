"""prometheus.Metrics: every run counted once, in series that stay few, on any registry."""

import gc
import importlib
import os
import shutil
import subprocess
import sys
import threading
import weakref
from decimal import Decimal

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from langgraph_observe.payloads import Payload
from langgraph_observe.records import Failure, Finished, Lazy, Noted, Scored, Started, Usage
from langgraph_observe.sinks.prometheus import CATALOG, OTHER, Metrics
from langgraph_observe.sinks.prometheus.families import printable

NS = "langgraph_"


def started(kind="graph", name="g", **over):
    serial = over.pop("serial", 1)
    parent = None if kind in {"graph", "agent", "chain", "stream"} else "0"
    values = {"id": str(serial), "parent_id": parent, "root_id": "0", "trace_id": "a" * 32, "span_id": f"{serial:016x}", "at_ns": 0}
    return Started(**{**values, "kind": kind, "name": name, "graph": "g" if kind in {"graph", "node"} else None, **over})


def finished(run=None, **over):
    return Finished(**{"run": run or started(), "outcome": "ok", "seconds": 0.2, **over})


def model(**over):
    return started("model", "ChatX", **{"provider": "p", "model": "m", **over})


def spent(usage):
    return Lazy(usage)


@pytest.fixture
def registry():
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def metrics(registry):
    made = Metrics(registry=registry)
    yield made
    made.close()


def value(registry, name, /, **labels):
    return registry.get_sample_value(NS + name, labels)


def series(registry, name):
    """All values of one sample name, by label values in the order of the catalogue."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == NS + name
    }


def give(metrics, *records):
    for record in records:
        metrics(record)


def test_a_scrape_sees_all_that_was_recorded_before_it(registry, metrics):
    for n in range(1, 200):
        metrics(finished(started(serial=n)))
        assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == n


def test_a_scrape_of_chosen_names_sees_it_too(registry, metrics):
    metrics(finished())
    text = generate_latest(registry.restricted_registry([f"{NS}run_duration_seconds_count"])).decode()
    assert f'{NS}run_duration_seconds_count{{graph="g",status="ok"}} 1.0' in text
    assert "_bucket" not in text


def test_a_scrape_inside_the_sinks_own_thread_does_not_wait_for_itself(registry, metrics):
    scraped = []

    class Scraping:
        def __str__(self):
            scraped.append(generate_latest(registry))
            return "x"

    metrics(finished(started("tool", Scraping())))
    assert metrics.flush(20)
    assert len(scraped) == 1


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("ok", "ok"), ("error", "error"), ("interrupted", "interrupted"), ("cancelled", "cancelled"), ("abandoned", "cancelled")],
)
def test_every_ending_is_one_of_four_statuses(registry, metrics, outcome, status):
    metrics(finished(outcome=outcome))
    counts = series(registry, "run_duration_seconds_count")
    assert {labels: n for labels, n in counts.items() if n} == {("g", status): 1}
    assert set(counts) == {("g", each) for each in ("ok", "error", "interrupted", "cancelled")}


@pytest.mark.parametrize(
    ("run", "name", "labels"),
    [
        (started("graph", "g"), "run", ("g", "ok")),
        (started("agent", "helper"), "run", ("helper", "ok")),
        (started("chain", "rag"), "run", ("rag", "ok")),
        (started("node", "plan", node="plan"), "node", ("g", "plan", "ok")),
        (started("tool", "search"), "tool", ("search", "ok")),
        (started("retriever", "docs"), "retriever", ("docs", "ok")),
        (model(), "llm", ("p", "m", "ok")),
        (started("stream", "/chat"), "stream", ("/chat", "ok")),
    ],
)
def test_each_kind_of_run_is_timed_once(registry, metrics, run, name, labels):
    give(metrics, run, finished(run, seconds=0.3))
    timed = {
        (family.name.removeprefix(NS), tuple(v for k, v in sample.labels.items() if k != "le")): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.endswith("_duration_seconds_sum") and sample.value
    }
    assert timed == {(f"{name}_duration_seconds", labels): 0.3}


def test_a_chain_inside_a_run_is_not_counted(registry, metrics):
    inside = started("chain", "inside", parent_id="0")
    give(metrics, inside, finished(inside, outcome="error"))
    assert series(registry, "run_duration_seconds_count") == {}
    assert series(registry, "errors_total") == {}


def test_runs_active_rises_and_falls_and_is_never_negative(registry, metrics):
    runs = [started(serial=n) for n in range(3)]
    give(metrics, *runs, runs[0])
    assert value(registry, "runs_active", graph="g") == 3
    give(metrics, *map(finished, runs), finished(runs[0]), finished(started(serial=9)))
    assert value(registry, "runs_active", graph="g") == 0


def test_errors_are_counted_by_kind_name_and_type(registry, metrics):
    failure = Failure("openai.RateLimitError", "sk-secret")
    give(
        metrics,
        finished(outcome="error", failure=failure),
        finished(model(), outcome="error", failure=failure),
        finished(started("tool", "search"), outcome="error"),
        finished(started("tool", "search"), outcome="cancelled", failure=Failure("CancelledError", "")),
    )
    assert series(registry, "errors_total") == {
        ("run", "g", "openai.RateLimitError"): 1,
        ("llm", "m", "openai.RateLimitError"): 1,
        ("tool", "search", ""): 1,
    }
    assert b"sk-secret" not in generate_latest(registry) + openmetrics(registry)


def test_tokens_and_cost_are_added_and_estimates_kept_apart(registry, metrics):
    reported = Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4, reasoning_tokens=2, cost=Decimal("0.25"))
    estimated = Usage(input_tokens=3, estimated=True)
    give(
        metrics,
        finished(model(), measured=spent(reported)),
        finished(model(), measured=spent(reported)),
        finished(model(), measured=spent(estimated)),
    )
    tokens = series(registry, "llm_tokens_total")
    assert {labels: count for labels, count in tokens.items() if count} == {
        ("p", "m", "input", "reported"): 20,
        ("p", "m", "output", "reported"): 10,
        ("p", "m", "input", "estimated"): 3,
    }
    assert series(registry, "llm_token_details_total") == {("p", "m", "cache_read"): 8, ("p", "m", "reasoning"): 4}
    assert series(registry, "llm_cost_usd_total") == {("p", "m"): 0.5}
    assert series(registry, "llm_unpriced_calls_total") == {("p", "m"): 1}


def test_a_model_without_a_price_has_no_cost_and_a_failed_call_without_usage_is_not_unpriced(registry, metrics):
    give(metrics, finished(model(), measured=spent(None)), finished(model(), outcome="error", measured=spent(None)))
    assert series(registry, "llm_cost_usd_total") == {}
    assert series(registry, "llm_unpriced_calls_total") == {("p", "m"): 1}
    assert series(registry, "llm_duration_seconds_count")[("p", "m", "error")] == 1


def test_a_cached_call_spends_nothing_and_is_a_hit(registry, metrics):
    def explode(usage):
        raise AssertionError

    call = model()
    give(metrics, call, finished(call, cached=True, first_token_seconds=0.1, measured=Lazy(None, explode)))
    assert series(registry, "llm_cache_hits_total") == {("p", "m"): 1}
    assert sum(series(registry, "llm_duration_seconds_count").values()) == 0
    assert sum(series(registry, "llm_tokens_total").values()) == 0
    assert series(registry, "llm_time_to_first_token_seconds_count") == {}
    assert metrics.health()["errors"] == 0


def test_the_time_to_the_first_token(registry, metrics):
    give(metrics, finished(model(), first_token_seconds=0.3), finished(model()))
    assert series(registry, "llm_time_to_first_token_seconds_count") == {("p", "m"): 1}
    assert value(registry, "llm_time_to_first_token_seconds_bucket", provider="p", model="m", le="0.4") == 1
    assert value(registry, "llm_time_to_first_token_seconds_bucket", provider="p", model="m", le="0.2") == 0


def test_a_model_is_named_by_what_was_asked_for_else_by_what_answered(registry, metrics):
    give(metrics, finished(model(), model="m-2026"), finished(model(model=None, provider=None), model="m-2026"))
    calls = series(registry, "llm_duration_seconds_count")
    assert {labels for labels, n in calls.items() if n} == {("p", "m", "ok"), ("", "m-2026", "ok")}


def test_attempts_after_the_first_are_retries(registry, metrics):
    node = started("node", "plan", node="plan", attempt=2)
    give(metrics, started("node", "plan", node="plan"), node, finished(node), started("tool", "t", attempt=2))
    give(
        metrics,
        Noted(run=node, kind="retry", at_ns=0),
        Noted(run=model(), kind="retry", at_ns=0),
        Noted(run=model(), kind="custom", at_ns=0),
    )
    assert series(registry, "retries_total") == {("node", "plan"): 1, ("llm", "m"): 1}


def test_an_interrupt_is_counted_where_the_outermost_graph_stops(registry, metrics):
    give(
        metrics,
        finished(started("node", "ask", node="ask", checkpoint_ns="ask:1"), outcome="interrupted"),
        finished(started("graph", "inner", parent_id="5", checkpoint_ns="ask:1"), outcome="interrupted"),
        finished(outcome="interrupted", reason="interrupt_before"),
        finished(outcome="interrupted"),
    )
    assert series(registry, "interrupts_total") == {("g", "interrupt_before"): 1, ("g", "interrupt"): 1}


def test_streams_are_counted_by_how_they_ended(registry, metrics):
    run = started("stream", "/chat")
    metrics(run)
    assert value(registry, "stream_connections_active", route="/chat") == 1
    metrics(finished(run, outcome="cancelled", reason="client_disconnect", first_token_seconds=0.1))
    assert value(registry, "stream_connections_active", route="/chat") == 0
    assert value(registry, "stream_duration_seconds_count", route="/chat", outcome="client_disconnect") == 1
    assert value(registry, "stream_first_event_seconds_count", route="/chat") == 1


def test_scores_that_are_numbers_are_distributed(registry, metrics):
    for score in (0.25, True, 0, "good", float("nan"), float("inf")):
        metrics(Scored(trace_id="a" * 32, name="quality", value=score, source="eval", at_ns=0, id=str(score)))
    assert value(registry, "score_count", name="quality", source="eval") == 3
    assert value(registry, "score_sum", name="quality", source="eval") == 1.25
    assert value(registry, "score_bucket", name="quality", source="eval", le="0.3") == 2
    assert metrics.health()["errors"] == 0


def test_series_begin_at_zero_when_a_run_is_first_seen(registry, metrics):
    give(metrics, started(), started("node", "plan", node="plan"), model())
    assert set(series(registry, "run_duration_seconds_count").values()) == {0}
    assert series(registry, "node_duration_seconds_count") == {("g", "plan", "ok"): 0, ("g", "plan", "error"): 0}
    assert series(registry, "llm_tokens_total") == {("p", "m", "input", "reported"): 0, ("p", "m", "output", "reported"): 0}
    assert series(registry, "llm_unpriced_calls_total") == {("p", "m"): 0}
    assert series(registry, "dropped_total") == {("prometheus.Metrics", "queue_full"): 0, ("prometheus.Metrics", "failed"): 0}
    (info,) = series(registry, "build_info").values()
    assert info == 1


def test_labels_of_the_users_are_on_the_metrics_of_runs(registry):
    metrics = Metrics(registry=registry, labels=("team", "env"))
    give(metrics, started(labels={"env": "prod", "other": "x"}), finished(started(labels={"team": "red", "env": "prod"})))
    assert value(registry, "runs_active", graph="g", team="", env="prod") == 0
    assert value(registry, "run_duration_seconds_count", graph="g", status="ok", team="red", env="prod") == 1
    assert ("red",) not in {labels[2:] for labels in series(registry, "score_count")}
    metrics.close()


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


def test_exemplars_lead_to_the_trace(registry, metrics):
    metrics(finished(started(serial=7), outcome="error"))
    exemplars = {
        sample.name.removeprefix(NS): sample.exemplar.labels
        for family in registry.collect()
        for sample in family.samples
        if sample.exemplar is not None
    }
    ids = {"trace_id": "a" * 32, "span_id": f"{7:016x}"}
    assert exemplars == {"run_duration_seconds_bucket": ids, "errors_total": ids}
    assert b"# {" in openmetrics(registry)
    assert b"a" * 32 not in generate_latest(registry)


def test_two_on_one_registry_share_and_the_last_takes_the_metrics_away(registry, metrics):
    other = Metrics(registry=registry)
    give(metrics, finished())
    give(other, finished())
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
    with pytest.raises(ValueError, match="labels graph"):
        Metrics(registry=other, labels=("graph",))
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
    health = {"otel.Spans": {"dropped": 2, "errors": 0, "queued": 7}, "capture": {"open": 1}}
    metrics.watch(lambda: health)
    assert series(registry, "dropped_total")[("otel.Spans", "queue_full")] == 2
    health["otel.Spans"] = {"dropped": 5, "errors": 1}
    lost = series(registry, "dropped_total")
    assert (lost[("otel.Spans", "queue_full")], lost[("otel.Spans", "failed")], lost[("capture", "queue_full")]) == (5, 1, 0)


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


def everything(metrics):
    usage = Usage(input_tokens=1, output_tokens=1, cache_read_tokens=1, cost=Decimal(1))
    runs = [
        started(),
        started("node", "n", node="n", attempt=2),
        started("tool", "t"),
        started("retriever", "r"),
        started("stream", "/s"),
        model(),
    ]
    for serial, run in enumerate(runs):
        give(metrics, run, finished(run, outcome="error", first_token_seconds=0.1, measured=spent(usage)))
        give(metrics, finished(started(serial=serial), outcome="interrupted"))
    give(metrics, finished(model(), measured=spent(None)), finished(model(), cached=True))
    give(metrics, finished(started("node", "n", node="n"), cached=True))
    give(
        metrics,
        Scored(trace_id="a" * 32, name="s", value=1.0, at_ns=0, id="1"),
        *[finished(started("tool", f"t{n}")) for n in range(400)],
    )


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


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing_to_say(registry, metrics):
    everything(metrics)
    done = subprocess.run(["promtool", "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False)
    assert (done.stdout + done.stderr).decode() == ""
    assert done.returncode == 0


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


def test_the_default_registry_is_prometheus_clients():
    importlib.import_module("langgraph_observe.sinks.prometheus")
    metrics = Metrics(namespace="test_default")
    metrics(finished())
    assert (
        prometheus_client.REGISTRY.get_sample_value("test_default_run_duration_seconds_count", {"graph": "g", "status": "ok"}) == 1
    )
    metrics.close()
    assert prometheus_client.REGISTRY.get_sample_value("test_default_build_info") is None
