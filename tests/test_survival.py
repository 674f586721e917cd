"""What the agent survives outside of it: dead, slow and refusing servers, full disks, broken sinks, wrong keys. It notices nothing."""

import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sinks.otlp_server import Server
from survival import KEYS, RUNS, Everything, agent, ended, once, question, unchanged

from langgraph_observe import Observer
from langgraph_observe import observer as own
from langgraph_observe.payloads import REDACTION_FAILED
from langgraph_observe.process.redact import redact
from langgraph_observe.sinks import langfuse, otel
from langgraph_observe.sinks.deferred import Deferred
from langgraph_observe.sinks.prometheus import Metrics
from langgraph_observe.sinks.store import Store

BACKENDS = {
    "langfuse": lambda url: langfuse.Traces(base_url=url, timeout=0.2, **KEYS),
    "otlp": lambda url: otel.exporting(url, {"authorization": f"Bearer {KEYS['secret_key']}"}),
}
backends = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")


def until(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def ours(caplog):
    """Our warnings, none of which may hold a secret or a prompt."""
    told = " ".join(f"{record.getMessage()} {record.exc_text}" for record in caplog.records)
    assert not [private for private in (KEYS["secret_key"], "weather", "Bergen", "mbrella") if private in told]
    return [record.getMessage() for record in caplog.records if record.name == "langgraph_observe"]


def about(url, caplog):
    """Our warnings of this server: an exporter of another test may still be giving up on its own."""
    return [line for line in ours(caplog) if url.removeprefix("http://") in line]


def health(observer, sink):
    return observer.health()[own._name(sink)]


def test_with_every_sink_at_once_the_caller_sees_no_difference_and_each_run_is_everywhere(tmp_path):
    with Everything(tmp_path) as world:
        graph = agent()
        assert unchanged(world.observer.watch(graph), graph) * RUNS == world.complete()


@backends
def test_a_server_that_takes_everything_gets_every_run_once(backend):
    graph = agent()
    with Server() as server:
        with Observer(BACKENDS[backend](server.url)) as observer:
            asked = unchanged(observer.watch(graph), graph)
        spans = [span.span_id for span in server.spans]
    assert len(set(spans)) == len(spans) == asked * RUNS


@backends
@pytest.mark.parametrize("status", [401, 429, 500])
def test_a_server_that_refuses_costs_the_spans_one_warning_and_a_count(backend, status, caplog):
    graph, sink = agent(), None
    with Server(status=status) as server:
        sink = BACKENDS[backend](server.url)
        with Observer(sink) as observer:
            asked = unchanged(observer.watch(graph), graph)
            assert observer.flush(10)
            assert health(observer, sink) | {"lost": asked * RUNS} == health(observer, sink)
    (line,) = about(server.url, caplog)
    assert "counted" in line


@backends
def test_a_server_that_is_down_costs_the_spans_one_warning_and_a_count(backend, caplog):
    url = nobody_listens()
    graph, sink = agent(), BACKENDS[backend](url)
    with Observer(sink) as observer:
        asked = unchanged(observer.watch(graph), graph)
        assert observer.flush(10)
        assert health(observer, sink)["lost"] == asked * RUNS
    (line,) = about(url, caplog)
    assert "counted" in line


@backends
def test_while_a_silent_server_holds_the_sinks_thread_the_agent_goes_on(backend, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    monkeypatch.setitem(BACKENDS, "langfuse", lambda url: langfuse.Traces(base_url=url, timeout=600, **KEYS))
    graph = agent()
    with Server(silent=True) as server:
        sink = BACKENDS[backend](server.url)
        observer = Observer(sink)
        observed = observer.watch(graph)
        observed.invoke(question())
        assert not observer.flush(0.3)
        until(lambda: server.requests)
        asked = unchanged(observed, graph)  # would take 600 seconds if it waited for any request
        assert len(server.requests) == 1
        sink.close(0.1)
        observer.close(0.1)
    if backend == "otlp":  # the SDK's exporter tries again for as long as the timeout says, shut down or not
        sink._given._active_span_processor._span_processors[0].span_exporter.shutdown()
    until(lambda: health(observer, sink)["lost"] == (1 + asked) * RUNS)


class Broken:
    """A sink that can do nothing right."""

    def __call__(self, record):
        raise RuntimeError(f"cannot take {record} with {KEYS['secret_key']}")

    def flush(self, timeout):
        raise OSError("cannot flush")

    def close(self, timeout):
        raise OSError("cannot close")

    def health(self):
        raise OSError("cannot tell")


def test_a_sink_that_raises_in_all_it_does_costs_itself_only(tmp_path, caplog):
    graph = agent()
    with Everything(tmp_path) as world, Observer(Broken(), world.records.append) as observer:
        runs = unchanged(observer.watch(graph), graph) * RUNS
        assert once(world.records, observer) == runs
        observer.flush(1)
        counts = observer.health()
        assert counts["test_survival.Broken"]["errors"] >= 2 * runs
        assert counts["list.append"] == {"errors": 0}
    assert len(ours(caplog)) == 2  # one for each kind of error


def test_a_built_in_as_a_sink_that_raises_is_counted_like_any_other():
    graph, seen = agent(), []
    observer = Observer([].remove, seen.append)  # ValueError: not in list
    runs = unchanged(observer.watch(graph), graph) * RUNS
    assert once(seen, observer) == runs
    assert observer.health()["list.remove"]["errors"] == 2 * runs


def test_a_deferred_sink_that_exits_loses_its_records_and_not_its_thread(caplog):
    def leave(record):
        raise SystemExit(1)

    graph = agent()
    sink = Deferred(leave, name="leaving")
    with Observer(sink) as observer:
        runs = unchanged(observer.watch(graph), graph) * RUNS
        assert observer.flush(10)
        assert sink.health() == {"queued": 0, "dropped": 0, "errors": 2 * runs}
    assert len(ours(caplog)) == 1


def test_a_processor_that_raises_lets_nothing_reach_a_sink(caplog):
    def fail(record):
        raise KeyError(record.input.value)

    graph, seen = agent(), []
    observer = Observer(seen.append, process=[fail])
    asked = unchanged(observer.watch(graph), graph)
    assert seen == []
    assert len(observer.tracker) == 0
    assert [counts["errors"] for name, counts in observer.health().items() if name.endswith("fail")] == [asked]  # a root, its tree
    assert len(ours(caplog)) == 1


def test_a_redaction_callback_that_raises_costs_the_content_and_leaks_nothing(tmp_path):
    def fail(key, value):
        if isinstance(value, str) and "Bergen" in value:
            raise ZeroDivisionError
        return value

    graph = agent()
    with Everything(tmp_path) as world:
        observer = Observer(*world.observer.sinks, process=[redact(callback=fail)])
        assert once(world.records, observer) == 0
        runs = unchanged(observer.watch(graph), graph) * RUNS
        assert observer.flush(10)
        assert once(world.records, observer) == runs
        assert {end.run.input.value for end in ended(world.records, "tool")} == {REDACTION_FAILED}
        told = str([span.attributes for span in world.spans.get_finished_spans()])
        assert REDACTION_FAILED in told
        assert "Bergen" not in told
        assert b"Bergen" not in (tmp_path / "traces.db-wal").read_bytes() + (tmp_path / "traces.db").read_bytes()


def test_a_store_on_a_full_disk_costs_one_warning_and_counted_records_and_goes_on_when_there_is_room(tmp_path, caplog):
    graph, sink = agent(), Store(tmp_path / "traces.db")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with Observer(sink) as observer:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_024, limits[1]))
            runs = unchanged(observer.watch(graph), graph) * RUNS
            assert observer.flush(10)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
        assert health(observer, sink)["dropped"] == 2 * runs
        assert len(ours(caplog)) == 1
        observer.watch(graph).invoke(question())
        assert observer.flush(10)
        assert health(observer, sink)["dropped"] == 2 * runs


