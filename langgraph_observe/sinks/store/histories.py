"""Chat histories as chains, so that what is stored grows by the new messages only.

A history is its last message and the history before it, found by a hash of all its messages, as a commit is in git.
A list of 10,000 messages that grew by one costs one row, not 10,000 references; a message's text is stored once, in
however many histories it stands. Both count who refers to them, in the same transaction, and go with the last one.
A last-used time in place of the count was tried on paper: it would have to be written on every message of every run.
"""

from __future__ import annotations

import hashlib
import re
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Final

import orjson

from langgraph_observe.payloads import Message
from langgraph_observe.sinks.store.schema import REFERENCE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence

    from langgraph_observe.payloads import Payload

_RESERVED: Final = re.compile(r"\$+messages")


def keep(db: sqlite3.Connection, messages: Sequence[Message]) -> int:
    """The id of this history, which has one reference more than before."""
    digests = [bytes.fromhex(message.digest) for message in messages]
    hashes = list(accumulate(digests, _link, initial=b""))[1:]
    tip, known = _longest(db, hashes)
    if tip is not None:
        db.execute("UPDATE histories SET refs = refs + 1 WHERE id = ?", (tip,))
    for message, digest, chain in zip(messages[known:], digests[known:], hashes[known:], strict=True):
        body = message.json.decode()
        db.execute(
            "INSERT INTO messages VALUES(?, ?, 1) ON CONFLICT(digest) DO UPDATE SET refs = refs + 1",
            (digest, body),
        )
        tip = db.execute("INSERT INTO histories(hash, parent, digest, refs) VALUES(?, ?, ?, 1)", (chain, tip, digest)).lastrowid
    assert tip is not None, "a history has a message"
    return tip


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


def folded(db: sqlite3.Connection, payload: Payload | None, kept: list[int]) -> str | None:
    """The payload as JSON with its messages replaced by references, whose ids are added to `kept`."""
    if payload is None:
        return None

    def refer(messages: Sequence[Message]) -> dict[str, int]:
        kept.append(keep(db, messages))
        return {REFERENCE: kept[-1]}

    return orjson.dumps(_referring(payload.fold(lambda message: message), refer)).decode()


def _link(before: bytes, digest: bytes) -> bytes:
    return hashlib.sha256(before + digest).digest()[:16]


def _longest(db: sqlite3.Connection, hashes: Sequence[bytes]) -> tuple[int | None, int]:
    """The longest beginning that is stored, and its length. From the end: nearly always a message or two are new."""
    for known in range(len(hashes), 0, -1):
        if row := db.execute("SELECT id FROM histories WHERE hash = ?", (hashes[known - 1],)).fetchone():
            return row[0], known
    return None, 0


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
