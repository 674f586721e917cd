"""HTTP metrics are not ours: the recipes of examples/ on one registry with prometheus.Metrics, and no name twice."""
# ruff: noqa: F811 - fixtures are imported

from collections import Counter

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from metric_records import NS, everything, metrics, registry  # noqa: F401
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from langgraph_observe.sinks import prometheus
from langgraph_observe.sinks.meter import Meters


def served(app, registry):
    """The families of the page after one request, by name; OpenMetrics' own parser is stricter than the text's."""
    app.add_route("/metrics", prometheus.asgi_app(registry=registry))

    @app.get("/items/{number}")
    def item(number: int) -> int:
        return number

    with TestClient(app) as client:
        client.get("/items/7")
        client.get("/items/8")
        page = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}).text
    assert [
        name for name, times in Counter(line for line in page.splitlines() if line.startswith("# TYPE")).items() if times > 1
    ] == []
    return {family.name: family for family in text_string_to_metric_families(page)}


def theirs(families):
    return {name for name in families if not name.startswith(NS)}


def templates(family, label):
    return {sample.labels[label] for sample in family.samples if sample.name.endswith("_count")}


def test_fastapis_own_telemetry_and_ours_are_on_one_page(registry, metrics):
    exporter = pytest.importorskip("opentelemetry.exporter.prometheus")
    everything(metrics)
    reader = exporter.PrometheusMetricReader(scope_info_enabled=False, disable_target_info=True, registry=registry)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    families = served(FastAPI(telemetry={"meter_provider": provider}), registry)
    provider.shutdown()
    assert {"http_server_request_duration_seconds", "http_server_active_requests"} <= theirs(families)
    assert templates(families["http_server_request_duration_seconds"], "http_route") == {"/items/{number}"}
    assert f"{NS}run_duration_seconds" in families


def test_our_opentelemetry_metrics_may_be_on_that_page_too(registry, metrics):
    exporter = pytest.importorskip("opentelemetry.exporter.prometheus")
    everything(metrics)
    reader = exporter.PrometheusMetricReader(scope_info_enabled=False, disable_target_info=True, registry=registry)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meters = Meters(meter_provider=provider)
    everything(meters)
    assert meters.flush()
    families = served(FastAPI(telemetry={"meter_provider": provider}), registry)
    meters.close()
    provider.shutdown()
    assert "gen_ai_client_operation_duration_seconds" in families
    assert f"{NS}llm_duration_seconds" in families


def test_the_instrumentators_metrics_and_ours_are_on_one_page(registry, metrics):
    instrumentator = pytest.importorskip("prometheus_fastapi_instrumentator")
    everything(metrics)
    app = FastAPI()
    instrumentator.Instrumentator(registry=registry, excluded_handlers=["/metrics"]).instrument(app)
    families = served(app, registry)
    assert {"http_requests", "http_request_duration_seconds"} <= theirs(families)
    assert templates(families["http_request_duration_seconds"], "handler") == {"/items/{number}"}
    assert f"{NS}run_duration_seconds" in families
