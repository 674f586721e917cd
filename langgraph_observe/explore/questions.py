# ruff: noqa: S608 - our own words, put together
"""What is asked of many runs, as SQL over the store's tables; `tables` answers it for every source.

How a column ends says what it holds: `_ns` a moment, `_s` seconds, `_nusd` nano-dollars, `_flag` 0 or 1, `_json` JSON; `spread` is the
aggregate of that name. `tables` turns them into moments, milliseconds, dollars, values and percentiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

PAID: Final = "kind = 'model' AND NOT coalesce(cached, 0)"
"""An answer from LangChain's cache spent nothing: its tokens are those of another call."""
SPENT: Final = f"""
    sum(input_tokens) FILTER (WHERE {PAID}) AS input_tokens,
    sum(output_tokens) FILTER (WHERE {PAID}) AS output_tokens,
    sum(cost_nusd) FILTER (WHERE {PAID}) AS cost_nusd,
    count(*) FILTER (WHERE {PAID} AND outcome IS NOT NULL AND cost_nusd IS NULL) AS unpriced,
    count(*) FILTER (WHERE {PAID} AND estimated) AS estimated"""
"""Of the model calls among the rows: `unpriced` are those with an unknown cost, `estimated` those whose tokens were counted here."""
PARTS: Final = f"""
    sum(cache_read_tokens) FILTER (WHERE {PAID}) AS cache_read_tokens,
    sum(cache_write_tokens) FILTER (WHERE {PAID}) AS cache_write_tokens,
    sum(reasoning_tokens) FILTER (WHERE {PAID}) AS reasoning_tokens"""
MODEL: Final = "coalesce(answered_by, model)"

DIMENSIONS: Final = {
    "hour": "strftime('%Y-%m-%d %H:00', at_ns / 1000000000, 'unixepoch', 'localtime')",
    "day": "date(at_ns / 1000000000, 'unixepoch', 'localtime')",
    "week": "date(at_ns / 1000000000, 'unixepoch', 'localtime', 'weekday 0', '-6 days')",
    "month": "strftime('%Y-%m', at_ns / 1000000000, 'unixepoch', 'localtime')",
    "graph": "graph",
    "node": "node",
    "agent": "agent",
    "provider": "provider",
    "model": MODEL,
    "thread": "thread_id",
    "session": "session_id",
    "user": "user_id",
    "trace": "trace_id",
}
"""What can be grouped by. Time is local, as in the list of traces; a week begins on Monday."""
PERIODS: Final = ("hour", "day", "week", "month")

