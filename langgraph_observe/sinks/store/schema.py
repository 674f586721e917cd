"""The store's file format, once for the writer and the reader: its tables, its version, which field is which column.

A column exists for what is filtered or summed; whatever else a record says is in `payloads.rest`, so a new field of a
record needs no new version. Times are nanoseconds since the epoch, durations seconds, money integer nano-dollars;
NULL is unknown, never 0.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

OFF: Final = frozenset({"off", "false", "0", "no"})
"""What `LANGGRAPH_OBSERVE_STORE` says, in any case, for no store."""
APPLICATION_ID: Final = int.from_bytes(b"LGOB")
"""`PRAGMA application_id`: how a file says that it is ours."""

STARTED: Final = (
    *("trace_id", "span_id", "parent_span_id", "id", "parent_id", "root_id", "kind", "name", "at_ns"),
    *("graph", "node", "agent", "step", "attempt", "thread_id", "session_id", "user_id", "provider", "model"),
)
"""Columns of `runs` that are fields of Started, by the same name."""
FINISHED: Final = ("outcome", "seconds", "reason", "first_token_seconds", "cached")
"""Columns of `runs` that are fields of Finished, all NULL while the run goes on."""
USAGE: Final = (
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("estimated", "cost_source"),
)
"""Columns of `runs` that are fields of Usage."""
DERIVED: Final = ("answered_by", "error_type", "cost_nusd", "chunks")
"""Finished.model, Finished.failure.type, Usage.cost and Finished.stream.pieces."""
RUNS: Final = (*STARTED, *FINISHED, *USAGE, *DERIVED)

REFERENCE: Final = "$messages"
"""A payload's JSON holds `{"$messages": id}` where a history of chat messages was. In a list the messages stand in
its place; anywhere else the history is of one message."""

V1: Final = (
    "CREATE TABLE traces(trace_id TEXT PRIMARY KEY, at_ns INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX traces_by_time ON traces(at_ns)",
    # `id` may repeat over time and may be chosen by a caller; the two W3C ids are the identity
    """CREATE TABLE runs(
        key INTEGER PRIMARY KEY,
        trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_span_id TEXT,
        id TEXT NOT NULL, parent_id TEXT, root_id TEXT NOT NULL,
        kind TEXT NOT NULL, name TEXT NOT NULL, at_ns INTEGER NOT NULL,
        graph TEXT, node TEXT, agent TEXT, step INTEGER, attempt INTEGER NOT NULL,
        thread_id TEXT, session_id TEXT, user_id TEXT, provider TEXT, model TEXT,
        outcome TEXT, seconds REAL, reason TEXT, first_token_seconds REAL, chunks INTEGER, cached INTEGER,
        input_tokens INTEGER, output_tokens INTEGER, cache_read_tokens INTEGER, cache_write_tokens INTEGER,
        reasoning_tokens INTEGER, estimated INTEGER, cost_source TEXT,
        answered_by TEXT, error_type TEXT, cost_nusd INTEGER)""",
    "CREATE UNIQUE INDEX runs_by_span ON runs(trace_id, span_id)",
    "CREATE INDEX runs_by_node ON runs(kind, node, at_ns, seconds)",
    "CREATE INDEX runs_models ON runs(at_ns, model, input_tokens, output_tokens, cost_nusd) WHERE kind = 'model'",
    "CREATE INDEX runs_tools ON runs(name, at_ns, seconds, outcome) WHERE kind = 'tool'",
    # `histories` is a JSON list of the histories that the row's JSON refers to: what must be released with the row
    """CREATE TABLE payloads(
        key INTEGER PRIMARY KEY REFERENCES runs, rest TEXT NOT NULL, input TEXT, output TEXT, tools TEXT, histories TEXT)""",
    """CREATE TABLE events(
        key INTEGER PRIMARY KEY, trace_id TEXT NOT NULL, span_id TEXT NOT NULL, at_ns INTEGER NOT NULL,
        kind TEXT NOT NULL, name TEXT, payload TEXT, omitted TEXT, histories TEXT)""",
    "CREATE INDEX events_by_span ON events(trace_id, span_id)",
    """CREATE TABLE scores(
        id TEXT PRIMARY KEY, trace_id TEXT NOT NULL, span_id TEXT, run_id TEXT, at_ns INTEGER NOT NULL,
        name TEXT NOT NULL, value TEXT NOT NULL, comment TEXT, source TEXT NOT NULL)""",
    "CREATE INDEX scores_by_trace ON scores(trace_id)",
    # `refs`: a message's histories; a history's payloads, events and longer histories
    "CREATE TABLE messages(digest BLOB NOT NULL UNIQUE, json TEXT NOT NULL, refs INTEGER NOT NULL)",
    """CREATE TABLE histories(
        id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, parent INTEGER, digest BLOB NOT NULL, refs INTEGER NOT NULL)""",
    f"PRAGMA application_id = {APPLICATION_ID}",
)
MIGRATIONS: Final = (V1,)
"""The statements that lead from version n to n + 1. An empty file is version 0."""
VERSION: Final = len(MIGRATIONS)


class StoreError(Exception):
    """A file that cannot be used as a store. The message names it and says what to do."""


def default_path() -> Path:
    """`$XDG_DATA_HOME/langgraph-observe/traces.db`, or under `~/.local/share` (XDG base directory specification)."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "langgraph-observe" / "traces.db"


def configured_path() -> Path | None:
    """Where `LANGGRAPH_OBSERVE_STORE` wants the store: None for nowhere, the default path if it says nothing."""
    place = os.environ.get("LANGGRAPH_OBSERVE_STORE", "").strip()
    if place.lower() in OFF:
        return None
    return Path(place).expanduser() if place else default_path()


def foreign(db: sqlite3.Connection) -> bool:
    """Whether it is another program's database. An empty one is nobody's yet."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (found,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return (application, found, tables) != (0, 0, 0) and application != APPLICATION_ID


def version(db: sqlite3.Connection, path: str | Path) -> int:
    """The file's version, 0 if it is empty. Raises StoreError for a file that is not ours or that is newer than this code."""
    if foreign(db):
        msg = f"{path} is another program's database: give the store a path of its own"
        raise StoreError(msg)
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        msg = f"{path} has version {found}, this langgraph-observe knows {VERSION}: upgrade it, or move the file away"
        raise StoreError(msg)
    return int(found)


def migrate(db: sqlite3.Connection, path: str | Path) -> None:
    """Bring the file to VERSION, in the caller's transaction."""
    for statements in MIGRATIONS[version(db, path) :]:
        for statement in statements:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {VERSION}")
