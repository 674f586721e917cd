"""A directory of store files, one a worker, as one source."""

from __future__ import annotations

import heapq
import sqlite3
from contextlib import closing, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from langgraph_observe.explore.storefile import StoreFile, blank, shown
from langgraph_observe.sinks.store.schema import APPLICATION_ID, RUNS, foreign

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from langgraph_observe.explore.source import Filter
    from langgraph_observe.records import Record

HEADER: Final = b"SQLite format 3\x00"
IDENTITY: Final = slice(68, 72)
"""Where a database's head has its application id (https://sqlite.org/fileformat.html)."""
TAKEN: Final = {
    "runs": ("key", *RUNS),
    "payloads": ("key", "rest"),
    "events": ("trace_id", "span_id", "at_ns", "kind", "name"),
    "scores": ("id", "trace_id", "span_id", "run_id", "at_ns", "name", "value", "comment", "source"),
    "traces": ("trace_id", "at_ns"),
}
"""Columns that are put together. Inputs and outputs stay in their files: they may be gigabytes, and refer to each file's own messages."""


class StoreFiles:
    """The traces in all of the store's files in a directory. Of a trace that several processes wrote, all parts.

    A filter is asked of each file alone: what is true of a trace only of its parts together is not found.
    What is not ours, as the checkpoints that LangGraph keeps, is passed over. Raises StoreError where a file is damaged.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory).expanduser()

    @property
    def files(self) -> list[StoreFile]:
        """Those that are there now. An empty file is one that a writer has just made."""
        found = sorted(
            path for path in self.directory.iterdir() if path.suffix in {".db", ".sqlite", ".sqlite3"} and _is_store(path)
        )
        return [StoreFile(path) for path in found]

    def ids(self, wanted: Filter, /, limit: int | None = None) -> list[str]:
        """See Source."""
        merged = heapq.merge(*(file.latest(wanted, limit) for file in self.files), reverse=True)
        return list(islice(dict.fromkeys(trace_id for _, trace_id in merged), limit))

    def records(self, trace_id: str, /) -> list[Record]:
        """See Source."""
        return list(chain.from_iterable(file.records(trace_id) for file in self.files))

    @contextmanager
    def database(self, wanted: Filter) -> Iterator[sqlite3.Connection]:
        """See database.database. What the files' tables hold, copied into one, without inputs and outputs."""
        with closing(blank()) as db:
            for file in self.files:
                with file.database(wanted) as part:
                    _copy(part, db)
            yield db

    def __str__(self) -> str:
        return shown(self.directory)


def _is_store(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(IDENTITY.stop)
    if head[: len(HEADER)] not in {HEADER, b""}:
        return False
    identity = int.from_bytes(head[IDENTITY])
    return identity == APPLICATION_ID or (identity == 0 and _unclaimed(path))


def _unclaimed(path: Path) -> bool:
    """What a new store says of itself may still be in its log, so SQLite is asked. If it cannot say, whoever reads it is told why."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(StoreFile(path).uri, uri=True)) as db:
        return not foreign(db)
    return True


def _copy(part: sqlite3.Connection, whole: sqlite3.Connection) -> None:
    (last,) = whole.execute("SELECT coalesce(max(key), 0) FROM runs").fetchone()
    for table, columns in TAKEN.items():
        told = ", ".join(f"{last} + key" if column == "key" else column for column in columns)
        into = f"INSERT OR IGNORE INTO {table}({', '.join(columns)}) VALUES({', '.join('?' * len(columns))})"
        whole.executemany(into, part.execute(f"SELECT {told} FROM {table}"))  # noqa: S608 - our own names
