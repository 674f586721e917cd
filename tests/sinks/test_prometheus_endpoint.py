"""How a scrape comes by the metrics: serve(), asgi_app(), push(), one process or several."""
# ruff: noqa: F811 - fixtures are imported

import gzip
import inspect
import os
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from fastapi import FastAPI
from metric_records import NS, finished, give, metrics, model, registry, started  # noqa: F401
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from starlette.applications import Starlette
from starlette.routing import Mount

from langgraph_observe.records import Lazy
from langgraph_observe.sinks import prometheus

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
COUNT = f'{NS}run_duration_seconds_count{{graph="g",status="ok"}} 1.0'


async def ask(app, accept="", encoding="identity", method="GET", path="/metrics", **query):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, params=query, headers={"accept": accept, "accept-encoding": encoding})


async def driven(app, method, *headers):
    """Without a client that makes up for what the application does wrong."""
    sent = []

    async def send(message):
        sent.append(message)

    await app({"type": "http", "method": method, "query_string": b"", "headers": headers}, None, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    return dict(sent[0]["headers"]), sent[1]["body"]


@pytest.fixture
def app(registry, metrics):
    metrics(finished())
    return prometheus.asgi_app(registry=registry)


async def test_a_scrape_gets_text_and_openmetrics_with_exemplars_where_it_is_accepted(app):
    plain, modern = await ask(app), await ask(app, accept=f"{OPENMETRICS},text/plain;q=0.5")
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert COUNT in plain.text
    assert COUNT in modern.text
    assert "# {" not in plain.text
    assert f'trace_id="{"a" * 32}"}} 0.2' in modern.text
    assert modern.text.endswith("# EOF\n")


@pytest.mark.parametrize("version", ["abc", "1.x", "-"])
async def test_a_version_that_is_none_gets_text(app, version):
    page = await ask(app, accept=f"application/openmetrics-text; version={version}")
    assert page.status_code == 200
    assert COUNT in page.text


@pytest.mark.parametrize(
    ("accepted", "coded"),
    [
        ("gzip", True),
        ("br;q=1.0, GZIP;q=0.5", True),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("", False),
    ],
)
async def test_gzip_is_for_those_who_accept_it(app, accepted, coded):
    headers, body = await driven(app, "GET", (b"Accept-Encoding", accepted.encode()))
    assert headers.get(b"content-encoding") == (b"gzip" if coded else None)
    assert int(headers[b"content-length"]) == len(body)
    assert COUNT.encode() in (gzip.decompress(body) if coded else body)


async def test_a_scrape_may_choose_names(app):
    text = (await ask(app, **{"name[]": f"{NS}run_duration_seconds_count"})).text
    assert COUNT in text
    assert f"{NS}build_info" not in text


async def test_only_get_and_head_are_answered(app):
    (headers, body), post = await driven(app, "HEAD"), await ask(app, method="POST")
    assert body == b""
    assert int(headers[b"content-length"]) > 1000
    assert (post.status_code, post.headers["allow"]) == (405, "GET, HEAD")


async def test_the_metrics_are_written_beside_the_event_loop():
    threads = []

    class Collector:
        def collect(self):
            threads.append(threading.current_thread())
            return [CounterMetricFamily("some", "Some.", value=1)]

    registry = CollectorRegistry()
    registry.register(Collector())
    threads.clear()
    assert "some_total 1.0" in (await ask(prometheus.asgi_app(registry=registry))).text
    assert threading.main_thread() not in threads


async def test_it_is_a_route_of_fastapi_and_starlette_without_a_redirect(app):
    fastapi, starlette = FastAPI(), Starlette(routes=[Mount("/inner", app=app)])
    fastapi.add_route("/metrics", app)
    starlette.add_route("/metrics", app)
    assert COUNT in (await ask(fastapi)).text
    assert COUNT in (await ask(starlette)).text
    assert COUNT in (await ask(starlette, path="/inner/metrics")).text


async def test_what_is_no_request_is_not_answered(app):
    with pytest.raises(NotImplementedError, match="websocket"):
        await app({"type": "websocket"}, None, None)


def test_a_port_of_its_own_answers_until_it_is_closed(registry, metrics):
    metrics(finished())
    with prometheus.serve(0, registry=registry) as server:
        url = f"http://127.0.0.1:{server.port}/metrics"
        assert COUNT in httpx.get(url).text
        modern = httpx.get(url, headers={"accept": OPENMETRICS})
        assert "# {" in modern.text
        assert modern.headers["content-encoding"] == "gzip"
    server.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    with prometheus.serve(server.port, registry=registry):
        assert COUNT in httpx.get(url).text


def test_the_port_is_opentelemetrys_and_for_this_machine_only():
    told = inspect.signature(prometheus.serve).parameters
    assert (told["port"].default, told["addr"].default) == (9464, "127.0.0.1")


def test_the_same_port_again_is_the_same_server(registry):
    with prometheus.serve(0, registry=registry) as server:
        assert prometheus.serve(server.port, registry=registry) is server
        with pytest.raises(ValueError, match="another registry"):
            prometheus.serve(server.port, registry=CollectorRegistry())
        with prometheus.serve(0, registry=registry) as other:
            assert other.port != server.port


def test_a_port_that_others_have_is_the_operators_error(registry):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        prometheus.serve(taken.getsockname()[1], registry=registry)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_after_a_fork_the_port_is_the_parents():
    code = """
import os
from langgraph_observe.sinks import prometheus
server = prometheus.serve(0)
if not os.fork():
    try:
        prometheus.serve(server.port)
    except OSError as error:
        print("taken", flush=True)
    os._exit(0)
os.wait()
server.close()
prometheus.serve(server.port).close()
print("free")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["taken", "free"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_while_another_thread_opens_a_port_leaves_the_child_able_to():
    code = """
import os, threading
from langgraph_observe.sinks import prometheus
from langgraph_observe.sinks.prometheus import endpoint
real, opening, go_on = endpoint.start_http_server, threading.Event(), threading.Event()

def slow(*arguments):
    opening.set()
    go_on.wait(30)
    return real(*arguments)

endpoint.start_http_server = slow
thread = threading.Thread(target=prometheus.serve, args=[0])
thread.start()
opening.wait(30)
child = os.fork()
if not child:
    endpoint.start_http_server = real
    threading.Thread(target=lambda: prometheus.serve(0) and os.write(1, b"open") and os._exit(0), daemon=True).start()
    threading.Event().wait(20)
    os._exit(1)
print(os.waitpid(child, 0)[1])
go_on.set()
thread.join()
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "open0\n"


WORKER = """
import os, sys
from langgraph_observe.records import Finished, Started
from langgraph_observe.sinks.prometheus import Metrics
from langgraph_observe.sinks.prometheus.endpoint import Scraped
from prometheus_client import REGISTRY, generate_latest
metrics = Metrics()
metrics.watch(lambda: {"otel.Spans": {"dropped": 4, "queued": 1}})
for serial in (1, 2):
    run = Started(id="1", root_id="1", trace_id="a" * 32, span_id=f"{serial:016x}", kind="graph", name="g", graph="g", at_ns=0)
    metrics(run)
metrics(Finished(run=run, outcome="ok", seconds=0.2))
if sys.argv[1] == "die":
    assert metrics.flush()
    os._exit(9)
print(generate_latest(Scraped(REGISTRY)).decode())
"""


def test_a_scrape_adds_up_all_processes_and_forgets_what_was_active_in_dead_ones(tmp_path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for task in ("die", "die", "scrape"):
        done = subprocess.run([sys.executable, "-c", WORKER, task], env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert f'{NS}run_duration_seconds_count{{graph="g",status="ok"}} 3.0' in lines, done.stderr
    assert f'{NS}runs_active{{graph="g"}} 1.0' in lines
    assert f'{NS}export_queue_size{{component="otel.Spans"}} 1.0' in lines
    assert f'{NS}dropped_total{{component="otel.Spans",reason="queue_full"}} 12.0' in lines
    assert not any("pid=" in line for line in lines)


def test_the_directory_of_several_processes_must_be_known_before_prometheus_client():
    """Else it counts in memory, and a scrape of the empty directory would show nothing."""
    code = """
import os, tempfile
from langgraph_observe.sinks.prometheus import Metrics
from langgraph_observe.sinks.prometheus.endpoint import Scraped
from prometheus_client import REGISTRY, generate_latest
os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()
metrics = Metrics()
print(generate_latest(Scraped(REGISTRY)).decode())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert f"{NS}build_info{{" in done.stdout


def test_a_push_waits_for_what_is_still_to_be_counted(registry, metrics, monkeypatch):
    monkeypatch.setattr("langgraph_observe.sinks.prometheus.families.SCRAPE_WAITS", 0.0)
    pushed = []

    def handler(data, **request):
        pushed.append(data.decode())
        return lambda: None

    def slow(usage):
        time.sleep(0.3)
        return usage

    give(metrics, finished(model(), measured=Lazy(None, slow)), finished())
    assert prometheus.push("gateway:1", "job", registry=registry, handler=handler, timeout=60)
    assert COUNT in pushed[0]


def test_a_gateway_that_is_not_there_is_a_warning_without_its_address(registry, metrics, caplog):
    metrics(finished())
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    assert prometheus.push(f"http://user:sk-secret@127.0.0.1:{port}", "job", registry=registry, timeout=2) is False
    assert prometheus.push("no address", "job", registry=registry, timeout=2) is False
    assert "were not pushed" in caplog.text
    assert "sk-secret" not in caplog.text
    assert str(port) not in caplog.text


def test_what_breaks_in_a_push_stays_in_it_and_its_text_is_not_told(registry, metrics, caplog):
    def handler(**request):
        raise RuntimeError(request["url"])

    assert prometheus.push("user:sk-secret@gateway", "job", registry=registry, handler=handler) is False
    assert "were not pushed: RuntimeError" in caplog.text
    assert "sk-secret" not in caplog.text


def test_a_grouping_key_is_made_fit_for_a_url(registry, metrics):
    urls = []

    def handler(url, **request):
        urls.append(url)
        return lambda: None

    key = {"batch": "a\nb/" + "x" * 500}
    assert prometheus.push("gateway:1", "\ud800", grouping_key=key, registry=registry, handler=handler)
    assert len(urls[0]) < 250
    assert urls[0].isascii()
