"""Chat histories as chains, so that what is stored grows by the new messages only.

A history is its last message and the history before it, found by a hash of all its messages, as a commit is in git.
A list of 10,000 messages that grew by one costs one row, not 10,000 references; a message's text is stored once, in
however many histories it stands. Both count who refers to them, in the same transaction, and go with the last one.
A last-used time in place of the count was tried on paper: it would have to be written on every message of every run.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_left
from collections import Counter
from itertools import accumulate, count, groupby
from typing import TYPE_CHECKING, Final

import orjson

from langgraph_observe.payloads import Message
from langgraph_observe.sinks.store.schema import REFERENCE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from langgraph_observe.payloads import Payload

MESSAGE: Final = "INSERT INTO messages VALUES(?, ?, ?) ON CONFLICT(digest) DO UPDATE SET refs = refs + excluded.refs"
NEW: Final = 3
"""Messages of a history that are looked for one by one, from the last: nearly always a message or two are new."""
_RESERVED: Final = re.compile(r"\$+messages")


class Histories:
    """Those that one transaction refers to, while nobody else writes. `write` puts what is new of all of them into the file."""

    def __init__(self, db: sqlite3.Connection) -> None:
        (last,) = db.execute("SELECT coalesce(max(id), 0) FROM histories").fetchone()
        self._db = db
        self._next = count(last + 1)
        self._ids: dict[bytes, int] = {}
        """By hash: found in the file, or made."""
        self._made: list[tuple[int, bytes, int | None, bytes]] = []
        self._refs: Counter[int] = Counter()
        self._messages: dict[bytes, str] = {}
        self._released: list[int] = []

    def keep(self, messages: Sequence[Message]) -> int:
        """The id of this history, which has one reference more than before."""
        digests = [bytes.fromhex(message.digest) for message in messages]
        hashes = list(accumulate(digests, _link, initial=b""))[1:]
        known = self._known(hashes)
        tip = self._id(hashes[known - 1]) if known else None
        for message, digest, chain in zip(messages[known:], digests[known:], hashes[known:], strict=True):
            if tip is not None:
                self._refs[tip] += 1
            self._messages.setdefault(digest, message.json.decode())
            parent, tip = tip, next(self._next)
            self._ids[chain] = tip
            self._made.append((tip, chain, parent, digest))
        assert tip is not None, "a history has a message"
        self._refs[tip] += 1
        return tip

    def release(self, key: int) -> None:
        """Take the references away that the row of this key has, once the new ones are written, so that none is made anew."""
        held = "SELECT json_each.value FROM payloads, json_each(histories) WHERE payloads.key = ?"
        self._released += (history for (history,) in self._db.execute(held, (key,)))

    def write(self) -> None:
        """All that was kept and released."""
        made = [(*row, self._refs.pop(row[0])) for row in self._made]
        told = Counter(digest for *_, digest in self._made)
        self._db.executemany(MESSAGE, ((digest, self._messages[digest], refs) for digest, refs in told.items()))
        self._db.executemany("INSERT INTO histories(id, hash, parent, digest, refs) VALUES(?, ?, ?, ?, ?)", made)
        self._db.executemany("UPDATE histories SET refs = refs + ? WHERE id = ?", ((refs, old) for old, refs in self._refs.items()))
        for history in self._released:
            release(self._db, history)

    def _known(self, hashes: Sequence[bytes]) -> int:
        """How many there are already: all that come before one that is there."""
        few = max(0, len(hashes) - NEW)
        for known in range(len(hashes), few, -1):
            if self._id(hashes[known - 1]) is not None:
                return known
        return bisect_left(hashes, 1, hi=few, key=lambda chain: self._id(chain) is None)

    def _id(self, chain: bytes) -> int | None:
        if chain not in self._ids and (row := self._db.execute("SELECT id FROM histories WHERE hash = ?", (chain,)).fetchone()):
            self._ids[chain] = row[0]
        return self._ids.get(chain)


def release(db: sqlite3.Connection, history: int | None) -> None:
    """Take one reference away, and with the last one the history, its message, and one reference to what came before it."""
    while history is not None:
        db.execute("UPDATE histories SET refs = refs - 1 WHERE id = ?", (history,))
        dead = db.execute("SELECT parent, digest FROM histories WHERE id = ? AND refs <= 0", (history,)).fetchone()
        if dead is None:
            return
        db.execute("DELETE FROM histories WHERE id = ?", (history,))
        history, digest = dead
        db.execute("UPDATE messages SET refs = refs - 1 WHERE digest = ?", (digest,))
        db.execute("DELETE FROM messages WHERE digest = ? AND refs <= 0", (digest,))


def folded(histories: Histories, payload: Payload | None, kept: list[int]) -> str | None:
    """The payload as JSON with its messages replaced by references, whose ids are added to `kept`."""
    if payload is None:
        return None

    def refer(messages: Sequence[Message]) -> dict[str, int]:
        kept.append(histories.keep(messages))
        return {REFERENCE: kept[-1]}

    return orjson.dumps(_referring(payload.fold(lambda message: message), refer)).decode()


def _link(before: bytes, digest: bytes) -> bytes:
    return hashlib.sha256(before + digest).digest()[:16]


def _referring(value: object, refer: Callable[[Sequence[Message]], object]) -> object:
    match value:
        case Message():
            return refer([value])
        case dict():
            return {_escaped(key): _referring(item, refer) for key, item in value.items()}
        case list():
            return _spliced(value, refer)
        case _:
            return value


def _spliced(items: list[object], refer: Callable[[Sequence[Message]], object]) -> list[object]:
    out: list[object] = []
    for are_messages, group in groupby(items, lambda item: isinstance(item, Message)):
        if are_messages:
            out.append(refer([item for item in group if isinstance(item, Message)]))
        else:
            out.extend(_referring(item, refer) for item in group)
    return out


def _escaped(key: str) -> str:
    """A user's own key of this form gets one more `$`, so that nobody's data can pose as a reference."""
    return "$" + key if key[:1] == "$" and _RESERVED.fullmatch(key) else key
