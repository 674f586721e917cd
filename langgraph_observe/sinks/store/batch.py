"""A batch of records as rows. A run whose beginning and end come together costs one row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias

from langgraph_observe.payloads import text
from langgraph_observe.records import Finished, Noted, Scored, Started
from langgraph_observe.sinks.encoding import encoded
from langgraph_observe.sinks.store import rows
from langgraph_observe.sinks.store.histories import Histories, folded
from langgraph_observe.sinks.store.schema import RUNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from langgraph_observe.payloads import Payload
    from langgraph_observe.records import Record

Identity: TypeAlias = tuple[str, str]
"""Trace id and span id."""
Row: TypeAlias = tuple[Sequence[object], Sequence[object]]
"""Of `runs` and of `payloads`."""


def _into(table: str, count: int, columns: str = "") -> str:
    return f"INSERT OR REPLACE INTO {table}{columns} VALUES({', '.join('?' * count)})"


RUN: Final = _into("runs", 1 + len(RUNS), f"(key, {', '.join(RUNS)})")
PAYLOADS: Final = _into("payloads", 6, "(key, rest, input, output, tools, histories)")
EVENT: Final = _into("events", 8, "(trace_id, span_id, at_ns, kind, name, payload, omitted, histories)")
SCORE: Final = _into("scores", 9, "(id, trace_id, span_id, run_id, at_ns, name, value, comment, source)")
TRACE: Final = "INSERT INTO traces VALUES(?, ?) ON CONFLICT DO UPDATE SET at_ns = min(at_ns, excluded.at_ns)"


class Batch:
    """What a batch says of each run, newest knowledge last, and the moments and scores it holds."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.unreadable = 0
        self.failure: Exception | None = None
        self._runs: dict[Identity, Started | Finished] = {}
        self._begun: set[Identity] = set()
        self._noted: list[Noted] = []
        self._scored: list[Scored] = []
        for record in records:
            self._add(record)

    def _add(self, record: Record) -> None:
        match record:
            case Started():
                self._begun.add(_identity(record))
                self._runs.setdefault(_identity(record), record)
            case Finished(run=run):
                self._runs[_identity(run)] = record
            case Noted(run=run):  # a moment never stands without its run, even if the Started was dropped on the way
                self._runs.setdefault(_identity(run), run)
                self._noted.append(record)
            case Scored():
                self._scored.append(record)

    def write(self, db: sqlite3.Connection) -> None:
        """Write it all, in the caller's transaction. A record that cannot be read is left out, in `unreadable` and `failure`."""
        histories = Histories(db)
        self._write_runs(db, histories)
        db.executemany(EVENT, [_event(histories, noted) for noted in self._noted])
        histories.write()
        db.executemany(SCORE, [_score(scored) for scored in self._scored])
        db.executemany(TRACE, self._traces())

    def _write_runs(self, db: sqlite3.Connection, histories: Histories) -> None:
        (last,) = db.execute("SELECT coalesce(max(key), 0) FROM runs").fetchone()
        keys = count(last + 1)  # nobody else writes now; asking SQLite for each would forbid executemany
        found = [row for identity, record in self._runs.items() if (row := self._row(db, histories, identity, record, keys))]
        db.executemany(RUN, [run for run, _ in found])
        db.executemany(PAYLOADS, [payloads for _, payloads in found])

    def _row(
        self, db: sqlite3.Connection, histories: Histories, identity: Identity, record: Started | Finished, keys: Iterator[int]
    ) -> Row | None:
        stored = self._stored(db, identity, record)
        if stored is not None and isinstance(record, Started):
            return None
        try:
            columns, rest = rows.columns(record), rows.rest(record)
        except Exception as error:  # of a lazy usage, a price, an odd mapping: one record's, not the batch's
            self.unreadable, self.failure = self.unreadable + 1, error
            return None
        contents = _contents(histories, rows.payloads(record).values())
        if stored is not None:
            histories.release(stored)
        key = next(keys) if stored is None else stored
        return (key, *columns), (key, rest, *contents)

    def _stored(self, db: sqlite3.Connection, identity: Identity, record: Started | Finished) -> int | None:
        """The key of the run's row. No need to ask for a run that began and ended in this batch."""
        if isinstance(record, Finished) and identity in self._begun:
            return None
        row = db.execute("SELECT key FROM runs WHERE trace_id = ? AND span_id = ?", identity).fetchone()
        return row and int(row[0])

    def _traces(self) -> list[tuple[str, int]]:
        first: dict[str, int] = {}
        times = [(trace, (run.run if isinstance(run, Finished) else run).at_ns) for (trace, _), run in self._runs.items()]
        for trace, at_ns in (*times, *((scored.trace_id, scored.at_ns) for scored in self._scored)):
            first[trace] = min(at_ns, first.get(trace, at_ns))
        return list(first.items())


def _identity(run: Started) -> Identity:
    return run.trace_id, run.span_id


def _contents(histories: Histories, payloads: Iterable[Payload | None]) -> tuple[str | None, ...]:
    """Each payload's JSON, and the histories that they refer to."""
    kept: list[int] = []
    contents = [folded(histories, payload, kept) for payload in payloads]
    return (*contents, encoded(kept) if kept else None)


def _event(histories: Histories, noted: Noted) -> Sequence[object]:
    name = noted.name and text(noted.name)
    omitted = encoded(noted.payload.omitted) if noted.payload and noted.payload.omitted else None
    payload, kept = _contents(histories, [noted.payload])
    return noted.run.trace_id, noted.run.span_id, noted.at_ns, text(noted.kind), name, payload, omitted, kept


def _score(scored: Scored) -> Sequence[object]:
    identity = (scored.id, scored.trace_id, scored.span_id, scored.run_id, scored.at_ns)
    return rows.fitting((*identity, scored.name, encoded(scored.value), scored.comment, scored.source))
