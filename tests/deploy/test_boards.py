"""The boards' JSON, as Grafana's provisioning wants it. It is checked here and not rendered: there is no Grafana to be had."""

import json
import re
from itertools import pairwise

import pytest
from kit import KIT, boards, parsed

BOARDS = boards()
CHARTS = {uid: board for uid, board in BOARDS.items() if uid != "langgraph-runbook"}
TYPES = {"timeseries", "stat", "table", "bargauge", "heatmap", "text"}


def panels(uid):
    return BOARDS[uid]["panels"]


def test_there_is_a_board_for_each_part():
    assert [board["title"].removeprefix("LangGraph · ") for board in BOARDS.values()] == [
        "Graph and nodes",
        "Models and cost",
        "Overview",
        "Runbook",
        "SLO and error budget",
        "Streams",
        "Telemetry health",
        "Tools and retrievers",
    ]


@pytest.mark.parametrize("uid", CHARTS)
def test_a_board_can_be_taken_in_at_a_glance(uid):
    assert 8 <= len(panels(uid)) <= 12


@pytest.mark.parametrize("uid", BOARDS)
def test_a_board_is_in_the_format_of_provisioning_and_not_in_the_apis_envelope(uid):
    """E22: an envelope, the `graph` panel of Angular, no uid, no data source, no refId, no gridPos, no unit."""
    board = BOARDS[uid]
    assert board["uid"] == uid
    assert "dashboard" not in board
    assert board["schemaVersion"] >= 42
    assert {panel["type"] for panel in board["panels"]} <= TYPES
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.parametrize("uid", BOARDS)
def test_panels_fill_the_grid_and_do_not_overlap(uid):
    taken = set()
    for panel in panels(uid):
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("uid", [uid for uid in CHARTS if any(panel["type"] == "stat" for panel in panels(uid))])
def test_the_numbers_at_the_top_share_one_row(uid):
    numbers = [panel["gridPos"] for panel in panels(uid) if panel["type"] == "stat"]
    assert {place["y"] for place in numbers} == {0}
    assert sum(place["w"] for place in numbers) == 24


@pytest.mark.parametrize("uid", CHARTS)
def test_every_panel_says_what_it_shows_in_which_unit_and_where_from(uid):
    titles = [panel["title"] for panel in panels(uid)]
    assert len(set(titles)) == len(titles)
    for panel in panels(uid):
        assert panel["description"]
        if panel["type"] == "text":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH"[: len(panel["targets"])])
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


@pytest.mark.parametrize("uid", CHARTS)
def test_the_reader_chooses_the_data_source_and_the_job_first(uid):
    variables = CHARTS[uid]["templating"]["list"]
    assert [one["name"] for one in variables[:2]] == ["datasource", "job"]
    assert all(one["allValue"] == ".*" for one in variables[1:])


def test_graph_and_model_can_be_chosen_where_they_matter():
    chosen = {uid: [one["name"] for one in board["templating"]["list"][2:]] for uid, board in CHARTS.items()}
    assert chosen["langgraph-overview"] == ["graph", "model"]
    assert chosen["langgraph-graphs"] == ["graph"]
    assert chosen["langgraph-models"] == ["model"]


@pytest.mark.parametrize("uid", CHARTS)
def test_a_panel_of_now_asks_once_and_a_panel_over_time_asks_for_a_range(uid):
    for panel in panels(uid):
        for target in panel.get("targets", []):
            assert target["instant"] is not target["range"]
            assert target["range"] is (panel["type"] in {"timeseries", "heatmap"})
            assert target["format"] == {"heatmap": "heatmap", "table": "table"}.get(panel["type"], "time_series")


@pytest.mark.parametrize("uid", CHARTS)
def test_a_legend_names_labels_that_the_query_leaves(uid):
    for panel in panels(uid):
        for target in panel.get("targets", []):
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert (
                    re.search(rf"(?<![a-z]){label}(?![a-z])", target["expr"]) or "slo:" in target["expr"] or label == "instance"
                ), (
                    panel["title"],
                    label,
                )


def test_percentiles_have_exemplars_so_that_a_spike_leads_to_its_trace():
    asked = [target for uid in CHARTS for panel in panels(uid) for target in panel.get("targets", []) if target.get("exemplar")]
    assert asked
    assert all("_bucket" in target["expr"] for target in asked)


def test_the_data_source_of_exemplars_traces_and_logs_is_one_that_there_is():
    sources = parsed("grafana/provisioning/datasources/langgraph.yml")["datasources"]
    uids = {one["uid"] for one in sources}
    referred = set(re.findall(r'"datasourceUid": "(\w+)"', json.dumps(sources)))
    assert referred == {"jaeger", "loki"}
    assert referred <= uids
    assert [one["uid"] for one in sources if one.get("isDefault")] == ["prometheus"]


def test_boards_are_mounted_where_provisioning_looks_for_them():
    (provider,) = parsed("grafana/provisioning/dashboards/langgraph.yml")["providers"]
    mounts = parsed("compose.yaml")["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in mounts


def test_json_is_written_for_people_who_compare_versions():
    text = (KIT / "grafana/dashboards/langgraph-overview.json").read_text("utf-8")
    assert max(len(line) for line in text.splitlines()) < 1000
    assert all(before != after for before, after in pairwise(text.splitlines()) if before.strip().startswith('"title"'))
