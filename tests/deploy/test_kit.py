"""The kit as files: what is shipped is what the tables say, and what is asked for is what is written."""

import json

import pytest
import yaml
from kit import rules

from langgraph_observe import cli, deploy
from langgraph_observe.deploy import KIT, Settings

RULES = "prometheus/rules/langgraph-alerts.yml"


def test_what_is_shipped_is_what_the_tables_say():
    """If not: `langgraph-observe deploy langgraph_observe/deploy/kit`."""
    stale = [name for name, text in deploy.made(Settings()).items() if (KIT / name).read_text("utf-8") != text]
    assert stale == []


def test_nothing_is_shipped_that_nobody_makes_or_keeps():
    """A renamed board must not leave the old one behind."""
    by_hand = {path.relative_to(KIT).as_posix() for path in KIT.rglob("*") if path.is_file()} - deploy.made(Settings()).keys()
    assert by_hand == {
        ".env.example",
        ".gitignore",
        "README.md",
        "alloy/config.alloy",
        "compose.yaml",
        "grafana/provisioning/dashboards/langgraph.yml",
        "grafana/provisioning/datasources/langgraph.yml",
        "loki/config.yaml",
        "otel-collector/config.yaml",
        "prometheus/prometheus.yml",
    }


def test_the_command_writes_the_whole_kit(tmp_path, capsys):
    assert cli.main(["deploy", str(tmp_path / "kit")]) == 0

    there = {
        path.relative_to(tmp_path / "kit").as_posix(): path.read_text("utf-8")
        for path in (tmp_path / "kit").rglob("*")
        if path.is_file()
    }
    assert there == deploy.files()
    assert f"{len(there)} files" in capsys.readouterr().out


def test_files_of_others_in_the_directory_are_left_alone(tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/token").write_text("mine")
    deploy.write(tmp_path)
    (tmp_path / "runbook.md").write_text("old")

    deploy.write(tmp_path)

    assert (tmp_path / "secrets/token").read_text() == "mine"
    assert (tmp_path / "runbook.md").read_text("utf-8").startswith("# Runbook")


def test_another_namespace_is_in_every_query_and_nowhere_else():
    plain, other = deploy.files(), deploy.files(Settings(namespace="acme_agents"))

    for name in other:
        if name.startswith(("prometheus/rules", "grafana/dashboards", "slo", "runbook")):
            assert "langgraph_" not in other[name].replace("langgraph_observe", ""), name
            assert other[name].replace("acme_agents_", "langgraph_") == plain[name]
    assert "from langgraph_observe import traces" in other["runbook.md"]


def test_limits_targets_channels_and_the_runbook_are_arguments(tmp_path):
    arguments = [
        "--limit",
        "LangGraphDailyCost=7.5",
        "--target",
        "a:1",
        "--target",
        "b:2",
        "--channel",
        "dingtalk",
        "--runbook",
        "https://wiki/r",
    ]
    assert cli.main(["deploy", str(tmp_path), *arguments]) == 0

    alerts = {
        rule["alert"]: rule for group in yaml.safe_load((tmp_path / RULES).read_text("utf-8"))["groups"] for rule in group["rules"]
    }
    assert alerts["LangGraphDailyCost"]["expr"].endswith("> 7.5")
    assert alerts["LangGraphDailyCost"]["annotations"]["runbook_url"] == "https://wiki/r#langgraphdailycost"
    assert yaml.safe_load((tmp_path / "prometheus/targets/langgraph.yml").read_text("utf-8")) == [{"targets": ["a:1", "b:2"]}]
    assert "slack" not in (tmp_path / "alertmanager/alertmanager.yml").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limit", "LangGraphDailyCost"], "ALERT=NUMBER"),
        (["--limit", "NoSuchAlert=1"], "no alert with a limit is called NoSuchAlert"),
        (["--limit", "LangGraphTelemetryAbsent=1"], "no alert with a limit"),
        (["--limit", "LangGraphDailyCost=much"], "could not convert"),
        (["--channel", "pigeon"], "no channel is called pigeon; there are slack"),
        (["--channel", "pagerduty"], "nobody is told of what is warning"),
        (["--namespace", "my-agents"], "no namespace of metrics"),
    ],
)
def test_what_makes_no_sense_is_said_and_nothing_is_written(arguments, said, tmp_path, capsys):
    assert cli.main(["deploy", str(tmp_path / "kit"), *arguments]) == 1

    assert said in capsys.readouterr().err
    assert not (tmp_path / "kit").exists()


def test_the_default_runbook_is_a_board_of_the_kit():
    board = json.loads((KIT / "grafana/dashboards/langgraph-runbook.json").read_text("utf-8"))
    assert board["panels"][0]["options"]["content"] == (KIT / "runbook.md").read_text("utf-8")
    assert all(f"/d/{board['uid']}/" in rule["annotations"]["runbook_url"] for rule in rules("alerts"))
