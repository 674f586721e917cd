"""Tally: which records are counted, under which names.

What counts once: a model, tool, retriever or node run under its own name; a graph or agent run as a run of its graph, a
sub-graph's under the sub-graph's name; a chain only where no run but a response over HTTP called it, as a run of that name. A run that was
`abandoned` is counted as `cancelled`: what gets no end of its own from LangChain is what was cancelled, and an error ratio
must not grow by it. A call that LangChain's cache answered spent nothing and took no time: it is a cache hit, not a call.
"""

from __future__ import annotations

import math
import os
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from langgraph_observe.records import Finished, Noted, Scored, Started
from langgraph_observe.sinks.prometheus.amounts import rows
from langgraph_observe.sinks.prometheus.catalog import CATALOG, SERIES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langgraph_observe.records import Record
    from langgraph_observe.sinks.prometheus.amounts import Labels, Row
    from langgraph_observe.sinks.prometheus.families import Families

ACTIVE: Final = {"run": "runs_active", "stream": "stream_connections_active"}
OPEN: Final = 20_000
"""Runs that are counted as active at most: the end of one may have been lost, and the oldest is taken for such a one."""
BORN: Final[Mapping[str, Sequence[tuple[str, Labels]]]] = {
    "run": (("run_duration_seconds", ("ok",)), ("interrupts_total", ("interrupt",)), ("resumes_total", ())),
    "node": (("node_duration_seconds", ("ok",)),),
    "tool": (("tool_duration_seconds", ("ok",)),),
    "retriever": (("retriever_duration_seconds", ("ok",)),),
    "llm": (
        ("llm_duration_seconds", ("ok",)),
        ("llm_tokens_total", ("input", "reported")),
        ("llm_unpriced_calls_total", ()),
        ("llm_stalls_total", ()),
    ),
    "stream": (
        ("stream_duration_seconds", ("completed",)),
        *((f"stream_{what}_total", ()) for what in ("stalls", "error_events", "keepalives", "bytes", "reconnects")),
    ),
}
"""Whose series begin at 0 as soon as a name is known, with labels after those of the run."""
EXEMPLARY: Final = {name for name, one in CATALOG.items() if one.type == "histogram"} | {"errors_total"}
"""Where it helps to see one run out of the many, and is worth its microsecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A graph that has not run yet."""

    graph: str
    nodes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


