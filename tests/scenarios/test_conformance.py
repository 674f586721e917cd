"""Whatever is played, what OpenTelemetry's exporters get of it keeps the GenAI conventions.

`pytest tests/scenarios/test_conformance.py --table` prints what was checked.
"""

from __future__ import annotations

import pytest
from providers import one_certificate  # noqa: F401 - a fixture, used by being here
from scenarios.calling import WAYS, play
from scenarios.conformance import Bench
from scenarios.conformance_calls import CALLS
from scenarios.test_scenarios import SCENARIOS

FOUR = (
    ("invoke", "invoke, callbacks"),
    ("ainvoke", "ainvoke, callbacks"),
    ("stream values", "stream, callbacks"),
    ("astream values", "astream, callbacks"),
)
"""Ways of calling, each with the one that stands in for it where there is no graph to watch."""


@pytest.fixture(scope="module")
def bench(request):
    made = Bench()
    if request.config.getoption("--table", default=False):
        request.config.pluginmanager.register(Table(made))
    yield made
    made.observer.close()


class Table:
    """Prints, at the end, what was checked."""

    def __init__(self, bench):
        self._bench = bench

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("conformance")
        for line in self._bench.table():
            terminalreporter.write_line(line)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: f"{one.shape} · {one.ending}")
def test_every_span_event_and_metric_keeps_the_conventions(bench, scenario):
    assert [problem for name in _ways(scenario) for problem in _problems(bench, scenario, name)] == []


def _ways(scenario):
    return [played[0] for names in FOUR if (played := [name for name in names if name not in scenario.absent])]


def _problems(bench, scenario, name):
    graph, way = scenario.graph(), WAYS[name]
    if way.by_handler or not hasattr(graph, "stream_mode"):
        play(way, scenario, graph, [bench.observer.handler])
    else:
        play(way, scenario, bench.observer.watch(graph))
    return [f"{name}: {problem}" for problem in bench.problems()]


@pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning")  # Anthropic's SDK, on its models' ends
@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
@pytest.mark.parametrize("name", CALLS)
def test_what_providers_retrievers_and_remote_graphs_say_keeps_the_conventions(bench, name, way):
    CALLS[name](way, bench.observer)
    assert bench.problems() == []


@pytest.mark.parametrize("value", [0.9, True, "good"])
@pytest.mark.parametrize("span", ["b" * 16, None])
def test_an_evaluation_of_a_run_and_of_a_whole_trace_keeps_them(bench, value, span):
    bench.observer.score("helpful", value, trace_id="a" * 32, span_id=span, comment="It quotes the answer.")
    assert bench.problems() == []
    assert bench.checked["event gen_ai.evaluation.result"] >= len(bench.outlets)
