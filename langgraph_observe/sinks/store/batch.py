"""A batch of records as rows. A run whose beginning and end come together costs one row."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from langgraph_observe.payloads import text
from langgraph_observe.records import Finished, Noted, Scored, Started
from langgraph_observe.sinks.deferred import in_turns
from langgraph_observe.sinks.encoding import encoded
from langgraph_observe.sinks.store import bulk, rows
from langgraph_observe.sinks.store.histories import Histories, folded
from langgraph_observe.sinks.store.schema import RUNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from langgraph_observe.records import Record

Identity: TypeAlias = tuple[str, str]
"""Trace id and span id."""

RUN: Final = f"INSERT OR REPLACE INTO runs(key, {', '.join(RUNS)})"
PAYLOADS: Final = "INSERT OR REPLACE INTO payloads(key, rest, input, output, tools, histories)"
EVENT: Final = "INSERT INTO events(trace_id, span_id, at_ns, kind, name, payload, omitted, histories)"
TRACE: Final = "INSERT INTO traces(trace_id, at_ns)"
SCORE: Final = "INSERT OR REPLACE INTO scores(id, trace_id, span_id, run_id, at_ns, name, value, comment, source)"
STORED: Final = """SELECT json_group_array(json_array(asked.key, runs.key)) FROM json_each(?) AS asked CROSS JOIN runs
    ON runs.trace_id = json_extract(asked.value, '$[0]') AND runs.span_id = json_extract(asked.value, '$[1]')"""
HEAVY: Final = 16_000_000
"""Bytes of content that are held at once."""
MANY: Final = 512
"""Runs in a batch that do not come together unless the thread is behind: then it does not stand back for others."""


class Row(NamedTuple):
    """A run, for `runs` and for `payloads`."""

    stored: int | None
    """Its key, if it has a row."""
    columns: Sequence[object]
    rest: str
    contents: tuple[str | None, ...]
    """Whose histories are not settled."""


class Part:
    """As much of a batch as is held in memory at once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db, self._held = db, 0
        self.histories = Histories(db)
        self.runs: list[Row] = []
        self.events: list[tuple[Noted, str | None]] = []

    def held(self, content: str | None) -> str | None:
        """What is held until the part is written."""
        self._held += len(content or "")
        return content

    def unless_heavy(self) -> Part:
        """This part, or the next one if this has to be written."""
        if self._held + self.histories.held < HEAVY:
            return self
        self.write()
        return Part(self._db)

    def write(self) -> None:
        """All of it, the histories first, for their references are in the rest."""
        db, runs, histories = self._db, self.runs, self.histories
        histories.settle()
        histories.write([row.stored for row in runs if row.stored is not None])
        (last,) = db.execute("SELECT coalesce(max(key), 0) FROM runs").fetchone()
        new = count(last + 1)  # nobody else writes now
        keys = [next(new) if row.stored is None else row.stored for row in runs]
        bulk.insert(db, RUN, [(key, *row.columns) for key, row in zip(keys, runs, strict=True)])
        bulk.insert(db, PAYLOADS, [(key, row.rest, *histories.settled(row.contents)) for key, row in zip(keys, runs, strict=True)])
        bulk.insert(db, EVENT, [_event(noted, *histories.settled([payload])) for noted, payload in self.events])


class Batch:
    """What a batch says of each run, newest knowledge last, and the moments and scores it holds."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.unreadable = 0
        self.failure: Exception | None = None
        self._runs: dict[Identity, Started | Finished] = {}
        self._noted: list[Noted] = []
        self._scored: list[Scored] = []
        for record in records:
            self._add(record)

    def _add(self, record: Record) -> None:
        match record:
            case Started():
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
        stored, part = self._stored(db), Part(db)
        for identity, record in in_turns(self._runs.items()) if len(self._runs) < MANY else self._runs.items():
            self._add_to(part, stored.get(identity), record)
            part = part.unless_heavy()
        for noted in self._noted:
            part.events.append((noted, part.held(folded(part.histories, noted.payload))))
            part = part.unless_heavy()
        part.write()
        bulk.insert(db, SCORE, [_score(scored) for scored in self._scored])
        bulk.insert(db, TRACE, self._traces(), "ON CONFLICT DO UPDATE SET at_ns = min(at_ns, excluded.at_ns)")

    def _add_to(self, part: Part, stored: int | None, record: Started | Finished) -> None:
        if stored is not None and isinstance(record, Started):
            return
        try:
            columns, rest = rows.columns(record), rows.rest(record)
        except Exception as error:  # of a lazy usage, a price, an odd mapping: one record's, not the batch's
            self.unreadable, self.failure = self.unreadable + 1, error
            return
        contents = tuple(part.held(folded(part.histories, payload)) for payload in rows.payloads(record).values())
        part.runs.append(Row(stored, columns, rest, contents))

    def _stored(self, db: sqlite3.Connection) -> dict[Identity, int]:
        """The keys of the runs that have a row."""
        asked = list(self._runs)
        return {asked[place]: key for place, key in bulk.asked(db, STORED, asked)}

    def _traces(self) -> list[tuple[str, int]]:
        first: dict[str, int] = {}
        times = [(trace, (run.run if isinstance(run, Finished) else run).at_ns) for (trace, _), run in self._runs.items()]
        for trace, at_ns in (*times, *((scored.trace_id, scored.at_ns) for scored in self._scored)):
            first[trace] = min(at_ns, first.get(trace, at_ns))
        return list(first.items())


def _identity(run: Started) -> Identity:
    return run.trace_id, run.span_id


def _event(noted: Noted, payload: str | None, histories: str | None) -> Sequence[object]:
    name = noted.name and text(noted.name)
    omitted = encoded(noted.payload.omitted) if noted.payload and noted.payload.omitted else None
    return noted.run.trace_id, noted.run.span_id, noted.at_ns, text(noted.kind), name, payload, omitted, histories


def _score(scored: Scored) -> Sequence[object]:
    identity = (scored.id, scored.trace_id, scored.span_id, scored.run_id, scored.at_ns)
    return rows.fitting((*identity, scored.name, encoded(scored.value), scored.comment, scored.source))
