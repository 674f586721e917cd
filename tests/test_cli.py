"""The command line, as a newcomer types it."""

import os
import subprocess
import sys

import pytest

from langgraph_observe import cli


@pytest.fixture
def store(tmp_path):
    return str(tmp_path / "traces.db")


def run(*arguments):
    """The command in a process of its own, with no network beyond this machine needed."""
    return subprocess.run(
        [sys.executable, "-c", "import sys; from langgraph_observe.cli import main; sys.exit(main())", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ,
    )


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

    assert out.returncode == 0
    assert "Not everything was delivered" in out.stderr
