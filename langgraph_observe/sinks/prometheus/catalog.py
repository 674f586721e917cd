"""Every metric that `prometheus.Metrics` exposes, as data. Rules, dashboards and documentation are made from this table.

Names follow prometheus.io/docs/practices/naming: base units, the unit last, `_total` on counters. The status of a run is
`ok`, `error`, `interrupted` (a human in the loop: LangGraph's normal case) or `cancelled`; an error ratio counts `error` only.
A label without a value is exposed as the empty string, which Prometheus takes for no label. No label tells one run, thread,
session or user from another: that is for traces, and an exemplar leads to them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from langgraph_observe.records import STALL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

OTHER: Final = "__other__"
"""The value of a label that has had its fill of values; `label_overflow_total` counts how often it was used."""
STATUSES: Final = ("ok", "error", "interrupted", "cancelled")
OUTCOMES: Final = ("completed", "client_disconnect", "error", "cancelled", "server_shutdown")
"""How a stream over HTTP ends."""
LIMIT: Final = 100
"""Values of a label that `LIMITS` does not name."""
LIMITS: Final[Mapping[str, int]] = {
    "graph": 50,
    "node": 300,
    "tool": 300,
    "retriever": 100,
    "name": 300,
    "route": 200,
    "event": 50,
    "mode": 20,
    "provider": 50,
    "model": 100,
    "error_type": 100,
}
"""Distinct values of a label, over all metrics of one catalogue. These are the labels that others fill: their product is bounded too."""
SERIES: Final = 2_000
"""Sets of labels of one metric, those of users included. One more, and every label of `LIMITS` says `OTHER` (OpenTelemetry's limit)."""

SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
FIRST: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6)
GAP: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 30)
UNIT_INTERVAL: Final = tuple(n / 10 for n in range(11))


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One metric family, its name without the namespace."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    owner: str = ""
    """What it tells about, as `models`: its chapter of the reference and its place on a dashboard."""
    buckets: Sequence[float] = ()
    """Upper bounds of a histogram, in `unit`."""
    born: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Values of a label whose series begin at 0 together: a counter that appears with 5 has an `increase()` of 0."""
    of_runs: bool = True
    """Takes the labels that the user adds: its samples come from runs."""
    mode: Literal["all", "livesum", "max"] = "all"
    """How a gauge is put together over processes."""


def _histogram(
    name: str, help_: str, *labels: str, buckets: Sequence[float], unit: str = "seconds", **more: Sequence[str]
) -> Instrument:
    return Instrument(name=name, type="histogram", help=help_, labels=labels, unit=unit, buckets=buckets, born=more)


def _duration(of: str, help_: str, *labels: str, born: Sequence[str] = ("ok", "error")) -> Instrument:
    return _histogram(f"{of}_duration_seconds", help_, *labels, "status", buckets=SECONDS, status=born)


def _counter(name: str, help_: str, *labels: str, unit: str = "", **born: Sequence[str]) -> Instrument:
    return Instrument(name=name, type="counter", help=help_, labels=labels, unit=unit, born=born)


def _active(name: str, help_: str, *labels: str) -> Instrument:
    return Instrument(name=name, type="gauge", help=help_, labels=labels, mode="livesum")


_CHAPTERS: Final[Mapping[str, Sequence[Instrument]]] = {
    "graphs": (
        _duration(
            "run",
            "Runs of graphs and agents, sub-graphs under their own name, and chains that no graph called.",
            "graph",
            born=STATUSES,
        ),
        _active("runs_active", "Runs that have begun and not ended.", "graph"),
        _counter("interrupts_total", "Runs of a root that stopped for a human, by the kind of interrupt.", "graph", "reason"),
        _counter("resumes_total", "Runs that went on where an interrupt had stopped another.", "graph"),
        _counter("run_cancellations_total", "Runs of a root that were cancelled, by what cancelled them.", "graph", "reason"),
        _histogram(
            "run_time_to_first_chunk_seconds",
            "From the call of a graph to the first chunk that the caller of its stream took.",
            "graph",
            buckets=FIRST,
        ),
        _counter("run_chunks_total", "Chunks that callers of graphs' streams took, by stream mode.", "graph", "mode"),
        _counter(
            "run_stalls_total", f"Gaps of more than {STALL_SECONDS:g} seconds between two chunks of a graph's stream.", "graph"
        ),
    ),
    "nodes": (
        _duration("node", "Runs of nodes, each attempt of a retried one.", "graph", "node"),
        _counter("node_cache_hits_total", "Nodes and tasks that LangGraph's cache answered: they did not run.", "graph", "node"),
    ),
    "tools": (_duration("tool", "Calls of tools.", "tool"),),
    "retrievers": (_duration("retriever", "Calls of retrievers.", "retriever"),),
    "models": (
        _duration("llm", "Calls of models, those that LangChain's cache answered left out.", "provider", "model"),
        _histogram(
            "llm_time_to_first_token_seconds",
            "From the call of a model to the first token it streamed.",
            "provider",
            "model",
            buckets=FIRST,
        ),
        _histogram(
            "llm_time_per_output_chunk_seconds",
            "Between two chunks that a model streamed, the mean of each call.",
            "provider",
            "model",
            buckets=GAP,
        ),
        _counter(
            "llm_stalls_total", f"Gaps of more than {STALL_SECONDS:g} seconds between two chunks of a model.", "provider", "model"
        ),
        _counter(
            "llm_tokens_total",
            "Tokens in and out of models; source tells what a provider reported from what was estimated here.",
            "provider",
            "model",
            "type",
            "source",
            type=("input", "output"),
            source=("reported",),
        ),
        _counter(
            "llm_token_details_total",
            "Parts of llm_tokens_total, by detail; never to be added to it or to each other.",
            "provider",
            "model",
            "detail",
        ),
        # No series before the first known price: a model without one shows nothing, not $0.
        _counter(
            "llm_cost_usd_total",
            "US dollars spent on models whose price is known; source as in llm_tokens_total.",
            "provider",
            "model",
            "source",
            unit="usd",
        ),
        _counter("llm_unpriced_calls_total", "Calls of models whose cost is not known.", "provider", "model"),
        _counter(
            "llm_cache_hits_total", "Calls of models that LangChain's cache answered: no tokens, no cost.", "provider", "model"
        ),
    ),
    "failures": (
        _counter(
            "errors_total",
            "Runs that failed, by class of the exception; one error counts at every level it passes.",
            "kind",
            "name",
            "error_type",
        ),
        _counter("retries_total", "Attempts after the first.", "kind", "name"),
        _counter(
            "fallbacks_total",
            "Runs that were made because another had failed, by class of its exception.",
            "kind",
            "name",
            "error_type",
        ),
    ),
    "streams": (
        _histogram("stream_duration_seconds", "Event streams over HTTP.", "route", "outcome", buckets=SECONDS, outcome=OUTCOMES),
        _active("stream_connections_active", "Event streams that are open.", "route"),
        _histogram("stream_first_event_seconds", "From the request to the first event of its stream.", "route", buckets=FIRST),
        _histogram("stream_longest_gap_seconds", "The longest time between two events, of each stream.", "route", buckets=GAP),
        _counter("stream_stalls_total", f"Gaps of more than {STALL_SECONDS:g} seconds between two events of a stream.", "route"),
        _counter("stream_events_total", "Events sent, keep-alives left out.", "route", "event"),
        _counter("stream_error_events_total", "Events that told of an error in a response that had begun as a success.", "route"),
        _counter("stream_keepalives_total", "Comments sent to keep connections open.", "route"),
        _counter("stream_bytes_total", "Bytes of the bodies of event streams.", "route", unit="bytes"),
        _counter("stream_reconnects_total", "Requests for a stream with a Last-Event-ID: clients that came back.", "route"),
    ),
    "scores": (
        _histogram("score", "Scores that are numbers; true is 1 and false is 0.", "name", "source", buckets=UNIT_INTERVAL, unit=""),
    ),
    "telemetry": (
        Instrument(
            name="build_info",
            type="gauge",
            help="1, labelled with the versions that run.",
            labels=("version", "langgraph", "langchain_core"),
            mode="max",
        ),
        _counter("dropped_total", "Records that were lost, by the component that lost them.", "component", "reason"),
        _active("export_queue_size", "Records that wait for a component to deliver them.", "component"),
        _counter("label_overflow_total", f"Samples whose label got the value {OTHER}: it had too many values.", "label"),
    ),
}
UNLABELLED: Final = frozenset({"scores", "telemetry"})
"""Chapters whose samples come from no run, so that the labels of the user are not on them."""


def _placed() -> Iterator[Instrument]:
    for owner, chapter in _CHAPTERS.items():
        for one in chapter:
            yield replace(one, owner=owner, of_runs=owner not in UNLABELLED)


CATALOG: Final[Mapping[str, Instrument]] = {one.name: one for one in _placed()}
