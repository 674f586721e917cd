"""The catalogue's metrics on one registry: children by label values, values made fit for a label and kept few."""

from __future__ import annotations

import itertools
import threading
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from prometheus_client import Counter, Gauge, Histogram

from langgraph_observe.sinks.prometheus.catalog import CATALOG, LIMIT, LIMITS, OTHER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prometheus_client import CollectorRegistry, Metric
    from prometheus_client.metrics import MetricWrapperBase

    from langgraph_observe.sinks.prometheus.catalog import Instrument

Settings: TypeAlias = tuple[tuple[str, ...], dict[str, tuple[float, ...]], dict[str, int]]
"""Labels added, buckets and limits: what everyone who shares the families must agree on."""

LONGEST: Final = 100
"""Characters of a label's value."""
CLASSES: Final[Mapping[str, Any]] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
_PLACE: Final = "_langgraph_observe"
_placing: Final = threading.Lock()


def join(registry: CollectorRegistry, namespace: str, settings: Settings, before_scrape: Callable[[], object]) -> Families:
    """The families of this namespace on this registry: those that are there, else new ones.

    `before_scrape`, a bound method, is called by each scrape as long as its object lives. The families
    are kept on the registry, so they outlive a reload of this module and a notebook cell that runs again.
    Raises ValueError if they were made with other settings, or if others' metrics have these names.
    """
    with _placing:
        there: dict[str, Families] = registry.__dict__.setdefault(_PLACE, {})
        if namespace not in there:
            families = Families(namespace, settings)
            try:
                registry.register(families)
            except ValueError as error:
                message = f"names of the namespace {namespace!r} are taken on this registry, choose another namespace: {error}"
                raise ValueError(message) from error
            there[namespace] = families
        elif there[namespace].settings != settings:
            message = f"the namespace {namespace!r} is in use on this registry with other labels, buckets or limits"
            raise ValueError(message)
        there[namespace].prepare([*there[namespace].users(), before_scrape])
        return there[namespace]


def leave(registry: CollectorRegistry, families: Families, before_scrape: Callable[[], object]) -> None:
    """Take one user of the families away; the last one takes them off the registry."""
    with _placing:
        families.prepare([one for one in families.users() if one != before_scrape])
        if not families.users():
            registry.unregister(families)
            del registry.__dict__[_PLACE][families.namespace]


class Families:
    """One collector for the whole catalogue.

    The road not taken: each metric registered by itself, and a collector before them that flushes. Then a name clash
    leaves half a catalogue behind, and a scrape of chosen names (`?name[]=`) passes the flushing collector by.
    """

    def __init__(self, namespace: str, settings: Settings) -> None:
        self.namespace = namespace
        self.settings = settings
        self._before_scrape: list[weakref.WeakMethod[Callable[[], object]]] = []
        labels, buckets, limits = settings
        _known(buckets, CATALOG, "buckets for")
        self._instruments = {
            name: replace(one, labels=one.labels + (labels if one.of_runs else ()), buckets=buckets.get(name, one.buckets))
            for name, one in CATALOG.items()
        }
        _known(limits, {label for one in self._instruments.values() for label in one.labels}, "a limit for")
        self._limits = {**LIMITS, **limits}
        self._seen: dict[str, set[str]] = {}
        self._metrics: dict[str, Any] = {name: _metric(one, namespace) for name, one in self._instruments.items()}
        self._children: dict[tuple[object, ...], Any] = {}

    def prepare(self, before_scrape: Iterable[Callable[[], object]]) -> None:
        """What each scrape calls first. Held weakly: nobody has to close a Metrics."""
        self._before_scrape = [weakref.WeakMethod(one) for one in before_scrape]

    def users(self) -> list[Callable[[], object]]:
        """Of what `prepare` was given, what lives."""
        return [alive for one in self._before_scrape if (alive := one()) is not None]

    def describe(self) -> Iterable[Metric]:
        """Names for the registry, which finds clashes before anything is exposed."""
        return [described for metric in self._metrics.values() for described in metric.describe()]

    def collect(self) -> Iterable[Metric]:
        """What a scrape gets: all that was recorded before it, if that could be counted in time."""
        for before_scrape in self.users():
            before_scrape()
        for metric in self._metrics.values():
            yield from metric.collect()

    def child(self, name: str, *values: object) -> Any:
        """The Counter, Gauge or Histogram of these label values. Memory is bounded by the limits, whatever the values are."""
        child = self._children.get((name, *values))
        return self._made(name, values) if child is None else child

    def _made(self, name: str, values: Sequence[object]) -> Any:
        instrument = self._instruments[name]
        labels = tuple(map(self._fit, instrument.labels, values))
        if (name, *labels) not in self._children:
            kin = itertools.product(*(instrument.born.get(key, (own,)) for key, own in zip(instrument.labels, labels, strict=True)))
            for each in dict.fromkeys((labels, *kin)):
                self._children[name, *each] = self._metrics[name].labels(*each)
        return self._children[name, *labels]

    def _fit(self, label: str, value: object) -> str:
        text = printable(value)
        seen = self._seen.setdefault(label, set())
        if text in seen or len(seen) < self._limits.get(label, LIMIT):
            seen.add(text)
            return text
        self._metrics["label_overflow_total"].labels(label).inc()
        return OTHER


def _known(names: Iterable[str], choice: Iterable[str], what: str) -> None:
    if unknown := sorted(set(names) - set(choice)):
        message = f"{what} {', '.join(unknown)}: not in the catalogue"
        raise ValueError(message)


def _metric(one: Instrument, namespace: str) -> MetricWrapperBase:
    special: dict[str, dict[str, Any]] = {"histogram": {"buckets": one.buckets}, "gauge": {"multiprocess_mode": one.mode}}
    made: MetricWrapperBase = CLASSES[one.type](
        one.name, one.help, one.labels, namespace=namespace, unit=one.unit, registry=None, **special.get(one.type, {})
    )
    return made


def printable(value: object) -> str:
    """Text that every exposition can hold: bounded, no control characters, no lone surrogate (it fails every scrape)."""
    text = "" if value is None else str(value)[:LONGEST]
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
