"""A trace as one line among many: what a list shows of it, had without reading the trace where the source can tell it at once."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.explore.trace import Trace, lasted, worst
from langgraph_observe.records import Usage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence

    from langgraph_observe.explore.source import Filter, Source
    from langgraph_observe.records import Outcome

# Without the index's name SQLite, which knows nothing of how many runs a trace has, might take all models
ROOTS: Final = """
SELECT at_ns, outcome, seconds, coalesce(json_extract(rest, '$.started.trace_name'), graph, name)
FROM runs INDEXED BY runs_by_span JOIN payloads USING (key) WHERE trace_id = ? AND NOT EXISTS (
    SELECT 1 FROM runs AS above WHERE above.trace_id = runs.trace_id AND above.span_id = runs.parent_span_id)
ORDER BY at_ns, span_id"""
THREAD: Final = """
SELECT thread_id FROM runs INDEXED BY runs_by_span WHERE trace_id = ? AND thread_id IS NOT NULL ORDER BY at_ns, span_id LIMIT 1"""
SPENT: Final = """
SELECT sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, max(estimated) AS estimated,
    sum(cost_nusd) AS cost_nusd, count(*) - count(cost_nusd) AS unpriced
FROM runs INDEXED BY runs_by_span WHERE trace_id = ? AND kind = 'model' AND NOT cached"""
"""As `records.totals`; `cached` is NULL while a call goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a list shows of a trace; see Trace for each."""

    id: str
    at_ns: int
    name: str
    outcome: Outcome | None
    seconds: float | None
    usage: Usage
    """Tokens in and out, and the cost."""
    incomplete: bool
    thread_id: str | None


def rows(source: Source, wanted: Filter, limit: int) -> Sequence[Row | Trace]:
    """The latest traces that match, a line each: as the source's own `rows` has them, or read whole."""
    own: Callable[[Filter, int], Sequence[Row | Trace]] | None = getattr(source, "rows", None)
    return own(wanted, limit) if own is not None else list(_read(source, source.ids(wanted, limit=limit)))


def _read(source: Source, ids: Sequence[str]) -> Iterator[Trace]:
    for trace_id in ids:
        if records := source.records(trace_id):  # it may have been forgotten meanwhile
            yield Trace.of(trace_id, records)


def asked(db: sqlite3.Connection, trace_id: str) -> Row | None:
    """The line of a trace in the store's tables. None where no run is without a parent: a ring, which must be read to be cut."""
    roots = db.execute(ROOTS, (trace_id,)).fetchall()
    if not roots:
        return None
    at_ns, _, _, name = roots[0]
    spent = db.execute(SPENT, (trace_id,)).fetchone()
    thread = db.execute(THREAD, (trace_id,)).fetchone()
    return Row(
        id=trace_id,
        at_ns=at_ns,
        name=name,
        outcome=worst([outcome for _, outcome, _, _ in roots]),
        seconds=lasted([(begun, seconds) for begun, _, seconds, _ in roots]),
        usage=_usage(*spent[:4]),
        incomplete=spent[4] > 0,
        thread_id=thread and thread[0],
    )


def _usage(asked: int | None, answered: int | None, estimated: int | None, cost_nusd: int | None) -> Usage:
    cost: Any = None if cost_nusd is None else Decimal(cost_nusd).scaleb(-9)
    return Usage(input_tokens=asked, output_tokens=answered, estimated=bool(estimated), cost=cost)
