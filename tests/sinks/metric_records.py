"""Records for prometheus.Metrics to count, a registry to count them on, and what came out."""

from __future__ import annotations

from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry

from langgraph_observe.records import Finished, Lazy, Noted, Scored, Started, Stream, Usage
from langgraph_observe.sinks.prometheus import Metrics

NS = "langgraph_"


def started(kind="graph", name="g", **over):
    serial = over.pop("serial", 1)
    parent = None if kind in {"graph", "agent", "chain", "stream"} else "0"
    values = {"id": str(serial), "parent_id": parent, "root_id": "0", "trace_id": "a" * 32, "span_id": f"{serial:016x}", "at_ns": 0}
    return Started(**{**values, "kind": kind, "name": name, "graph": "g" if kind in {"graph", "node"} else None, **over})


def finished(run=None, **over):
    return Finished(**{"run": run or started(), "outcome": "ok", "seconds": 0.2, **over})


def model(**over):
    return started("model", "ChatX", **{"provider": "p", "model": "m", **over})


def spent(usage):
    return Lazy(usage)


@pytest.fixture
def registry(monkeypatch):
    """On a busy machine half a second may be too short for the sink's thread; no test is to depend on it."""
    monkeypatch.setattr("langgraph_observe.sinks.prometheus.families.SCRAPE_WAITS", 60.0)
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def metrics(registry):
    made = Metrics(registry=registry)
    yield made
    made.close()


def value(registry, name, /, **labels):
    return registry.get_sample_value(NS + name, labels)


def series(registry, name):
    """All values of one sample name, by label values in the order of the catalogue."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == NS + name
    }


def give(metrics, *records):
    for record in records:
        metrics(record)


EVENTS = Stream(
    pieces=3, kinds={"message": 2, "error": 1}, bytes=90, keepalives=1, last_seconds=0.5, longest_gap_seconds=0.2, errors=1, resumed=True
)  # fmt: skip


def everything(metrics):
    """Something of every metric there is."""
    usage = Usage(input_tokens=1, output_tokens=1, cache_read_tokens=1, cost=Decimal(1))
    runs = [
        started(),
        started("node", "n", node="n", attempt=2),
        started("tool", "t"),
        started("retriever", "r"),
        started("stream", "/s"),
        model(),
    ]
    for serial, run in enumerate(runs):
        give(
            metrics,
            run,
            finished(run, outcome="error", first_token_seconds=0.1, measured=spent(usage), stream=EVENTS),
            *(finished(started(serial=serial), outcome=outcome) for outcome in ("interrupted", "cancelled")),
            *(Noted(run=run, kind=kind, at_ns=0, name="ValueError") for kind in ("resume", "fallback")),
        )
    give(
        metrics,
        *(finished(model(), **how) for how in ({"measured": spent(None)}, {"cached": True})),
        finished(started("node", "n", node="n"), cached=True),
        Scored(trace_id="a" * 32, name="s", value=1.0, at_ns=0, id="1"),
        *(finished(started("tool", f"t{n}")) for n in range(400)),
    )
