"""Recording rules and alerts, by promtool: well-formed, firing when they should and silent when they should."""

import re
import shutil
import subprocess

import pytest
import yaml
from alert_cases import BUILD, CASES, Case, N, shares, timed, up
from kit import parsed, rules, tool, written

from langgraph_observe.deploy import KIT
from langgraph_observe.deploy.alerts import ALERTS
from langgraph_observe.deploy.objectives import OBJECTIVES, PAGE, TICKET
from langgraph_observe.deploy.promql import failing
from langgraph_observe.sinks.prometheus.catalog import CATALOG

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")

ALERTING, RECORDING = parsed("prometheus/rules/langgraph-alerts.yml"), parsed("prometheus/rules/langgraph-recording.yml")
BY_NAME = {rule["alert"]: rule for rule in rules("alerts")}


def test_promtool_finds_nothing_to_complain_of():
    for name in ("alerts", "recording"):
        assert "SUCCESS" in tool(
            "promtool", "check", "rules", "--lint=all", "--lint-fatal", KIT / f"prometheus/rules/langgraph-{name}.yml"
        )
    assert "SUCCESS" in tool("promtool", "check", "config", KIT / "prometheus/prometheus.yml")


def needed(expr):
    """The groups of recording rules that an expression refers to."""
    return [
        group
        for group in RECORDING["groups"]
        if any(
            re.search(rf"(?<![\w:]){re.escape(rule['record'])}(?![\w:])", expr) and belongs(rule, expr) for rule in group["rules"]
        )
    ]


def belongs(rule, expr):
    return "labels" not in rule or f'sloth_id="{rule["labels"]["sloth_id"]}"' in expr


def firing(alert, at=f"{N}m"):
    """promtool's question: how many of this alert fire?"""
    return {"expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)', "eval_time": at}


def exercise(tmp_path, alert, *cases, at=f"{N}m"):
    """promtool runs this alert, and what it refers to, over series; each case says whether it shall fire."""
    rule = BY_NAME[alert]
    written(tmp_path, "rules.yml", {"groups": [*needed(rule["expr"]), {"name": "alert", "rules": [rule]}]})
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [firing(alert, at) | {"exp_samples": [{"labels": "{}", "value": int(fires)}]}],
        }
        for series, fires in cases
    ]
    path = written(tmp_path, "tests.yml", {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests})
    tool("promtool", "test", "rules", path)


@pytest.mark.parametrize("alert", sorted(CASES))
def test_it_fires_when_it_should_and_is_silent_when_it_should(alert, tmp_path):
    case: Case = CASES[alert]

    exercise(tmp_path, alert, (case.fires, True), (case.silent, False))


def test_a_graph_that_ran_yesterday_and_not_today_has_stopped(tmp_path):
    labels = 'langgraph_run_duration_seconds_count{job="a", graph="g", status="ok"}'
    day = 24 * 60
    stopped, rare, busy = f"0+1x{day} {day}x120", f"0+0x{day} 0x120", f"0+1x{day + 120}"

    exercise(
        tmp_path,
        "LangGraphRunsStopped",
        ({labels: stopped}, True),
        ({labels: rare}, False),
        ({labels: busy}, False),
        at=f"{day + 90}m",
    )


def test_every_alert_has_a_case():
    assert {one.name for one in ALERTS} == {*CASES, "LangGraphRunsStopped"} == set(BY_NAME)


def test_on_a_healthy_day_nothing_fires(tmp_path):
    series = {
        BUILD: f"1x{N}",
        'up{job="a", instance="i"}': f"1x{N}",
        **shares("langgraph_run_duration_seconds", 'graph="g"', ok=50, error=0, cancelled=2, interrupted=5),
        **shares("langgraph_tool_duration_seconds", 'tool="t"', ok=50, error=0),
        **timed("langgraph_llm_duration_seconds", 'provider="p", model="m"', "1.0", within=50, beyond=0),
        **shares("langgraph_stream_duration_seconds", 'route="/chat"', "outcome", completed=50, client_disconnect=5),
    }
    for name in ("alerts", "recording"):
        written(tmp_path, f"{name}.yml", parsed(f"prometheus/rules/langgraph-{name}.yml"))
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": "ALERTS", "eval_time": f"{N}m", "exp_samples": []}],
    }
    path = written(tmp_path, "t.yml", {"rule_files": ["alerts.yml", "recording.yml"], "evaluation_interval": "5m", "tests": [test]})
    tool("promtool", "test", "rules", path)


def test_every_alert_says_what_it_means_how_bad_it_is_and_what_to_do():
    runbook = (KIT / "runbook.md").read_text("utf-8")
    headings = {line.removeprefix("### ").lower() for line in runbook.splitlines() if line.startswith("### ")}
    for name, rule in BY_NAME.items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        assert rule["annotations"]["runbook_url"].endswith(f"#{name.lower()}")
    assert headings == {name.lower() for name in BY_NAME}


def test_a_ratio_or_a_percentile_concludes_nothing_from_hardly_any_traffic():
    for name, rule in BY_NAME.items():
        if ":p95" in rule["expr"] or "ratio_rate" in rule["expr"] or re.search(r"\) / \(", rule["expr"]):
            assert re.search(r"and on \([\w, ]+\) sum by .* >= \d+", rule["expr"]), name


