"""What an alert is: its condition, whom it calls, and its section of the runbook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from langgraph_observe.deploy.objectives import TICKET, Burn, Objective

Severity: TypeAlias = Literal["critical", "warning", "info"]
PREFIX: Final = "LangGraph"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. It fires while `measure` is above `above` (or, without it, has any sample), and `given` holds."""

    name: str
    area: str
    severity: Severity
    measure: str
    above: float | None = None
    by: str = ""
    """Labels of the series that `measure` and `given` share."""
    given: str = ""
    """Nothing is concluded without it: most often a minimum of traffic, or one failure at night is 100 %."""
    wait: str = "0s"
    summary: str
    """With Go's templates, as `description`."""
    description: str
    means: str
    """The runbook: what has happened and whom it touches."""
    look: str
    do: str
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def expr(self) -> str:
        """The condition in PromQL."""
        condition = self.measure if self.above is None else f"{self.measure} > {self.above:.12g}"
        return f"{condition}\nand on ({self.by}) {self.given}" if self.given else condition

    def rule(self, runbook: str) -> dict[str, Any]:
        """The rule as Prometheus reads it; `runbook` is the page whose section this alert has."""
        return {
            "alert": self.name,
            "expr": self.expr,
            **({} if self.wait == "0s" else {"for": self.wait}),
            "labels": {"severity": self.severity, "service": "langgraph", "area": self.area, **dict(self.labels)},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbook}#{self.name.lower()}",
            },
        }


def burning(one: Objective, severity: Severity, burns: tuple[Burn, ...], look: str, do: str) -> Alert:
    """The alert of an objective whose error budget is being spent too fast."""
    title = "".join(word.capitalize() for word in one.name.split("-"))
    speed = "slowly but surely" if burns is TICKET else "fast"
    subject = " ".join(f"{{{{ $labels.{label} }}}}" for label in one.by.split(", ")[1:])
    return Alert(
        name=f"{PREFIX}{title}Budget{'Leak' if burns is TICKET else 'Burn'}",
        area=one.area,
        severity=severity,
        measure=one.burning(burns),
        by=one.by,
        summary=f"{subject} spends the error budget of {one.name} {speed}",
        description=f"{{{{ $value | humanizePercentage }}}} of events are bad lately. Promised, over 30 days: {one.promise}",
        means=f"The objective: {one.promise} At this speed the budget of 30 days is gone {_when(burns)}.",
        look=look,
        do=do,
        labels=tuple(one.labels.items()),
    )


def _when(burns: tuple[Burn, ...]) -> str:
    return "before the 30 days are over" if burns is TICKET else "within five days, or within two"
