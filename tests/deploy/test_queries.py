"""Every query of the kit, by Prometheus' own grammar: right names, right labels, right shape. And the seeds' errors, not made."""

import re

import promql_parser
import pytest
from kit import KIT, boards, concrete, parsed, queries, rules, selectors

from langgraph_observe.deploy import promql
from langgraph_observe.sinks.prometheus.catalog import CATALOG

HOST = {"job", "instance", "__name__"}
"""Labels that Prometheus puts on every series."""
FOREIGN = {
    # Prometheus' and Alertmanager's own
    "up": set(),
    "ALERTS": {"service", "alertstate", "sloth_id", "alertname"},
    "scrape_duration_seconds": set(),
    "scrape_samples_post_metric_relabeling": set(),
    "prometheus_rule_evaluation_failures_total": {"rule_group"},
    "prometheus_rule_group_last_duration_seconds": {"rule_group"},
    "alertmanager_notifications_failed_total": {"integration"},
}
RECORDED = {rule["record"]: rule for rule in rules("recording")}
EVERYTHING = [
    *((f"{uid}: {title} {target['refId']}", concrete(target["expr"])) for uid, title, target in queries()),
    *((rule["record"] + rule.get("labels", {}).get("sloth_slo", ""), rule["expr"]) for rule in rules("recording")),
    *((rule["alert"], rule["expr"]) for rule in rules("alerts")),
    *(
        (one["name"], one["sli"]["events"][key].replace("{{.window}}", "5m"))
        for one in parsed("slo/langgraph.yml")["slos"]
        for key in ("error_query", "total_query")
    ),
]
IDS = [name for name, _ in EVERYTHING]
QUERIES = [query for _, query in EVERYTHING]


def labels_of(name):
    """Which labels a series of this name has; None if there is no such series."""
    if name in FOREIGN:
        return FOREIGN[name] | HOST
    if name in RECORDED:
        sloth = set(RECORDED[name].get("labels", {}))
        return HOST | sloth | {label for by in re.findall(r"by \(([\w, ]+)\)", RECORDED[name]["expr"]) for label in by.split(", ")}
    one = CATALOG.get(promql.family(name))
    if one is None or not name.startswith("langgraph_"):
        return None
    return set(one.labels) | HOST | ({"le"} if name.endswith("_bucket") else set())


@pytest.mark.parametrize("query", QUERIES, ids=IDS)
def test_it_parses_and_asks_for_series_and_labels_that_there_are(query):
    for selector in selectors(query):
        known = labels_of(selector.name)
        assert known is not None, selector.name
        assert {matcher.name for matcher in selector.matchers.matchers} <= known, selector.name


@pytest.mark.parametrize("query", QUERIES, ids=IDS)
def test_it_groups_by_labels_that_there_are(query):
    known = set().union(*(labels_of(selector.name) for selector in selectors(query)))
    for clause in re.findall(r"(?:by|on) \(([\w, ]+)\)", query):
        assert set(clause.split(", ")) <= known


@pytest.mark.parametrize("query", QUERIES, ids=IDS)
def test_a_histogram_is_asked_by_its_parts_and_a_counter_by_its_rate(query):
    for selector in selectors(query):
        if (one := CATALOG.get(promql.family(selector.name))) is None or selector.name in RECORDED:
            continue
        assert re.search(r"_(bucket|count|sum)$", selector.name) if one.type == "histogram" else True
        if one.type != "gauge":
            assert re.search(rf"(rate|increase)\({selector.name}(\{{[^}}]*\}})?\[", query), selector.name


@pytest.mark.parametrize("query", QUERIES, ids=IDS)
def test_both_sides_of_a_ratio_are_summed_and_a_percentile_keeps_its_buckets(query):
    """E03, E05, E08, E09 of the requirements: one-to-one matching is always 1, and a percentile of no buckets is nothing."""
    for call in re.findall(r"(?:rate|increase)\([a-z_]+(?:\{[^}]*\})?\[[^]]+\]", query):
        before = query[: query.index(call)]
        assert re.search(r"sum (by \([\w, ]+\) )?\($", before), call
    for clause in re.findall(r"histogram_quantile\([\d.]+, sum by \(([\w, ]+)\)", query):
        assert "le" in clause.split(", ")


def test_every_metric_of_the_catalogue_is_on_a_panel():
    shown = {selector.name for _, _, target in queries() for selector in selectors(concrete(target["expr"]))}
    through = {selector.name for name in shown & RECORDED.keys() for selector in selectors(RECORDED[name]["expr"])}
    assert set(CATALOG) - {promql.family(name) for name in shown | through} == set()


def test_every_recorded_series_is_used_by_an_alert_a_panel_or_another_rule():
    used = {selector.name for query in QUERIES for selector in selectors(query)}
    of_sloths_boards = {"slo:objective:ratio", "slo:error_budget:ratio", "slo:time_period:days", "slo:period_burn_rate:ratio"}
    assert RECORDED.keys() - used == of_sloths_boards


def test_a_panel_filters_by_the_boards_variables_wherever_the_metric_has_the_label():
    for uid, title, target in queries():
        variables = {one["name"] for one in boards()[uid]["templating"]["list"]}
        for selector in selectors(concrete(target["expr"])):
            matched = {matcher.name for matcher in selector.matchers.matchers}
            if "langgraph_" in selector.name:
                assert labels_of(selector.name) & variables <= matched, (uid, title, selector.name)


def test_a_query_uses_no_variable_that_its_board_does_not_have():
    for uid, title, target in queries():
        variables = {one["name"] for one in boards()[uid]["templating"]["list"]} | {"__rate_interval", "__range"}
        assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables, (uid, title)


def test_the_seeds_queries_are_not_what_we_would_write():
    """The parser refuses what is no PromQL, so that a pass means something."""
    with pytest.raises(ValueError, match="expected"):
        promql_parser.parse("histogram_quantile(0.95, rate(langgraph_run_duration_seconds_bucket))")


@pytest.mark.parametrize(
    ("written", "chosen"),
    [
        ("sum(langgraph_runs_active)", 'sum(langgraph_runs_active{job=~"$job", graph=~"$graph"})'),
        ('langgraph_llm_tokens_total{type="input"}', 'langgraph_llm_tokens_total{type="input", job=~"$job"}'),
        ("langgraph_tool_duration_seconds_bucket", 'langgraph_tool_duration_seconds_bucket{job=~"$job"}'),
        ("langgraph_score_sum[5m]", 'langgraph_score_sum{job=~"$job"}[5m]'),
        ("job_graph:langgraph_runs:rate5m", 'job_graph:langgraph_runs:rate5m{job=~"$job", graph=~"$graph"}'),
        ("up + langgraph_else", "up + langgraph_else"),
    ],
)
def test_matchers_are_added_for_the_boards_variables_where_the_series_has_the_label(written, chosen):
    assert promql.chosen(written, ("job", "graph")) == chosen


def test_no_query_asks_for_a_path_of_sessions_or_users():
    """E01, E02, E23: what is unbounded is no label, so a board cannot count users by it."""
    text = "".join(path.read_text("utf-8") for path in (KIT / "grafana/dashboards").glob("*.json") if "runbook" not in path.name)
    assert not re.search(r"session_id|user_id|thread_id|checkpoint_ns", text)
