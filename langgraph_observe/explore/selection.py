"""Which traces, as SQL over the store's tables: the filter that `source.matched` is over records."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from langgraph_observe.explore.source import Filter, needle

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

OF_RUN: Final = {
    "graph": "graph = :graph",
    "node": "node = :node",
    "thread": "thread_id = :thread",
    "session": "session_id = :session",
    "user": "user_id = :user",
    "tag": ":tag IN (SELECT value FROM json_each(rest, '$.started.tags'))",
}
"""What must be true of one run, all of it."""
# An index is named where SQLite, which knows nothing of how many runs a trace has, would take that of all models or all tools
OF_THIS: Final = "FROM runs INDEXED BY runs_by_span WHERE runs.trace_id = traces.trace_id"
OF_TRACE: Final = {
    "since_ns": "at_ns >= :since_ns",
    "prefix": """trace_id IN (
        SELECT trace_id FROM traces WHERE trace_id >= :prefix AND trace_id < :prefix || char(1114111)
        UNION SELECT trace_id FROM runs WHERE parent_id IS NULL AND substr(id, 1, length(:prefix)) = :prefix)""",
    "outcome": f"EXISTS (SELECT 1 {OF_THIS} AND parent_id IS NULL AND coalesce(outcome, 'running') = :outcome)",
    "model": "trace_id IN (SELECT trace_id FROM runs WHERE kind = 'model' AND :model IN (model, answered_by))",
    "tool": "trace_id IN (SELECT trace_id FROM runs WHERE kind = 'tool' AND name = :tool)",
    "min_cost_nusd": f":min_cost_nusd <= (SELECT sum(cost_nusd) {OF_THIS} AND kind = 'model' AND NOT cached)",
    "text": r"""EXISTS (SELECT 1 FROM runs INDEXED BY runs_by_span JOIN payloads USING (key) WHERE runs.trace_id = traces.trace_id AND (
        input LIKE :in_json ESCAPE '\' OR output LIKE :in_json ESCAPE '\'
        OR json_extract(iif(error_type IS NULL, '{}', rest), '$.finished.failure.message') LIKE :in_text ESCAPE '\'
        OR EXISTS (SELECT 1 FROM json_each(histories) WHERE value IN (SELECT id FROM temp.saying))))""",
}
"""What must be true of the trace."""
SAYING: Final = r"SELECT id, parent, json LIKE :in_json ESCAPE '\' FROM histories JOIN messages USING (digest) ORDER BY id"
NARROWED: Final = ("traces", "runs", "events", "scores")
"""Tables with a trace id, which are read for what they say in sum."""


def chosen(db: sqlite3.Connection, wanted: Filter, limit: int | None = None) -> list[tuple[int, str]]:
    """When each of the traces wanted began, and its id, the latest first."""
    given = {name: value for name, value in asdict(wanted).items() if value is not None}
    if wanted.text is not None:
        given |= {"in_json": _pattern(needle(wanted.text)), "in_text": _pattern(wanted.text)}
        _find_histories(db, given)
    where = " AND ".join(_clauses(given))
    rows = db.execute(
        f"SELECT at_ns, trace_id FROM traces WHERE {where} ORDER BY at_ns DESC, trace_id DESC LIMIT :limit",  # noqa: S608 - our own words
        {**given, "limit": -1 if limit is None else limit},
    )
    return [(at_ns, trace_id) for at_ns, trace_id in rows]


def narrow(db: sqlite3.Connection, wanted: Filter) -> None:
    """From here on the tables of this connection hold the traces wanted, and no others: views of the same names are in front."""
    if wanted == Filter():
        return
    ids = [(trace_id,) for _, trace_id in chosen(db, wanted)]
    db.execute("CREATE TEMP TABLE wanted(trace_id TEXT PRIMARY KEY) WITHOUT ROWID")
    db.executemany("INSERT INTO temp.wanted VALUES(?)", ids)
    for table in NARROWED:
        rows = f"SELECT * FROM main.{table} WHERE trace_id IN (SELECT trace_id FROM temp.wanted)"  # noqa: S608 - our own names
        db.execute(f"CREATE TEMP VIEW {table} AS {rows}")


def _clauses(given: dict[str, object]) -> Iterator[str]:
    yield f"EXISTS (SELECT 1 {OF_THIS})"  # a score alone makes no trace
    yield from (clause for name, clause in OF_TRACE.items() if name in given)
    if of_run := [clause for name, clause in OF_RUN.items() if name in given]:
        run = "SELECT 1 FROM runs INDEXED BY runs_by_span JOIN payloads USING (key) WHERE runs.trace_id = traces.trace_id"
        yield f"EXISTS ({run} AND {' AND '.join(of_run)})"


def _find_histories(db: sqlite3.Connection, given: dict[str, object]) -> None:
    """The histories that hold a message with the text: theirs, or one of those that they continue, which are older."""
    saying: set[int] = set()
    for history, parent, says in db.execute(SAYING, {"in_json": given["in_json"]}):
        if says or parent in saying:
            saying.add(history)
    db.execute("CREATE TEMP TABLE saying(id INTEGER PRIMARY KEY)")
    db.executemany("INSERT INTO temp.saying VALUES(?)", [(history,) for history in saying])


def _pattern(text: str) -> str:
    escaped = "".join(f"\\{c}" if c in r"\%_" else c for c in text)
    return f"%{escaped}%"
