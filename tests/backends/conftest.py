"""One visit to each backend that is there; and, under `pytest -s`, a table of what they show."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from backends.limits import LIMITS
from backends.mlflow_pages import Mlflow
from backends.phoenix_pages import Phoenix
from backends.plays import PLAYS
from backends.servers import PATIENCE, SHORT, VARIABLE, program, serving, until

from langgraph_observe import Observer
from langgraph_observe.records import Finished, Usage, totals
from langgraph_observe.sinks import otel
from langgraph_observe.testing import strict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from backends.limits import Limit
    from backends.shown import Backend, Trace

    from langgraph_observe.records import Record

BACKENDS: Mapping[str, Backend] = {"Phoenix": Phoenix(), "MLflow": Mlflow()}


@dataclass(frozen=True)
class Visit:
    """Everything was played once, and every backend that is there has been told of it."""

    urls: Mapping[str, str]
    ended: Mapping[str, Sequence[Finished]]
    """The records of each play."""
    health: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Pages:
    """One backend after the visit."""

    name: str
    visit: Visit

    def of(self, play: str, loaded: Callable[[Trace], object] = lambda trace: True) -> list[Trace]:
        """The traces of a play in their order, once all of their spans have come and this is true of each."""
        return [self._whole(trace_id, len(ended), loaded) for trace_id, ended in self._traces(play).items()]

    def totals(self, play: str) -> list[Usage]:
        """What our records say of the same traces."""
        return [totals(ended) for ended in self._traces(play).values()]

    def _traces(self, play: str) -> dict[str, list[Finished]]:
        traces: dict[str, list[Finished]] = {}
        for end in sorted(self.visit.ended[play], key=lambda end: end.run.at_ns):
            traces.setdefault(end.run.trace_id, []).append(end)
        return traces

    def _whole(self, trace_id: str, spans: int, loaded: Callable[[Trace], object]) -> Trace:
        def whole() -> Trace | None:
            found = BACKENDS[self.name].trace(self.visit.urls[self.name], trace_id)
            return found if found and len(found.spans) == spans and loaded(found) else None

        return until(whole, SHORT)


@pytest.fixture(scope="session")
def visit(tmp_path_factory) -> Iterator[Visit]:
    with ExitStack() as servers, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")  # the first request finds MLflow making its store
        started = {
            name: servers.enter_context(serving(backend, tmp_path_factory.mktemp(name)))
            for name, backend in BACKENDS.items()
            if program(backend.program)
        }
        for name, server in started.items():
            server.answering(BACKENDS[name].ready)
        urls = {name: server.url for name, server in started.items()}
        sinks = {name: otel.exporting(url, BACKENDS[name].headers, content="SPAN_ONLY") for name, url in urls.items()}
        yield Visit(urls, _told(list(sinks.values())), {name: sink.health() for name, sink in sinks.items()})


def _told(sinks: Sequence[otel.Spans]) -> dict[str, list[Finished]]:
    """Play everything; the records."""
    seen: list[Record] = []
    ended = {}
    with strict(), Observer(*sinks, seen.append) as observer:
        for name, play in PLAYS.items():
            play(observer)
            ended[name] = [record for record in seen if isinstance(record, Finished)]
            seen.clear()
        observer.flush(PATIENCE)
    return ended


@pytest.fixture(params=BACKENDS)
def pages(request) -> Pages:
    """Of one backend after the other."""
    if program(BACKENDS[request.param].program) is None:
        pytest.skip(f"needs {request.param}: put it in PATH, or its directory in {VARIABLE}")
    return Pages(request.param, request.getfixturevalue("visit"))


@pytest.fixture
def shows(record_property, pages) -> Callable[[str, object, object], None]:
    """Compare what the backend shows with what it should, or with its known limit; and leave it for the table."""

    def compare(what: str, shown: object, expected: object) -> None:
        limit = LIMITS.get((pages.name, what))
        record_property("shown", (what, pages.name, _cell(shown, expected, limit), expected))
        assert shown == (limit.shown if limit else expected)

    return compare


def _cell(shown: object, expected: object, limit: Limit | None) -> str:
    return "✓" if shown == expected else f"{shown} ({limit.reason})" if limit else f"✗ {shown}"


def pytest_configure(config):
    config.addinivalue_line("markers", "backend: needs the server of somebody else")


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("capture") != "no":
        return
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    for what, backend, cell, expected in _shown(terminalreporter):
        rows[what] |= {backend: cell, "expected": str(expected).replace("\n", " / ")[:100]}
    if rows:
        terminalreporter.section("field · " + " · ".join((*BACKENDS, "expected")))
    for what, cells in sorted(rows.items()):
        terminalreporter.write_line(" · ".join([what, *(cells.get(name, "–") for name in (*BACKENDS, "expected"))]))


def _shown(terminalreporter):
    for report in (*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())):
        if report.when == "call":
            yield from (told for key, told in report.user_properties if key == "shown")
