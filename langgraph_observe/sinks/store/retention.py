"""What is forgotten: whole traces, oldest first, a few at a time, with the messages that nobody refers to any more.

Freed pages are used again, so the file stops growing at its limit. It is never vacuumed: that rewrites all of it under
a lock (0.4 s for 100,000 runs), and giving pages back only to take them again is work for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from langgraph_observe.sinks.store.histories import release

if TYPE_CHECKING:
    import sqlite3

CHUNK: Final = 16
"""Traces that are forgotten after a batch, beside as many as it had records. Thirty runs each: about 15 ms."""
KEYS: Final = "SELECT key FROM runs WHERE trace_id = :trace"
END_OF_TIME: Final = 2**63 - 1


def overdue(db: sqlite3.Connection, *, before_ns: int | None, keep_bytes: int | None) -> str | None:
    """The next trace to forget: one that began before `before_ns`, or the oldest while the file holds more than `keep_bytes`."""
    full = keep_bytes is not None and used_bytes(db) > keep_bytes
    before = END_OF_TIME if full else before_ns or 0
    found = db.execute("SELECT trace_id FROM traces WHERE at_ns < ? ORDER BY at_ns LIMIT 1", (before,)).fetchone()
    return found and str(found[0])


def used_bytes(db: sqlite3.Connection) -> int:
    """Bytes of the file that hold something."""
    (size,), (pages,), (free,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "page_count", "freelist_count"))
    return int(size * (pages - free))


def forget(db: sqlite3.Connection, trace: str) -> None:
    """Delete a trace and all that only it refers to, in the caller's transaction."""
    of_trace = {"trace": trace}
    for table, where in (("payloads", f"key IN ({KEYS})"), ("events", "trace_id = :trace")):
        rows = f"FROM {table}, json_each({table}.histories) WHERE {table}.{where}"
        for (history,) in db.execute(f"SELECT json_each.value {rows}", of_trace).fetchall():
            release(db, history)
        db.execute(f"DELETE FROM {table} WHERE {where}", of_trace)  # noqa: S608 - our own names
    for table in ("runs", "scores", "traces"):
        db.execute(f"DELETE FROM {table} WHERE trace_id = :trace", of_trace)  # noqa: S608 - our own names
