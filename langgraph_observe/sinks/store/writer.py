"""The store's writing end: one connection, one transaction a batch, and what happens when the disk says no."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from langgraph_observe.sinks.store import retention, schema
from langgraph_observe.sinks.store.batch import Batch

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from langgraph_observe.records import Record

log: Final = logging.getLogger("langgraph_observe")

ADVICE: Final = {
    "SQLITE_NOTADB": "it is damaged or no store at all: move it away and a new one is made",
    "SQLITE_CORRUPT": "it is damaged: move it away and a new one is made",
    "SQLITE_FULL": "the disk is full: recording goes on when there is room",
    "SQLITE_READONLY": "it cannot be written: check its owner and mode",
    "SQLITE_CANTOPEN": "it cannot be opened: check the directory's owner and mode",
    "SQLITE_BUSY": "another program keeps it locked",
    "SQLITE_IOERR": "the disk failed",
}
DAY_NS: Final = 86_400 * 10**9
PATIENCE: Final = 1.0
"""Seconds that a fork, or close(), waits for the batch that is being written."""


class Writer:
    """Write batches of records to the file. Opens it when first needed, in each process; never raises for a bad file or disk.

    Records that could not be written are counted in `dropped`, and each kind of trouble is logged once. Every batch tries
    anew, so recording goes on when the disk does.
    """

    def __init__(
        self,
        path: Path,
        *,
        keep_days: float | None,
        keep_bytes: int | None,
        busy_seconds: float,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.dropped = 0
        self.trouble: str | None = None
        """Why the last that could not be done was not."""
        self._path = path
        self._keep_ns = None if keep_days is None else round(keep_days * DAY_NS)
        self._keep_bytes = keep_bytes
        self._busy_seconds = busy_seconds
        self._now = now
        self._db: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._logged: set[str] = set()
        self._stranded = False
        self._free = threading.RLock()  # of the writing thread, of close() and of a fork; never the agent's
        _before_forks(self)

    def __call__(self, record: Record) -> None:
        """Write one record."""
        self.write((record,))

    def write(self, records: Sequence[Record]) -> None:
        """Write a batch in one transaction, then forget a little of what is overdue in another."""
        most = retention.CHUNK + len(records)
        self._guarded(len(records), lambda db: self._append(db, records), lambda db: self._forget(db, most))

    def close(self) -> None:
        """Close the file, unless a batch that is being written hangs. The next batch opens it again."""
        if self._free.acquire(timeout=PATIENCE):
            self._disconnect()
            self._free.release()

    def before_fork(self) -> None:
        """Close the file, so that the child inherits no connection.

        SQLite cannot be used across a fork, not even by a new connection to the same file: the child would believe that it
        holds the parent's locks, and the parent, closing, would delete the log that the child writes. Seen, not imagined.
        """
        if self._free.acquire(timeout=PATIENCE):
            self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        with suppress(RuntimeError):  # not acquired in time
            self._free.release()

    def after_fork_in_child(self) -> None:
        """Go on, unless a connection came along."""
        self._free = threading.RLock()
        self._stranded = self._db is not None

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(sqlite3.Error):
                db.close()

    def _guarded(self, at_stake: int, *jobs: Callable[[sqlite3.Connection], None]) -> None:
        """The first of the jobs is what records are at stake for."""
        with self._free:
            try:
                with self._alone():
                    for job in jobs:
                        job(self._connection())
                        at_stake = 0
            except (sqlite3.Error, OSError, schema.StoreError) as error:
                self._disconnect()
                self._lost(at_stake, error)

    def _lost(self, count: int, error: Exception) -> None:
        self.dropped += count
        kind = getattr(error, "sqlite_errorname", None) or type(error).__name__
        self.trouble = _advice(kind, error)
        if not count or kind in self._logged:
            return
        self._logged.add(kind)
        log.warning("the store %s dropped records and counts them (%s): %s", self._path, kind, self.trouble)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock file beside the store: one process or thread writes or checkpoints at a time.

        SQLite's own lock would do for writing (BEGIN IMMEDIATE), but it polls, and SQLite before 3.51.3 may, rarely, corrupt
        a WAL that two connections write and checkpoint in the same instant. The kernel lets go of this lock with the process.
        """
        if not self._path.parent.exists():
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sys.platform == "win32":
            yield
            return
        descriptor = os.open(f"{self._path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with suppress(OSError):  # a disk that knows no locks: SQLite's own must do
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            with suppress(OSError):  # closing is not enough: a child forked meanwhile has it open too
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _connection(self) -> sqlite3.Connection:
        """The open file, if it is the one that is at the path now: a user may have moved it away."""
        if self._stranded:
            msg = f"the process was forked while {self._path} was written, and cannot write it itself: fork earlier, or spawn"
            raise schema.StoreError(msg)
        if self._db is not None and self._opened == self._identity():
            return self._db
        self._disconnect()
        with suppress(FileExistsError):  # made by hand for its mode; an existing file keeps its own
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=self._busy_seconds)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        self._db, self._opened = db, self._identity()
        return db

    def _identity(self) -> tuple[int, int] | None:
        try:
            at_path = self._path.stat()
        except FileNotFoundError:
            return None
        return at_path.st_dev, at_path.st_ino

    def _prepare(self, db: sqlite3.Connection) -> None:
        schema.version(db, self._path)  # before anything changes a file that is not ours
        (mode,) = db.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal" and "journal" not in self._logged:
            self._logged.add("journal")
            log.warning("the store %s is on a disk without WAL: writing is slower, and readers may wait for it", self._path)
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA journal_size_limit = 67108864")
        with _transaction(db):
            schema.migrate(db, self._path)

    def _append(self, db: sqlite3.Connection, records: Sequence[Record]) -> None:
        batch = Batch(records)
        with _transaction(db):
            batch.write(db)
        if batch.failure is not None:
            self._lost(batch.unreadable, batch.failure)

    def _forget(self, db: sqlite3.Connection, most: int) -> None:
        before_ns = None if self._keep_ns is None else self._now() - self._keep_ns
        following = retention.overdue(db, 1, before_ns=before_ns, keep_bytes=self._keep_bytes)
        if following["traces"]:  # nearly never: no lock for nothing
            with _transaction(db):
                retention.forget(db, most, before_ns=before_ns, keep_bytes=self._keep_bytes)


def _before_forks(writer: Writer) -> None:
    """A fork hook cannot be taken back, so it must not keep the writer alive."""
    reference = weakref.ref(writer)

    def hook(method: Callable[[Writer], None]) -> Callable[[], None]:
        return lambda: None if (alive := reference()) is None else method(alive)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=hook(Writer.before_fork),
            after_in_parent=hook(Writer.after_fork_in_parent),
            after_in_child=hook(Writer.after_fork_in_child),
        )


def _advice(kind: str, error: Exception) -> str:
    match error:
        case schema.StoreError():
            return str(error)
        case OSError():
            return f"{error.strerror}: recording goes on when that is solved"
        case sqlite3.Error():
            return next((advice for name, advice in ADVICE.items() if kind.startswith(name)), "recording goes on with the next")
        case _:
            return "a record could not be read"


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    with db:  # commits, or rolls back
        db.execute("BEGIN IMMEDIATE")
        yield
