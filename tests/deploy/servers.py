"""A real Prometheus and a real Alertmanager on loopback, with the shipped kit, its times shortened."""

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import yaml
from kit import parsed

from langgraph_observe import deploy

DEADLINE = 60
MISSING = [name for name in ("prometheus", "prometheus-alertmanager") if shutil.which(name) is None]


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def until(question, what):
    """What it answers, once that is something; polled, for nothing here takes a known time."""
    end = time.monotonic() + DEADLINE
    while not (answer := question()):
        assert time.monotonic() < end, what
        time.sleep(0.2)
    return answer


class Prometheus:
    """Its API."""

    def __init__(self, at):
        self.url = f"http://127.0.0.1:{at}"

    def ask(self, path, **parameters):
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, query):
        return self.ask("query", query=query)["result"]

    def ready(self):
        with contextlib.suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):
            return True
        return False


@contextlib.contextmanager
def started(*command, log):
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def prometheus(directory, agents, alertmanager=None, wait="0s"):
    """Prometheus with the kit's own configuration and rules, on the port of the agents' metrics."""
    at, config = port(), parsed("prometheus/prometheus.yml")
    deploy.write(directory, deploy.Settings(targets=(f"127.0.0.1:{agents}",)))
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    own = {"prometheus": at, "alertmanager": alertmanager}
    config["scrape_configs"] = [job for job in config["scrape_configs"] if own.get(job["job_name"], at)]
    for job in config["scrape_configs"]:
        if job["job_name"] in own:
            job["static_configs"] = [{"targets": [f"127.0.0.1:{own[job['job_name']]}"]}]
    config["scrape_configs"] = [job for job in config["scrape_configs"] if not job["job_name"].startswith("otel")]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager}"] if alertmanager else []
    (directory / "prometheus/prometheus.yml").write_text(yaml.safe_dump(config))
    path = directory / "prometheus/rules/langgraph-alerts.yml"
    alerts = yaml.safe_load(path.read_text("utf-8"))
    for rule in (rule for group in alerts["groups"] for rule in group["rules"]):
        rule["for"] = wait
    path.write_text(yaml.safe_dump(alerts))
    command = (
        "prometheus",
        f"--config.file={directory / 'prometheus/prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{at}",
        "--enable-feature=exemplar-storage",
    )
    with started(*command, log=directory / "prometheus.log"):
        server = Prometheus(at)
        until(server.ready, (directory / "prometheus.log").read_text)
        yield server


@contextlib.contextmanager
def alertmanager(directory, at, inbox):
    """Alertmanager with the kit's routes and inhibitions; each receiver's channels are one webhook, its name the path."""
    config = parsed("alertmanager/alertmanager.yml")
    config["global"] = {"resolve_timeout": "5m"}
    config["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    config["receivers"] = [
        {"name": one["name"], "webhook_configs": [{"url": f"http://127.0.0.1:{inbox}/{one['name']}"}]}
        for one in config["receivers"]
    ]
    path = directory / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    command = (
        "prometheus-alertmanager",
        f"--config.file={path}",
        f"--storage.path={directory / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{at}",
        "--cluster.listen-address=",
    )
    with started(*command, log=directory / "alertmanager.log"):
        yield


@contextlib.contextmanager
def webhook():
    """Where notifications arrive: a port, and a list of (path, body)."""
    arrived = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            arrived.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port, arrived
        server.shutdown()
        thread.join(5)
