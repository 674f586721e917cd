"""`langgraph dev` serves observed graphs as it serves the same graphs bare, and the server's store has their runs.

One visit: the server is started, everything is asked of it over HTTP, of the observed graphs and of the bare ones, and it
is stopped. The tests look at what was answered and at what was recorded. `LANGGRAPH_COMMAND` names a `langgraph` (of
`langgraph-cli[inmem]`) of another environment than the one that runs the tests.
"""

import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from alike import told
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from langgraph_observe import observe
from langgraph_observe.explore import StoreFile, Traces
from langgraph_observe.testing import tree

TESTS = Path(__file__).parent
INSTALLED = Path(sys.executable).with_name("langgraph") if importlib.util.find_spec("langgraph_api") else None
LANGGRAPH = os.environ.get("LANGGRAPH_COMMAND") or INSTALLED
pytestmark = pytest.mark.skipif(LANGGRAPH is None, reason="needs langgraph-cli[inmem], here or where LANGGRAPH_COMMAND says")

PATIENCE = 60
ASKED = {"messages": [{"role": "user", "content": "one and two", "id": "m1"}]}
IN = {"x": []}


# -- what is asked of the server


@dataclass(frozen=True)
class Guest:
    """Somebody who asks the server for one graph."""

    client: SyncLangGraphClient
    graph: str
    config: dict

    @property
    def remote(self):
        remote = RemoteGraph(self.graph, sync_client=self.client)
        return remote if self.graph.endswith("_bare") else observe(remote, [].append)

    @property
    def assistant(self):
        return self.client.assistants.search(graph_id=self.graph)[0]["assistant_id"]

    def wait(self, given, thread=None, **options):
        return self.client.runs.wait(thread, self.graph, input=given, config=self.config, **options)

    def stream(self, given, mode, thread=None, **options):
        return self.client.runs.stream(thread, self.graph, input=given, config=self.config, stream_mode=mode, **options)

    def thread(self):
        return self.client.threads.create()["thread_id"]


def until(holds):
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def talk(guest):
    """Ask, look, answer, look back, change."""
    client, thread = guest.client, guest.thread()
    yield guest.wait(IN, thread)
    yield client.threads.get_state(thread, subgraphs=True)
    yield guest.wait(None, thread, command={"resume": "an answer"})
    yield client.threads.get_history(thread)
    yield client.threads.update_state(thread, {"x": ["by hand"]}, as_node="one")
    yield client.threads.get_state(thread)


def asleep(guest):
    """A run of which the second node does not end."""
    thread = guest.thread()
    run = guest.client.runs.create(thread, guest.graph, input=IN, config=guest.config)
    until(lambda: guest.client.threads.get_state(thread)["next"] == ["sleep"])
    return thread, run["run_id"]


def cancel(guest):
    thread, run = asleep(guest)
    guest.client.runs.cancel(thread, run, wait=True)
    return guest.client.runs.get(thread, run)["status"], guest.client.threads.get_state(thread)


def hang_up(guest):
    """Read to where it sleeps, and leave."""
    thread = guest.thread()
    stream = guest.stream(IN, "values", thread, on_disconnect="cancel")
    heard = list(itertools.islice(stream, 3))
    stream.close()
    status = until(
        lambda: (now := guest.client.runs.get(thread, heard[0].data["run_id"])["status"]) not in ("pending", "running") and now
    )
    return heard, status


def events(guest, given):
    with guest.remote.stream_events(given, guest.config, version="v3") as run:
        return [(event["method"], event["params"].get("data")) for event in run if event["method"] in ("values", "updates")]


REQUESTS = {
    "wait": ("calculator", lambda guest: guest.wait(ASKED)),
    **{
        f"stream {mode}": ("calculator", lambda guest, mode=mode: list(guest.stream(ASKED, mode)))
        for mode in ("values", "updates", "messages", "messages-tuple", "custom", "tasks", "debug", "events")
    },
    "sub-graphs' stream": ("desk", lambda guest: list(guest.stream(IN, ["values", "updates"], stream_subgraphs=True))),
    "interrupt": ("desk", lambda guest: guest.wait(IN)),
    "talk": ("desk", lambda guest: list(talk(guest))),
    "factory": ("made", lambda guest: guest.wait(IN)),
    "failure": ("broken", lambda guest: guest.wait(IN, raise_error=False)),
    "cancel": ("sleeper", cancel),
    "hang up": ("sleeper", hang_up),
    "events": ("form", lambda guest: events(guest, IN)),
    "remote": ("calculator", lambda guest: guest.remote.invoke(ASKED, guest.config)),
    "remote stream": ("desk", lambda guest: list(guest.remote.stream(IN, guest.config, stream_mode=["values", "updates"]))),
    "drawing": ("desk", lambda guest: guest.client.assistants.get_graph(guest.graph, xray=True)),
    "drawing, remote": ("calculator", lambda guest: guest.remote.get_graph(xray=True).draw_mermaid()),
    "schemas": ("form", lambda guest: guest.client.assistants.get_schemas(guest.assistant)),
    "factory's schemas": ("made", lambda guest: guest.client.assistants.get_schemas(guest.assistant)),
    "sub-graphs": ("desk", lambda guest: guest.client.assistants.get_subgraphs(guest.assistant, recurse=True)),
}


