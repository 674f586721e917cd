"""The rooms of the package, kept: who may import whom, what an import costs, names and sizes. The tables here are the design."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "langgraph_observe"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 450
"""Lines of a file; about 300 is the aim."""

ROOMS = {
    "payloads": set(),
    "records": {"payloads"},
    "shared": {"records"},
    "process": {"records", "payloads"},
    "sinks": {"records", "payloads"},
    "capture": {"records", "payloads", "observer"},
    "observer": {"records", "payloads", "shared", "capture", "process", "sinks"},
    "deploy": {"sinks.prometheus.catalog"},
    "explore": {"records", "payloads", "sinks.store.schema", "sinks.store.batch", "sinks.gen_ai", "sinks.content"},
}
"""What else of the package each room may import. Whoever is not named (the front door, the command line, the tests' tools) may all."""

SINKS = {
    "deferred": set(),
    "store": {"deferred", "encoding"},
    "prometheus": {"deferred"},
    "log": {"deferred"},
    "meter": {"around", "deferred", "gen_ai", "measures"},
    "measures": {"gen_ai"},
    "otel": {"around", "deferred", "content", "completion", "gen_ai", "ids", "lazy", "otlp", "shown"},
    "events": {"around", "deferred", "content", "gen_ai", "otlp", "shown"},
    "langfuse": {"around", "deferred", "gen_ai", "observation", "ingestion", "langfuse_sdk", "otel", "otlp"},
    # what sinks are made of: vocabularies and transports
    "around": set(),
    "gen_ai": set(),
    "encoding": set(),
    "content": {"encoding", "gen_ai"},
    "observation": {"encoding", "gen_ai", "content"},
    "langfuse_sdk": {"gen_ai"},
    "shown": set(),
    "completion": {"content"},
    "ids": {"gen_ai"},
    "lazy": set(),
    "otlp": set(),
    "ingestion": {"otlp"},
}
"""What each sink may import of its neighbours: never another sink, but langfuse → otel."""

HOSTS = {"capture", "testing", "demo"}
"""Where LangChain and LangGraph are known by name; types alone also in the observer."""

BACKENDS = {
    "langfuse",
    "prometheus_client",
    "opentelemetry.sdk",
    "genai_prices",
    "tiktoken",
    "sqlite3",
    "rich",
    "fastapi",
    "httpx",
    "pandas",
}
NAMELESS = {"utils", "util", "common", "core", "base", "helpers", "helper", "manager", "misc"}


class Import(NamedTuple):
    file: str
    """Within the package, as `sinks/otel.py`."""
    target: str
    """As `langgraph_observe.sinks.gen_ai`: what is imported from a module counts as a part of it."""
    typing: bool
    """Only for a type checker."""

    @property
    def room(self) -> str:
        return self.file.partition("/")[0].removesuffix(".py")

    @property
    def sink(self) -> str:
        return self.file.split("/")[1].removesuffix(".py")

    @property
    def within(self) -> str | None:
        """The target inside the package, as `sinks.gen_ai`; None for another's."""
        package, _, rest = self.target.partition(".")
        return rest if package == "langgraph_observe" else None


def imports(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text())
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    typing = {id(inner) for node in guarded for inner in chain.from_iterable(map(ast.walk, node.body))}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                targets = [name.name for name in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                targets = ["." * level + ".".join(filter(None, (module, name.name))) for name in names]
            case _:
                continue
        yield from (Import(path.relative_to(PACKAGE).as_posix(), target, id(node) in typing) for target in targets)


IMPORTS = [found for path in FILES for found in imports(path)]


def among(target: str, allowed: set[str]) -> bool:
    return any(target == one or target.startswith(f"{one}.") for one in allowed)


def test_the_walk_sees_the_imports():
    """Or all rules below would hold of nothing."""
    assert Import("records.py", "langgraph_observe.payloads.Lazy", typing=False) in IMPORTS
    assert Import("records.py", "decimal.Decimal", typing=True) in IMPORTS
    assert Import("sinks/langfuse.py", "langgraph_observe.sinks.gen_ai", typing=False) in IMPORTS


def test_imports_are_absolute():
    assert [found for found in IMPORTS if found.target.startswith(".")] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_the_rooms_that_it_may(room):
    own = [found for found in IMPORTS if found.room == room and found.within is not None]
    assert [found for found in own if not among(found.within, ROOMS[room] | {room})] == []


def test_records_and_payloads_need_the_standard_library_only():
    others = [found for found in IMPORTS if found.room in {"records", "payloads"} and found.within is None]
    assert [found for found in others if found.target.partition(".")[0] not in sys.stdlib_module_names] == []


def test_the_host_is_known_to_capture_only():
    hosts = ("langchain", "langgraph", "langsmith")
    named = [found for found in IMPORTS if found.within is None and found.target.startswith(hosts)]
    elsewhere = [found for found in named if found.room not in HOSTS]
    assert [found for found in elsewhere if not (found.typing and found.room == "observer")] == []


def test_no_sink_knows_another():
    inner = [found for found in IMPORTS if found.room == "sinks" and (found.within or "").startswith("sinks.")]
    assert [
        found for found in inner if not among(found.within, {f"sinks.{name}" for name in SINKS[found.sink] | {found.sink}})
    ] == []


def test_every_sink_is_in_the_table():
    parts = {
        path.relative_to(PACKAGE / "sinks").parts[0].removesuffix(".py") for path in FILES if path.is_relative_to(PACKAGE / "sinks")
    }
    assert parts - {"__init__"} == set(SINKS)


def loaded(*statements: str) -> set[str]:
    """The modules that a new interpreter has after these statements, and not before."""
    code = "\n".join(
        ("import sys, json", "before = set(sys.modules)", *statements, "print(json.dumps(sorted(set(sys.modules) - before)))")
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_imports_nobody_else():
    found = loaded("import langgraph_observe")
    assert "langgraph_observe.observer" in found
    assert {name for name in found if name.partition(".")[0] not in {*sys.stdlib_module_names, "langgraph_observe"}} == set()
    assert found & BACKENDS == set()


def test_the_handler_costs_no_backend_beyond_what_langgraph_itself_loads():
    ours = loaded("import langgraph.graph", "from langgraph_observe import CallbackHandler, observe") - loaded(
        "import langgraph.graph"
    )
    assert "langgraph_observe.capture.handler" in ours
    assert ours & BACKENDS == set()


def test_nothing_is_called_by_a_name_that_says_nothing():
    names = {part.removesuffix(".py") for path in FILES for part in path.relative_to(PACKAGE).parts}
    assert names & NAMELESS == set()


def test_no_file_is_too_long_to_be_read():
    lengths = {path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
