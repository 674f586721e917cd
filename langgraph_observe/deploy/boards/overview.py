"""The first board: the golden signals, what it costs, and how good it is."""

from __future__ import annotations

from typing import Final

from langgraph_observe.deploy.grafana import Board, Panel, Query
from langgraph_observe.deploy.promql import failing, increase, mean, quantile, rate

_RUNS: Final = "langgraph_run_duration_seconds"
_COUNT: Final = f"{_RUNS}_count"

OVERVIEW: Final = Board(
    uid="langgraph-overview",
    title="LangGraph · Overview",
    variables={"graph": _COUNT, "model": "langgraph_llm_duration_seconds_count"},
    panels=(
        Panel(
            title="Success",
            says="Of the runs that were not cancelled in the time shown. A run that waits for a human has not failed.",
            queries=(Query(f"1 - {failing(_RUNS, window='$__range')}"),),
            unit="ratio",
            type="stat",
        ),
        Panel(title="Runs", says="Ended in the time shown.", queries=(Query(increase(_COUNT, window="$__range")),), type="stat"),
        Panel(
            title="Open runs",
            says="Begun and not ended: what a queue would be elsewhere.",
            queries=(Query("sum(langgraph_runs_active)"),),
            type="stat",
        ),
        Panel(
            title="Spent in 24 hours",
            says="On models whose price is known. Empty where no price is known: that is not $0.",
            queries=(Query(increase("langgraph_llm_cost_usd_total", window="24h")),),
            unit="usd",
            type="stat",
        ),
        Panel(
            title="Tokens per minute",
            says="In and out, over all models.",
            queries=(Query(f"60 * {rate('langgraph_llm_tokens_total')}"),),
            type="stat",
        ),
        Panel(
            title="Open streams",
            says="Event streams over HTTP. Empty where none is metered.",
            queries=(Query("sum(langgraph_stream_connections_active)"),),
            type="stat",
        ),
        Panel(
            title="Runs by outcome",
            says="Traffic and errors. `cancelled` is a user who left, `interrupted` one who is asked.",
            queries=(Query(rate(_COUNT, "status"), "{{status}}"),),
            unit="per second",
        ),
        Panel(
            title="Errors by graph",
            says="The share of failed runs, those that were cancelled left out.",
            queries=(Query(failing(_RUNS, "graph"), "{{graph}}"),),
            unit="ratio",
        ),
        Panel(
            title="How long runs take",
            says="Successful ones. Exemplars lead to their traces.",
            queries=(
                Query(quantile(0.5, _RUNS, where='{status="ok"}'), "median"),
                Query(quantile(0.95, _RUNS, where='{status="ok"}'), "95 %"),
                Query(quantile(0.99, _RUNS, where='{status="ok"}'), "99 %"),
            ),
            unit="seconds",
        ),
        Panel(
            title="Time to the first token",
            says="How long a user looks at nothing: of the models' streams, and of the graphs'.",
            queries=(
                Query(quantile(0.95, "langgraph_llm_time_to_first_token_seconds"), "model, 95 %"),
                Query(quantile(0.95, "langgraph_run_time_to_first_chunk_seconds"), "graph, 95 %"),
            ),
            unit="seconds",
        ),
        Panel(
            title="Waiting for humans",
            says="Runs that stopped to ask, and runs that went on.",
            queries=(
                Query(increase("langgraph_interrupts_total", "graph"), "{{graph}} asked"),
                Query(increase("langgraph_resumes_total", "graph"), "{{graph}} went on"),
            ),
        ),
        Panel(
            title="Scores",
            says="The mean of feedback and evaluations, by name.",
            queries=(Query(mean("langgraph_score", "name", "1h"), "{{name}}"),),
        ),
    ),
)
