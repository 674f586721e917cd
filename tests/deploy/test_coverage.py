"""The coverage table: every wish has an answer, and what an answer names is there."""

import re
from pathlib import Path

import pytest
from kit import boards, rules

from langgraph_observe import deploy
from langgraph_observe.sinks.prometheus.catalog import CATALOG

PAGE = (Path(deploy.__file__).parent / "coverage.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if re.match(r"\| .* S\d-\d", line)]
ALERTS = {rule["alert"] for rule in rules("alerts")}
PANELS = {
    f"{board['title'].removeprefix('LangGraph · ')}: {panel['title']}" for board in boards().values() for panel in board["panels"]
}
WISHES = {
    0: (19, *range(33, 40), 44, 45),
    1: (
        *range(1, 7),
        *range(22, 25),
        *range(27, 31),
        *range(32, 35),
        *range(36, 39),
        *range(43, 46),
        48,
        54,
        56,
        57,
        *range(58, 65),
        95,
        *range(97, 102),
        104,
        108,
        *range(110, 115),
    ),
    2: (*range(4, 12), 19, 20, 28),
    3: (21, 24),
    4: (4, 6, 7, 8, 11, 12, 13, 14, *range(18, 26), 30, 40, 51, 52),
}
"""By system, the wishes for metrics, alerts, panels, objectives and targets that a plug-in or its extras can fulfil."""


def test_every_wish_has_one_answer():
    answered = [wish for _, ids, _ in ROWS for wish in ids.split(", ")]
    assert sorted(answered) == sorted(f"S{system}-{number:02}" for system, numbers in WISHES.items() for number in numbers)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_what_an_answer_names_is_there(row):
    _, _, answer = row
    for name in re.findall(r"`(\w+)`", answer):
        if name.startswith("LangGraph"):
            assert name in ALERTS
        elif "_" in name and name not in {"cache_read", "process_resident_memory_bytes"}:
            assert name in CATALOG
    assert set(re.findall(r"\*([^*]+)\*", answer)) <= PANELS


def test_every_alert_and_every_board_answers_a_wish_or_is_ours():
    """What nobody asked for: that the telemetry itself is watched, and what only LangGraph has."""
    ours = {"telemetry", "nodes"}
    named = set(re.findall(r"`(LangGraph\w+)`", PAGE))
    areas = {rule["alert"]: rule["labels"]["area"] for rule in rules("alerts")}
    assert {areas[name] for name in named} >= set(areas.values()) - ours
    assert {panel.partition(":")[0] for panel in PANELS} - {"Runbook"} == {
        board.partition(":")[0] for board in re.findall(r"\*([^*]+:[^*]+)\*", PAGE)
    }