@pytest.mark.parametrize("spoil", [lambda home: home.touch(), lambda home: home.mkdir()], ids=["no directory", "a directory"])
def test_a_store_that_cannot_be_made_costs_one_warning_and_counted_records(tmp_path, caplog, spoil):
    path = tmp_path / "home"
    spoil(path)
    graph, sink = agent(), Store(path / "traces.db" if path.is_file() else path)
    with Observer(sink) as observer:
        runs = unchanged(observer.watch(graph), graph) * RUNS
        assert observer.flush(10)
        assert health(observer, sink)["dropped"] == 2 * runs
    assert len(ours(caplog)) == 1


# -- the default Observer, from the environment


def python(code, home, **environment):
    """A new process with nothing but this environment. What it printed, and what it said on stderr."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LANGFUSE_", "OTEL_", "LANGGRAPH_", "XDG_"))}
    environment = {**clean, "HOME": str(home), "PYTHONPATH": os.pathsep.join(map(str, Path(__file__).parents[:2])), **environment}
    script = "from survival import *\nfrom langgraph_observe import CallbackHandler, observe, traces\ngraph = agent()\n"
    done = subprocess.run(
        [sys.executable, "-c", script + textwrap.dedent(code)],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def files(home):
    return [path for path in home.rglob("*") if path.is_file()]


def test_the_default_observer_writes_a_store_that_can_be_read_at_once_and_later(tmp_path):
    printed, said = python(
        """
        unchanged(observe(graph), graph)
        observe(graph).invoke(question())
        print(traces.last().name, traces.last().outcome, len(traces.last()), len(traces))
        """,
        tmp_path,
    )
    assert printed.split() == ["agent", "ok", str(RUNS), "9"]
    assert "WARNING" not in said
    again, _ = python("print(len(traces), traces.last().root.kind)", tmp_path)
    assert again.split() == ["9", "graph"]
    assert [path.name for path in files(tmp_path) if path.suffix == ".db"] == ["traces.db"]


def test_switched_off_the_graph_is_the_same_object_and_nothing_is_written(tmp_path):
    printed, said = python(
        """
        assert observe(graph) is graph
        handler = CallbackHandler()
        assert handler.ignore_chain and handler.ignore_chat_model
        graph.invoke(question(), {"callbacks": [handler]})
        print("well")
        """,
        tmp_path,
        LANGGRAPH_OBSERVE_ENABLED="false",
        LANGFUSE_SECRET_KEY="sk-lf-1",
    )
    assert (printed, said) == ("well\n", "")
    assert files(tmp_path) == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody who may not write")
def test_the_default_observer_on_a_read_only_home_costs_one_warning(tmp_path):
    printed, said = python(
        """
        unchanged(observe(graph), graph)
        print(len(traces))
        """,
        tmp_path,
        HOME="/proc",  # no directory can be made there, not even by root
    )
    assert printed == "0\n"
    (warning,) = [line for line in said.splitlines() if "run_finished" not in line]
    assert "/proc/.local/share/langgraph-observe/traces.db" in warning
    assert "recording goes on when" in warning


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"LANGFUSE_SECRET_KEY": KEYS["secret_key"]}, "LANGFUSE_PUBLIC_KEY"),
        ({"LANGFUSE_PUBLIC_KEY": "pk-lf-1"}, "LANGFUSE_SECRET_KEY"),
    ],
)
def test_half_a_pair_of_langfuse_keys_is_one_clear_warning_and_the_others_go_on(tmp_path, monkeypatch, caplog, given, missing):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    graph, observer = agent(), default(tmp_path, monkeypatch)
    unchanged(observer.watch(graph), graph)
    (line,) = ours(caplog)
    assert line == f"langfuse is left out: Langfuse needs {missing}"
    assert "langfuse.Traces" not in observer.health()
    assert observer.health()["store.Store"]["errors"] == 0
    observer.close()


def test_without_langfuse_keys_nothing_is_said(tmp_path, monkeypatch, caplog):
    observer = default(tmp_path, monkeypatch)
    assert (ours(caplog), "langfuse.Traces" in observer.health()) == ([], False)
    observer.close()


def test_wrong_langfuse_keys_are_one_clear_warning_and_never_in_a_log_line(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    graph = agent()
    with Server(status=401) as server:
        monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", KEYS["public_key"])
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", KEYS["secret_key"])
        monkeypatch.setenv("LANGFUSE_BASE_URL", server.url)
        observer = default(tmp_path, monkeypatch)
        asked = unchanged(observer.watch(graph), graph)
        assert observer.flush(10)
        assert observer.health()["langfuse.Traces"]["lost"] == asked * RUNS
        observer.close()
    (line,) = [line for line in ours(caplog) if "refused" in line]
    assert "check LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY" in line
    assert not [record for record in caplog.records if KEYS["secret_key"] in str(vars(record))]


def default(tmp_path, monkeypatch):
    """An Observer as the environment says, that keeps away from what the process shares."""
    monkeypatch.setenv("LANGGRAPH_OBSERVE_STORE", str(tmp_path / "traces.db"))
    monkeypatch.setattr(own, "_metrics", lambda: Metrics(registry=CollectorRegistry()))
    return Observer(*own._from_environment())
