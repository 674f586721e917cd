"""The deploy kit: rules, alerts, routes, objectives, a runbook and boards, made from the catalogue of metrics.

`langgraph-observe deploy DIR` writes it out. `kit/` holds the whole kit with its default settings: what is made here, and what
is written by hand beside it (the compose file, the collector's configuration, …), which is copied as it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml  # type: ignore[import-untyped]  # langchain-core depends on it

from langgraph_observe.deploy.alertmanager import DEFAULT, configuration
from langgraph_observe.deploy.alerts import alerting, limited
from langgraph_observe.deploy.boards import BOARDS
from langgraph_observe.deploy.grafana import Board, Panel, dashboard
from langgraph_observe.deploy.objectives import OBJECTIVES, definition
from langgraph_observe.deploy.promql import NAMESPACE, renamed
from langgraph_observe.deploy.rules import recording
from langgraph_observe.deploy.runbook import runbook

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KIT", "Settings", "files", "write"]

KIT: Final = Path(__file__).parent / "kit"
_MADE: Final = "# Made by `langgraph-observe deploy`. What is changed here is lost when it is made anew.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a kit can be made to fit."""

    namespace: str = NAMESPACE
    """Of the metrics, as given to `Metrics`."""
    targets: tuple[str, ...] = ("host.docker.internal:9464",)
    """Agents to scrape, as `host:port`."""
    runbook: str = "http://localhost:3000/d/langgraph-runbook/runbook"
    """Where alerts say the runbook is: by default the board that the kit brings; else wherever `runbook.md` was put."""
    channels: tuple[str, ...] = DEFAULT
    limits: Mapping[str, float] = field(default_factory=dict)
    """Of alerts, by name, where the default does not fit."""


def files(settings: Settings | None = None) -> dict[str, str]:
    """Every file of the kit by its path. Raises ValueError for settings that make no sense."""
    fixed = {path.relative_to(KIT).as_posix(): path.read_text("utf-8") for path in sorted(KIT.rglob("*")) if path.is_file()}
    return fixed | made(settings or Settings())


def write(directory: Path, settings: Settings | None = None) -> list[Path]:
    """Write the kit; files of these names are replaced, others are left alone. Raises OSError, and ValueError as `files`."""
    there = [(directory / name, text) for name, text in files(settings).items()]
    for path, text in there:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return [path for path, _ in there]


def made(settings: Settings) -> dict[str, str]:
    """The files that are not written by hand."""
    alerts = limited(settings.limits)
    page = runbook(alerts)
    ours = {
        "prometheus/rules/langgraph-recording.yml": _yaml(recording()),
        "prometheus/rules/langgraph-alerts.yml": _yaml(alerting(alerts, settings.runbook)),
        "slo/langgraph.yml": _yaml(definition(OBJECTIVES)),
        "runbook.md": page,
        **{f"grafana/dashboards/{board.uid}.json": _json(dashboard(board)) for board in (*BOARDS, _shown(page))},
    }
    return {name: renamed(text, settings.namespace) for name, text in ours.items()} | {
        "prometheus/targets/langgraph.yml": _yaml([{"targets": list(settings.targets)}]),
        "alertmanager/alertmanager.yml": _yaml(configuration(settings.channels)),
    }


def _shown(page: str) -> Board:
    panel = Panel(title="Runbook", says="What to do about each alert.", type="text", text=page)
    return Board(uid="langgraph-runbook", title="LangGraph · Runbook", panels=(panel,))


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Several lines as a block, so that PromQL can be read; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _text(dumper: _Dumper, value: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _yaml(value: Any) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return _MADE + text
