"""The benchmarks cannot rot: the harness runs here, with our own arms only, small and without a look at the time it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"


def ran(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A script of the benchmarks, as it is run by hand."""
    command = [sys.executable, BENCHMARKS / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One round of two workloads: what was printed, and the data behind it."""
    file = tmp_path_factory.mktemp("benchmarks") / "samples.json"
    arms = "empty,ours: store,ours: all"
    done = ran("run.py", "--arms", arms, "--workloads", "anodes,agent,memory", "--repeats", 1, "--runs", 40, "--json", file)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


def test_the_table_has_a_figure_for_every_arm_and_workload(measured):
    printed, _ = measured
    costs = printed.split("\n\n")[0].splitlines()
    assert [line.split("  ")[0] for line in costs[-3:]] == ["empty handler", "ours: store", "ours: all of them"]
    assert all(line.count("(") == 2 for line in costs[-3:])


def test_whatever_an_agent_says_is_recorded_and_nothing_is_dropped(measured):
    _, data = measured
    for arm in ("ours: store", "ours: all of them"):
        told = data["recorded"][arm]["agent"]
        assert {name: told[name] for name in ("spans", "nodes", "models", "tools", "tokens", "texts", "dropped")} == {
            "spans": 34,
            "nodes": 11,
            "models": 6,
            "tools": 10,
            "tokens": 6 * 77,
            "texts": 17,
            "dropped": 0,
        }


def test_as_much_comes_of_many_calls_as_of_one(measured):
    _, data = measured
    for arm in ("ours: store", "ours: all of them"):
        (sample,) = data["samples"][arm]["agent"]
        assert sample["spans"] == 5 * data["recorded"][arm]["agent"]["spans"]


def test_the_memory_is_measured_of_each_arm(measured):
    _, data = measured
    assert data["memory"].keys() == {"empty handler", "ours: store", "ours: all of them"}
    assert all(left["dropped"] == 0 for left in data["memory"].values())


def test_what_never_came_is_told_beside_the_time(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from results import Results

    results = Results()
    results.recorded["x"]["aagent"] = {"events": 68, "spans": 34}
    costs = {"cost": {"process": 0.4, "all": 0.5, "wall": 0.6}, "base": {"process": 0.1, "all": 0.1, "wall": 0.1}}
    results.samples["x"]["tasks"] = [{**costs, "spans": 34 * 180}]
    assert results.cell("x", "tasks") == "4.00 (5.00) !10%"


def test_a_worker_that_dies_is_named_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from asked import Asked

    with (tmp_path / "log").open("w") as log, Asked(Path(sys.executable), "no such arm", log) as worker:
        assert worker.begun() == {"error": "crashed"}
        assert worker.ask("recorded", "nodes") == {"error": "crashed"}


def test_growth_is_drawn(tmp_path):
    done = ran("growth.py", "--only", "runs", "--runs", 1_000, "--charts", tmp_path)
    assert done.returncode == 0, done.stderr
    drawn = ET.parse(tmp_path / "growth-runs.svg").getroot()
    assert {"write a run", "list the last 20"} <= {text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")}


def test_a_soak_with_faults_in_every_sink_leaves_nothing_open():
    done = ran("soak.py", "--minutes", 0, "--runs", 150, "--limit", 1_000_000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Raising errors" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("nothing is open, every fault is counted")
