"""prometheus.Metrics before Prometheus' own programs: it is scraped, asked, linted and pushed for real."""
# ruff: noqa: F811 - fixtures are imported

import os
import signal
import subprocess
import sys

import httpx
import pytest
from metric_bench import play
from metric_records import everything, finished, metrics, registry, started  # noqa: F401
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_programs import free_port, needs, prometheus_server, pushgateway, running, until

from langgraph_observe import CallbackHandler, Observer
from langgraph_observe.sinks import prometheus
from langgraph_observe.sinks.prometheus import Metrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Application:
    """Real graphs, observed, and a port that is scraped."""

    def __init__(self, registry):
        self.seen = []
        self.observer = Observer(Metrics(registry=registry), self.seen.append)
        self.server = prometheus.serve(0, registry=registry)

    @property
    def handler(self):
        return {"callbacks": [CallbackHandler(observer=self.observer)]}

    def close(self):
        self.observer.close()
        self.server.close()


@pytest.fixture
def application():
    made = Application(CollectorRegistry())
    play(made)
    yield made
    made.close()


def asked(api, query):
    """The answer to a query: values by labels, without those that the scrape adds."""
    found = httpx.get(f"{api}/query", params={"query": query}).raise_for_status().json()["data"]["result"]
    return {tuple(sorted((k, v) for k, v in one["metric"].items() if k not in {"__name__", "job", "instance"})): float(one["value"][1])
            for one in found}  # fmt: skip


ANSWERS = {
    "up": {(): 1},
    'langgraph_run_duration_seconds_count{graph="researcher", status="ok"}': {(("graph", "researcher"), ("status", "ok")): 1},
    'langgraph_tool_duration_seconds_count{tool="fail"} > 0': {(("status", "error"), ("tool", "fail")): 1},
    "sum by (type) (langgraph_llm_tokens_total) > bool 0": {(("type", "input"),): 1, (("type", "output"),): 1},
    "sum(langgraph_runs_active)": {(): 0},
    "absent(langgraph_build_info)": {},
}
"""On a busy machine a scrape may take longer than Prometheus waits, and its series are gone until the next one."""


@needs("prometheus", "prometheus")
def test_a_real_prometheus_scrapes_a_real_application_and_knows_its_traces(application, tmp_path):
    with prometheus_server(tmp_path, application.server.port) as api:
        for query, answer in ANSWERS.items():
            until(lambda query=query, answer=answer: asked(api, query) == answer)
        query = {"query": 'langgraph_run_duration_seconds_bucket{status="ok"}', "start": 0, "end": 9e9}
        exemplars = until(lambda: httpx.get(f"{api}/query_exemplars", params=query).json()["data"])
    runs = {(one.trace_id, one.span_id) for one in application.seen if hasattr(one, "trace_id")}
    shown = {(one["labels"]["trace_id"], one["labels"]["span_id"]) for each in exemplars for one in each["exemplars"]}
    assert shown
    assert shown <= runs


@needs("promtool", "prometheus")
def test_promtool_has_nothing_to_say_of_a_live_scrape(application):
    page = httpx.get(f"http://127.0.0.1:{application.server.port}/metrics").content
    assert b"langgraph_node_duration_seconds_bucket" in page
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, timeout=60, check=False)
    assert (done.returncode, (done.stdout + done.stderr).decode()) == (0, "")


@needs("promtool", "prometheus")
def test_promtool_has_nothing_to_say_of_the_whole_catalogue(registry, metrics):
    everything(metrics)
    done = subprocess.run(["promtool", "check", "metrics"], input=generate_latest(registry), capture_output=True, check=False)
    assert (done.returncode, (done.stdout + done.stderr).decode()) == (0, "")


@needs("prometheus-pushgateway", "prometheus-pushgateway")
def test_a_batch_job_pushes_to_a_real_gateway_and_the_next_run_takes_its_place(registry, metrics, tmp_path):
    everything(metrics)
    with pushgateway(tmp_path) as url:
        assert prometheus.push(url, "nightly", grouping_key={"batch": "a/b"}, registry=registry)
        page = httpx.get(f"{url}/metrics").text
        assert 'langgraph_run_duration_seconds_count{batch="a/b",graph="g",instance="",job="nightly",status="error"} 1' in page
        empty = CollectorRegistry()
        assert prometheus.push(url, "nightly", grouping_key={"batch": "a/b"}, registry=empty)
        assert "langgraph_run_duration_seconds_count" not in httpx.get(f"{url}/metrics").text


@needs("prometheus-pushgateway", "prometheus-pushgateway")
def test_a_gateway_that_refuses_is_a_warning(registry, metrics, tmp_path, caplog):
    with pushgateway(tmp_path) as url:
        assert prometheus.push(f"{url}/elsewhere", "nightly", registry=registry) is False
    assert "HTTPError 404" in caplog.text
    assert url not in caplog.text


WORKERS = """
import os
from fastapi import FastAPI
from langgraph_observe.records import Finished, Started
from langgraph_observe.sinks import prometheus
metrics = prometheus.Metrics()
app = FastAPI()
app.add_route("/metrics", prometheus.asgi_app())

@app.get("/run/{serial}")
async def run(serial: int):
    run = Started(id="1", root_id="1", trace_id="a" * 32, span_id=f"{serial:016x}", kind="graph", name="g", graph="g", at_ns=0)
    metrics(run)
    if serial % 2:
        metrics(Finished(run=run, outcome="ok", seconds=0.2))
    metrics.flush()
    return os.getpid()
"""


def test_with_several_workers_any_of_them_answers_for_all_and_the_dead_are_forgotten(tmp_path):
    """A scrape of one process in two would show 13 or 8 of a true 21, and uvicorn has no hook for a worker that is killed."""
    (tmp_path / "app.py").write_text(WORKERS)
    (tmp_path / "shared").mkdir()
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "shared")}
    command = (sys.executable, "-m", "uvicorn", "app:app", "--workers=2", f"--port={port}", "--log-level=warning")
    with running(*command, log=tmp_path / "uvicorn.log", ready=f"{url}/metrics", cwd=tmp_path, env=environment):
        served = [httpx.get(f"{url}/run/{serial}").json() for serial in range(20)]
        serial = 20
        while len(set(served)) < 2 and serial < 500:  # new connections go to either
            served.append(httpx.get(f"{url}/run/{serial}").json())
            serial += 1

        def count(name, labels='graph="g"'):
            page = httpx.get(f"{url}/metrics").text
            return next(
                (float(line.split()[-1]) for line in page.splitlines() if line.startswith(f"langgraph_{name}{{{labels}}}")), 0
            )

        assert len(set(served)) == 2
        for _ in range(6):
            assert count("run_duration_seconds_count", 'graph="g",status="ok"') == serial // 2
        assert count("runs_active") == (serial + 1) // 2
        gone = served[0]
        os.kill(gone, signal.SIGKILL)
        left = sum(1 for n, pid in enumerate(served) if n % 2 == 0 and pid != gone)
        assert until(lambda: count("runs_active") == left)
        assert count("run_duration_seconds_count", 'graph="g",status="ok"') == serial // 2
