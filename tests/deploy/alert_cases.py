"""For each alert: series on which it must fire, and a near miss on which it must be silent. One sample a minute, three hours.

`a+bxn` is promtool's: from a, n times b more.
"""

from typing import NamedTuple

HOURS = 3
RUN = "langgraph_run_duration_seconds"
NODE = "langgraph_node_duration_seconds"
TOOL = "langgraph_tool_duration_seconds"
RETRIEVER = "langgraph_retriever_duration_seconds"
LLM = "langgraph_llm_duration_seconds"
STREAM = "langgraph_stream_duration_seconds"
FIRST = "langgraph_llm_time_to_first_token_seconds"
EVENT = "langgraph_stream_first_event_seconds"
BUILD = 'langgraph_build_info{job="a", instance="i", version="1"}'
N = HOURS * 60

Series = dict[str, str]


class Case(NamedTuple):
    fires: Series
    silent: Series


def up(per_minute):
    return f"0+{per_minute}x{N}"


def shares(histogram, labels, label="status", **per_minute):
    """Counts by status, as `ok=9, error=1`."""
    return {f'{histogram}_count{{job="a", {labels}, {label}="{one}"}}': up(n) for one, n in per_minute.items()}


def timed(histogram, labels, bound, *, within, beyond, status=', status="ok"'):
    """Calls a minute that take as long as `bound`, and ones that take longer."""
    whole = f'job="a", {labels}{status}'
    return {
        f'{histogram}_bucket{{{whole}, le="{bound}"}}': up(within),
        f'{histogram}_bucket{{{whole}, le="600.0"}}': up(within + beyond),
        f'{histogram}_bucket{{{whole}, le="+Inf"}}': up(within + beyond),
        f"{histogram}_count{{{whole}}}": up(within + beyond),
    }


def count(name, labels, per_minute):
    return {f'langgraph_{name}{{job="a", {labels}}}': up(per_minute)}


def once(series, ago):
    """The same, but each counter counts one event, so many minutes ago: too little to conclude anything from."""
    return {name: f"0x{N - ago} 1x{ago - 1}" if values != up(0) else values for name, values in series.items()}


def slo(labels, histogram, label="status", good="ok"):
    """An outage; and one failed event in the night."""
    outage = shares(histogram, labels, label, **{good: 5, "error": 5})
    return Case(outage, once(outage, ago=3))


def slow(histogram, labels, bound, status=', status="ok"'):
    """Nine of ten late; and one late of a hundred."""
    return Case(
        timed(histogram, labels, bound, within=1, beyond=9, status=status),
        timed(histogram, labels, bound, within=99, beyond=1, status=status),
    )


GRAPH, ANODE, ATOOL, RETR = 'graph="g"', 'graph="g", node="n"', 'tool="t"', 'retriever="r"'
MODEL, ROUTE = 'provider="p", model="m"', 'route="/chat"'
LEFT = shares(RUN, GRAPH, cancelled=3, ok=1)

