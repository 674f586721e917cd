"""Any source as the store's tables, to be asked in SQL: a store's file is asked where it is, the others' records are put into a database in memory."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from math import ceil
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.explore.storefile import blank
from langgraph_observe.records import Finished, Noted, Started
from langgraph_observe.sinks.store.batch import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from langgraph_observe.explore.source import Filter, Source
    from langgraph_observe.records import Record

HEADLINE: Final = 200
"""Characters of an error's message that tell it from others."""
READING: Final = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
"""What a question may do. Not ATTACH, which would make another file, nor PRAGMA."""
STEPS: Final = 10_000
"""Of SQLite's machine, between two looks at the clock: about a millisecond."""
PERCENTILES: Final = (0.5, 0.95, 0.99)


def database(source: Source, wanted: Filter, *, content: bool = False) -> AbstractContextManager[sqlite3.Connection]:
    """A connection to tables with the traces wanted in them, closed at the end of the `with`.

    One that is made in memory has inputs and outputs where `content` is asked for.
    """
    own: Callable[..., AbstractContextManager[sqlite3.Connection]] | None = getattr(source, "database", None)
    return _filled(source, wanted, content=content) if own is None else own(wanted)


def asked(db: sqlite3.Connection, question: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The columns and rows of a question of ours."""
    db.create_aggregate("spread", 1, Spread)  # type: ignore[arg-type]  # typeshed has it return a number
    db.create_aggregate("middle", 1, Middle)  # type: ignore[arg-type]  # the same, or None
    db.create_function("headline", 1, _headline, deterministic=True)
    found = db.execute(question)
    return [column[0] for column in found.description], found.fetchall()


def asked_by_stranger(
    db: sqlite3.Connection, question: str, parameters: Sequence[Any] | Mapping[str, Any], seconds: float
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The columns and rows of somebody's question, which may read and no more. See Tables.sql."""
    deadline = time.monotonic() + seconds
    db.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in READING else sqlite3.SQLITE_DENY)
    db.set_progress_handler(lambda: time.monotonic() > deadline, STEPS)
    try:
        found = db.execute(question, parameters)
        return [column[0] for column in found.description or ()], found.fetchall()
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise _refused(error, seconds) from error


def _refused(error: Exception, seconds: float) -> Exception:
    match getattr(error, "sqlite_errorname", None):
        case "SQLITE_INTERRUPT":
            return TimeoutError(f"no answer in {seconds:g} s: ask for less, or give it more seconds")
        case "SQLITE_AUTH" | "SQLITE_READONLY":
            return PermissionError("sql() only reads")
        case _:
            return ValueError(str(error))


@contextmanager
def _filled(source: Source, wanted: Filter, *, content: bool) -> Iterator[sqlite3.Connection]:
    records = chain.from_iterable(map(source.records, source.ids(wanted)))
    with closing(blank()) as db:
        Batch(records if content else map(_bare, records)).write(db)
        yield db


def _bare(record: Record) -> Record:
    match record:
        case Started():
            return replace(record, input=None, tools=None)
        case Finished(run=run):
            return replace(record, run=replace(run, input=None, tools=None), input=None, output=None)
        case Noted():
            return replace(record, payload=None)
        case _:
            return record


class Spread:
    """The percentiles 50, 95 and 99 of numbers, as text: an aggregate gives one value. Nearest rank: each is one that was seen."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def step(self, value: float | None) -> None:
        """Take one; NULL is none."""
        if value is not None:
            self._values.append(value)

    def finalize(self) -> str | None:
        """All three, or NULL of nothing."""
        values = sorted(self._values)
        ranks = (max(ceil(len(values) * share), 1) - 1 for share in PERCENTILES)
        return " ".join(repr(values[rank]) for rank in ranks) if values else None


class Middle(Spread):
    """The median."""

    def finalize(self) -> float | None:  # type: ignore[override]  # one number, not three
        """NULL of nothing."""
        return median(self._values) if self._values else None


def _headline(message: str | None) -> str | None:
    return message and message.strip().partition("\n")[0][:HEADLINE]
