"""The reference of metrics as a page, made from the catalogue. `deploy/metrics.md` is what it says today."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from langgraph_observe.sinks.prometheus.catalog import CATALOG, LIMIT, LIMITS, OTHER, OUTCOMES, SERIES, STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from langgraph_observe.sinks.prometheus.catalog import Instrument

VALUES: Final[Mapping[str, str]] = {
    "status": " · ".join(STATUSES),
    "outcome": " · ".join(OUTCOMES),
    "kind": "run · node · tool · retriever · llm · stream; of retries and fallbacks also chain",
    "type": "input · output",
    "detail": "cache_read · cache_write · reasoning · input_audio · output_audio",
    "source": "reported · estimated; of a score, who gave it",
    "reason": "what stopped the run, as `interrupt` or `stream_closed`; of losses, queue_full · failed · not_delivered",
    "route": "the template, as `/chat/{id}`, never the path",
    "event": "the type of an event, `message` where none is named, the name of a sub-graph cut off",
    "mode": "a stream mode of LangGraph, as `messages`",
    "error_type": "class of the exception",
    "component": "a sink, a processor, or `capture`",
}
"""What a label says, where its name does not."""

ELSEWHERE: Final[Mapping[str, str]] = {
    "runs in total, tool calls in total": "`_count` of `run_duration_seconds` and of `tool_duration_seconds`",
    "queue of a workflow": "`runs_active`: a library has no queue of runs",
    "cost of the day": "`sum(increase(llm_cost_usd_total[24h]))`: a gauge with a date starts a series a day, and yesterday's fires for ever",
    "budget spent, limit, rejections": "a rule on `llm_cost_usd_total`, for the fleet: nothing here stops a call, so nothing counts rejections",
    "tokens in the prompt, in the completion": '`llm_tokens_total{type="input"}`, `{type="output"}`',
    "gap between events": "`stream_longest_gap_seconds` and `stream_stalls_total`: the longest gap is what a reader notices",
    "messages and disconnects of event streams": "`stream_events_total` and `stream_duration_seconds` by `outcome`",
    "sessions, users, threads": "traces, the store, Langfuse: each value would be a series of its own",
    "errors of callbacks": '`dropped_total{component="capture"}`',
    "exports by status": "`dropped_total` and `export_queue_size`: what is neither lost nor waiting was delivered",
    "last score": "`score` as a distribution; a single score is in the store and in Langfuse",
    "HTTP requests": "the web framework's own telemetry: FastAPI's, or prometheus-fastapi-instrumentator (`examples/`)",
    "CPU, memory, disks, databases": "prometheus_client's process collector, and exporters",
}
"""What others count by another name, or not here."""


def reference(namespace: str = "langgraph") -> str:
    """The page, as Markdown."""
    return "\n".join(_page(namespace))


def _page(namespace: str) -> Iterator[str]:
    yield "# Metrics\n"
    yield "Made from the catalogue in `langgraph_observe.sinks.prometheus`: do not edit.\n"
    yield (
        f"Names begin with `{namespace}_`, or with the `namespace` of `Metrics`. Every counter and histogram of runs also has the labels "
        "that `Metrics(labels=…)` names. `_created` series are prometheus_client's; PROMETHEUS_DISABLE_CREATED_SERIES turns them off.\n"
    )
    for owner, chapter in itertools.groupby(CATALOG.values(), lambda one: one.owner):
        yield f"## {owner.capitalize()}\n"
        yield from _table(("metric", "type", "unit", "labels", "what"), (_row(namespace, one) for one in chapter))
    yield "## Labels\n"
    labels = dict.fromkeys(label for one in CATALOG.values() for label in one.labels)
    yield from _table(("label", "values", "at most"), ((f"`{label}`", VALUES.get(label, ""), _most(label)) for label in labels))
    yield (
        f"Beyond that ({LIMIT} where nothing is said), and beyond {SERIES:,} sets of labels of one metric, a value is `{OTHER}`, and `{namespace}_label_overflow_total` "
        "counts it. Values are at most 100 printable characters. `Metrics(limits=…)` changes the numbers.\n"
    )
    yield "## Buckets\n"
    bounds = {
        one.buckets: [each.name for each in CATALOG.values() if each.buckets == one.buckets]
        for one in CATALOG.values()
        if one.buckets
    }
    yield from _table(
        ("upper bounds", "of"), ((" ".join(f"{one:g}" for one in each), _code(names)) for each, names in bounds.items())
    )
    yield "## What goes by another name\n"
    yield from _table(("looked for", "found in"), ELSEWHERE.items())


def _row(namespace: str, one: Instrument) -> tuple[str, ...]:
    return f"`{namespace}_{one.name}`", one.type, one.unit, _code(one.labels), one.help.replace(OTHER, f"`{OTHER}`")


def _most(label: str) -> str:
    return str(LIMITS.get(label, ""))


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""
