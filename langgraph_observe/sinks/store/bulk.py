"""Many rows by few statements.

For each step SQLite's module gives the interpreter up, and where agents want it, has it back after 5 ms (`sys.getswitchinterval()`).
Row by row, a batch of 500 took seconds, while the queue ran over; so one statement writes up to 128 rows, a set is
asked for at once, and what comes back is one row of JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from langgraph_observe.sinks.encoding import encoded

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

MOST: Final = 128
"""Rows of one statement, so that the widest takes 4,864 parameters; SQLite allows 32,766."""
LARGE: Final = 262_144
"""Characters of its rows, unless it is one: a prepared statement keeps them until it runs again."""


def insert(db: sqlite3.Connection, into: str, rows: Sequence[Sequence[object]], conflict: str = "") -> None:
    """`into` begins with INSERT and names the table, `conflict` says what is done with a row that is there already.

    The number of rows is a power of two, so that the statements are few and stay prepared.
    """
    done, sizes = 0, [sum(len(value) for value in row if type(value) is str) for row in rows]
    while left := len(rows) - done:
        size = min(MOST, 1 << left.bit_length() - 1)
        while size > 1 and sum(sizes[done : done + size]) > LARGE:
            size //= 2
        row = f"({', '.join('?' * len(rows[done]))})"
        some = [value for one in rows[done : done + size] for value in one]
        db.execute(f"{into} VALUES {', '.join([row] * size)} {conflict}", some)
        done += size


def asked(db: sqlite3.Connection, query: str, given: object) -> Any:
    """The answer to a query with one parameter, a set of things as JSON, which answers by one row of JSON."""
    (found,) = db.execute(query, (encoded(given),)).fetchone()
    return orjson.loads(found)


def apart(values: Sequence[bytes], most: int = 4_096) -> Iterator[list[bytes]]:
    """For `IN (?, ?, …)`, where JSON cannot say them: some at a time, the last of them repeated up to a power of two."""
    for start in range(0, len(values), most):
        some = list(values[start : start + most])
        yield some + some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))