RUNS: Final = f"""
SELECT trace_id AS trace, span_id AS span, parent_span_id AS parent_span, id AS run, kind, name, graph, node, agent, step, attempt,
    thread_id AS thread, session_id AS session, user_id AS user, provider, {MODEL} AS model, outcome, reason, error_type AS error,
    at_ns, seconds AS duration_s, first_token_seconds AS first_token_s, input_tokens, output_tokens, cache_read_tokens,
    cache_write_tokens, reasoning_tokens, estimated AS estimated_flag, cached AS cached_flag, cost_nusd
FROM runs ORDER BY at_ns, span_id"""
NODES: Final = f"""
SELECT graph, node, count(*) FILTER (WHERE kind = 'node') AS runs,
    count(*) FILTER (WHERE kind = 'node' AND outcome = 'error') AS errors,
    count(*) FILTER (WHERE kind = 'node' AND outcome = 'interrupted') AS interrupted,
    count(*) FILTER (WHERE kind = 'node' AND attempt > 1) AS retries,
    spread(seconds) FILTER (WHERE kind = 'node') AS spread, max(seconds) FILTER (WHERE kind = 'node') AS max_s,
    count(*) FILTER (WHERE kind = 'model') AS model_calls, {SPENT}
FROM runs WHERE node IS NOT NULL GROUP BY graph, node ORDER BY sum(seconds) FILTER (WHERE kind = 'node') DESC"""
TOOLS: Final = """
SELECT name AS tool, count(*) AS calls, count(*) FILTER (WHERE outcome = 'error') AS errors,
    count(*) FILTER (WHERE attempt > 1) AS retries, spread(seconds) AS spread, max(seconds) AS max_s, trace_id AS slowest
FROM runs WHERE kind = 'tool' GROUP BY name ORDER BY sum(seconds) DESC"""
ERRORS: Final = """
SELECT error_type AS error, kind, node, name, headline(json_extract(rest, '$.finished.failure.message')) AS message,
    count(*) AS runs, count(DISTINCT trace_id) AS traces, min(at_ns) AS first_ns, max(at_ns) AS last_ns,
    substr(max(printf('%020d', at_ns) || trace_id), 21) AS latest
FROM runs JOIN payloads USING (key) WHERE outcome = 'error' AND NOT EXISTS (
    SELECT 1 FROM runs AS below WHERE below.trace_id = runs.trace_id AND below.parent_span_id = runs.span_id
    AND below.outcome = 'error' AND below.error_type IS runs.error_type)
GROUP BY error_type, kind, node, name, message ORDER BY count(*) DESC, last_ns DESC"""
"""An error that went up through a tool, a node and a graph is one, where it began."""
THREADS: Final = f"""
SELECT thread_id AS thread, max(user_id) AS user, count(DISTINCT trace_id) AS traces, min(at_ns) AS first_ns, max(at_ns) AS last_ns,
    count(DISTINCT trace_id) FILTER (WHERE parent_id IS NULL AND outcome = 'error') AS failed,
    substr(max(printf('%020d', at_ns) || coalesce(outcome, 'running')) FILTER (WHERE parent_id IS NULL), 21) AS outcome, {SPENT}
FROM runs WHERE thread_id IS NOT NULL GROUP BY thread_id ORDER BY last_ns DESC"""
SCORES: Final = """
SELECT at_ns, scores.name, scores.value AS value_json, comment, source, scores.trace_id AS trace, scores.span_id AS span,
    (SELECT coalesce(graph, name) FROM runs WHERE runs.trace_id = scores.trace_id ORDER BY parent_id IS NOT NULL, at_ns LIMIT 1) AS graph
FROM scores ORDER BY at_ns DESC, id"""


def models(by: Sequence[str]) -> str:
    """Calls, tokens, cost and latency of each model."""
    heads = dict.fromkeys([*by, "provider", "model"])
    return f"""
SELECT {_grouped(heads)}, count(*) AS calls, count(*) FILTER (WHERE outcome = 'error') AS errors,
    count(*) FILTER (WHERE cached) AS cached, {SPENT}, {PARTS}, spread(seconds) AS spread, middle(first_token_seconds) AS first_token_s
FROM runs WHERE kind = 'model' GROUP BY {_places(heads)} ORDER BY {_order(heads)}"""


def costs(by: Sequence[str]) -> str:
    """Tokens and cost of model calls, by whatever is asked for."""
    heads = dict.fromkeys(by)
    return f"""
SELECT {_grouped(heads)}, count(*) AS calls, {SPENT}
FROM runs WHERE kind = 'model' GROUP BY {_places(heads)} ORDER BY {_order(heads)}"""


def _grouped(heads: dict[str, None]) -> str:
    if unknown := [head for head in heads if head not in DIMENSIONS]:
        msg = f"by what? {', '.join(map(str, unknown))} is not among {', '.join(DIMENSIONS)}"
        raise ValueError(msg)
    return ", ".join(f"{DIMENSIONS[head]} AS {head}" for head in heads)


def _places(heads: dict[str, None]) -> str:
    """The columns by their place: by its name `model` would be the column of the table."""
    return ", ".join(str(place) for place, _ in enumerate(heads, 1))


def _order(heads: dict[str, None]) -> str:
    """Time as it goes; else what costs most first."""
    periods = [f"{place} DESC" for place, head in enumerate(heads, 1) if head in PERIODS]
    return ", ".join([*periods, "cost_nusd DESC NULLS LAST", "calls DESC"])