CASES: dict[str, Case] = {
    "LangGraphRunSuccessBudgetBurn": slo(GRAPH, RUN),
    "LangGraphRunSuccessBudgetLeak": Case(
        shares(RUN, GRAPH, ok=95, error=5),
        shares(RUN, GRAPH, ok=5, cancelled=5, interrupted=5, error=0),  # closed tabs and humans are no errors
    ),
    "LangGraphRunCompletionBudgetLeak": Case(LEFT, shares(RUN, GRAPH, cancelled=1, ok=9)),
    "LangGraphRunLatencyBudgetLeak": slow(RUN, GRAPH, "30.0"),
    "LangGraphToolSuccessBudgetBurn": Case(shares(TOOL, ATOOL, ok=1, error=9), shares(TOOL, ATOOL, ok=95, error=5)),
    "LangGraphToolSuccessBudgetLeak": Case(shares(TOOL, ATOOL, ok=3, error=1), shares(TOOL, ATOOL, ok=99, error=1)),
    "LangGraphModelSuccessBudgetBurn": slo(MODEL, LLM),
    "LangGraphModelSuccessBudgetLeak": slo(MODEL, LLM),
    "LangGraphFirstTokenBudgetLeak": slow(FIRST, MODEL, "3.2", status=""),
    "LangGraphStreamSuccessBudgetBurn": slo(ROUTE, STREAM, "outcome", "completed"),
    "LangGraphStreamSuccessBudgetLeak": Case(
        shares(STREAM, ROUTE, "outcome", completed=9, error=1),
        shares(STREAM, ROUTE, "outcome", completed=9, client_disconnect=90, error=0),
    ),
    "LangGraphStreamFirstEventBudgetLeak": slow(EVENT, ROUTE, "3.2", status=""),
    "LangGraphRunsStuck": Case(
        {f'langgraph_runs_active{{job="a", {GRAPH}}}': f"2x{N}", **shares(RUN, GRAPH, ok=0)},
        {f'langgraph_runs_active{{job="a", {GRAPH}}}': f"2x{N}", **shares(RUN, GRAPH, ok=1)},
    ),
    "LangGraphRunsCancelled": Case(
        LEFT, once(shares(RUN, GRAPH, cancelled=1), ago=25) | shares(RUN, 'graph="h"', cancelled=1, ok=9)
    ),
    "LangGraphRecursionLimit": Case(
        count("errors_total", 'kind="run", name="g", error_type="langgraph.errors.GraphRecursionError"', 1),
        count("errors_total", 'kind="run", name="g", error_type="builtins.ValueError"', 1),
    ),
    "LangGraphNodeErrors": Case(
        shares(NODE, ANODE, ok=4, error=1),
        once(shares(NODE, ANODE, ok=0, error=1), ago=12) | shares(NODE, 'graph="g", node="m"', ok=95, error=5),
    ),
    "LangGraphNodeSlow": slow(NODE, ANODE, "60.0"),
    "LangGraphRetries": Case(
        count("retries_total", 'kind="node", name="n"', 2),
        {'langgraph_retries_total{job="a", kind="node", name="n"}': f"0+0x60 5x{N - 61}"},
    ),
    "LangGraphToolDown": Case(
        shares(TOOL, ATOOL, ok=0, error=1),
        once(shares(TOOL, ATOOL, ok=0, error=1), ago=12) | shares(TOOL, 'tool="u"', ok=1, error=4),
    ),
    "LangGraphToolSlow": slow(TOOL, ATOOL, "10.0"),
    "LangGraphRetrieverErrors": Case(shares(RETRIEVER, RETR, ok=4, error=1), shares(RETRIEVER, RETR, ok=99, error=1)),
    "LangGraphRetrieverSlow": slow(RETRIEVER, RETR, "1.0"),
    "LangGraphModelRateLimited": Case(
        count("errors_total", 'kind="llm", name="m", error_type="openai.RateLimitError"', 1),
        count("errors_total", 'kind="llm", name="m", error_type="openai.BadRequestError"', 1),
    ),
    "LangGraphModelSlow": slow(LLM, MODEL, "60.0"),
    "LangGraphModelStalls": Case(count("llm_stalls_total", MODEL, 1), count("llm_stalls_total", MODEL, 0.1)),
    "LangGraphFallbacks": Case(
        count("fallbacks_total", 'kind="llm", name="m", error_type="E"', 1),
        count("fallbacks_total", 'kind="llm", name="m", error_type="E"', 0.1),
    ),
    # the sum over models: neither alone is above the limit
    "LangGraphDailyCost": Case(
        count("llm_cost_usd_total", f'{MODEL}, source="reported"', 0.4) | count("llm_cost_usd_total", 'model="n"', 0.4),
        count("llm_cost_usd_total", f'{MODEL}, source="reported"', 0.4),
    ),
    "LangGraphCostSpike": Case(count("llm_cost_usd_total", MODEL, 1), count("llm_cost_usd_total", MODEL, 0.01)),
    "LangGraphTokens": Case(
        count("llm_tokens_total", f'{MODEL}, type="input"', 9000)
        | count("llm_tokens_total", f'{MODEL}, type="output"', 5000)
        | count("llm_tokens_total", 'model="n", type="input"', 5000),
        count("llm_tokens_total", f'{MODEL}, type="input"', 9000),
    ),
    "LangGraphUnpriced": Case(
        shares(LLM, MODEL, ok=4) | count("llm_unpriced_calls_total", MODEL, 1),
        once(shares(LLM, MODEL, ok=4) | count("llm_unpriced_calls_total", MODEL, 1), ago=25)
        | shares(LLM, 'provider="p", model="n"', ok=50)
        | count("llm_unpriced_calls_total", 'provider="p", model="n"', 1),
    ),
    "LangGraphTokensEstimated": Case(
        count("llm_tokens_total", f'{MODEL}, type="input", source="estimated"', 900),
        count("llm_tokens_total", f'{MODEL}, type="input", source="reported"', 900)
        | count("llm_tokens_total", f'{MODEL}, type="input", source="estimated"', 90),
    ),
    "LangGraphScoreLow": Case(
        count("score_count", 'name="good"', 1) | count("score_sum", 'name="good"', 0.3),
        count("score_count", 'name="good"', 1)
        | count("score_sum", 'name="good"', 0.7)
        | count("score_count", 'name="rare"', 0.05)
        | count("score_sum", 'name="rare"', 0.01),
    ),
    "LangGraphStreamClientsLeave": Case(
        shares(STREAM, ROUTE, "outcome", completed=1, client_disconnect=1),
        once(shares(STREAM, ROUTE, "outcome", client_disconnect=1), ago=15)
        | shares(STREAM, 'route="/other"', "outcome", completed=4, client_disconnect=1),
    ),
    "LangGraphStreamReconnects": Case(
        shares(STREAM, ROUTE, "outcome", completed=4) | count("stream_reconnects_total", ROUTE, 3),
        shares(STREAM, ROUTE, "outcome", completed=4) | count("stream_reconnects_total", ROUTE, 1),
    ),
    "LangGraphStreamErrorEvents": Case(
        shares(STREAM, ROUTE, "outcome", completed=4) | count("stream_error_events_total", ROUTE, 1),
        shares(STREAM, ROUTE, "outcome", completed=40) | count("stream_error_events_total", ROUTE, 1),
    ),
    "LangGraphStreamStalls": Case(
        shares(STREAM, ROUTE, "outcome", completed=1) | count("stream_stalls_total", ROUTE, 3),
        shares(STREAM, ROUTE, "outcome", completed=4) | count("stream_stalls_total", ROUTE, 1),
    ),
    "LangGraphStreamsStuck": Case(
        {f'langgraph_stream_connections_active{{job="a", {ROUTE}}}': f"2x{N}", **shares(STREAM, ROUTE, "outcome", completed=0)},
        {f'langgraph_stream_connections_active{{job="a", {ROUTE}}}': f"2x{N}", **shares(STREAM, ROUTE, "outcome", completed=1)},
    ),
    "LangGraphTelemetryAbsent": Case({"other_build_info": f"1x{N}"}, {BUILD: f"1x{N}"}),
    "LangGraphTelemetryLost": Case({BUILD: f"1x{N - 20}"}, {BUILD: f"1x{N - 20}", BUILD.replace('"i"', '"j"'): f"1x{N}"}),
    "LangGraphTargetDown": Case(
        {BUILD: f"1x{N - 20}", 'up{job="a", instance="i"}': f"1x{N - 20} 0x20"},
        {BUILD: f"1x{N}", 'up{job="a", instance="i"}': f"1x{N}", 'up{job="database", instance="d"}': f"0x{N}"},
    ),
    "LangGraphRecordsDropped": Case(
        count("dropped_total", 'component="otel.Spans", reason="queue_full"', 1),
        count("dropped_total", 'component="otel.Spans", reason="queue_full"', 0),
    ),
    "LangGraphQueueGrows": Case(
        {'langgraph_export_queue_size{job="a", component="s"}': f"5000x{N}"},
        {'langgraph_export_queue_size{job="a", component="s"}': f"0x{N - 5} 5000x5"},
    ),
    "LangGraphLabelOverflow": Case(
        count("label_overflow_total", 'label="node"', 1), count("label_overflow_total", 'label="node"', 0)
    ),
    "LangGraphVersionsMixed": Case(
        {BUILD: f"1x{N}", BUILD.replace('"1"', '"2"'): f"1x{N}"}, {BUILD: f"1x{N}", BUILD.replace('"i"', '"j"'): f"1x{N}"}
    ),
    "LangGraphRulesFail": Case(
        {'prometheus_rule_evaluation_failures_total{rule_group="rules/langgraph-alerts.yml;langgraph-runs"}': up(1)},
        {'prometheus_rule_evaluation_failures_total{rule_group="rules/theirs.yml;other"}': up(1)},
    ),
    "LangGraphNotificationsFail": Case(
        {'alertmanager_notifications_failed_total{integration="slack"}': up(1)},
        {'alertmanager_notifications_failed_total{integration="slack"}': up(0)},
    ),
}
"""`LangGraphRunsStopped` compares two days and has a test of its own."""
