"""The compose file and what its containers read: pinned, without default passwords, and whole."""

import re
import string
from pathlib import Path

import pytest
import yaml
from kit import KIT, parsed

from langgraph_observe.deploy import alertmanager

COMPOSE = parsed("compose.yaml")
SERVICES = COMPOSE["services"]
COLLECTOR = parsed("otel-collector/config.yaml")
KEYS = {
    "service": {
        "image",
        "command",
        "environment",
        "volumes",
        "ports",
        "extra_hosts",
        "restart",
        "secrets",
        "depends_on",
        "profiles",
    },
    "top": {"name", "services", "secrets", "volumes"},
}
"""Of the compose specification, the ones used. `version` is obsolete."""
ALL = sorted(path for path in KIT.rglob("*") if path.is_file())


def test_it_is_a_compose_file_as_specified():
    assert set(COMPOSE) == KEYS["top"]
    for service in SERVICES.values():
        assert set(service) <= KEYS["service"]
        assert set(service.get("depends_on", [])) <= SERVICES.keys()
        assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()


def test_everything_is_there_in_a_version_that_is_maintained():
    """E33, E34, E43: no `latest`, no Jaeger 1, no Promtail."""
    images = {name: service["image"].rpartition(":") for name, service in SERVICES.items()}
    assert set(images) == {"prometheus", "alertmanager", "grafana", "jaeger", "otel-collector", "loki", "alloy", "dingtalk"}
    assert all(re.fullmatch(r"v?\d+\.\d+\.\d+", tag) for _, _, tag in images.values())
    assert images["jaeger"][0] == "jaegertracing/jaeger"
    assert images["jaeger"][2].startswith("2.")


def test_no_password_has_a_default():
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_SECURITY_ADMIN_PASSWORD__FILE"].startswith("/run/secrets/")
    assert "GF_SECURITY_ADMIN_PASSWORD" not in grafana
    assert grafana["GF_SECURITY_ADMIN_USER"].startswith("${GRAFANA_ADMIN_USER:?")
    assert grafana["GF_AUTH_ANONYMOUS_ENABLED"] == "false"


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_no_file_holds_a_secret(path):
    text = path.read_text("utf-8")
    assert not re.search(r"hooks\.slack\.com/|xox[bp]-|(?i:(password|secret|token|routing_key)\s*[:=]\s*['\"]?[\w+/-]{8,}$)", text)


