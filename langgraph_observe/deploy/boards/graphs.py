"""Graphs and their nodes; tools and retrievers."""

from __future__ import annotations

from typing import Final

from langgraph_observe.deploy.grafana import Board, Panel, Query
from langgraph_observe.deploy.promql import SCREEN, failing, increase, quantile, rate

_RUN: Final = "langgraph_run_duration_seconds"
_NODE: Final = "langgraph_node_duration_seconds"
_TOOL: Final = "langgraph_tool_duration_seconds"
_RETRIEVER: Final = "langgraph_retriever_duration_seconds"
_OK: Final = '{status="ok"}'

GRAPHS: Final = Board(
    uid="langgraph-graphs",
    title="LangGraph · Graph and nodes",
    variables={"graph": f"{_NODE}_count"},
    panels=(
        Panel(
            title="Slowest nodes",
            says="The 95th percentile of successful runs, over the time shown.",
            queries=(
                Query(f"sort_desc(topk(15, {quantile(0.95, _NODE, 'graph, node', '$__range', _OK)}))", "{{graph}} · {{node}}"),
            ),
            unit="seconds",
            type="bargauge",
            steps=((10, "yellow"), (60, "red")),
        ),
        Panel(
            title="Nodes that fail",
            says="The share of failed attempts, over the time shown.",
            queries=(
                Query(
                    f"sort_desc(topk(15, {failing(_NODE, 'graph, node', '$__range')} > 0))",
                    "{{graph}} · {{node}}",
                ),
            ),
            unit="ratio",
            type="bargauge",
            steps=((0.01, "yellow"), (0.1, "red")),
        ),
        Panel(
            title="How long nodes take",
            says="The 95th percentile of the last five minutes.",
            queries=(Query("job_graph_node:langgraph_node_duration_seconds:p95_5m", "{{graph}} · {{node}}"),),
            unit="seconds",
        ),
        Panel(
            title="Durations of runs",
            says="How many runs took how long: two bands are two kinds of questions.",
            queries=(Query(f"sum by (le) (increase({_RUN}_bucket[{SCREEN}]))", "{{le}}"),),
            unit="seconds",
            type="heatmap",
        ),
        Panel(
            title="Node runs of each run",
            says="How far a run goes. A line that climbs is an agent that goes in circles.",
            queries=(
                Query(f"{rate(f'{_NODE}_count', 'graph', '15m')} / ({rate(f'{_RUN}_count', 'graph', '15m')} > 0)", "{{graph}}"),
            ),
        ),
        Panel(
            title="Errors by class",
            says="At the level where they were raised and at each one above it.",
            queries=(
                Query(
                    increase('langgraph_errors_total{kind=~"run|node"}', "kind, name, error_type"),
                    "{{kind}} {{name}}: {{error_type}}",
                ),
            ),
        ),
        Panel(
            title="Cancelled, by what",
            says="Runs of roots that were given up, and why.",
            queries=(Query(increase("langgraph_run_cancellations_total", "graph, reason"), "{{graph}}: {{reason}}"),),
        ),
        Panel(
            title="Retries",
            says="Attempts after the first.",
            queries=(Query(increase("langgraph_retries_total", "kind, name"), "{{kind}} {{name}}"),),
        ),
        Panel(
            title="Answered from the cache",
            says="Nodes and tasks that did not have to run.",
            queries=(Query(increase("langgraph_node_cache_hits_total", "graph, node"), "{{graph}} · {{node}}"),),
        ),
        Panel(
            title="The graphs' own streams",
            says="Chunks that callers took, by stream mode, and stalls.",
            queries=(
                Query(rate("langgraph_run_chunks_total", "graph, mode"), "{{graph}} {{mode}}"),
                Query(rate("langgraph_run_stalls_total", "graph"), "{{graph}} stalls"),
            ),
            unit="per second",
        ),
    ),
)

TOOLS: Final = Board(
    uid="langgraph-tools",
    title="LangGraph · Tools and retrievers",
    variables={},
    panels=(
        Panel(
            title="Success of tools",
            says="Over the time shown.",
            queries=(Query(f"sort(1 - {failing(_TOOL, 'tool', '$__range')})", "{{tool}}"),),
            unit="ratio",
            type="bargauge",
        ),
        Panel(
            title="Most called tools",
            says="Calls in the time shown.",
            queries=(Query(f"sort_desc(topk(15, {increase(f'{_TOOL}_count', 'tool', '$__range')}))", "{{tool}}"),),
            type="bargauge",
        ),
        Panel(
            title="How long tools take",
            says="The 95th percentile of the last five minutes.",
            queries=(Query("job_tool:langgraph_tool_duration_seconds:p95_5m", "{{tool}}"),),
            unit="seconds",
        ),
        Panel(
            title="Calls of tools",
            says="By outcome.",
            queries=(Query(rate(f"{_TOOL}_count", "tool, status"), "{{tool}} {{status}}"),),
            unit="per second",
        ),
        Panel(
            title="Errors of tools by class",
            says="The class of the exception.",
            queries=(Query(increase('langgraph_errors_total{kind="tool"}', "name, error_type"), "{{name}}: {{error_type}}"),),
        ),
        Panel(
            title="Durations of tool calls",
            says="All tools together.",
            queries=(Query(f"sum by (le) (increase({_TOOL}_bucket[{SCREEN}]))", "{{le}}"),),
            unit="seconds",
            type="heatmap",
        ),
        Panel(
            title="How long retrievers take",
            says="The 95th percentile of the last five minutes; the embedding of the query is a part of it.",
            queries=(Query("job_retriever:langgraph_retriever_duration_seconds:p95_5m", "{{retriever}}"),),
            unit="seconds",
        ),
        Panel(
            title="Calls of retrievers",
            says="By outcome.",
            queries=(Query(rate(f"{_RETRIEVER}_count", "retriever, status"), "{{retriever}} {{status}}"),),
            unit="per second",
        ),
        Panel(
            title="Errors of retrievers by class",
            says="The class of the exception.",
            queries=(Query(increase('langgraph_errors_total{kind="retriever"}', "name, error_type"), "{{name}}: {{error_type}}"),),
        ),
    ),
)
