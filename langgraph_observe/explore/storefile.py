"""The store's file as a source: read-only, opened for each question and closed at once, so that the writer never waits.

A reader that stayed open would keep the write-ahead log from being taken over, and it would grow without end.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from contextlib import ExitStack, closing, contextmanager
from contextvars import ContextVar
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from langgraph_observe.explore.row import asked
from langgraph_observe.explore.selection import chosen, narrow
from langgraph_observe.explore.trace import Trace
from langgraph_observe.payloads import Lazy, Message, Payload, plain
from langgraph_observe.records import Failure, Finished, Link, Noted, Prompt, Scored, Started, Stream, Usage
from langgraph_observe.sinks.store.schema import FINISHED, REFERENCE, RUNS, STARTED, USAGE, StoreError, migrate, version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from langgraph_observe.explore.row import Row
    from langgraph_observe.explore.source import Filter
    from langgraph_observe.records import Record

RUN: Final = f"""
SELECT key, rest, input IS NOT NULL AS has_input, output IS NOT NULL AS has_output, tools IS NOT NULL AS has_tools, {", ".join(RUNS)}
FROM runs JOIN payloads USING (key) WHERE trace_id = ?"""  # noqa: S608 - our own names
EVENT: Final = "SELECT key, span_id, at_ns, kind, name, payload IS NOT NULL AS has_payload, omitted FROM events WHERE trace_id = ?"
SCORE: Final = "SELECT id, trace_id, span_id, run_id, at_ns, name, value, comment, source FROM scores WHERE trace_id = ?"
# the ids are asked for, too: a key is given again when its run has been forgotten
PART: Final = {
    "input": "SELECT input FROM payloads JOIN runs USING (key) WHERE key = ? AND trace_id = ? AND span_id = ?",
    "output": "SELECT output FROM payloads JOIN runs USING (key) WHERE key = ? AND trace_id = ? AND span_id = ?",
    "tools": "SELECT tools FROM payloads JOIN runs USING (key) WHERE key = ? AND trace_id = ? AND span_id = ?",
    "payload": "SELECT payload FROM events WHERE key = ? AND trace_id = ? AND span_id = ?",
}
HISTORY: Final = """
WITH RECURSIVE chain(id, parent, digest, place) AS (
    SELECT id, parent, digest, 0 FROM histories WHERE id = ?
    UNION ALL SELECT h.id, h.parent, h.digest, place + 1 FROM chain JOIN histories h ON h.id = chain.parent)
SELECT json FROM chain JOIN messages USING (digest) ORDER BY place DESC"""
ESCAPED: Final = re.compile(r"\$+" + re.escape(REFERENCE))
DAMAGED: Final = ("SQLITE_NOTADB", "SQLITE_CORRUPT")
"""How the errors begin that the file's content is to blame for."""
FORGOTTEN: Final = "<no longer stored>"

DECODED: Final[dict[str, Callable[[Any], object]]] = {
    **dict.fromkeys(("tags", "triggers", "finish_reasons", "goto"), tuple),
    "links": lambda links: tuple(Link(**link) for link in links),
    "prompt": lambda prompt: Prompt(**prompt),
    "failure": lambda failure: Failure(**failure),
    "stream": lambda stream: Stream(**stream | {"timeline": tuple(map(tuple, stream["timeline"]))}),
}
"""What JSON does not give back as it was."""


