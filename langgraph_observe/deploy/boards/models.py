"""Models: calls, tokens, and money."""

from __future__ import annotations

from typing import Final

from langgraph_observe.deploy.grafana import Board, Panel, Query
from langgraph_observe.deploy.promql import increase, quantile, rate, ratio

_LLM: Final = "langgraph_llm_duration_seconds"
_COST: Final = "langgraph_llm_cost_usd_total"
_TOKENS: Final = "langgraph_llm_tokens_total"
_DETAILS: Final = "langgraph_llm_token_details_total"

MODELS: Final = Board(
    uid="langgraph-models",
    title="LangGraph · Models and cost",
    variables={"model": f"{_LLM}_count"},
    panels=(
        Panel(
            title="Spend per hour",
            says="On models whose price is known.",
            queries=(Query(f"3600 * {rate(_COST, 'provider, model')}", "{{provider}} {{model}}"),),
            unit="usd",
        ),
        Panel(
            title="Spent in the time shown",
            says="By model; `estimated` where the provider told no tokens.",
            queries=(Query(increase(_COST, "provider, model, source", "$__range"), "{{model}} {{source}}"),),
            unit="usd",
            type="bargauge",
        ),
        Panel(
            title="Tokens per minute",
            says="By model and direction.",
            queries=(
                Query("60 * sum by (model, type) (job_provider_model_type:langgraph_llm_tokens:rate5m)", "{{model}} {{type}}"),
            ),
        ),
        Panel(
            title="Parts of the tokens",
            says="Read from the cache, spent on reasoning, audio: shares of all tokens, not to be added to each other.",
            queries=(
                Query(
                    f"{rate(_DETAILS, 'model, detail')} / on (model) group_left () ({rate(_TOKENS, 'model')} > 0)",
                    "{{model}} {{detail}}",
                ),
            ),
            unit="ratio",
        ),
        Panel(
            title="Calls and errors",
            says="By outcome.",
            queries=(
                Query(rate(f"{_LLM}_count", "model, status"), "{{model}} {{status}}"),
                Query(rate("langgraph_llm_cache_hits_total", "model"), "{{model}} from the cache"),
            ),
            unit="per second",
        ),
        Panel(
            title="Errors, fallbacks and stalls",
            says="By class; what stood in for them; and answers that stood still for more than five seconds.",
            queries=(
                Query(increase('langgraph_errors_total{kind="llm"}', "name, error_type"), "{{name}}: {{error_type}}"),
                Query(increase("langgraph_fallbacks_total", "name, error_type"), "{{name}} stood in: {{error_type}}"),
                Query(increase("langgraph_llm_stalls_total", "model"), "{{model}} stood still"),
            ),
        ),
        Panel(
            title="How long calls take",
            says="The 95th percentile of the last five minutes.",
            queries=(Query("job_provider_model:langgraph_llm_duration_seconds:p95_5m", "{{provider}} {{model}}"),),
            unit="seconds",
        ),
        Panel(
            title="Time to the first token",
            says="Of streamed answers.",
            queries=(
                Query(quantile(0.5, "langgraph_llm_time_to_first_token_seconds", "model"), "{{model}} median"),
                Query(quantile(0.95, "langgraph_llm_time_to_first_token_seconds", "model"), "{{model}} 95 %"),
            ),
            unit="seconds",
        ),
        Panel(
            title="Time between chunks",
            says="How fast an answer runs, once it has begun.",
            queries=(Query(quantile(0.95, "langgraph_llm_time_per_output_chunk_seconds", "model"), "{{model}} 95 %"),),
            unit="seconds",
        ),
        Panel(
            title="Tokens of a call",
            says="The mean. What grows here is a history or a prompt.",
            queries=(
                Query(
                    f"{rate(_TOKENS, 'model, type')} / on (model) group_left () ({rate(f'{_LLM}_count', 'model')} > 0)",
                    "{{model}} {{type}}",
                ),
            ),
        ),
        Panel(
            title="Money of a run",
            says="All models over all runs of roots: what one question costs.",
            queries=(
                Query(f"{rate(_COST, window='1h')} / ({rate('langgraph_run_duration_seconds_count', window='1h')} > 0)", "a run"),
            ),
            unit="usd",
        ),
        Panel(
            title="What is not known",
            says="Calls without a price, and tokens that are guesses: by how much the other panels are wrong.",
            queries=(
                Query(ratio("langgraph_llm_unpriced_calls_total", f"{_LLM}_count", "model"), "{{model}} without a price"),
                Query(ratio(f'{_TOKENS}{{source="estimated"}}', _TOKENS, "model"), "{{model}} tokens guessed"),
            ),
            unit="ratio",
        ),
    ),
)