def test_the_text_of_an_alert_can_be_written(tmp_path):
    """promtool shows the annotations of an alert that was not expected; a template that fails says so in them."""
    for alert, case in CASES.items():
        rule = BY_NAME[alert]
        written(tmp_path, "rules.yml", {"groups": [*needed(rule["expr"]), {"name": "alert", "rules": [rule]}]})
        series = [{"series": name, "values": values} for name, values in case.fires.items()]
        test = {
            "interval": "1m",
            "input_series": series,
            "alert_rule_test": [{"eval_time": f"{N}m", "alertname": alert, "exp_alerts": []}],
        }
        path = written(tmp_path, "t.yml", {"rule_files": ["rules.yml"], "evaluation_interval": "5m", "tests": [test]})
        shown = shown_by_promtool(path)
        assert 'summary="' in shown, alert
        assert not re.search(r"error expanding|<no value>|%!", shown), shown


def shown_by_promtool(path):
    return subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=60, check=False).stderr


@pytest.mark.parametrize("one", OBJECTIVES, ids=lambda one: one.name)
def test_the_bound_of_a_latency_objective_is_a_bucket(one):
    for bound in re.findall(r'le="([\d.]+)"', one.good):
        name = re.match(r"langgraph_(\w+)_bucket", one.good)[1]
        assert float(bound) in CATALOG[name].buckets


@pytest.mark.parametrize("one", OBJECTIVES, ids=lambda one: one.name)
def test_no_burn_rate_asks_for_more_than_everything_to_fail(one):
    thresholds = [float(number) for burns in (PAGE, TICKET) for number in re.findall(r"> ([\d.]+)", one.burning(burns))]
    assert thresholds
    assert max(thresholds) < 1


OK, FAILED, LEFT = (
    f'langgraph_run_duration_seconds_count{{job="a", graph="g", status="{status}"}}' for status in ("ok", "error", "cancelled")
)


def budget(tmp_path, series, expected, at):
    """promtool's word on what is left of the budget of runs."""
    written(
        tmp_path, "rules.yml", {"groups": [group for group in RECORDING["groups"] if group["name"] == "langgraph-slo-run-success"]}
    )
    labels = '{graph="g", job="a", sloth_id="langgraph-run-success", sloth_service="langgraph", sloth_slo="run-success"}'
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": expr, "eval_time": at, "exp_samples": [] if value is None else [{"labels": labels, "value": value}]}
            for expr, value in expected.items()
        ],
    }
    tool(
        "promtool",
        "test",
        "rules",
        written(tmp_path, "t.yml", {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}),
    )


def test_the_budget_of_thirty_days_is_weighed_by_events_and_not_by_time(tmp_path):
    """A night with one run, which fails, between days with a thousand good ones: 1 of 1,001, and not a bad hour."""
    series = {OK: "0+0x10 0+10x100 1000x120", FAILED: "0x170 1x61"}
    budget(tmp_path, series, {"round(slo:sli_error:ratio_rate30d, 0.0001)": 0.001}, "230m")


def test_hours_without_traffic_leave_the_budget_as_it_was(tmp_path):
    series = {OK: "0+19x60 1140x600", FAILED: "0+1x60 60x600"}
    budget(tmp_path, series, {"round(1 - slo:period_error_budget_remaining:ratio, 0.01)": 5}, "660m")


def test_a_graph_that_never_failed_has_all_of_its_budget(tmp_path):
    """Without one failure there is no series of failures: nothing must stay unknown for that."""
    budget(tmp_path, {OK: up(5)}, {"slo:period_error_budget_remaining:ratio * 1": 1}, f"{N}m")


def test_runs_that_were_given_up_neither_spend_nor_dilute_the_budget(tmp_path):
    series = {OK: up(9), FAILED: up(1), LEFT: up(90)}
    budget(tmp_path, series, {"round(slo:sli_error:ratio_rate1h, 0.001)": 0.1}, f"{N}m")


def test_a_window_without_events_has_no_sample(tmp_path):
    """0 / 0 is NaN, and whatever is averaged with it."""
    budget(tmp_path, {OK: f"10x{N}", FAILED: f"0x{N}"}, {"slo:sli_error:ratio_rate5m": None}, f"{N}m")


def test_the_share_of_what_never_failed_is_nothing_and_not_unknown(tmp_path):
    """The macro of every ratio on a board."""
    test = {
        "interval": "1m",
        "input_series": [{"series": OK, "values": up(5)}],
        "promql_expr_test": [
            {
                "expr": failing("langgraph_run_duration_seconds", "graph", "5m"),
                "eval_time": "60m",
                "exp_samples": [{"labels": '{graph="g"}', "value": 0}],
            }
        ],
    }
    tool("promtool", "test", "rules", written(tmp_path, "t.yml", {"evaluation_interval": "1m", "tests": [test]}))


def test_the_objectives_are_there_in_sloths_format_too():
    slos = parsed("slo/langgraph.yml")["slos"]
    assert {one["name"]: one["objective"] for one in slos} == {one.name: 100 * one.goal for one in OBJECTIVES}
    assert all("{{.window}}" in one["sli"]["events"]["error_query"] for one in slos)


def test_rules_are_yaml_that_people_can_read():
    text = (KIT / "prometheus/rules/langgraph-alerts.yml").read_text("utf-8")
    assert "expr: |" in text
    assert yaml.safe_load(text) == ALERTING