UNRECORDED = {name for name in REQUESTS if "drawing" in name or "schemas" in name or name == "sub-graphs"}
"""No run."""

ASKS = """\
graph desk interrupted (interrupt)
  node inner interrupted (interrupt)
    graph inner interrupted (interrupt)
      node ask interrupted (interrupt)"""
RECORDED = {
    "calculator": [
        """\
agent calculator ok
  node model ok
    model ScriptedModel ok 3+4 tokens
  node tools ok triggered_by
    tool add ok
  node model ok
    model ScriptedModel ok 4+3 tokens"""
    ],
    "desk": [ASKS],
    "talk": [
        ASKS,
        """\
graph desk ok resumed_from
  node inner ok
    graph inner ok
      node ask ok
  node one ok""",
    ],
    "form": ["graph form ok\n  node one ok"],
    "made": ["graph made ok\n  node one ok"],
    "broken": ["graph broken error ValueError\n  node one ok\n  node fail error ValueError"],
    "sleeper": ["graph sleeper cancelled (task_cancelled)\n  node one ok\n  node sleep cancelled (task_cancelled)"],
}
"""The trees of a request, or of all requests for a graph."""


# -- the visit


@dataclass(frozen=True)
class Visit:
    answered: dict
    """By request, of the graph observed and of the graph bare."""
    traces: Traces
    log: str
    went_out: bool
    """Whether the server turned to another machine."""


@contextmanager
def serving(place, port):
    """`langgraph dev`, which finds no network, no keys, and nothing of the machine's own set-up."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "PYTHONPATH": os.pathsep.join(map(str, (TESTS / "seal", TESTS.parent))),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SEAL_ATTEMPTS": str(place / "attempts"),
        "LANGGRAPH_OBSERVE_STORE": str(place / "traces.db"),
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
        "LANGGRAPH_NO_VERSION_CHECK": "true",
    }
    command = [LANGGRAPH, "dev", "--no-browser", "--no-reload", "--n-jobs-per-worker", "20", "--port", str(port)]
    with (place / "log").open("w") as log:
        project = shutil.copytree(TESTS / "served", place / "project")  # the server leaves files there
        server = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            until(lambda: server.poll() is not None or answers(port))
            assert server.poll() is None, (place / "log").read_text()
            yield
        finally:
            server.terminate()
            server.wait(PATIENCE)


def answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ok") as response:
            return response.status == 200
    except OSError:
        return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(client, name, bare):
    graph, request = REQUESTS[name]
    config = {"metadata": {"session_id": name}, "configurable": {"user_id": "ada"}, "tags": ["beta"]}
    return told(request(Guest(client, f"{graph}{bare}", config))).replace("_bare", "")


@pytest.fixture(scope="module")
def visit(tmp_path_factory):
    place, port = tmp_path_factory.mktemp("served"), free_port()
    with serving(place, port), get_sync_client(url=f"http://127.0.0.1:{port}") as client, ThreadPoolExecutor(16) as crowd:
        asked = {(name, bare): crowd.submit(ask, client, name, bare) for name in REQUESTS for bare in ("_bare", "")}
        answered = {key: future.result() for key, future in asked.items()}
    return Visit(answered, Traces(StoreFile(place / "traces.db")), (place / "log").read_text(), (place / "attempts").exists())


# -- what was answered, and what was recorded


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_answered_as_without_us(visit, name):
    assert visit.answered[name, ""] == visit.answered[name, "_bare"]


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in UNRECORDED])
def test_each_run_is_one_trace_in_the_server_s_store(visit, name):
    graph = REQUESTS[name][0]
    traces = sorted(visit.traces.filter(session=name, user="ada", tag="beta"), key=lambda trace: trace.at_ns)

    assert [whole(trace) for trace in traces] == RECORDED.get(name, RECORDED[graph])
    assert len({trace.thread_id for trace in traces} - {None}) == 1
    for trace in traces:
        told = trace.root.started.metadata
        assert (trace.root.id, graph) == (told["run_id"], told["graph_id"])


def whole(trace):
    return tree(record for run in trace for record in (run.started, run.finished))


def test_what_went_on_after_a_human_s_answer_is_linked_to_where_he_was_asked(visit):
    resumed, asked = visit.traces.filter(session="talk")

    assert resumed.resumed_from == asked.id


def test_nothing_else_is_recorded(visit):
    """Not the bare graphs' runs, nor those that the server makes to draw a graph or to look at a thread."""
    assert {trace.root.started.session_id for trace in visit.traces} == REQUESTS.keys() - UNRECORDED


def test_the_server_neither_waits_for_us_nor_complains_nor_goes_out(visit):
    """It has a guard of its own: whatever blocks its event loop is raised there, and we would say so in the log."""
    assert [word for word in ("failed with", "left out", "Blocking call") if word in visit.log] == []
    assert not visit.went_out
