"""Recording rules: what objectives need, and what alerts and boards would otherwise compute again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.deploy.objectives import OBJECTIVES, PERIOD, WINDOWS
from langgraph_observe.deploy.promql import quantile, rate

if TYPE_CHECKING:
    from langgraph_observe.deploy.objectives import Objective


RECORDED: Final = {
    # level:metric:operation, as prometheus.io/docs/practices/rules; the level is the labels, joined by _
    **{
        f"{level}:langgraph_{of}_duration_seconds:p95_5m": quantile(
            0.95, f"langgraph_{of}_duration_seconds", level.replace("_", ", "), "5m", '{status="ok"}'
        )
        for level, of in (
            ("job_graph_node", "node"),
            ("job_tool", "tool"),
            ("job_retriever", "retriever"),
            ("job_provider_model", "llm"),
        )
    },
    "job_provider_model_type:langgraph_llm_tokens:rate5m": rate("langgraph_llm_tokens_total", "job, provider, model, type", "5m"),
    "job_route_outcome:langgraph_streams:rate5m": rate("langgraph_stream_duration_seconds_count", "job, route, outcome", "5m"),
}


def recording() -> dict[str, Any]:
    """The rule file: one group for what is measured, one for each objective, which refers to itself in order."""
    measured = {"name": "langgraph-recorded", "rules": [{"record": name, "expr": expr} for name, expr in RECORDED.items()]}
    return {"groups": [measured, *(_group(one) for one in OBJECTIVES)]}


def _group(one: Objective) -> dict[str, Any]:
    rules = [*_ratios(one), *_constants(one), *_budget(one)]
    return {
        "name": f"langgraph-slo-{one.name}",
        "rules": [{"record": name, "expr": expr, "labels": one.labels} for name, expr in rules],
    }


def _ratios(one: Objective) -> list[tuple[str, str]]:
    whole = {window: rate(one.total, one.by, window) for window in WINDOWS}
    bad, all_ = (f"sum_over_time({_mine(f'slo:{name}:rate5m', one)}[{PERIOD}])" for name in ("errors", "events"))
    return [
        *((f"slo:sli_error:ratio_rate{window}", f"{one.errors(window)} / ({whole[window]} > 0)") for window in WINDOWS),
        ("slo:events:rate5m", whole["5m"]),
        ("slo:errors:rate5m", one.errors("5m")),
        (f"slo:sli_error:ratio_rate{PERIOD}", f"{bad} / ({all_} > 0)"),
    ]


def _constants(one: Objective) -> list[tuple[str, str]]:
    return [
        ("slo:objective:ratio", f"vector({one.goal})"),
        ("slo:error_budget:ratio", f"vector({one.budget})"),
        ("slo:time_period:days", f"vector({PERIOD.removesuffix('d')})"),
    ]


def _budget(one: Objective) -> list[tuple[str, str]]:
    spent = f"{_mine(f'slo:sli_error:ratio_rate{PERIOD}', one)} / {one.budget}"
    return [
        ("slo:current_burn_rate:ratio", f"{_mine('slo:sli_error:ratio_rate5m', one)} / {one.budget}"),
        ("slo:period_burn_rate:ratio", spent),
        ("slo:period_error_budget_remaining:ratio", f"1 - {spent}"),
    ]


def _mine(series: str, one: Objective) -> str:
    return f'{series}{{sloth_id="{one.labels["sloth_id"]}"}}'
