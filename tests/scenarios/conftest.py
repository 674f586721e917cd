"""The table of what was played, and what every scenario is played under: strict mode, and no word of ours in a log."""

import logging
from collections import defaultdict

import pytest

from langgraph_observe import testing

OURS = ("langgraph_observe", "opentelemetry")
ALWAYS = {"invoke", "ainvoke", "stream updates", "astream updates", "astream_events v2", "invoke, callbacks"}
"""Ways in which every scenario is played in every run; each of the others is played with a third of them, in turn."""


def pytest_addoption(parser):
    parser.addoption("--table", action="store_true", help="print the scenarios: shape x ending x way, pass or reason")
    parser.addoption("--every-way", action="store_true", help="play every scenario in every way (10 minutes of a core)")


def pytest_configure(config):
    config.addinivalue_line("markers", "scenario(shape, ending, way, absent): a cell of the table of scenarios")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Scenarios and ways are taken in turn, so that every scenario meets every kind of way, and every way every kind of shape."""
    if config.getoption("--every-way", default=False):
        return
    played = [item for item in items if item.get_closest_marker("scenario") is not None]
    left_out = [
        item for number, item in enumerate(played) if number % 3 and item.get_closest_marker("scenario").args[2] not in ALWAYS
    ]
    config.hook.pytest_deselected(items=left_out)
    gone = set(left_out)
    items[:] = [item for item in items if item not in gone]


@pytest.fixture(autouse=True)
def strict():
    """Whatever goes wrong in observing is raised into the agent."""
    with testing.strict():
        yield


@pytest.fixture(autouse=True)
def silence(caplog):
    """No warning in a log from us, and none of OpenTelemetry's about us. (That a model has no known price is no warning.)

    An exporter that another test has left behind may still say that its server is gone.
    """
    yield
    told = [*caplog.get_records("setup"), *caplog.get_records("call")]
    ours = [record.getMessage() for record in told if record.name.startswith(OURS) and record.levelno > logging.INFO]
    assert [message for message in ours if not message.startswith("the OTLP endpoint at")] == []


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if (mark := item.get_closest_marker("scenario")) is not None:
        outcome.get_result().user_properties.append(("scenario", mark.args))


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("--table", default=False):
        return
    cells, absent = defaultdict(dict), defaultdict(dict)
    for status in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.stats.get(status, ()):
            told = dict(getattr(report, "user_properties", ())).get("scenario")
            if told is not None and (report.when == "call" or status != "passed"):
                shape, ending, way, *reasons = told
                cells[shape, ending][way] = status
                absent[shape, ending].update(reasons[0] if reasons else {})
    terminalreporter.section("scenarios")
    for row in sorted(cells):
        terminalreporter.write_line(_row(row, cells[row], absent[row]))


def _row(row, cells, absent):
    passed = [way for way, status in cells.items() if status == "passed"]
    wrong = [f"{way}: {status}" for way, status in cells.items() if status != "passed"]
    reasons = defaultdict(list)
    for way, reason in absent.items():
        reasons[reason].append(way)
    left_out = [
        f"{len(ways)} ways not: {reason}" if len(ways) > 3 else f"{', '.join(ways)} not: {reason}"
        for reason, ways in reasons.items()
    ]
    return "  ".join([f"{row[0]} · {row[1]}:", f"{len(passed)} of {len(cells)} pass", *wrong, *left_out])
