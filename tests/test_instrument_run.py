"""Programs that know nothing of us, run by `langgraph-observe run` and by `opentelemetry-instrument`."""

import json
import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from langgraph_observe import traces

PYTHON = [sys.executable]
OURS = [sys.executable, "-m", "langgraph_observe", "run"]
ROOT = Path(__file__).parents[1]
AGENT = """
    from typing import TypedDict
    from langgraph.graph import START, StateGraph
    from langgraph_observe.testing import ScriptedModel  # no more than a model with a script

    model = ScriptedModel(respond=lambda _: "well said")
    builder = StateGraph(TypedDict("State", {"x": str}))
    builder.add_node("speak", lambda _: {"x": model.invoke("q").text})
    builder.add_edge(START, "speak")
    graph = builder.compile(name="speaker")


    def talk():
        model.invoke("q")
"""
RUNS = ["graph speaker", "node speak", "model ScriptedModel"]


@pytest.fixture
def place(tmp_path):
    """Where the programs are: `agent.py`, a package `pack`, and what the test writes."""
    write(tmp_path / "agent.py", AGENT)
    write(tmp_path / "pack" / "__init__.py", "")
    write(tmp_path / "pack" / "__main__.py", PROGRAM)
    write(tmp_path / "program.py", PROGRAM)
    return tmp_path


def write(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text))


def run(command, place, *more, **environment):
    """The finished process, in an environment that says nothing but where to find us and where to store."""
    given = {"PATH": os.defpath, "HOME": str(place), "LANGSMITH_TRACING": "false", "PYTHONPATH": f"{ROOT}", **environment}
    return subprocess.run(
        [*command, *more], cwd=place, env=given | {"LANGGRAPH_OBSERVE_STORE": str(place / "traces.db")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def recorded(place):
    """The runs of each trace in the store."""
    return sorted([f"{run.kind} {run.name}" for run in trace] for trace in traces.open(place / "traces.db"))


PROGRAM = """
    import os, signal, sys, __main__

    print(sys.argv, sys.path[0], __name__, __file__, __spec__ and __spec__.name, __main__.__dict__ is globals(), sorted(globals()))
    print("never imported" if "langchain_core" not in sys.modules else "imported")
    match sys.argv[1:]:
        case ["exit", *_]:
            sys.exit(7)
        case ["fail", *_]:
            raise ValueError("of the program's own")
        case ["killed"]:
            os.kill(os.getpid(), signal.SIGTERM)
        case ["interrupted"]:
            os.kill(os.getpid(), signal.SIGINT)
        case ["asked"]:
            print(input())
"""
CALLS = (
    ["program.py"],
    ["program.py", "a", "-m", "--help", "--", "-x"],
    ["program.py", "exit"],
    ["program.py", "fail"],
    ["program.py", "killed"],
    ["program.py", "interrupted"],
    ["program.py", "asked"],
    ["-m", "pack", "exit", "--store"],
    ["-m", "pack.nothing"],
    ["pack"],
    ["nothing.py"],
)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_program_cannot_tell_it_from_python(place, call):
    plain, ours = (run(command, place, *call) for command in (PYTHON, OURS))
    assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)


def test_what_the_program_runs_is_in_the_store_however_it_ends(place):
    write(place / "ends.py", "import sys, agent\nagent.graph.invoke({'x': ''})\nagent.model.invoke('q')\nraise SystemExit(3)")
    done = run(OURS, place, "ends.py")
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    assert recorded(place) == [RUNS, ["model ScriptedModel"]]


def test_processes_that_the_program_starts_are_observed_too(place):
    write(
        place / "family.py",
        """
        import multiprocessing, os, subprocess, sys
        import agent

        if __name__ == "__main__":
            agent.graph.invoke({"x": ""})
            for method in ("spawn", "fork"):
                child = multiprocessing.get_context(method).Process(target=agent.talk)
                child.start()
                child.join()
                assert child.exitcode == 0
            subprocess.run([sys.executable, "-c", "import agent; agent.talk()"], check=True)
        """,
    )
    done = run(OURS, place, "family.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert recorded(place) == [RUNS, *[["model ScriptedModel"]] * 3]


def test_the_machine_s_own_sitecustomize_is_not_lost(place):
    write(place / "site" / "sitecustomize.py", "import builtins, sys\nbuiltins.customized = sys.path[:]")
    write(
        place / "asks.py",
        "import sys, sitecustomize, agent\nprint(sitecustomize.__file__, customized == sys.path[1:])\nagent.model.invoke('q')",
    )
    done = run(OURS, place, "asks.py", PYTHONPATH=f"{place / 'site'}:{ROOT}")
    assert (done.stdout, done.stderr) == (f"{place / 'site' / 'sitecustomize.py'} True\n", "")
    assert recorded(place) == [["model ScriptedModel"]]


# -- opentelemetry-instrument


def installed(place, name, entry_points):
    """A distribution with these entry points. The first of a name on the path counts, so it stands before the installed one."""
    groups = (f"[{group}]\n" + "\n".join(f"{key} = {value}" for key, value in keys.items()) for group, keys in entry_points.items())
    write(place / f"{name}-0.dist-info" / "entry_points.txt", "\n".join(groups))
    write(place / f"{name}-0.dist-info" / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0\n")


def spans(text):
    """The spans that the SDK's console exporter has printed."""
    decoder, found = json.JSONDecoder(), []
    while text.strip():
        span, end = decoder.raw_decode(text.lstrip())
        found.append(span)
        text = text.lstrip()[end:]
    return found


@pytest.mark.parametrize("disabled", [False, True], ids=["as it is", "disabled by name"])
def test_opentelemetry_instrument_sends_the_runs_to_the_provider_that_it_sets_up(place, disabled):
    """Its own exporter, its own resource; the program has no word of it, nor of us."""
    installed(place, "langgraph_observe", tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"])
    installed(place, "a_distro", {"opentelemetry_configurator": {"sdk": "opentelemetry.sdk._configuration:_OTelSDKConfigurator"}})
    write(place / "calls.py", "import agent\nagent.graph.invoke({'x': ''})")
    switches = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    if disabled:
        switches["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = "langgraph_observe"
    command = [str(Path(sys.executable).parent / "opentelemetry-instrument"), *PYTHON]
    done = run(command, place, "calls.py", PYTHONPATH=f"{place}:{ROOT}", OTEL_SERVICE_NAME="desk", **switches)

    assert (done.returncode, done.stderr) == (0, "")
    told = {span["name"]: span for span in spans(done.stdout)}
    if disabled:
        assert told == {}
        return
    assert set(told) == {"invoke_workflow speaker", "invoke_node speak", "chat scripted-1"}
    assert {span["resource"]["attributes"]["service.name"] for span in told.values()} == {"desk"}
    assert recorded(place) == [RUNS]
