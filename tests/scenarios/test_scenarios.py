"""Each scenario in each way of calling: the agent notices nothing, and the records tell what happened.

`pytest tests/scenarios --table` prints the whole table.
"""

from importlib import import_module
from pathlib import Path

import pytest
from opentelemetry import trace
from scenarios.calling import WAYS, play, sessions
from scenarios.invariants import in_any_order, sound, trees
from scenarios.scenario import Scenario

from langgraph_observe import Observer

SHAPES = sorted(path.stem for path in Path(__file__).parent.glob("shapes_*.py"))
SCENARIOS: list[Scenario] = [one for name in SHAPES for one in import_module(f"scenarios.{name}").SCENARIOS]
CASES = [
    pytest.param(
        one, name, id=f"{one.shape} · {one.ending} · {name}", marks=pytest.mark.scenario(one.shape, one.ending, name, one.absent)
    )
    for one in SCENARIOS
    for name in WAYS
    if name not in one.absent
]


@pytest.mark.parametrize(("scenario", "name"), CASES)
def test_the_agent_notices_nothing_and_the_records_tell_what_happened(scenario: Scenario, name):
    way, records = WAYS[name], []
    with Observer(records.append) as observer:
        seen = _observed(observer, way, scenario)
        assert trace.get_current_span() is trace.INVALID_SPAN
        assert observer.health()["capture"] == {"open": 0, "errors": 0}
    unseen = play(way, scenario, scenario.graph())

    as_told = in_any_order if scenario.parallel else str
    assert [as_told(tree) for tree in trees(records, sessions(way, scenario))] == [as_told(scenario.tree_in(name))] * sessions(
        way, scenario
    )
    sound(records, late=scenario.late)
    scenario.also(records)
    assert _compared(seen, scenario, name) == _compared(unseen, scenario, name)


def _observed(observer, way, scenario):
    graph = scenario.graph()
    if way.by_handler or not hasattr(graph, "stream_mode"):
        return play(way, scenario, graph, [observer.handler])
    return play(way, scenario, observer.watch(graph))


def _compared(sessions, scenario, name):
    return [sorted(lines) if scenario.parallel or name in scenario.racing else lines for lines in sessions]


def test_no_scenario_stands_there_twice():
    names = [(one.shape, one.ending) for one in SCENARIOS]
    assert len(set(names)) == len(names)
    assert all(set(one.absent) | set(one.differs) | one.racing <= set(WAYS) for one in SCENARIOS)
