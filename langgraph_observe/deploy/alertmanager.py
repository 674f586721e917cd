"""Alertmanager's configuration: who is told of what, by which channel. Secrets are read from files, and never stand in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langgraph_observe.deploy.alerts.alert import Severity

SECRETS: Final = "/etc/alertmanager/secrets"
"""Where Alertmanager finds them; beside the compose file they are in `secrets/alertmanager`."""
_TITLE: Final = "[{{ .Status | toUpper }}] {{ .CommonAnnotations.summary }}"
_TEXT: Final = "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ .Annotations.description }}\nRunbook: {{ .Annotations.runbook_url }}\n{{ end }}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A way to tell somebody."""

    section: str
    """Of a receiver."""
    told: tuple[Severity, ...]
    config: Mapping[str, Any]
    globals: Mapping[str, Any]
    """What the channel needs in the section `global`."""
    secrets: tuple[str, ...]
    """Names of files in `SECRETS`; a channel of the bridge has its secret there."""


CHANNELS: Final[Mapping[str, Channel]] = {
    "slack": Channel(
        section="slack_configs",
        told=("critical", "warning", "info"),
        config={"channel": "#agents", "send_resolved": True, "title": _TITLE, "text": _TEXT},
        globals={"slack_api_url_file": f"{SECRETS}/slack_api_url"},
        secrets=("slack_api_url",),
    ),
    "pagerduty": Channel(
        section="pagerduty_configs",
        told=("critical",),
        # Events API v2; a service_key is v1
        config={
            "routing_key_file": f"{SECRETS}/pagerduty_routing_key",
            "description": _TITLE,
            "severity": "critical",
            "details": {"runbook": "{{ .CommonAnnotations.runbook_url }}"},
        },
        globals={},
        secrets=("pagerduty_routing_key",),
    ),
    "email": Channel(
        section="email_configs",
        told=("warning",),
        config={"to": "agents@example.org", "send_resolved": True, "headers": {"Subject": _TITLE}, "text": _TEXT},
        globals={
            "smtp_smarthost": "smtp.example.org:587",
            "smtp_from": "alerts@example.org",
            "smtp_auth_username": "alerts@example.org",
            "smtp_auth_password_file": f"{SECRETS}/smtp_password",
        },
        secrets=("smtp_password",),
    ),
    "wecom": Channel(
        section="wechat_configs",
        told=("critical", "warning"),
        # api_secret_file is read since Alertmanager 0.31
        config={
            "api_secret_file": f"{SECRETS}/wecom_secret",
            "corp_id": "your-corp-id",
            "agent_id": "1000002",
            "to_party": "1",
            "send_resolved": True,
            "message": _TEXT,
        },
        globals={},
        secrets=("wecom_secret",),
    ),
    "dingtalk": Channel(
        section="webhook_configs",
        told=("critical", "warning"),
        # Alertmanager does not speak DingTalk: the bridge does, and it alone has the token
        config={"url": "http://dingtalk:8060/dingtalk/agents/send", "send_resolved": True},
        globals={},
        secrets=(),
    ),
}
DEFAULT: Final = ("slack", "email", "pagerduty")
_REPEAT: Final[Mapping[Severity, str]] = {"critical": "4h", "warning": "12h", "info": "24h"}
_SUBJECT: Final = (
    *("area", "sloth_id", "job", "instance", "integration", "rule_group"),
    *("graph", "node", "tool", "retriever", "provider", "model", "route", "kind", "name", "component", "label"),
)
"""Every label by which alerts are told apart. One that were missing here would let an alert silence those of other subjects."""


def configuration(names: Sequence[str] = DEFAULT) -> dict[str, Any]:
    """The whole file, for the channels named. Raises ValueError for one that is not known, or if some severity reaches nobody."""
    if unknown := sorted(set(names) - CHANNELS.keys()):
        message = f"no channel is called {', '.join(unknown)}; there are {', '.join(CHANNELS)}"
        raise ValueError(message)
    channels = [CHANNELS[name] for name in CHANNELS if name in names]
    told = {severity: [one for one in channels if severity in one.told] for severity in _REPEAT}
    if silent := [severity for severity, found in told.items() if not found and severity != "info"]:
        message = f"with {', '.join(names) or 'no channels'}, nobody is told of what is {' or '.join(silent)}"
        raise ValueError(message)
    return {
        "global": {"resolve_timeout": "5m", **{key: value for one in channels for key, value in one.globals.items()}},
        "route": _route(),
        "receivers": [_receiver(severity, found) for severity, found in told.items()],
        "inhibit_rules": _inhibitions(),
    }


def _route() -> dict[str, Any]:
    return {
        "receiver": "warning",  # what has no severity must not be lost
        "group_by": ["alertname", "job", "graph"],
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "12h",
        "routes": [
            {"matchers": [f'severity="{severity}"'], "receiver": severity, "repeat_interval": repeat}
            for severity, repeat in _REPEAT.items()
        ],
    }


def _receiver(severity: Severity, channels: Sequence[Channel]) -> dict[str, Any]:
    return {"name": severity, **{one.section: [dict(one.config)] for one in channels}}


def _inhibitions() -> list[dict[str, Any]]:
    """Of one subject the most severe alert speaks; and of a job that is down, that it is down."""
    return [
        {"source_matchers": ['severity="critical"'], "target_matchers": ['severity=~"warning|info"'], "equal": list(_SUBJECT)},
        {"source_matchers": ['severity="warning"'], "target_matchers": ['severity="info"'], "equal": list(_SUBJECT)},
        {
            "source_matchers": ['alertname="LangGraphTelemetryLost"'],
            "target_matchers": ['alertname=~"LangGraphTargetDown|LangGraphRunsStopped|LangGraphRunsStuck"'],
            "equal": ["job"],
        },
    ]
