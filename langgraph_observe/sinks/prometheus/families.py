"""The catalogue's metrics on one registry: children by label values, values made fit for a label and kept few."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from prometheus_client import Counter, Gauge, Histogram, values

from langgraph_observe.sinks.prometheus.catalog import CATALOG, LIMIT, LIMITS, OTHER, SERIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from prometheus_client import CollectorRegistry, Metric
    from prometheus_client.metrics import MetricWrapperBase

    from langgraph_observe.sinks.prometheus.catalog import Instrument

Settings: TypeAlias = tuple[tuple[str, ...], dict[str, tuple[float, ...]], dict[str, int]]
"""Labels added, buckets and limits: what everyone who shares the families must agree on."""

BeforeScrape: TypeAlias = "Callable[[float], object]"
"""Waits the given seconds at most."""
LONGEST: Final = 100
"""Characters of a label's value."""
CLASSES: Final[Mapping[str, Any]] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
SCRAPE_WAITS: Final = 0.5
"""Seconds that a scrape gives to what was recorded before it."""
TOLD: Final = 10_000
"""Runs remembered, where several may tell of the same."""
FORK_WAITS: Final = 1.0
"""Seconds that a fork gives to what is being counted or scraped."""
_PLACE: Final = "_langgraph_observe"
_counting: Final = threading.RLock()
"""Held while prometheus_client's own locks may be, never on an agent's thread but in a fork: a child that is forked while
another thread holds one of them would wait for it for ever, in its first scrape. Reentrant: a label's text is others' code."""


def join(registry: CollectorRegistry, namespace: str, settings: Settings, before_scrape: BeforeScrape) -> Families:
    """The families of this namespace on this registry: those that are there, else new ones.

    `before_scrape`, a bound method, is called by each scrape as long as its object lives. The families
    are kept on the registry, so they outlive a reload of this module and a notebook cell that runs again.
    Raises ValueError if they were made with other settings, or if others' metrics have these names.
    """
    with _counting:
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


def leave(registry: CollectorRegistry, families: Families, before_scrape: BeforeScrape) -> None:
    """Take one user of the families away; the last one takes them off the registry."""
    with _counting:
        families.prepare([one for one in families.users() if one != before_scrape])
        if not families.users():
            registry.unregister(families)
            del registry.__dict__[_PLACE][families.namespace]


def shared() -> bool:
    """Whether prometheus_client puts all processes together. It looks at PROMETHEUS_MULTIPROC_DIR once, when it is imported."""
    return bool(getattr(values.ValueClass, "_multiprocess", False))


def all_on(registry: object) -> list[Families]:
    """The families of every namespace on this registry."""
    return list(vars(registry).get(_PLACE, {}).values())


class Families:
    """One collector for the whole catalogue.

    The road not taken: each metric registered by itself, and a collector before them that flushes. Then a name clash
    leaves half a catalogue behind, and a scrape of chosen names (`?name[]=`) passes the flushing collector by.
    """

    def __init__(self, namespace: str, settings: Settings) -> None:
        self.namespace = namespace
        self.settings = settings
        self._before_scrape: list[weakref.WeakMethod[BeforeScrape]] = []
        labels, buckets, limits = settings
        _known(buckets, CATALOG, "buckets for")
        self._instruments = {
            name: replace(one, labels=one.labels + (labels if one.of_runs else ()), buckets=buckets.get(name, one.buckets))
            for name, one in CATALOG.items()
        }
        _known(limits, {label for one in self._instruments.values() for label in one.labels}, "a limit for")
        _whole(limits)
        self._limits = {**LIMITS, **limits}
        self._open = {*LIMITS, *labels}
        self._seen: dict[str, set[str]] = {}
        self._metrics: dict[str, Any] = {name: _metric(one, namespace) for name, one in self._instruments.items()}
        self._children: dict[tuple[object, ...], Any] = {}
        self._told: dict[str, int] = {}
        self._sizes = dict.fromkeys(self._metrics, 0)
        self.waiting: weakref.WeakKeyDictionary[object, Mapping[str, int]] = weakref.WeakKeyDictionary()
        """What each user of the families has told last of queues, by component."""
        self.counting = _counting
        """To be held around `child` and what is done with it."""

    def prepare(self, before_scrape: Iterable[BeforeScrape]) -> None:
        """What each scrape calls first. Held weakly: nobody has to close a Metrics."""
        self._before_scrape = [weakref.WeakMethod(one) for one in before_scrape]

    def users(self) -> list[BeforeScrape]:
        """Of what `prepare` was given, what lives."""
        return [alive for one in self._before_scrape if (alive := one()) is not None]

    def describe(self) -> Iterable[Metric]:
        """Names for the registry, which finds clashes before anything is exposed."""
        return [described for metric in self._metrics.values() for described in metric.describe()]

    def collect(self) -> Iterable[Metric]:
        """What a scrape gets: all that was recorded before it, if that could be counted in time."""
        self.settle(SCRAPE_WAITS)
        with self.counting:
            return [family for metric in self._metrics.values() for family in metric.collect()]

    def settle(self, timeout: float) -> None:
        """Count what was recorded before now, in `timeout` seconds for each of the users."""
        for before_scrape in self.users():
            before_scrape(timeout)

    def child(self, name: str, *values: object) -> Any:
        """The Counter, Gauge or Histogram of these label values. Memory is bounded by the limits, whatever the values are."""
        child = self._children.get((name, *values))
        return self._made(name, values) if child is None else child

    def first(self, who: object, span_id: str) -> bool:
        """Whether nobody else has told of this run: two Observers that see it know it by the same ids."""
        if len(self._before_scrape) == 1:
            return True
        with self.counting:
            if len(self._told) >= TOLD:
                del self._told[next(iter(self._told))]
            return self._told.setdefault(span_id, id(who)) == id(who)

    def _made(self, name: str, values: Sequence[object]) -> Any:
        instrument = self._instruments[name]
        labels = tuple(map(self._fit, instrument.labels, values))
        if (name, *labels) not in self._children and self._sizes[name] >= SERIES:
            labels = tuple(map(self._closed, instrument.labels, labels))
        if (name, *labels) not in self._children:
            kin = itertools.product(*(instrument.born.get(key, (own,)) for key, own in zip(instrument.labels, labels, strict=True)))
            for each in dict.fromkeys((labels, *kin)):
                self._children[name, *each] = self._metrics[name].labels(*each)
                self._sizes[name] += 1
        return self._children[name, *labels]

    def _fit(self, label: str, value: object) -> str:
        text = printable(value)
        seen = self._seen.setdefault(label, set())
        if text in seen or len(seen) < self._limits.get(label, LIMIT):
            seen.add(text)
            return text
        return self._overflown(label)

    def _closed(self, label: str, text: str) -> str:
        return self._overflown(label) if label in self._open and text != OTHER else text

    def _overflown(self, label: str) -> str:
        self._metrics["label_overflow_total"].labels(label).inc()
        return OTHER


def _known(names: Iterable[str], choice: Iterable[str], what: str) -> None:
    if unknown := sorted(set(names) - set(choice)):
        message = f"{what} {', '.join(unknown)}: not in the catalogue"
        raise ValueError(message)


def _whole(limits: Mapping[str, object]) -> None:
    for label, limit in limits.items():
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            message = f"a limit of {limit!r} for {label}: how many values, a whole number"
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


def _hold_still() -> None:
    _forking.held = _counting.acquire(timeout=FORK_WAITS)


def _go_on() -> None:
    if _forking.held:
        _counting.release()


_forking: Final = threading.local()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_still, after_in_parent=_go_on, after_in_child=_go_on)
