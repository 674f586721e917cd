"""Records in any order as runs with their parents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph_observe.explore.run import Run
from langgraph_observe.records import Finished, Noted, Scored, Started

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from langgraph_observe.records import Record


def runs_of(records: Iterable[Record]) -> dict[str, Run]:
    """The runs that records tell of, by span id, in the order of time. Records may come in any order."""
    started: dict[str, Started] = {}
    finished: dict[str, Finished] = {}
    events: dict[str, list[Noted]] = {}
    for record in records:
        match record:
            case Started(span_id=span):
                started.setdefault(span, record)
            case Finished(run=run):
                started[run.span_id], finished[run.span_id] = run, record
            case Noted(run=run):
                started.setdefault(run.span_id, run)
                events.setdefault(run.span_id, []).append(record)
            case Scored():
                pass
    order = sorted(started, key=lambda span: (started[span].at_ns, span))
    return {span: Run(started[span], finished.get(span), _by_time(events.get(span, ()))) for span in order}


def _by_time(events: Iterable[Noted]) -> tuple[Noted, ...]:
    return tuple(sorted(events, key=lambda event: (event.at_ns, event.kind, event.name or "")))


def parents_of(runs: Mapping[str, Run]) -> dict[str, str | None]:
    """Each run's parent among these. A ring of parents, which no tracker writes but a file may hold, is cut at its first run."""
    parents: dict[str, str | None] = {}
    for span, run in runs.items():
        parent = run.started.parent_span_id
        parents[span] = parent if parent in runs else None
    settled: set[str] = set()
    for span in runs:
        way: dict[str, None] = {}
        at: str | None = span
        while at is not None and at not in settled and at not in way:
            way[at] = None
            at = parents[at]
        if at in way:
            parents[min(_ring(at, parents), key=list(runs).index)] = None
        settled.update(way)
    return parents


def _ring(start: str, parents: Mapping[str, str | None]) -> list[str]:
    ring, at = [start], parents[start]
    while at is not None and at != start:
        ring.append(at)
        at = parents[at]
    return ring
