"""Metrics: records → counters, gauges and histograms of prometheus_client. `CATALOG` is the table of what is exposed.

The agent's thread queues records; everything else happens on a thread of its own or in a scrape. How a scrape comes by
them: `serve()` on a port of its own, `asgi_app()` in a web application, `push()` at the end of a batch job.
"""

from __future__ import annotations

import importlib.metadata
import logging
import time
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from prometheus_client import REGISTRY

from langgraph_observe.sinks.deferred import Deferred
from langgraph_observe.sinks.prometheus.catalog import CATALOG, OTHER, Instrument
from langgraph_observe.sinks.prometheus.endpoint import asgi_app, push, serve
from langgraph_observe.sinks.prometheus.families import join, leave, shared
from langgraph_observe.sinks.prometheus.tally import Expected, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prometheus_client import CollectorRegistry

    from langgraph_observe.records import Record

    Health: TypeAlias = Callable[[], Mapping[str, Mapping[str, object]]]
    """Counts by component, as `{"otel.Spans": {"dropped": 0, "errors": 0}}`."""

log: Final = logging.getLogger("langgraph_observe")

__all__ = ["CATALOG", "OTHER", "Instrument", "Metrics", "asgi_app", "push", "serve"]

HEALTH_EVERY: Final = 1.0
"""Seconds between two looks at the others' health where no scrape of this process makes it look."""
LOSSES: Final = {"dropped": "queue_full", "errors": "failed", "lost": "not_delivered"}
"""Counts of a sink's `health()` that mean lost records, and the reason that `dropped_total` gives."""


class Metrics:
    """Count and time runs on `registry`. Two of one registry and namespace share what they expose.

    `labels` are names from `Started.labels` that every metric of runs shall have. `buckets` (by metric name of `CATALOG`) and
    `limits` (distinct values by label name) replace those of the catalogue. Histograms of durations carry the trace and
    span id as exemplars, except with PROMETHEUS_MULTIPROC_DIR, where prometheus_client cannot keep them.

    Raises ValueError for unknown names, for labels and limits that cannot be, and where others' metrics have taken the namespace's names.
    """

    payloads: Final = False

    def __init__(
        self,
        *,
        registry: CollectorRegistry = REGISTRY,
        namespace: str = "langgraph",
        labels: Sequence[str] = (),
        buckets: Mapping[str, Sequence[float]] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        added = _additional(labels)
        settings = added, {name: tuple(bounds) for name, bounds in (buckets or {}).items()}, dict(limits or {})
        self._registry = registry
        self._health: Health = lambda: {"prometheus.Metrics": self.health()}
        self._lost: dict[tuple[str, str], int] = {}
        self._open = False
        self._families = join(registry, namespace, settings, self._before_scrape)
        self._multiprocess = shared()
        self._looked = 0.0
        self._tally = Tally(self._families, labels=added, multiprocess=self._multiprocess)
        # Deferred's thread keeps what it calls: the whole Metrics only where it must
        self._deferred: Deferred[Record | Expected] = Deferred(
            self._count if self._multiprocess else self._tally, name="prometheus.Metrics"
        )
        with self._families.counting:
            self._families.child("build_info", *map(_version, ("langgraph-observe", "langgraph", "langchain-core"))).set(1)
        self._open = True  # a scrape may come while the rest is made

    def __call__(self, record: Record) -> None:
        """Queue a record: prometheus_client's locks are not reentrant, and a callback may come out of the garbage collector."""
        self._deferred(record)

    def expect(self, graph: str, nodes: Sequence[str] = (), labels: Mapping[str, str] | None = None) -> None:
        """Have the series of a graph and its nodes begin at 0 before it first runs, so that a first failure is an increase.

        `labels` are those that its runs will have.
        """
        self._deferred(Expected(graph=graph, nodes=tuple(nodes), labels=dict(labels or {})))

    def watch(self, health: Health) -> None:
        """Show what others lost: at each scrape, `dropped`, `errors` and `lost` of each component become `dropped_total`.

        Made for `Observer.health`; until then only this sink's own losses are shown.
        """
        self._health = health

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was recorded before now is counted."""
        return self._deferred.flush(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Count what is queued, then take the metrics off the registry unless another Metrics shares them."""
        self._deferred.close(timeout)
        if self._open:
            self._show_health()
            self._open = False
            self._show_queues({})
            leave(self._registry, self._families, self._before_scrape)

    def health(self) -> Mapping[str, int]:
        """Counts since the start: queued now, dropped, errors."""
        return self._deferred.health()

    def _count(self, record: Record | Expected) -> None:
        """Where a scrape comes to another process, that has no way to ask this one."""
        self._tally(record)
        if time.monotonic() - self._looked > HEALTH_EVERY:
            self._show_health()

    def _before_scrape(self, timeout: float) -> None:
        if self._open:
            self._deferred.flush(timeout)
            self._show_health()

    def _show_health(self) -> None:
        self._looked = time.monotonic()
        health = self._asked()
        with self._families.counting:  # two scrapes at once
            self._show_queues({component: counts.get("queued", 0) for component, counts in health.items()})
            for component, counts in health.items():
                self._note_losses(component, counts)

    def _asked(self) -> Mapping[str, Mapping[str, int]]:
        """What others say of their health, its whole numbers; what cannot be asked, or read, fails no scrape."""
        try:
            return {
                component: {name: count for name, count in counts.items() if isinstance(count, int)}
                for component, counts in self._health().items()
            }
        except Exception as error:
            log.debug("the sinks' health is not shown: %s", type(error).__name__)
            return {"prometheus.Metrics": self.health()}

    def _show_queues(self, queued: Mapping[str, int]) -> None:
        """Of all that share the families: the queues of two Observers have one name."""
        waiting = self._families.waiting
        with self._families.counting:
            before, waiting[self] = waiting.get(self, {}), queued
            for component in {**before, **queued}:
                waits = sum(one.get(component, 0) for one in waiting.values())
                self._families.child("export_queue_size", component).set(waits)

    def _note_losses(self, component: str, counts: Mapping[str, int]) -> None:
        for name, reason in LOSSES.items():
            before = self._lost.get((component, reason), 0)
            self._lost[component, reason] = now = max(before, counts.get(name, 0))
            self._families.child("dropped_total", component, reason).inc(now - before)


def _additional(labels: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(labels, str) or not all(isinstance(label, str) and label for label in labels) or len(set(labels)) < len(labels):
        message = f"labels {labels!r}: a sequence of names, each once"
        raise ValueError(message)
    taken = {label for one in CATALOG.values() for label in one.labels}
    if clash := sorted(taken & set(labels)):
        message = f"labels {', '.join(clash)}: the catalogue has labels of that name"
        raise ValueError(message)
    return tuple(labels)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return ""
