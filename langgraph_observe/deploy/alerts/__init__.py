"""Every alert of the kit, as data: rules, routes' tests and the runbook come from `ALERTS`."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.deploy.alerts.agents import AGENTS
from langgraph_observe.deploy.alerts.alert import PREFIX, Alert, burning
from langgraph_observe.deploy.alerts.delivery import STREAMS, TELEMETRY
from langgraph_observe.deploy.alerts.models import MODELS
from langgraph_observe.deploy.objectives import OBJECTIVES, PAGE, TICKET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ALERTS", "PREFIX", "Alert", "alerting", "limited"]

_FIRST: Final = {
    "runs": (
        'Board *SLO and error budget*: since when? `traces.filter(graph="…", outcome="error", since="1h").last()` for the step that fails, or the slow ones by `.seconds`.',
        "Was the graph, a prompt or a model changed? Roll it back. If a tool or a model behind it is out, its own alert says so.",
    ),
    "tools": (
        "Board *Tools and retrievers*: errors by class.",
        "Repair what the tool calls, or take the tool away from the agent until then.",
    ),
    "models": (
        "Board *Models and cost*: errors by class, time to first token. The status page of the provider.",
        "Fall back to another model or region (`with_fallbacks`); ask for less at a time.",
    ),
    "streams": (
        "Board *Streams*: outcomes and first events by route. The runs of the graph behind the route.",
        "As for the run behind the stream. If only streams fail: the proxy, its timeouts and its buffering.",
    ),
}
"""What to look at and what to do first, by area, when an objective is in danger."""

_BURNING: Final = (
    *(burning(one, "critical", PAGE, *_FIRST[one.area]) for one in OBJECTIVES if one.pages),
    *(burning(one, "warning", TICKET, *_FIRST[one.area]) for one in OBJECTIVES),
)
ALERTS: Final[tuple[Alert, ...]] = tuple(sorted((*_BURNING, *AGENTS, *MODELS, *STREAMS, *TELEMETRY), key=lambda one: one.area))


def limited(limits: Mapping[str, float]) -> tuple[Alert, ...]:
    """The alerts with other limits, by name. Raises ValueError for one that there is not, or that has none."""
    if unknown := sorted(set(limits) - {one.name for one in ALERTS if one.above is not None}):
        message = f"no alert with a limit is called {', '.join(unknown)}"
        raise ValueError(message)
    return tuple(replace(one, above=limits.get(one.name, one.above)) for one in ALERTS)


def alerting(alerts: Sequence[Alert], runbook: str) -> dict[str, Any]:
    """The rule file: a group for each area."""
    areas = groupby(alerts, key=lambda one: one.area)
    return {"groups": [{"name": f"langgraph-{area}", "rules": [one.rule(runbook) for one in found]} for area, found in areas]}
