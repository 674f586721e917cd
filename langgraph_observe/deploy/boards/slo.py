"""Objectives and their error budgets."""

from __future__ import annotations

from typing import Final

from langgraph_observe.deploy.grafana import Board, Panel, Query
from langgraph_observe.deploy.objectives import OBJECTIVES

_MINE: Final = 'job=~"$job", sloth_service="langgraph"'
_WHO: Final = "{{sloth_slo}} {{graph}}{{tool}}{{model}}{{route}}"
_PROMISES: Final = "\n".join(f"| {one.name} | {one.goal:.0%} | {one.promise} |" for one in OBJECTIVES)

SLO: Final = Board(
    uid="langgraph-slo",
    title="LangGraph · SLO and error budget",
    variables={},
    panels=(
        Panel(
            title="Budget left, the worst",
            says="Of 30 days. Below 0 the promise is broken.",
            queries=(Query(f"min(slo:period_error_budget_remaining:ratio{{{_MINE}}})"),),
            unit="ratio",
            type="stat",
        ),
        Panel(
            title="Promises broken",
            says="Objectives whose budget of 30 days is spent.",
            queries=(Query(f"count(slo:period_error_budget_remaining:ratio{{{_MINE}}} < 0) or vector(0)"),),
            type="stat",
            steps=((1, "red"),),
        ),
        Panel(
            title="Burning",
            says="Objectives that spend their budget faster than they may, right now.",
            queries=(Query(f"count(slo:current_burn_rate:ratio{{{_MINE}}} > 1) or vector(0)"),),
            type="stat",
            steps=((1, "yellow"),),
        ),
        Panel(
            title="Alerts",
            says="Of objectives, firing.",
            queries=(Query('count(ALERTS{service="langgraph", alertstate="firing", sloth_id!=""}) or vector(0)'),),
            type="stat",
            steps=((1, "red"),),
        ),
        Panel(
            title="Attainment",
            says="The share of good events in 30 days, or in as many as there are; the worst first.",
            queries=(Query(f"sort(bottomk(15, 1 - slo:sli_error:ratio_rate30d{{{_MINE}}}))", _WHO),),
            unit="ratio",
            type="bargauge",
        ),
        Panel(
            title="Budget left",
            says="Of 30 days; the worst first.",
            queries=(Query(f"sort(bottomk(15, slo:period_error_budget_remaining:ratio{{{_MINE}}}))", _WHO),),
            unit="ratio",
            type="bargauge",
        ),
        Panel(
            title="Burn rate",
            says="1 spends the budget in exactly 30 days, 14.4 in two.",
            queries=(Query(f"slo:current_burn_rate:ratio{{{_MINE}}}", _WHO),),
        ),
        Panel(
            title="Bad events",
            says="The share in an hour, on which pages are decided, and in three days.",
            queries=(
                Query(f"slo:sli_error:ratio_rate1h{{{_MINE}}}", f"1 h {_WHO}"),
                Query(f"slo:sli_error:ratio_rate3d{{{_MINE}}}", f"3 d {_WHO}"),
            ),
            unit="ratio",
        ),
        Panel(
            title="The budget over time",
            says="What falls fast was an incident, what falls slowly is a habit.",
            queries=(Query(f"slo:period_error_budget_remaining:ratio{{{_MINE}}}", _WHO),),
            unit="ratio",
        ),
        Panel(
            title="What is promised",
            says="The objectives of `slo/langgraph.yml`.",
            type="text",
            text=f"| objective | goal | promise |\n|---|---|---|\n{_PROMISES}",
        ),
    ),
)
