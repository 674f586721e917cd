"""Every metric that `prometheus.Metrics` exposes, as data. Rules, dashboards and documentation are made from this table.

Names follow prometheus.io/docs/practices/naming: base units, the unit last, `_total` on counters. The status of a run is
`ok`, `error`, `interrupted` (a human in the loop: LangGraph's normal case) or `cancelled`; an error ratio counts `error` only.
A label without a value is exposed as the empty string, which Prometheus takes for no label.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OTHER: Final = "__other__"
"""The value of a label that has had its fill of values; `label_overflow_total` counts how often it was used."""
STATUSES: Final = ("ok", "error", "interrupted", "cancelled")
LIMIT: Final = 100
"""Values of a label that `LIMITS` does not name."""
LIMITS: Final[Mapping[str, int]] = {
    "graph": 50,
    "node": 300,
    "tool": 300,
    "name": 300,
    "route": 200,
    "model": 100,
    "error_type": 100,
}
"""Distinct values of a label, over all metrics of one catalogue."""

SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
FIRST: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6)
UNIT_INTERVAL: Final = tuple(n / 10 for n in range(11))


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One metric family, its name without the namespace."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    buckets: Sequence[float] = ()
    """Upper bounds of a histogram, in `unit`."""
    born: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Values of a label whose series begin at 0 together: a counter that appears with 5 has an `increase()` of 0."""
    of_runs: bool = True
    """Takes the labels that the user adds: its samples come from runs."""
    mode: Literal["all", "livesum", "max"] = "all"
    """How a gauge is put together over processes."""


def _duration(of: str, help_: str, *labels: str, born: Sequence[str] = ("ok", "error")) -> Instrument:
    return Instrument(
        name=f"{of}_duration_seconds",
        type="histogram",
        help=help_,
        labels=(*labels, "status"),
        unit="seconds",
        buckets=SECONDS,
        born={"status": born},
    )


def _counter(name: str, help_: str, *labels: str, unit: str = "", born: Mapping[str, Sequence[str]] | None = None) -> Instrument:
    return Instrument(name=name, type="counter", help=help_, labels=labels, unit=unit, born=born or {})


_ALL: Final = (
    _duration(
        "run",
        "Runs of graphs and agents, sub-graphs under their own name, and chains that no graph called.",
        "graph",
        born=STATUSES,
    ),
    Instrument(name="runs_active", type="gauge", help="Runs that have begun and not ended.", labels=("graph",), mode="livesum"),
    _counter("interrupts_total", "Runs of a root that stopped for a human, by the kind of interrupt.", "graph", "reason"),
    _duration("node", "Runs of nodes, each attempt of a retried one.", "graph", "node"),
    _duration("tool", "Calls of tools.", "tool"),
    _duration("retriever", "Calls of retrievers.", "retriever"),
    _duration("llm", "Calls of models, those that LangChain's cache answered left out.", "provider", "model"),
    Instrument(
        name="llm_time_to_first_token_seconds",
        type="histogram",
        help="From the call of a model to the first token it streamed.",
        labels=("provider", "model"),
        unit="seconds",
        buckets=FIRST,
    ),
    _counter(
        "llm_tokens_total",
        "Tokens in and out of models; source tells what a provider reported from what was estimated here.",
        "provider",
        "model",
        "type",
        "source",
        born={"type": ("input", "output"), "source": ("reported",)},
    ),
    _counter(
        "llm_token_details_total",
        "Parts of llm_tokens_total, by detail; never to be added to it or to each other.",
        "provider",
        "model",
        "detail",
    ),
    # No series before the first known price: a model without one shows nothing, not $0.
    _counter("llm_cost_usd_total", "US dollars spent on models whose price is known.", "provider", "model", unit="usd"),
    _counter("llm_unpriced_calls_total", "Calls of models whose cost is not known.", "provider", "model"),
    _counter("node_cache_hits_total", "Nodes and tasks that LangGraph's cache answered: they did not run.", "graph", "node"),
    _counter("llm_cache_hits_total", "Calls of models that LangChain's cache answered: no tokens, no cost.", "provider", "model"),
    _counter(
        "errors_total",
        "Runs that failed, by class of the exception; one error counts at every level it passes.",
        "kind",
        "name",
        "error_type",
    ),
    _counter("retries_total", "Attempts after the first.", "kind", "name"),
    Instrument(
        name="stream_duration_seconds",
        type="histogram",
        help="Event streams over HTTP.",
        labels=("route", "outcome"),
        unit="seconds",
        buckets=SECONDS,
    ),
    Instrument(
        name="stream_connections_active", type="gauge", help="Event streams that are open.", labels=("route",), mode="livesum"
    ),
    Instrument(
        name="stream_first_event_seconds",
        type="histogram",
        help="From the request to the first event of its stream.",
        labels=("route",),
        unit="seconds",
        buckets=FIRST,
    ),
    Instrument(
        name="score",
        type="histogram",
        help="Scores that are numbers; true is 1 and false is 0.",
        labels=("name", "source"),
        buckets=UNIT_INTERVAL,
        of_runs=False,
    ),
    Instrument(
        name="build_info",
        type="gauge",
        help="1, labelled with the versions that run.",
        labels=("version", "langgraph", "langchain_core"),
        of_runs=False,
        mode="max",
    ),
    Instrument(
        name="dropped_total",
        type="counter",
        help="Records that were lost, by the component that lost them.",
        labels=("component", "reason"),
        of_runs=False,
    ),
    Instrument(
        name="label_overflow_total",
        type="counter",
        help=f"Samples whose label got the value {OTHER}: it had too many values.",
        labels=("label",),
        of_runs=False,
    ),
)
CATALOG: Final[Mapping[str, Instrument]] = {one.name: one for one in _ALL}
