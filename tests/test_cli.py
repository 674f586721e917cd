"""The command line, as a newcomer types it."""

import io
import os
import re
import subprocess
import sys

import pytest

from langgraph_observe import cli


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "traces.db")


def run(*arguments, stdout=subprocess.PIPE, **environment):
    """The command in a process of its own, with no network beyond this machine needed."""
    return subprocess.run(
        [sys.executable, "-m", "langgraph_observe", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding=environment.get("PYTHONIOENCODING", "utf-8"),
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


@pytest.fixture
def damaged(tmp_path):
    path = tmp_path / "bad.db"
    path.write_text("dear diary " * 100)
    return str(path)


def test_the_demo_shows_trees_totals_metrics_and_where_they_are(store, capsys):
    assert cli.main(["demo", "--store", store]) == 0
    out, err = capsys.readouterr()

    assert err == ""
    for expected in (
        "✓ travel_agent",
        "✓ tool weather",
        "gpt-4.1-mini",
        "first token",
        "node write_section",
        "⏸ refund_desk",
        "⏸ node approve",
        "4 traces, 27 runs, 6 model calls, 39 + 63 tokens, $",
        'langgraph_interrupts_total{graph="refund_desk",reason="interrupt"} 1.0',
        f"Stored in {store}",
        "traces.last()",
    ):
        assert expected in out
    assert out.count("node write_section") == 3


def test_traces_lists_and_show_draws_what_the_demo_stored(store, capsys):
    cli.main(["demo", "--store", store])
    capsys.readouterr()

    assert cli.main(["traces", "--store", store]) == 0
    listed = capsys.readouterr().out
    assert all(graph in listed for graph in ("travel_agent", "report_writer", "refund_desk", "interrupted"))
    assert cli.main(["show", "last", "--store", store]) == 0
    assert "node send" in capsys.readouterr().out


def test_a_trace_that_is_not_there_is_a_message_and_not_a_traceback(store, capsys):
    assert cli.main(["show", "ffff", "--store", store]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("langgraph-observe: ")
    assert "Traceback" not in err + out


def test_the_demo_sends_its_spans_to_an_otlp_endpoint(store):
    from otlp_server import Server

    with Server() as server:
        out = run("demo", "--store", store, "--otlp", server.url)

    assert out.returncode == 0, out.stderr
    assert out.stderr == ""
    names = [span.name for request in server.requests for span in request.spans]
    assert len(names) == 27
    assert {"invoke_workflow travel_agent", "chat gpt-4.1-mini", "execute_tool weather", "invoke_node approve"} <= set(names)


def test_the_demo_says_that_langfuse_s_keys_are_missing(store):
    out = run("demo", "--store", store, "--langfuse")

    assert out.returncode == 1
    assert "LANGFUSE_PUBLIC_KEY" in out.stderr
    assert "Traceback" not in out.stderr


def test_the_demo_says_what_an_endpoint_did_not_take(store):
    out = run("demo", "--store", store, "--otlp", "http://127.0.0.1:9")

    assert out.returncode == 1
    assert "Not everything was delivered" in out.stderr


@pytest.mark.parametrize("off", ["off", "OFF", "False", "0", "no"])
def test_with_the_store_off_the_demo_keeps_nothing_and_says_so(off, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LANGGRAPH_OBSERVE_STORE", off)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    assert cli.main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert "4 traces, 27 runs" in out
    assert "Stored in" not in out
    assert err == "not stored: LANGGRAPH_OBSERVE_STORE is off\n"
    assert cli.main(["traces"]) == 0
    assert capsys.readouterr().out == "no traces in memory\n"
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_costs_the_demo_its_store_only():
    out = run("demo", HOME="/proc/x", XDG_DATA_HOME="", LANGGRAPH_OBSERVE_STORE="")

    assert out.returncode == 0
    assert "4 traces, 27 runs" in out.stdout
    assert "Stored in" not in out.stdout
    assert "not stored: /proc/x/.local/share/langgraph-observe/traces.db" in out.stderr


def test_no_home_at_all_costs_the_demo_its_store_only(monkeypatch, capsys):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("LANGGRAPH_OBSERVE_STORE")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", nowhere)

    assert cli.main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert "4 traces, 27 runs" in out
    assert err == "not stored: Could not determine home directory.\n"


@pytest.mark.parametrize("command", [["traces"], ["show", "last"], ["show", "ab"]])
def test_a_file_that_is_no_store_is_an_error_and_not_an_answer(command, damaged, capsys):
    assert cli.main([*command, "--store", damaged]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"langgraph-observe: {damaged} is damaged or no store at all: move it away, or open another\n"


@pytest.mark.parametrize("command", [["demo"], ["traces"], ["show", "last"]])
def test_nobody_s_home_directory_is_an_error_and_not_a_traceback(command, capsys):
    assert cli.main([*command, "--store", "~no-such-user/traces.db"]) == 1
    assert "home directory" in capsys.readouterr().err


def test_the_demo_shows_its_trees_although_the_file_asked_for_takes_none(damaged, capsys):
    assert cli.main(["demo", "--store", damaged]) == 1
    out, err = capsys.readouterr()
    assert "4 traces, 27 runs" in out
    assert f"not stored: {damaged}" in err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_our_marks_shows_the_trees_all_the_same(encoding, store):
    demo = run("demo", "--store", store, PYTHONIOENCODING=encoding)
    shown = run("show", "last", "--store", store, PYTHONIOENCODING=encoding)

    assert (demo.returncode, demo.stderr) == (0, "")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines()[-1].startswith("?? ? node send ")


def test_a_stdout_that_is_no_stream_of_bytes_will_do(store, monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert cli.main(["traces", "--store", store]) == 0
    assert sys.stdout.getvalue() == f"no traces in {store}\n"


@pytest.mark.parametrize("command", [["traces"], ["show", "last"]])
def test_a_reader_that_has_gone_ends_it_quietly(command, store, capsys):
    cli.main(["demo", "--store", store])
    reading, writing = os.pipe()
    os.close(reading)
    out = run(*command, "--store", store, stdout=writing, PYTHONUNBUFFERED="")
    os.close(writing)

    assert (out.returncode, out.stderr) == (1, "")


@pytest.mark.parametrize("environment", [{"COLUMNS": "20", "NO_COLOR": "1"}, {"COLUMNS": "20", "FORCE_COLOR": "1"}])
def test_a_narrow_terminal_breaks_no_tree(environment, store, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cli.main(["demo", "--store", store])
    capsys.readouterr()

    assert cli.main(["show", "last", "--store", store]) == 0
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in capsys.readouterr().out.splitlines()]
    assert [line.partition(" ·")[0] for line in lines] == [
        "✓ refund_desk",
        "✓ graph refund_desk",
        "├─ ✓ node approve",
        "└─ ✓ node send",
    ]