class Tally:
    """Count records on `families`. Never on an agent's thread, for prometheus_client takes locks that are not reentrant."""

    def __init__(self, families: Families, *, labels: Labels, multiprocess: bool) -> None:
        """`labels` are names from `Started.labels` that the families of runs have."""
        self._families = families
        self._child = families.child
        self._counting = families.counting
        self._labels = labels
        self._multiprocess = multiprocess
        self._active: dict[str, tuple[str, ...]] = {}
        self._born: set[tuple[str, Labels, Labels]] = set()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_weakly(self))

    def __call__(self, record: Record | Expected) -> None:
        """Add what the record says."""
        match record:
            case Started() if self._first(record):
                with self._counting:
                    self._started(record)
            case Finished() if self._first(record.run):
                self._finished(record)
            case Finished():
                self._idle(record.run)
            case Noted() if self._first(record.run):
                with self._counting:
                    self._noted(record)
            case Scored(value=float() | int() as value) if math.isfinite(value):  # bool is an int; text has no place on a scale
                with self._counting:
                    self._child("score", record.name, record.source).observe(value)
            case Expected():
                with self._counting:
                    self._expected(record)

    def _first(self, run: Started) -> bool:
        return self._families.first(self, run.span_id)

    def _expected(self, graph: Expected) -> None:
        extra = self._extra(graph.labels)
        for kind, labels in (("run", (graph.graph,)), *(("node", (graph.graph, node)) for node in graph.nodes)):
            self._bear(kind, labels, extra)

    def _started(self, run: Started) -> None:
        if run.attempt > 1:
            self._failed_over("retries_total", run)
        kind, labels = self._subject(run)
        if kind:
            extra = self._extra(run.labels)
            self._bear(kind, labels, extra)
            if kind in ACTIVE and run.span_id not in self._active:
                self._activate(run.span_id, (ACTIVE[kind], *labels, *extra))

    def _bear(self, kind: str, labels: Labels, extra: Labels) -> None:
        if (kind, labels, extra) in self._born:
            return
        if len(self._born) >= SERIES:
            self._born.clear()
        self._born.add((kind, labels, extra))
        for name, more in BORN[kind]:
            self._child(name, *labels, *more, *extra)

    def _activate(self, span_id: str, gauge: tuple[str, ...]) -> None:
        if len(self._active) >= OPEN:
            self._child(*self._active.pop(next(iter(self._active)))).dec()
        self._active[span_id] = gauge
        self._child(*gauge).inc()

    def _finished(self, end: Finished) -> None:
        kind, labels = self._subject(end.run, end.model)
        if not kind:
            return
        extra = self._extra(end.run.labels)
        self._idle(end.run)
        if end.cached:
            with self._counting:
                self._child(f"{kind}_cache_hits_total", *labels, *extra).inc()
            return
        added = rows(kind, end)  # without the lock: an estimate or a price may take its time
        with self._counting:
            self._ended(end, kind, labels, extra, added)

    def _idle(self, run: Started) -> None:
        if gauge := self._active.pop(run.span_id, None):  # none: its beginning was lost, and a gauge must not go below 0
            with self._counting:
                self._child(*gauge).dec()

    def _ended(self, end: Finished, kind: str, labels: Labels, extra: Labels, added: Sequence[Row]) -> None:
        exemplar = self._exemplar(end.run)
        for name, more, amount in added:
            self._add(name, (*labels, *more, *extra), amount, exemplar)
        if end.outcome == "error":
            error_type = end.failure.type if end.failure else ""
            self._add("errors_total", (kind, labels[-1], error_type, *extra), 1, exemplar)

    def _add(self, name: str, labels: Labels, amount: float, exemplar: dict[str, str] | None) -> None:
        child = self._child(name, *labels)
        add = child.observe if CATALOG[name].type == "histogram" else child.inc
        add(amount, exemplar if name in EXEMPLARY else None)

    def _noted(self, moment: Noted) -> None:
        run = moment.run
        match moment.kind:
            case "retry" if run.kind != "node":  # a node's attempts are runs, counted as they start
                self._failed_over("retries_total", run)
            case "fallback":
                self._failed_over("fallbacks_total", run, moment.name or "")
            case "resume" if not run.checkpoint_ns and run.kind in {"graph", "agent"}:
                self._child("resumes_total", run.name, *self._extra(run.labels)).inc()

    def _failed_over(self, name: str, run: Started, *more: str) -> None:
        kind, labels = self._subject(run)
        self._child(name, kind or run.kind, labels[-1] if labels else run.name, *more, *self._extra(run.labels)).inc()

    def _subject(self, run: Started, answered: str | None = None) -> tuple[str, Labels]:
        called = run.kind == "chain" and run.parent_id is not None and not self._streamed(run)
        return subject(run, answered, called=called)

    def _streamed(self, run: Started) -> bool:
        """Whether nobody called it but a response over HTTP. One that is active already was seen to be so when it began."""
        return run.span_id in self._active or self._active.get(run.parent_span_id or "", ("",))[0] == ACTIVE["stream"]

    def _extra(self, labels: Mapping[str, str]) -> Labels:
        return tuple([str(labels.get(name, "")) for name in self._labels]) if self._labels else ()

    def _exemplar(self, run: Started) -> dict[str, str] | None:
        """W3C's ids only: with anything longer, prometheus_client raises, and after it has counted."""
        if self._multiprocess or len(run.trace_id) != 32 or len(run.span_id) != 16:  # noqa: PLR2004 - hex digits of W3C's ids
            return None
        return {"trace_id": run.trace_id, "span_id": run.span_id}

    def forked(self) -> None:
        """The runs that were active are the parent's. With several processes, the client has begun a file of this one's own."""
        active, self._active = self._active, {}
        for gauge in () if self._multiprocess else active.values():
            self._child(*gauge).dec()


def _weakly(tally: Tally) -> Callable[[], None]:
    """A fork hook cannot be taken back, so it must not keep the Tally alive."""
    reference = weakref.ref(tally)

    def forked() -> None:
        if (alive := reference()) is not None:
            alive.forked()

    return forked


def subject(run: Started, answered: str | None, *, called: bool) -> tuple[str, Labels]:
    """Under which kind and labels a run is counted; an empty kind for one that is not. `answered` is the model that did.

    `called` tells of a chain that it is a part of another run.

    The model asked for comes first: it is known when the call starts, and all metrics of the call must agree.
    """
    match run.kind:
        case "graph" | "agent" | "chain" if run.kind != "chain" or not called:
            return "run", (run.name,)
        case "node":
            return "node", (run.graph or "", run.node or run.name)
        case "model":
            return "llm", (run.provider or "", run.model or answered or "")
        case "tool" | "retriever" | "stream":
            return run.kind, (run.name,)
        case _:
            return "", ()