def test_the_example_environment_does_not_work_as_it_is():
    lines = [line for line in (KIT / ".env.example").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    given = dict(line.split("=", 1) for line in lines)
    asked = set(re.findall(r"\$\{(\w+):\?", (KIT / "compose.yaml").read_text("utf-8")))
    assert asked == {"GRAFANA_ADMIN_USER", "AGENT_LOGS"}
    assert all(given[name] == "" for name in asked)
    assert set(re.findall(r"\$\{(\w+)", (KIT / "compose.yaml").read_text("utf-8"))) - {"PROMETHEUS_RETENTION"} <= given.keys()


def test_what_is_mounted_is_shipped_or_a_secret():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.rsplit(":", 2)[0] if volume.endswith(":ro") else volume.split(":")[0]
            if source.startswith("./") and not source.startswith("./secrets/"):
                assert (KIT / source).exists(), volume
            elif re.fullmatch(r"\w+", source):
                assert source in COMPOSE["volumes"], volume


def test_secrets_are_kept_out_of_git():
    ignored = (KIT / ".gitignore").read_text("utf-8").split()
    assert {"secrets/", ".env"} <= set(ignored)
    assert all(one["file"].startswith("./secrets/") for one in COMPOSE["secrets"].values())


def test_alertmanager_finds_its_secrets_where_its_configuration_says():
    assert f"./secrets/alertmanager:{alertmanager.SECRETS}:ro" in SERVICES["alertmanager"]["volumes"]


def test_ports_are_open_on_this_machine_only():
    assert all(port.startswith("127.0.0.1:") for service in SERVICES.values() for port in service.get("ports", []))


def commanded(service):
    return dict(one.lstrip("-").partition("=")[::2] for one in SERVICES[service].get("command", []))


def test_links_in_alerts_lead_to_where_people_reach_it():
    for service in ("prometheus", "alertmanager"):
        template = string.Template(re.sub(r":-[^}]*", "", commanded(service)["web.external-url"]))
        assert template.substitute({f"{service.upper()}_URL": "https://mon.example.org"}) == "https://mon.example.org"


def test_metrics_are_kept_longer_than_an_error_budget_looks_back():
    days = re.search(r":-(\d+)d", commanded("prometheus")["storage.tsdb.retention.time"])[1]
    assert int(days) > 30


def hosts(text):
    """Services that a configuration talks to, with the port."""
    return set(re.findall(r"(?<![\w.-])(" + "|".join(map(re.escape, SERVICES)) + r"):(\d+)", text))


def test_who_talks_to_a_service_asks_for_a_port_that_it_listens_on():
    listening = {
        "prometheus": {"9090"},
        "alertmanager": {"9093"},
        "jaeger": {"16686", "4317"},
        "loki": {"3100"},
        "otel-collector": {"8888", "8889"},
        "dingtalk": {"8060"},
    }
    read = [path.read_text("utf-8") for path in ALL if path.suffix in {".yml", ".yaml", ".alloy"} and path.name != "compose.yaml"]
    read.append(yaml.safe_dump(alertmanager.configuration(tuple(alertmanager.CHANNELS))))
    found = set().union(*map(hosts, read))
    assert found
    assert all(port in listening[service] for service, port in found)


def test_every_component_of_the_collector_is_defined_and_used():
    pipelines = COLLECTOR["service"]["pipelines"]
    for part in ("receivers", "processors", "exporters"):
        assert {one for pipeline in pipelines.values() for one in pipeline[part]} == set(COLLECTOR[part])
    assert set(COLLECTOR["service"]["extensions"]) == set(COLLECTOR["extensions"])
    assert set(pipelines) == {"traces", "metrics", "logs"}


def test_the_collector_refuses_before_its_memory_is_full_and_batches_last():
    for pipeline in COLLECTOR["service"]["pipelines"].values():
        assert pipeline["processors"] == ["memory_limiter", "batch"]


def test_the_collector_takes_otlp_on_both_of_its_ports():
    """E26: 4317 is gRPC; OTLP over HTTP, which the agents send, is 4318."""
    protocols = COLLECTOR["receivers"]["otlp"]["protocols"]
    assert protocols == {"grpc": {"endpoint": "0.0.0.0:4317"}, "http": {"endpoint": "0.0.0.0:4318"}}
    assert {port.split(":")[1] for port in SERVICES["otel-collector"]["ports"]} == {"4317", "4318"}


def test_the_collectors_metrics_are_scraped_where_it_shows_them():
    scraped = {
        target
        for job in parsed("prometheus/prometheus.yml")["scrape_configs"]
        for one in job.get("static_configs", [])
        for target in one["targets"]
    }
    assert COLLECTOR["exporters"]["prometheus"]["endpoint"].rpartition(":")[2] == "8889"
    assert {"otel-collector:8888", "otel-collector:8889"} <= scraped


def test_prometheus_reads_the_rules_and_the_targets_that_are_shipped():
    config = parsed("prometheus/prometheus.yml")
    patterns = [
        *config["rule_files"],
        *(name for job in config["scrape_configs"] for one in job.get("file_sd_configs", []) for name in one["files"]),
    ]
    assert all(list((KIT / "prometheus").glob(pattern)) for pattern in patterns)


def test_a_line_of_the_log_sink_gives_loki_few_labels_and_the_ids_as_metadata():
    """Ids as labels would be a stream for each run."""
    text = (KIT / "alloy/config.alloy").read_text("utf-8")
    blocks = {
        name: set(re.findall(r"(\w+)\s*= \"", body)) for name, body in re.findall(r"stage\.(\w+) \{\n\s*values = \{([^}]*)\}", text)
    }
    assert blocks == {"labels": {"kind", "outcome"}, "structured_metadata": {"graph", "trace_id", "thread_id", "session_id"}}
    read = set(re.findall(r"(\w+)\s*= \"\w+\",", text[: text.index("stage.timestamp")])) - {"__path__"}
    assert read <= line_fields()
    assert text.count("{") == text.count("}")


def line_fields():
    source = Path(__file__).parents[2] / "langgraph_observe/sinks/log.py"
    return set(re.findall(r'^        "(\w+)":', source.read_text("utf-8"), re.MULTILINE))
