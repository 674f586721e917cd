"""LangGraph's own server, with the middleware in its custom application. `LANGGRAPH_COMMAND` as in `test_served`."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from web import PATIENCE, until

ROOT = Path(__file__).parents[2]
INSTALLED = Path(sys.executable).with_name("langgraph") if importlib.util.find_spec("langgraph_api") else None
LANGGRAPH = os.environ.get("LANGGRAPH_COMMAND") or INSTALLED
pytestmark = pytest.mark.skipif(LANGGRAPH is None, reason="needs langgraph-cli[inmem], here or where LANGGRAPH_COMMAND says")

CONFIG = {"dependencies": ["."], "graphs": {"counting": "./site_of.py:graph"}, "http": {"app": "./site_of.py:app"}}
SITE = """
import json, os
from langgraph.graph import START, StateGraph
from starlette.applications import Starlette
from langgraph_observe import Finished, Observer
from langgraph_observe.capture.http import StreamMiddleware

def fail(state):
    if state.get("fails"):
        raise ValueError("x")
    return {"n": 1}

def write(record):
    if isinstance(record, Finished) and record.run.kind == "stream":
        with open(os.environ["RECORDS"], "a") as file:
            file.write(json.dumps([record.outcome, dict(record.stream.kinds), record.stream.errors]) + "\\n")

builder = StateGraph(dict)
builder.add_node("one", fail)
builder.add_edge(START, "one")
graph = builder.compile(name="counting")
app = Starlette()
app.add_middleware(StreamMiddleware, observer=Observer(write))
"""


def post(url, given):
    body = json.dumps({"assistant_id": "counting", "input": given, "stream_mode": ["values"]}).encode()
    request = urllib.request.Request(f"{url}/runs/stream", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return response.read().decode()


def answers(url):
    try:
        return urllib.request.urlopen(f"{url}/ok", timeout=5).status == 200
    except (OSError, urllib.error.URLError):
        return False


def test_its_streams_are_runs_and_a_failure_told_in_one_is_seen(tmp_path):
    (tmp_path / "langgraph.json").write_text(json.dumps(CONFIG))
    (tmp_path / "site_of.py").write_text(SITE)
    records = tmp_path / "records"
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "RECORDS": str(records), "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGGRAPH_NO_VERSION_CHECK": "true", "LANGGRAPH_OBSERVE_STORE": "off",
    }  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [LANGGRAPH, "dev", "--no-browser", "--no-reload", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: server.poll() is not None or answers(url))
        heard = [post(url, {}), post(url, {"fails": True})]
        ended = until(lambda: records.exists() and len(records.read_text().splitlines()) == 2 and records.read_text())
    finally:
        server.terminate()
        server.wait(PATIENCE)
    told = [json.loads(line) for line in ended.splitlines()]
    assert [outcome for outcome, _, _ in told] == ["ok", "ok"]
    assert [errors for _, _, errors in told] == [0, 1]
    assert [sum(kinds.values()) for _, kinds, _ in told] == [text.count("event: ") for text in heard]
