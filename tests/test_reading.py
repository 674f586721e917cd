"""The commands that read: traces with filters, show, tail, top, export, prune; and doctor."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from langfuse_server import KEYS, Langfuse
from otlp_server import Server

from langgraph_observe import Observer, cli, demo, doctor
from langgraph_observe.explore import StoreFile, Traces
from langgraph_observe.payloads import Lazy
from langgraph_observe.records import Finished, Started, Usage
from langgraph_observe.sinks.store import Store
from langgraph_observe.sinks.store.writer import Writer

HOSTILE = "\x1b]0;title\x07\u202e\x00"
DAY_NS = 86_400 * 10**9


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The demo's four traces."""
    path = tmp_path_factory.mktemp("store") / "traces.db"
    with Observer(Store(path)) as observer:
        demo.run(observer)
    return str(path)


@pytest.fixture
def said(capsys):
    """Runs a command; its exit code and what it printed."""

    def run(*arguments):
        code = cli.main([str(one) for one in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


def ended(trace, **over):
    run = {
        "id": trace,
        "root_id": trace,
        "trace_id": trace,
        "span_id": f"{trace}1",
        "kind": "graph",
        "name": "g",
        "at_ns": time.time_ns(),
    }
    usage = over.pop("usage", None)
    return Finished(run=Started(**run | over), outcome="ok", seconds=0.1, measured=Lazy(usage))


def stored(path, *records):
    writer = Writer(path, keep_days=None, keep_bytes=None, busy_seconds=5.0)
    writer.write(records)
    writer.close()
    return path


@pytest.mark.parametrize(
    ("asked", "graphs"),
    [
        ([], {"travel_agent", "report_writer", "refund_desk"}),
        (["--tool", "weather"], {"travel_agent"}),
        (["--outcome", "interrupted"], {"refund_desk"}),
        (["--text", "lisbon", "--since", "1h"], {"travel_agent"}),
        (["--min-cost", "0.0003"], {"report_writer"}),
        (["--node", "write_section"], {"report_writer"}),
        (["-n", "1"], {"refund_desk"}),
    ],
)
def test_traces_are_listed_by_what_is_wanted(said, kept, asked, graphs):
    code, out, _ = said("traces", "--store", kept, *asked)
    assert code == 0
    assert {line.split()[2] for line in out.splitlines()[1:-1]} == graphs


def test_a_filter_that_is_none_is_a_message(said, kept):
    assert said("traces", "--store", kept, "--since", "soon")[::2] == (
        1,
        "langgraph-observe: 'soon' is no period: give a number and one of s, m, h, d, w, as '2h', or a day, as '2026-11-21'\n",
    )
    assert "-3 traces" in said("traces", "--store", kept, "-n-3")[2]


@pytest.mark.parametrize("kind", ["jsonl", "otlp"])
def test_what_is_exported_is_read_again(said, kept, tmp_path, kind):
    target = tmp_path / "out.jsonl"
    assert said("export", kind, "--store", kept, "-o", target) == (0, "", "")
    before = [line.replace(kept, "") for line in said("traces", "--store", kept)[1].splitlines()]
    after = [line.replace(str(target), "") for line in said("traces", "--from", target)[1].splitlines()]
    assert after == before
    assert said("show", "last", "--from", target)[1] == said("show", "last", "--store", kept)[1]


def test_one_trace_is_exported(said, kept):
    lines = said("export", "otlp", "last", "--store", kept)[1].splitlines()
    assert [len(json.loads(line)["resourceSpans"]) for line in lines] == [1]
    assert said("export", "html", "--store", kept)[1].startswith("<!doctype html>")
    assert len(said("export", "jsonl", "-n", "1", "--store", kept)[1].splitlines()) == 4  # three runs, and that it goes on


def test_runs_are_exported_as_a_table(said, kept):
    out = said("export", "csv", "--store", kept, "--graph", "travel_agent")[1].splitlines()
    assert out[0].startswith("trace,span,parent_span,run,kind,name")
    assert len(out) == 11
    assert said("export", "csv", "last", "--store", kept)[0] == 1


def test_prune_forgets_what_is_old(said, tmp_path):
    old = time.time_ns() - 40 * DAY_NS
    path = stored(tmp_path / "t.db", *[ended(f"old{n}", at_ns=old) for n in range(40)], ended("new"))
    assert said("prune", "--store", path, "--older-than", "30d")[1].startswith("40 of 41 traces forgotten.")
    assert [trace.id for trace in Traces(StoreFile(path))] == ["new"]
    assert said("prune", "--store", path, "--keep", "1K")[1].startswith("1 of 1 traces forgotten.")


def test_prune_wants_to_be_told_how_much_and_where(said, tmp_path, kept):
    assert "how much?" in said("prune", "--store", kept)[2]
    assert "there is no store at" in said("prune", "--store", tmp_path / "none.db", "--keep", "1G")[2]
    for wrong in (["--older-than", "old"], ["--keep", "some"]):
        with pytest.raises(SystemExit):
            cli.main(["prune", *wrong])
    assert len(Traces(StoreFile(kept))) == 4


def until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_tail_tells_what_comes_until_it_is_interrupted(tmp_path):
    path, told = stored(tmp_path / "t.db", ended("a")), tmp_path / "out"
    with told.open("w") as out:
        tail = subprocess.Popen(
            [sys.executable, "-m", "langgraph_observe", "tail", "--store", path], stdout=out, stderr=subprocess.PIPE, env=os.environ
        )
        until(lambda: len(told.read_text().splitlines()) == 1)
        stored(path, ended("b", name=HOSTILE))
        until(lambda: len(told.read_text().splitlines()) == 2)
        tail.send_signal(signal.SIGINT)
        _, err = tail.communicate(timeout=60)
    assert (tail.returncode, err) == (0, b"")
    assert not set(told.read_text()) & set(HOSTILE) - {"0", ";"} - set("]title")
    assert "\\x1b]0;title" in told.read_text()


def test_top_shows_tables_until_it_is_interrupted(kept, monkeypatch, capsys):
    def ctrl_c(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("langgraph_observe.explore.live.watch.__kwdefaults__", {**_watch_defaults(), "sleep": ctrl_c})
    assert cli.main(["top", "--store", kept, "--since", "1h"]) == 0
    out = capsys.readouterr().out
    assert [word for word in ("nodes", "models", "tools") if f"{word}\n" in out.replace(" \n", "\n")] == [
        "nodes",
        "models",
        "tools",
    ]
    assert "gpt-4.1-mini" in out


def _watch_defaults():
    from langgraph_observe.explore.live import watch

    return watch.__kwdefaults__


def test_doctor_finds_nothing_wrong_with_a_new_machine(said, monkeypatch, tmp_path):
    monkeypatch.setenv("LANGGRAPH_OBSERVE_STORE", str(tmp_path / "t.db"))
    code, out, err = said("doctor")
    assert (code, err) == (0, "")
    assert "langgraph-observe 0." in out
    assert "nothing recorded yet" in out
    assert out.count("not configured") == 2


@pytest.mark.parametrize(
    ("found", "words"), [((3, 40, 1), "WAL-reset bug"), ((3, 51, 2), "WAL-reset bug"), ((3, 51, 3), "3.40"), ((3, 6, 0), "3.40")]
)
def test_doctor_knows_sqlite_s_bug(monkeypatch, found, words):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", found)
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.40")
    (finding,) = doctor._sqlite()
    assert words in finding.words
    assert ("bug" in finding.words) == ("bug" in words)


def test_doctor_names_what_is_broken(said, monkeypatch, tmp_path):
    damaged = tmp_path / "bad.db"
    damaged.write_text("dear diary " * 100)
    monkeypatch.setenv("LANGGRAPH_OBSERVE_STORE", str(damaged))
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://ada:secret@127.0.0.1:9")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "none"))
    code, out, _ = said("doctor")
    broken = {line.split()[1] for line in out.splitlines() if line.startswith("✖")}
    assert (code, broken) == (1, {"store", "langfuse", "otlp", "prometheus"})
    assert "secret" not in out


def test_doctor_asks_the_backends(said, monkeypatch, tmp_path):
    monkeypatch.setenv("LANGGRAPH_OBSERVE_STORE", "off")
    with Langfuse() as langfuse, Server() as collector:
        for name, value in {"PUBLIC_KEY": KEYS["public_key"], "SECRET_KEY": KEYS["secret_key"], "BASE_URL": langfuse.url}.items():
            monkeypatch.setenv(f"LANGFUSE_{name}", value)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=abc")
        code, out, _ = said("doctor")
        (request,) = collector.requests
        assert (request.path, request.headers["authorization"], request.spans) == ("/v1/traces", "abc", [])
        collector.status = 403
        assert "answers with status 403" in said("doctor")[1]
        monkeypatch.setenv("LANGFUSE_SECRET_KEY", "wrong")
        assert "does not let us in (401): look at LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY" in said("doctor")[1]
    assert code == 0
    assert "answers, and takes the keys" in out
    assert "takes spans" in out
    assert "! store" in out


def test_doctor_tells_models_without_usage_and_without_price(said, monkeypatch, tmp_path):
    def call(trace, **usage):
        return ended(trace, kind="model", model=trace, provider="own", usage=Usage(**usage) if usage else None)

    path = stored(tmp_path / "t.db", call("mute"), call("guessed", input_tokens=5, estimated=True), call("known", input_tokens=5))
    monkeypatch.setenv("LANGGRAPH_OBSERVE_STORE", str(path))
    code, out, _ = said("doctor")
    assert code == 0
    assert [line.split()[2] for line in out.splitlines() if line.startswith("! tokens")] == ["mute:", "guessed:"]
    assert len([line for line in out.splitlines() if line.startswith("! prices")]) == 3


def test_an_export_never_costs_what_was_there(said, kept, tmp_path):
    source, page = tmp_path / "all.jsonl", tmp_path / "out.html"
    said("export", "jsonl", "--store", kept, "-o", source)
    before = source.read_bytes()
    for target in (source, tmp_path / "link.jsonl"):
        target.exists() or target.symlink_to(source)
        code, _, err = said("export", "jsonl", "--from", source, "-o", target)
        assert (code, "where the traces are read from" in err, source.read_bytes()) == (1, True, before)
    page.write_text("mine")
    page.chmod(0o600)
    assert said("export", "html", "nosuch", "--from", source, "-o", page)[0] == 1
    assert page.read_text() == "mine"
    assert said("export", "html", "--from", source, "-o", page)[0] == 0
    assert (page.read_text()[:9], page.stat().st_mode & 0o777) == ("<!doctype", 0o600)
    assert not list(tmp_path.glob("*.part"))


def test_an_export_through_a_link_and_into_a_pipe_goes_where_they_lead(said, kept, tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert said("export", "csv", "--store", kept, "-o", tmp_path / "link.csv")[0] == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("trace,")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert said("export", "jsonl", "-n", "1", "--store", kept, "-o", tmp_path / "pipe")[0] == 0
    assert os.read(reader, 9) == b'{"finishe'
    os.close(reader)


def test_an_export_of_one_page_takes_no_number_of_traces(said, kept):
    assert "html is of one trace" in said("export", "html", "-n", "5", "--store", kept)[2]


def test_prune_says_what_keeps_it_from_forgetting(said, tmp_path, monkeypatch):
    monkeypatch.setattr("langgraph_observe.reading.BUSY", 0.1)
    path = stored(tmp_path / "t.db", ended("a", at_ns=time.time_ns() - DAY_NS))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        code, out, err = said("prune", "--store", path, "--older-than", "1h")
    assert (code, out, err) == (1, "", f"langgraph-observe: {path}: another program keeps it locked\n")
    assert said("prune", "--store", path, "--older-than", "1h")[0] == 0


@pytest.mark.parametrize("nothing", [["--older-than", "0h"], ["--keep", "0"]])
def test_prune_may_forget_all(said, tmp_path, nothing):
    path = stored(tmp_path / "t.db", ended("a"))
    assert said("prune", "--store", path, *nothing)[1].startswith("1 of 1 traces forgotten.")
    assert "there is no store at" in said("prune", "--store", tmp_path / "none.db", *nothing)[2]


@pytest.mark.parametrize(
    "asked",
    [
        ["traces", "--min-cost", "inf"],
        ["traces", "--since", "9" * 20 + "w"],
        ["traces", "-n", "9" * 20],
        ["tail", "--last", "-3"],
        ["prune", "--older-than", "9" * 400 + "d"],
    ],
)
def test_a_number_that_nobody_can_mean_is_a_message(said, kept, asked):
    code, _, err = said(*asked, "--store", kept)
    assert (code, err.startswith("langgraph-observe: ")) == (1, True)


@pytest.mark.parametrize("asked", [["top", "--every", "0"], ["top", "--every", "-1"], ["traces", "--outcome", "erorr"]])
def test_an_option_that_cannot_be_is_a_wrong_call(capsys, asked):
    with pytest.raises(SystemExit) as wrong:
        cli.main(asked)
    assert wrong.value.code == 2


def test_doctor_knows_a_file_from_a_directory(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LANGGRAPH_OBSERVE_STORE", str(tmp_path / "file" / "t.db"))
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "file"))
    assert [one.mark for one in (*doctor._store(), *doctor._prometheus())] == ["✖", "✖"]


def test_doctor_reads_the_price_file(monkeypatch, tmp_path):
    assert list(doctor._prices()) == []
    for path, content in ((tmp_path / "none.toml", None), (tmp_path / "bad.toml", "[[")):
        _ = content and path.write_text(content)
        monkeypatch.setenv("LANGGRAPH_OBSERVE_PRICES", str(path))
        (found,) = doctor._prices()
        assert (found.mark, path.name in found.words) == ("✖", True)


@pytest.mark.parametrize(
    ("name", "word"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("LANGFUSE_TRACING_ENABLED", "False")]
)
def test_doctor_asks_nobody_to_whom_nothing_is_to_be_sent(monkeypatch, name, word):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk")
    monkeypatch.setenv(name, word)
    (found,) = doctor._langfuse() if name.startswith("LANGFUSE") else doctor._otlp()
    assert (found.mark, name in found.words) == ("!", True)


@pytest.mark.parametrize("headers", ["garbage-s3cret", "a=b,garbage-s3cret"])
def test_doctor_keeps_the_secret_of_a_header_that_is_none(said, monkeypatch, caplog, headers):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    code, out, err = said("doctor")
    assert (code, "✖ otlp" in out) == (1, True)
    assert "a part that is not NAME=VALUE" in out
    assert "s3cret" not in out + err + caplog.text
