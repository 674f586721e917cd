"""What is forgotten: whole traces, oldest first, a few at a time, with the messages that nobody refers to any more.

Freed pages are used again, so the file stops growing at its limit. It is never vacuumed: that rewrites all of it under
a lock (0.4 s for 100,000 runs), and giving pages back only to take them again is work for nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, TypedDict

from langgraph_observe.sinks.encoding import encoded
from langgraph_observe.sinks.store import bulk
from langgraph_observe.sinks.store.histories import release

if TYPE_CHECKING:
    import sqlite3

CHUNK: Final = 16
"""Traces that are forgotten after a batch, beside as many as it had records. Thirty runs each: about 15 ms."""
AT_ONCE: Final = 64
"""Traces that one look at the size of the file may cost."""
END_OF_TIME: Final = 2**63 - 1
OVERDUE: Final = """WITH file(excess) AS (
        SELECT page_size * (page_count - freelist_count) - json_extract(?1, '$.bytes')
        FROM pragma_page_size, pragma_page_count, pragma_freelist_count)
    SELECT json_object('excess', excess, 'traces', (SELECT json_group_array(trace_id) FROM (
        SELECT trace_id FROM traces WHERE at_ns < json_extract(?1, CASE WHEN excess > 0 THEN '$.end' ELSE '$.before' END)
        ORDER BY at_ns LIMIT json_extract(?1, '$.most')))) FROM file"""
"""The oldest, all of them while the file holds more than it may: pages that hold something are those that are not free."""
HELD: Final = """SELECT json_group_array(history) FROM (
    SELECT json_each.value AS history FROM runs JOIN payloads USING(key), json_each(payloads.histories)
        WHERE trace_id IN (SELECT value FROM json_each(?1))
    UNION ALL SELECT json_each.value FROM events, json_each(events.histories) WHERE trace_id IN (SELECT value FROM json_each(?1)))"""
FORGET: Final = (
    "DELETE FROM payloads WHERE key IN (SELECT key FROM runs WHERE trace_id IN (SELECT value FROM json_each(?)))",
    "DELETE FROM events WHERE trace_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM runs WHERE trace_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM scores WHERE trace_id IN (SELECT value FROM json_each(?))",
    "DELETE FROM traces WHERE trace_id IN (SELECT value FROM json_each(?))",
)


class Overdue(TypedDict):
    """The next traces to forget, and how many bytes the file has too many, if it is not to have more than so many."""

    traces: list[str]
    excess: int | None


def overdue(db: sqlite3.Connection, most: int, *, before_ns: int | None, keep_bytes: int | None) -> Overdue:
    """Those that began before `before_ns`, or the oldest if the file holds more than `keep_bytes`."""
    asked = {"bytes": keep_bytes, "end": END_OF_TIME, "before": before_ns or 0, "most": most}
    found: Overdue = bulk.asked(db, OVERDUE, asked)
    return found


def forget(db: sqlite3.Connection, most: int, *, before_ns: int | None, keep_bytes: int | None) -> None:
    """Delete the next traces, about so many at most, and all that only they refer to, in the caller's transaction."""
    few, done = 1, 0
    while done < most and (found := overdue(db, few, before_ns=before_ns, keep_bytes=keep_bytes))["traces"]:
        held = Counter(bulk.asked(db, HELD, found["traces"]))
        for statement in FORGET:
            db.execute(statement, (encoded(found["traces"]),))
        release(db, held)
        done += len(found["traces"])
        few = _next(few, found["excess"], overdue(db, 0, before_ns=before_ns, keep_bytes=keep_bytes)["excess"])


def _next(few: int, before: int | None, after: int | None) -> int:
    """How many more make the file small enough, as far as those that have gone tell."""
    if before is None or after is None or before <= 0:
        return AT_ONCE  # they are too old, all of them
    freed = before - after
    return max(1, min(AT_ONCE, after * few // freed if freed > 0 else 2 * few))
