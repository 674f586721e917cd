"""Who is told of what, by amtool: routes, silenced doubles, and secrets that are files."""

import re
import shutil

import pytest
import yaml
from kit import KIT, parsed, rules, secret_files, tool, written

from langgraph_observe.deploy.alertmanager import CHANNELS, DEFAULT, SECRETS, configuration

PATH = KIT / "alertmanager/alertmanager.yml"
CONFIG = parsed("alertmanager/alertmanager.yml")
needs_amtool = pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed")
SECTIONS = {one["name"]: {key.removesuffix("_configs") for key in one if key != "name"} for one in CONFIG["receivers"]}


@needs_amtool
def test_amtool_finds_nothing_to_complain_of():
    """E41: with the file as an argument; without, it would read what is typed."""
    assert "SUCCESS" in tool("amtool", "check-config", PATH)


def readable_by_an_old_amtool(value):
    """Debian's amtool is 0.25, which knows no `api_secret_file` (0.31). Not the file, but what else stands there is checked."""
    return yaml.safe_load(yaml.safe_dump(value).replace("api_secret_file: ", "api_secret: "))


@needs_amtool
@pytest.mark.parametrize("names", [("slack",), ("email", "slack"), ("wecom",), ("dingtalk",), tuple(CHANNELS)], ids="+".join)
def test_amtool_takes_every_channel(names, tmp_path):
    path = written(tmp_path, "alertmanager.yml", readable_by_an_old_amtool(configuration(names)))
    assert "SUCCESS" in tool("amtool", "check-config", path)


@needs_amtool
@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
def test_a_route_leads_to_the_receiver_of_its_severity(severity):
    assert routed(f"severity={severity}", "alertname=LangGraphRunsStuck", "job=a") == severity


@needs_amtool
def test_an_alert_without_a_severity_is_not_lost():
    assert routed("alertname=TheirsAlone") == "warning"


def routed(*labels):
    return tool("amtool", "config", "routes", "test", f"--config.file={PATH}", *labels).splitlines()[0]


def test_critical_wakes_and_is_written_down_warning_is_written_and_mailed_info_is_written():
    assert {"critical": {"slack", "pagerduty"}, "warning": {"slack", "email"}, "info": {"slack"}} == SECTIONS


def test_every_severity_of_an_alert_has_a_receiver():
    assert {rule["labels"]["severity"] for rule in rules("alerts")} == SECTIONS.keys()


def test_wecom_and_dingtalk_are_told_of_what_is_critical_and_of_warnings():
    receivers = {one["name"]: one.keys() - {"name"} for one in configuration(("wecom", "dingtalk"))["receivers"]}
    assert receivers["critical"] == receivers["warning"] == {"wechat_configs", "webhook_configs"}
    assert receivers["info"] == set()


SECRET_KEYS = {
    "api_secret",
    "api_url",
    "slack_api_url",
    "routing_key",
    "service_key",
    "smtp_auth_password",
    "auth_password",
    "password",
}


def keys(value):
    match value:
        case dict():
            return set(value).union(*map(keys, value.values()))
        case list():
            return set().union(*map(keys, value))
    return set()


def test_secrets_are_read_from_files_and_never_stand_in_the_configuration():
    whole = configuration(tuple(CHANNELS))
    assert not keys(whole) & SECRET_KEYS
    assert set(secret_files(whole)) == {f"{SECRETS}/{name}" for one in CHANNELS.values() for name in one.secrets}


def test_pagerduty_is_told_by_events_v2():
    """E41: a `service_key` is the first version."""
    (critical,) = (one for one in CONFIG["receivers"] if one["name"] == "critical")
    assert critical["pagerduty_configs"][0].keys() >= {"routing_key_file"}


def test_the_readme_names_every_secret_that_is_read():
    readme = (KIT / "README.md").read_text("utf-8")
    assert all(f"`{name}`" in readme for one in CHANNELS.values() for name in one.secrets)


def silenced(source, target):
    """Whether an alert is not told while the other fires, by Alertmanager's own rule: a label that is missing is empty."""
    for rule in CONFIG["inhibit_rules"]:
        same = all(source.get(label, "") == target.get(label, "") for label in rule["equal"])
        if same and matches(rule["source_matchers"], source) and matches(rule["target_matchers"], target):
            return True
    return False


def matches(matchers, labels):
    parts = [re.fullmatch(r'(\w+)(=~?)"(.*)"', one).groups() for one in matchers]
    return all(
        re.fullmatch(value, labels.get(name, "")) if how == "=~" else labels.get(name) == value for name, how, value in parts
    )


def labels(alert, **more):
    (rule,) = (rule for rule in rules("alerts") if rule["alert"] == alert)
    return rule["labels"] | {"alertname": alert, "job": "a"} | more


def test_a_fast_burn_silences_the_slow_burn_of_the_same_objective():
    """E42: the medium and the high alert of one thing fired together."""
    burn, leak = (labels(f"LangGraphRunSuccessBudget{how}", graph="g") for how in ("Burn", "Leak"))
    assert silenced(burn, leak)
    assert not silenced(leak, burn)
    assert not silenced(burn, leak | {"graph": "other"})
    assert not silenced(burn, labels("LangGraphRunLatencyBudgetLeak", graph="g"))
    assert not silenced(burn, labels("LangGraphNodeErrors", graph="g", node="n"))


def test_a_job_that_is_gone_silences_what_follows_from_it():
    gone = labels("LangGraphTelemetryLost")
    assert silenced(gone, labels("LangGraphTargetDown", instance="i"))
    assert silenced(gone, labels("LangGraphRunsStopped", graph="g"))
    assert not silenced(gone, labels("LangGraphDailyCost"))
    assert not silenced(gone, labels("LangGraphRunsStopped", job="b", graph="g"))


def test_an_alert_silences_none_about_something_else():
    """Every label of an alert's series is compared, or the loss of one component would hide a mixture of versions."""
    dropped = labels("LangGraphRecordsDropped", component="otel.Spans", reason="queue_full")
    assert silenced(dropped, labels("LangGraphQueueGrows", component="otel.Spans"))
    assert not silenced(dropped, labels("LangGraphQueueGrows", component="store.Store"))
    assert not silenced(dropped, labels("LangGraphVersionsMixed"))
    told_apart = {one for rule in rules("alerts") for by in re.findall(r"by \(([\w, ]+)\)", rule["expr"]) for one in by.split(", ")}
    assert told_apart - set(CONFIG["inhibit_rules"][0]["equal"]) == {"le", "reason", "version", "langgraph", "langchain_core"} - {
        "le"
    }


def test_the_channels_by_default_are_the_ones_that_were_asked_for():
    assert set(DEFAULT) == {"slack", "email", "pagerduty"}
