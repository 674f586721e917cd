"""Boards → Grafana's JSON. The road not taken is grafana-foundation-sdk: its versions are Grafana's, two behind, to say this little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from langgraph_observe.deploy.promql import chosen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Type: TypeAlias = Literal["timeseries", "stat", "table", "bargauge", "heatmap", "text"]

COLUMNS: Final = 24
SCHEMA: Final = 42
_SIZES: Final[Mapping[Type, tuple[int, int]]] = {"text": (24, 12)}
_SIZE: Final = (12, 8)
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
Unit: TypeAlias = Literal["ratio", "seconds", "usd", "bytes per second", "number", "per second"]
_UNITS: Final[Mapping[Unit, str]] = {
    "ratio": "percentunit",
    "seconds": "s",
    "usd": "currencyUSD",
    "bytes per second": "Bps",
    "number": "short",
    "per second": "cps",
}
"""Grafana's names."""
_NOW: Final = ("stat", "table", "bargauge")
"""Types that show one value of each series: the query is asked once, at the end of the time shown."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query and what its series are called, with Grafana's templates."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel. A board lays its panels out in their order."""

    title: str
    says: str
    """What to read from it."""
    queries: tuple[Query, ...] = ()
    unit: Unit = "number"
    """Of a heatmap, that of its buckets: its cells are counts."""
    type: Type = "timeseries"
    text: str = ""
    """Markdown, of a text panel."""
    steps: tuple[tuple[float, str], ...] = ()
    """From which value on which colour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One board, with variables for the data source, the job, and the labels of `variables`."""

    uid: str
    title: str
    panels: tuple[Panel, ...]
    variables: Mapping[str, str] | None = None
    """Label → the metric whose values of it can be chosen."""


JOB: Final = ("job", "langgraph_build_info")


def dashboard(board: Board) -> dict[str, Any]:
    """The model that Grafana's provisioning reads: not wrapped in an envelope, as its API wants it."""
    return {
        "uid": board.uid,
        "title": board.title,
        "tags": ["langgraph-observe"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "1m",
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "tags": ["langgraph-observe"], "title": "LangGraph", "asDropdown": True, "keepTime": True}
        ],
        "templating": {"list": [] if board.variables is None else _variables((JOB, *board.variables.items()))},
        "annotations": {"list": []},
        "panels": list(_laid_out(board.panels, ("job", *(board.variables or ())))),
    }


def _variables(labels: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}
    return [source, *(_variable(*one) for one in labels)]


def _variable(label: str, metric: str) -> dict[str, Any]:
    scope = "" if label == "job" else '{job=~"$job"}'
    return {
        "name": label,
        "label": label.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({metric}{scope}, {label})", "refId": "A"},
        "refresh": 2,  # when the time range changes
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",  # those without the label, too
        "current": {"text": "All", "value": "$__all"},
    }


def _laid_out(panels: Sequence[Panel], variables: Sequence[str]) -> Iterable[dict[str, Any]]:
    """In rows; the numbers at the top of a board share the first."""
    x = y = tallest = 0
    numbers = COLUMNS // max(1, sum(panel.type == "stat" for panel in panels))
    for number, panel in enumerate(panels, 1):
        width, height = _SIZES.get(panel.type, (numbers, 4) if panel.type == "stat" else _SIZE)
        if x + width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        yield _panel(panel, number, variables) | {"gridPos": {"x": x, "y": y, "w": width, "h": height}}
        x, tallest = x + width, max(tallest, height)


def _panel(panel: Panel, number: int, variables: Sequence[str]) -> dict[str, Any]:
    common: dict[str, Any] = {"id": number, "type": panel.type, "title": panel.title, "description": panel.says}
    if panel.type == "text":
        return common | {"options": {"mode": "markdown", "content": panel.text}}
    return common | {
        "datasource": _SOURCE,
        "targets": [
            _target(query, panel, variables) | {"refId": ref} for query, ref in zip(panel.queries, "ABCDEFGH", strict=False)
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(query: Query, panel: Panel, variables: Sequence[str]) -> dict[str, Any]:
    return {
        "datasource": _SOURCE,
        "expr": chosen(query.expr, variables),
        "legendFormat": query.legend or "__auto",
        "instant": panel.type in _NOW,
        "range": panel.type not in _NOW,
        "exemplar": panel.type == "timeseries" and "_bucket" in query.expr,
        "format": {"table": "table", "heatmap": "heatmap"}.get(panel.type, "time_series"),
    }


def _field(panel: Panel) -> dict[str, Any]:
    steps = [{"value": None, "color": "green"}, *({"value": value, "color": color} for value, color in panel.steps)]
    custom = {"drawStyle": "line", "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
    return {
        "unit": _UNITS["number" if panel.type == "heatmap" else panel.unit],
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds" if panel.type in _NOW else "palette-classic"},
        "custom": custom if panel.type == "timeseries" else {},
    }


def _options(panel: Panel) -> dict[str, Any]:
    last = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
    match panel.type:
        case "timeseries":
            return {
                "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["mean", "max"]},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case "heatmap":
            return {"calculate": False, "yAxis": {"unit": _UNITS[panel.unit]}, "tooltip": {"mode": "single"}}
        case "bargauge":
            return last | {"displayMode": "basic", "orientation": "horizontal"}
        case "stat":
            return last | {"graphMode": "none", "colorMode": "value"}
        case _:
            return {"showHeader": True}
