"""Service-level objectives as data: their rules, their alerts and their board come from `OBJECTIVES`.

Names of the recorded series and the labels `sloth_*` are those of sloth.dev, so boards made for it work. Two things differ.
An agent has hours without traffic, so a window without events has no sample (sloth's is NaN, and 30 days with one NaN are
NaN), and the period is weighed by events, not by time: one failure at night is one failure, not five bad minutes. And no
burn rate counts on fewer than `minimum` events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from langgraph_observe.deploy.promql import NAMESPACE, increase, rate

if TYPE_CHECKING:
    from collections.abc import Sequence

PERIOD: Final = "30d"
WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")


class Burn(NamedTuple):
    """When the budget is spent too fast: `factor` times too fast in a long window, and still so in a short one."""

    factor: float
    long: str
    short: str


PAGE: Final = (Burn(14.4, "1h", "5m"), Burn(6, "6h", "30m"))
"""2 % of 30 days' budget in an hour, 5 % in six (Google's SRE workbook, "Alerting on SLOs", table 5-8)."""
TICKET: Final = (Burn(3, "1d", "2h"), Burn(1, "3d", "6h"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A share of events that shall be good. Either `bad` or `good` tells which, as a counter's selector like `total`."""

    name: str
    goal: float
    """Of all events in `PERIOD`, above 0 and below 1."""
    promise: str
    """In words."""
    by: str
    """Labels that have an error budget each, `job` first."""
    total: str
    bad: str = ""
    good: str = ""
    pages: bool = True
    """Whether a fast burn wakes somebody; a slow one is always a ticket."""
    minimum: int = 10
    """Events in the long window below which nothing is concluded."""
    area: str
    """Of the alerts."""

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return round(1 - self.goal, 6)

    @property
    def labels(self) -> dict[str, str]:
        """Of all series and alerts of this objective."""
        return {"sloth_id": f"{NAMESPACE}-{self.name}", "sloth_service": NAMESPACE, "sloth_slo": self.name}

    def errors(self, window: str) -> str:
        """Bad events per second."""
        whole = rate(self.total, self.by, window)
        if self.bad:
            return f"({rate(self.bad, self.by, window)} or 0 * {whole})"
        return f"clamp_min({whole} - {rate(self.good, self.by, window)}, 0)"

    def burning(self, burns: tuple[Burn, ...]) -> str:
        """The alert's condition. A burn that the budget is too large for (more than all events bad) is left out."""
        return "\nor\n".join(self._burning(burn) for burn in burns if burn.factor * self.budget < 1)

    def _burning(self, burn: Burn) -> str:
        threshold = f"{burn.factor * self.budget:.6g}"
        mine = f'sloth_id="{self.labels["sloth_id"]}"'
        return (
            f"(slo:sli_error:ratio_rate{burn.short}{{{mine}}} > {threshold}\n"
            f"  and slo:sli_error:ratio_rate{burn.long}{{{mine}}} > {threshold}\n"
            f"  and on ({self.by}) {increase(self.total, self.by, burn.long)} >= {self.minimum})"
        )


_RUNS: Final = "langgraph_run_duration_seconds"
_TOOLS: Final = "langgraph_tool_duration_seconds"
_MODELS: Final = "langgraph_llm_duration_seconds"
_STREAMS: Final = "langgraph_stream_duration_seconds"

OBJECTIVES: Final = (
    Objective(
        name="run-success",
        area="runs",
        goal=0.99,
        promise="99 % of runs do not fail. A run that waits for a human is good; one that was cancelled does not count.",
        by="job, graph",
        total=f'{_RUNS}_count{{status!="cancelled"}}',
        bad=f'{_RUNS}_count{{status="error"}}',
    ),
    Objective(
        name="run-completion",
        area="runs",
        goal=0.85,
        promise="85 % of runs come to their own end: they neither fail nor are given up by who asked.",
        by="job, graph",
        total=f"{_RUNS}_count",
        bad=f'{_RUNS}_count{{status=~"error|cancelled"}}',
        pages=False,
        minimum=20,
    ),
    Objective(
        name="run-latency",
        area="runs",
        goal=0.95,
        promise="95 % of successful runs take 30 seconds at most.",
        by="job, graph",
        total=f'{_RUNS}_count{{status="ok"}}',
        good=f'{_RUNS}_bucket{{status="ok", le="30.0"}}',
        pages=False,
    ),
    Objective(
        name="tool-success",
        area="tools",
        goal=0.95,
        promise="95 % of a tool's calls do not fail.",
        by="job, tool",
        total=f'{_TOOLS}_count{{status!="cancelled"}}',
        bad=f'{_TOOLS}_count{{status="error"}}',
    ),
    Objective(
        name="model-success",
        area="models",
        goal=0.99,
        promise="99 % of a model's calls do not fail.",
        by="job, provider, model",
        total=f'{_MODELS}_count{{status!="cancelled"}}',
        bad=f'{_MODELS}_count{{status="error"}}',
    ),
    Objective(
        name="first-token",
        area="models",
        goal=0.95,
        promise="95 % of streamed answers begin within 3.2 seconds.",
        by="job, provider, model",
        total="langgraph_llm_time_to_first_token_seconds_count",
        good='langgraph_llm_time_to_first_token_seconds_bucket{le="3.2"}',
        pages=False,
    ),
    Objective(
        name="stream-success",
        area="streams",
        goal=0.99,
        promise="99 % of event streams do not break on the server's side. A client that leaves breaks nothing.",
        by="job, route",
        total=f'{_STREAMS}_count{{outcome=~"completed|error"}}',
        bad=f'{_STREAMS}_count{{outcome="error"}}',
    ),
    Objective(
        name="stream-first-event",
        area="streams",
        goal=0.95,
        promise="95 % of event streams send their first event within 3.2 seconds.",
        by="job, route",
        total="langgraph_stream_first_event_seconds_count",
        good='langgraph_stream_first_event_seconds_bucket{le="3.2"}',
        pages=False,
    ),
)


def definition(objectives: Sequence[Objective]) -> dict[str, Any]:
    """The objectives in sloth's format (`prometheus/v1`), for whoever keeps them elsewhere."""
    return {"version": "prometheus/v1", "service": NAMESPACE, "slos": [_defined(one) for one in objectives]}


def _defined(one: Objective) -> dict[str, Any]:
    window = "{{.window}}"
    return {
        "name": one.name,
        "objective": round(100 * one.goal, 4),
        "description": one.promise,
        "sli": {"events": {"error_query": one.errors(window), "total_query": rate(one.total, one.by, window)}},
        "alerting": {
            "page_alert": {"labels": {"severity": "critical"}} if one.pages else {"disable": True},
            "ticket_alert": {"labels": {"severity": "warning"}},
        },
    }