class StoreFile:
    """The traces in a store's file. A missing or an empty file has none.

    Raises StoreError, which names the file and says what to do, for one that is not a store, is damaged, or is newer than this code.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()

    def ids(self, wanted: Filter, /, limit: int | None = None) -> list[str]:
        """See Source."""
        return [trace for _, trace in self.latest(wanted, limit)]

    def latest(self, wanted: Filter, limit: int | None = None) -> list[tuple[int, str]]:
        """`ids`, each with when it began."""
        with self._open() as db:
            return chosen(db, wanted, limit)

    def rows(self, wanted: Filter, limit: int) -> list[Row | Trace]:
        """See row.rows."""
        with self._open() as db:
            found = [(trace_id, asked(db, trace_id)) for _, trace_id in chosen(db, wanted, limit)]
        return [row or Trace.of(trace_id, self.records(trace_id)) for trace_id, row in found]

    @contextmanager
    def database(self, wanted: Filter) -> Iterator[sqlite3.Connection]:
        """See database.database."""
        with self._open() as db:
            narrow(db, wanted)
            yield db

    def records(self, trace_id: str, /) -> list[Record]:
        """See Source."""
        of_trace = (trace_id,)
        answers = self._ask((RUN, of_trace), (EVENT, of_trace), (SCORE, of_trace))
        try:
            return self._told(*answers)
        except (ValueError, KeyError, TypeError) as error:  # SQLite does not look into the JSON
            msg = f"{self.path} is damaged: trace {trace_id} cannot be read"
            raise StoreError(msg) from error

    def _told(self, runs: list[sqlite3.Row], events: list[sqlite3.Row], scores: list[sqlite3.Row]) -> list[Record]:
        told = [self._run(row) for row in runs]
        begun = {run.span_id: run for run in (record if isinstance(record, Started) else record.run for record in told)}
        noted = [self._event(row, begun[row["span_id"]]) for row in events if row["span_id"] in begun]
        return [*told, *noted, *(Scored(**{**dict(row), "value": json.loads(row["value"])}) for row in scores)]

    def __str__(self) -> str:
        return shown(self.path)

    def _ask(self, *questions: tuple[str, Any]) -> list[list[sqlite3.Row]]:
        """The answers, all of one moment."""
        with self._at_hand() as db:
            db.row_factory = sqlite3.Row
            return [db.execute(*question).fetchall() for question in questions]

    @contextmanager
    def _at_hand(self) -> Iterator[sqlite3.Connection]:
        """The connection that `together` keeps, or one for this question."""
        if (kept := _kept.get()) is None:
            with self._open() as db:
                yield db
            return
        with self._explained():
            if self.path not in kept.files:
                kept.files[self.path] = kept.enter_context(closing(self._connected()))
            yield kept.files[self.path]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._explained(), closing(self._connected()) as db:
            yield db

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What SQLite raises as a StoreError."""
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, not readable, a directory: not the file's content
            msg = f"{self.path} cannot be read now: {error}"
            raise StoreError(msg) from error
        except sqlite3.DatabaseError as error:
            if not getattr(error, "sqlite_errorname", "").startswith(DAMAGED):
                raise
            msg = f"{self.path} is damaged or no store at all: move it away, or open another"
            raise StoreError(msg) from error

    def _connected(self) -> sqlite3.Connection:
        """To the file, at one moment; to nothing with the same tables, while there is no file or an empty one."""
        if self.path.exists():
            db = sqlite3.connect(self.uri, uri=True, isolation_level=None)
            try:
                db.execute("BEGIN")
                if version(db, self.path) > 0:
                    return db
            except BaseException:
                db.close()
                raise
            db.close()
        return blank()

    @property
    def uri(self) -> str:
        """To read it by. Where no log is left and none can be made (a read-only disk), the file cannot change: SQLite must be told so."""
        return f"file:{quote(str(self.path))}?mode=ro" + ("" if self._may_change() else "&immutable=1")

    def _may_change(self) -> bool:
        return os.access(self.path.parent, os.W_OK) or Path(f"{self.path}-wal").exists()

    def _run(self, row: sqlite3.Row) -> Started | Finished:
        rest = json.loads(row["rest"])
        content = {part: self._payload(row, part, rest.get("omitted", {}).get(part)) for part in ("input", "output", "tools")}
        run = Started(**_given(row, STARTED), **_decoded(Started, rest["started"]), input=content["input"], tools=content["tools"])
        if row["outcome"] is None:
            return run
        end = {**_given(row, FINISHED), "cached": bool(row["cached"]), "model": row["answered_by"]}
        measured = Lazy(_usage(row, rest["usage"]) if "usage" in rest else None)
        return Finished(run=run, **end, **_decoded(Finished, rest["finished"]), measured=measured, output=content["output"])

    def _event(self, row: sqlite3.Row, run: Started) -> Noted:
        omitted = row["omitted"] and json.loads(row["omitted"])
        payload = self._payload({**dict(row), "trace_id": run.trace_id}, "payload", omitted)
        return Noted(run=run, kind=row["kind"], at_ns=row["at_ns"], name=row["name"], payload=payload)

    def _payload(self, row: sqlite3.Row | dict[str, Any], part: str, omitted: Mapping[str, int | None] | None) -> Payload | None:
        if not row[f"has_{part}"]:
            return None
        identity = (row["key"], row["trace_id"], row["span_id"])
        return Stored(lambda: self._content(part, identity), omitted=omitted)

    def _content(self, part: str, identity: tuple[int, str, str]) -> object:
        found = self._ask((PART[part], identity))[0]
        return _restored(json.loads(found[0][0]), self._history) if found and found[0][0] is not None else FORGOTTEN

    def _history(self, history: int) -> Sequence[object]:
        return [Message(json.loads(body)) for (body,) in self._ask((HISTORY, (history,)))[0]] or [FORGOTTEN]


