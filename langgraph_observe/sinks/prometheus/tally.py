"""Tally: what each record adds to which metric.

What counts once: a model, tool, retriever or node run under its own name; a graph or agent run as a run of its graph, a
sub-graph's under the sub-graph's name; a chain only where nothing called it, as a run of that name. A run that was
`abandoned` is counted as `cancelled`: what gets no end of its own from LangChain is what was cancelled, and an error ratio
must not grow by it. A call that LangChain's cache answered spent nothing and took no time: it is a cache hit, not a call.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeAlias

from langgraph_observe.records import Finished, Noted, Scored, Started

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langgraph_observe.records import Outcome, Record, Usage
    from langgraph_observe.sinks.prometheus.families import Families

Labels: TypeAlias = tuple[str, ...]

STATUS: Final[Mapping[Outcome, str]] = {
    "ok": "ok",
    "error": "error",
    "interrupted": "interrupted",
    "cancelled": "cancelled",
    "abandoned": "cancelled",
}
ACTIVE: Final = {"run": "runs_active", "stream": "stream_connections_active"}
FIRST: Final = {"llm": "llm_time_to_first_token_seconds", "stream": "stream_first_event_seconds"}


class Tally:
    """Count records on `families`. On one thread only, for prometheus_client takes locks that are not reentrant."""

    def __init__(self, families: Families, *, labels: Labels, exemplars: bool) -> None:
        """`labels` are names from `Started.labels` that the families of runs have."""
        self._child = families.child
        self._labels = labels
        self._exemplars = exemplars
        self._active: dict[str, tuple[str, ...]] = {}

    def __call__(self, record: Record) -> None:
        """Add what the record says."""
        match record:
            case Started():
                self._started(record)
            case Finished():
                self._finished(record)
            case Noted(kind="retry") if record.run.kind != "node":  # a node's attempts are runs, counted as they start
                self._retried(record.run)
            case Scored(value=float() | int() as value) if math.isfinite(value):  # bool is an int; text has no place on a scale
                self._child("score", record.name, record.source).observe(value)

    def _started(self, run: Started) -> None:
        kind, labels = subject(run)
        if not kind:
            return
        extra = self._extra(run)
        self._child(f"{kind}_duration_seconds", *labels, "ok", *extra)  # its series begin at 0 before they count
        if kind == "llm":
            self._child("llm_tokens_total", *labels, "input", "reported", *extra)
            self._child("llm_unpriced_calls_total", *labels, *extra)
        if kind in ACTIVE and run.span_id not in self._active:
            self._active[run.span_id] = gauge = (ACTIVE[kind], *labels, *extra)
            self._child(*gauge).inc()
        if kind == "node" and run.attempt > 1:
            self._retried(run)

    def _finished(self, end: Finished) -> None:
        kind, labels = subject(end.run, end.model)
        if not kind:
            return
        extra = self._extra(end.run)
        if gauge := self._active.pop(end.run.span_id, None):  # none: its beginning was lost, and a gauge must not go below 0
            self._child(*gauge).dec()
        if end.cached:
            self._child(f"{kind}_cache_hits_total", *labels, *extra).inc()
            return
        self._timed(end, kind, labels, extra)
        if kind == "llm":
            self._spent(end, labels, extra)
        if end.outcome == "error":
            error_type = end.failure.type if end.failure else ""
            self._child("errors_total", kind, labels[-1], error_type, *extra).inc(1, self._exemplar(end.run))
        if (
            end.outcome == "interrupted" and kind == "run" and not end.run.checkpoint_ns
        ):  # the outermost graph; those inside stop with it
            self._child("interrupts_total", *labels, end.reason or "interrupt", *extra).inc()

    def _timed(self, end: Finished, kind: str, labels: Labels, extra: Labels) -> None:
        exemplar = self._exemplar(end.run)
        ending = (end.reason or end.outcome) if kind == "stream" else STATUS[end.outcome]
        self._child(f"{kind}_duration_seconds", *labels, ending, *extra).observe(end.seconds, exemplar)
        if end.first_token_seconds is not None and kind in FIRST:
            self._child(FIRST[kind], *labels, *extra).observe(end.first_token_seconds, exemplar)

    def _spent(self, end: Finished, labels: Labels, extra: Labels) -> None:
        usage = end.usage
        for name, into, count in amounts(usage):
            self._child(name, *labels, *into, *extra).inc(count)
        if usage is not None and usage.cost is not None:
            self._child("llm_cost_usd_total", *labels, *extra).inc(float(usage.cost))
        elif usage is not None or end.outcome == "ok":  # a call that failed without a word on usage was most likely not billed
            self._child("llm_unpriced_calls_total", *labels, *extra).inc()

    def _retried(self, run: Started) -> None:
        kind, labels = subject(run)
        self._child("retries_total", kind or run.kind, labels[-1] if labels else run.name, *self._extra(run)).inc()

    def _extra(self, run: Started) -> Labels:
        return tuple(str(run.labels.get(name, "")) for name in self._labels)

    def _exemplar(self, run: Started) -> dict[str, str] | None:
        return {"trace_id": run.trace_id, "span_id": run.span_id} if self._exemplars else None


def subject(run: Started, answered: str | None = None) -> tuple[str, Labels]:
    """Under which kind and labels a run is counted; an empty kind for one that is not. `answered` is the model that did.

    The model asked for comes first: it is known when the call starts, and all metrics of the call must agree.
    """
    match run.kind:
        case "graph" | "agent" | "chain" if run.kind != "chain" or run.parent_id is None:
            return "run", (run.name,)
        case "node":
            return "node", (run.graph or "", run.node or run.name)
        case "model":
            return "llm", (run.provider or "", run.model or answered or "")
        case "tool" | "retriever" | "stream":
            return run.kind, (run.name,)
        case _:
            return "", ()


def amounts(usage: Usage | None) -> list[tuple[str, Labels, int]]:
    """Metric, labels after those of the model, and tokens: what is known of them."""
    if usage is None:
        return []
    source = "estimated" if usage.estimated else "reported"
    table = (
        ("llm_tokens_total", ("input", source), usage.input_tokens),
        ("llm_tokens_total", ("output", source), usage.output_tokens),
        ("llm_token_details_total", ("cache_read",), usage.cache_read_tokens),
        ("llm_token_details_total", ("cache_write",), usage.cache_write_tokens),
        ("llm_token_details_total", ("reasoning",), usage.reasoning_tokens),
        ("llm_token_details_total", ("input_audio",), usage.input_audio_tokens),
        ("llm_token_details_total", ("output_audio",), usage.output_audio_tokens),
    )
    return [(name, into, count) for name, into, count in table if count is not None]
