"""meter.Meters beside others: the application's provider, its exit, its sampler, Prometheus."""

import os
import subprocess
import sys
from collections import Counter

import pytest
from metric_bench import Bench
from opentelemetry import metrics
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from otel_records import answered, chat, finished, started

from langgraph_observe import Observer, demo
from langgraph_observe.records import Lazy
from langgraph_observe.sinks import otel
from langgraph_observe.sinks.measures import INSTRUMENTS
from langgraph_observe.sinks.meter import Meters
from langgraph_observe.sinks.prometheus import CATALOG
from langgraph_observe.testing import strict

DURATION = "gen_ai.client.operation.duration"


@pytest.fixture
def bench():
    with strict():
        yield Bench(names="both")


def test_without_a_provider_nothing_is_kept_and_one_that_comes_later_is_used(monkeypatch):
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", None)
    bench, run, other = Bench(meter_provider=None), chat(), started(name="later")
    bench(run, answered(run), other)
    assert bench.meters.health() == {"queued": 0, "dropped": 0, "errors": 0, "open": 0}
    assert bench.meters._deferred._thread is None
    assert bench.meters.flush(5)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", bench.provider)
    bench(finished(other), run, answered(run))
    assert bench.counts("gen_ai.invoke_workflow.duration", "gen_ai.workflow.name") == {("later",): 1}
    assert bench.counts(DURATION) == {(): 1}
    assert "langgraph_observe.runs.active" not in bench.read()


def test_a_provider_that_is_replaced_in_the_middle_of_a_run_leaves_no_negative_gauge(monkeypatch):
    first, second = Bench(), Bench()
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", first.provider)
    meters, run = Meters(), started(name="long")
    meters(run)
    assert meters.flush(5)
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", second.provider)
    meters(finished(run))
    assert meters.flush(5)
    assert first.sums("langgraph_observe.runs.active", "langgraph.graph.name") == {("long",): 0}
    assert second.counts("gen_ai.invoke_workflow.duration") == {(): 1}
    assert set(second.read()) == {"gen_ai.invoke_workflow.duration"}


def test_a_disabled_sdk_costs_no_look_at_the_usage(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    bench, run, read = Bench(), chat(), []
    bench(run, finished(run).__class__(run=run, outcome="ok", seconds=1, measured=Lazy(None, read.append)))
    assert bench.read() == {}
    assert read == []


def test_a_tree_that_begins_where_instrumentation_is_suppressed_is_not_measured(bench):
    with suppress_instrumentation():
        stream = bench.observer.watch(demo.travel_agent()).stream({"messages": [("user", "Lisbon or Oslo?")]})
        next(stream)
    list(stream)
    assert bench.read() == {}
    demo.travel_agent().invoke({"messages": [("user", "Lisbon or Oslo?")]}, bench.handler)
    assert bench.counts("gen_ai.invoke_workflow.duration") == {(): 1}


def test_what_waits_at_exit_reaches_a_provider_that_shuts_down_at_exit(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(
        "from langgraph_observe import Observer, demo\n"
        "from langgraph_observe.sinks.meter import Meters\n"
        "from opentelemetry import metrics\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader\n"
        "observer = Observer(Meters())\n"  # first: what it registers at exit runs after the provider's shutdown
        "metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter(), 3_600_000)]))\n"
        "demo.travel_agent().invoke({'messages': [('user', 'x')]}, {'callbacks': [observer.handler]})\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True, env=os.environ)
    assert "gen_ai.execute_tool.duration" in done.stdout
    assert "Traceback" not in done.stderr


def test_no_exemplar_leads_to_a_trace_that_the_caller_does_not_sample(bench):
    with TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("web").start_as_current_span("request"):
        demo.travel_agent().invoke({"messages": [("user", "Lisbon or Oslo?")]}, bench.handler)
    points = [point for found in bench.read().values() for point in found]
    assert [point for point in points if point.exemplars] == []
    assert bench.counts("gen_ai.execute_tool.duration", "gen_ai.tool.name") == {("weather",): 2}


def test_what_the_spans_sampler_drops_is_measured_all_the_same(bench):
    spans = otel.Spans(tracer_provider=TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    with Observer(spans, bench.meters) as both:
        both.watch(demo.travel_agent()).invoke({"messages": [("user", "Lisbon or Oslo?")]})
        assert bench.counts("gen_ai.invoke_workflow.duration", "gen_ai.workflow.name") == {("travel_agent",): 1}


# -- Prometheus


def exposed(name, instrument):
    """Families that OpenTelemetry's Prometheus exporter makes of an instrument."""
    unit = {"s": "_seconds", "USD": "_USD"}.get(instrument.unit, "")
    return name.replace(".", "_") + unit + ("_total" if instrument.kind == "counter" else "")


def test_beside_the_native_metrics_in_one_registry_no_name_is_taken_twice():
    ours = {exposed(name, instrument).lower() for name, instrument in INSTRUMENTS.items()}
    assert len(ours) == len(INSTRUMENTS)
    assert ours & {f"langgraph_{name}".lower() for name in CATALOG} == set()


def test_opentelemetrys_exporter_and_the_native_metrics_share_a_registry():
    exporter = pytest.importorskip("opentelemetry.exporter.prometheus")
    from prometheus_client import CollectorRegistry, generate_latest

    from langgraph_observe.sinks.prometheus import Metrics

    registry = CollectorRegistry()
    reader = exporter.PrometheusMetricReader(registry=registry, scope_info_enabled=False, disable_target_info=True)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    with Observer(Meters(meter_provider=provider, names="both"), Metrics(registry=registry)) as observer:
        demo.run(observer)
        assert observer.flush()
        lines = generate_latest(registry).decode().splitlines()
    families = Counter(line.split()[2] for line in lines if line.startswith("# TYPE"))
    assert [name for name, times in families.items() if times > 1] == []
    measured = {name for name in families if name.startswith(("gen_ai_", "langgraph_observe_"))}
    assert measured <= {exposed(name, instrument) for name, instrument in INSTRUMENTS.items()}
    assert {
        "gen_ai_client_operation_duration_seconds",
        "langgraph_observe_cost_USD_total",
        "langgraph_run_duration_seconds",
    } <= set(families)