def shown(path: Path) -> str:
    """The path as a notebook that is passed on may show it: without the user's name where it is under their home."""
    try:
        return str("~" / path.relative_to(Path.home()))
    except (ValueError, RuntimeError):  # it is elsewhere, or nobody knows where home is
        return str(path)


class Kept(ExitStack):
    """Connections that are used again, and closed in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[Path, sqlite3.Connection] = {}


_kept: Final[ContextVar[Kept | None]] = ContextVar("kept", default=None)


@contextmanager
def together() -> Iterator[None]:
    """Inside, what is read from a file is read over one connection, at one moment: for whoever wants many payloads at once."""
    if _kept.get() is not None:
        yield
        return
    with Kept() as kept:
        token = _kept.set(kept)
        try:
            yield
        finally:
            _kept.reset(token)


def blank() -> sqlite3.Connection:
    """A database in memory with the store's tables and nothing in them."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db, ":memory:")
    return db


class Stored(Payload):
    """A payload that is read from its source when it is first asked for."""

    __slots__ = ("_load",)

    def __init__(self, load: Callable[[], object], *, omitted: Mapping[str, int | None] | None = None) -> None:
        super().__init__(None, omitted=omitted)
        self._load: Lazy[object] = Lazy(None, lambda _: load())

    def fold(self, message: Callable[[Message], object]) -> object:
        """See Payload."""
        return plain(self._load.value, self._redactors, message)


def _given(row: sqlite3.Row, names: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] for name in names}


def _decoded(record: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without a column. A field that this code does not know yet is left out."""
    known = {field.name for field in fields(record)}
    return {name: DECODED[name](value) if name in DECODED else value for name, value in data.items() if name in known}


def _usage(row: sqlite3.Row, rest: Mapping[str, Any]) -> Usage:
    cost = None if row["cost_nusd"] is None else Decimal(row["cost_nusd"]).scaleb(-9)
    return Usage(**{**_given(row, USAGE), "estimated": bool(row["estimated"])}, **_decoded(Usage, rest), cost=cost)


def _restored(value: object, history: Callable[[int], Sequence[object]]) -> object:
    """The JSON with its histories in place and the user's own `$messages` keys as they were; see `store.histories`."""
    match value:
        case dict() if REFERENCE in value:
            return history(value[REFERENCE])[0]
        case dict():
            return {_unescaped(key): _restored(item, history) for key, item in value.items()}
        case list():
            return [part for item in value for part in _in_place(item, history)]
        case _:
            return value


def _in_place(item: object, history: Callable[[int], Sequence[object]]) -> Sequence[object]:
    return history(item[REFERENCE]) if isinstance(item, dict) and REFERENCE in item else [_restored(item, history)]


def _unescaped(key: str) -> str:
    return key[1:] if ESCAPED.fullmatch(key) else key
