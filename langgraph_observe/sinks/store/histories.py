"""Chat histories as chains, so that what is stored grows by the new messages only.

A history is its last message and the history before it, found by a hash of all its messages, as a commit is in git.
A list of 10,000 messages that grew by one costs one row, not 10,000 references; a message's text is stored once, in
however many histories it stands. Both count who refers to them, in the same transaction, and go with the last one.
A last-used time in place of the count was tried on paper: it would have to be written on every message of every run.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from itertools import accumulate, count, groupby
from typing import TYPE_CHECKING, Final

import orjson

from langgraph_observe.payloads import Message
from langgraph_observe.sinks.encoding import encoded
from langgraph_observe.sinks.store import bulk
from langgraph_observe.sinks.store.schema import REFERENCE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from langgraph_observe.payloads import Payload

NEW: Final = 3
"""Messages of a history that are looked for at once, from the last: nearly always a message or two are new."""
CHAIN: Final = 150
"""Bytes that a message's place in a history takes."""
_RESERVED: Final = re.compile(r"\$+messages")
_UNSETTLED: Final = re.compile(re.escape(f'{{"{REFERENCE}":-') + r"(\d+)}")
"""In JSON. Nobody's data looks so: a key of theirs is escaped, and inside of a text so are the quotes."""
_COUNT: Final = """UPDATE histories SET refs = refs + json_extract(asked.value, '$[1]')
    FROM json_each(?) AS asked WHERE histories.id = json_extract(asked.value, '$[0]')"""
_HELD: Final = """SELECT json_group_array(json_each.value) FROM payloads, json_each(histories)
    WHERE payloads.key IN (SELECT value FROM json_each(?))"""
_DEAD: Final = """WITH RECURSIVE dead(id, parent) AS (
        SELECT id, parent FROM histories WHERE id IN (SELECT value FROM json_each(?)) AND refs <= 0
        UNION ALL SELECT histories.id, histories.parent FROM dead JOIN histories ON histories.id = dead.parent WHERE refs = 1)
    SELECT json_object('id', json_group_array(id), 'parent', json_group_array(parent)) FROM dead"""
"""A history that only the next one refers to goes with it."""
_BURY: Final = (
    """UPDATE messages SET refs = refs - dead.count
        FROM (SELECT digest, count(*) AS count FROM histories WHERE id IN (SELECT value FROM json_each(?)) GROUP BY digest) AS dead
        WHERE messages.digest = dead.digest""",
    """DELETE FROM messages
        WHERE digest IN (SELECT digest FROM histories WHERE id IN (SELECT value FROM json_each(?))) AND refs <= 0""",
    "DELETE FROM histories WHERE id IN (SELECT value FROM json_each(?))",
)


class Histories:
    """Those that one transaction refers to, while nobody else writes.

    `keep` all of them, then `settle`, so that what refers to them can be `settled`, and `write` what is new into the file.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        (last,) = db.execute("SELECT coalesce(max(id), 0) FROM histories").fetchone()
        self._db = db
        self._next = count(last + 1)
        self._ids: dict[bytes, int | None] = {}
        """By hash: found in the file, or made; None if it was looked for and is not there."""
        self._kept: list[tuple[list[bytes], list[bytes]]] = []
        """Of each the digests of its messages, and the hashes of all that it begins with and of itself."""
        self._tips: list[int] = []
        self._made: list[tuple[int, bytes, int | None, bytes]] = []
        self._refs: Counter[int] = Counter()
        self._messages: dict[bytes, bytes] = {}
        self.held = 0
        """Bytes, about, that are kept until all is written."""

    def keep(self, messages: Sequence[Message]) -> int:
        """A number below 0 for this history, which has one reference more than before, until all are settled."""
        digests = [self._said(message) for message in messages]
        self._kept.append((digests, list(accumulate(digests, _link, initial=b""))[1:]))
        self.held += CHAIN * len(digests)
        return -len(self._kept)

    def _said(self, message: Message) -> bytes:
        """The digest of what it says now: another payload that holds it may have it redacted in another way."""
        digest = bytes.fromhex(message.digest)
        if digest not in self._messages:
            self._messages[digest] = message.json
            self.held += len(message.json)
        return digest

    def settle(self) -> None:
        """Find out what each is called: those that are in the file as they are there."""
        known = self._known([hashes for _, hashes in self._kept])
        self._look([hashes[old - 1] for (_, hashes), old in zip(self._kept, known, strict=True) if old])
        for (digests, hashes), old in zip(self._kept, known, strict=True):
            tip = self._ids[hashes[old - 1]] if old else None
            for digest, chain in zip(digests[old:], hashes[old:], strict=True):
                if tip is not None:
                    self._refs[tip] += 1
                parent, tip = tip, next(self._next)
                self._ids[chain] = tip
                self._made.append((tip, chain, parent, digest))
            assert tip is not None, "a history has a message"
            self._refs[tip] += 1
            self._tips.append(tip)

    def settled(self, contents: Iterable[str | None]) -> tuple[str | None, ...]:
        """What refers to the histories by what they are called now, and a JSON list of these."""
        kept: list[int] = []

        def settled(reference: re.Match[str]) -> str:
            kept.append(self._tips[int(reference[1]) - 1])
            return f'{{"{REFERENCE}":{kept[-1]}}}'

        told = [_UNSETTLED.sub(settled, content) if content and REFERENCE in content else content for content in contents]
        return (*told, encoded(kept) if kept else None)

    def write(self, replaced: Iterable[int] = ()) -> None:
        """All that was kept. What the rows of these keys had is let go once that is there, so that none is made anew."""
        held = Counter(bulk.asked(self._db, _HELD, list(replaced)))  # before their rows are replaced: `Batch` writes them later
        told = Counter(digest for *_, digest in self._made)
        messages = [(digest, self._messages[digest].decode(), refs) for digest, refs in told.items()]
        bulk.insert(self._db, "INSERT INTO messages", messages, "ON CONFLICT(digest) DO UPDATE SET refs = refs + excluded.refs")
        made = [(*row, self._refs.pop(row[0])) for row in self._made]
        bulk.insert(self._db, "INSERT INTO histories(id, hash, parent, digest, refs)", made)
        _counted(self._db, self._refs)
        release(self._db, held)

    def _known(self, chains: Sequence[Sequence[bytes]]) -> list[int]:
        """Of each how many there are already, in the file or from a chain before it: all that come before one that is there.

        The last ones are looked for, and the first of which nothing is known; only where these do not tell, between them.
        """
        ahead: set[bytes] = set()
        known = []
        for chain in chains:
            known.append(next((place for place in range(len(chain), 0, -1) if chain[place - 1] in ahead), 0))
            ahead.update(chain[known[-1] :])
        self._look(
            [hash_ for chain, low in zip(chains, known, strict=True) for hash_ in (*chain[low : low + 1], *chain[low:][-NEW:])]
        )
        between: dict[int, tuple[int, int]] = {}
        for which, (chain, low) in enumerate(zip(chains, known, strict=True)):
            late = max(low, len(chain) - NEW)
            known[which] = next((place for place in range(len(chain), late, -1) if self._ids.get(chain[place - 1])), low)
            if known[which] == low < late and self._ids.get(chain[low]):
                between[which] = low + 1, late
        for which, found in self._bisected(chains, between):
            known[which] = found
        return known

    def _bisected(self, chains: Sequence[Sequence[bytes]], between: dict[int, tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """How many of which are there, from a least and a most: `bisect`, of all of them at once."""
        while between:
            self._look(chains[which][sum(bounds) // 2] for which, bounds in between.items())
            for which, (low, high) in list(between.items()):
                middle = (low + high) // 2
                between[which] = bounds = (middle + 1, high) if self._ids.get(chains[which][middle]) else (low, middle)
                if bounds[0] >= bounds[1]:
                    yield which, between.pop(which)[0]

    def _look(self, hashes: Iterable[bytes]) -> None:
        """Which of them are in the file."""
        new = [chain for chain in dict.fromkeys(hashes) if chain not in self._ids]
        self._ids.update(dict.fromkeys(new))
        for some in bulk.apart(new):
            among = ", ".join("?" * len(some))
            query = f"SELECT json_group_object(hex(hash), id) FROM histories WHERE hash IN ({among})"  # noqa: S608 - question marks
            (found,) = self._db.execute(query, some).fetchone()
            self._ids.update((bytes.fromhex(chain), number) for chain, number in orjson.loads(found).items())


def release(db: sqlite3.Connection, references: Mapping[int, int]) -> None:
    """Take references away, so many of each; with the last one goes the history, its message, and one reference to what came before it."""
    while references:
        _counted(db, {history: -count for history, count in references.items()})
        found = bulk.asked(db, _DEAD, list(references))
        if not found["id"]:
            return
        for statement in _BURY:
            db.execute(statement, (orjson.dumps(found["id"]).decode(),))
        gone = {None, *found["id"]}
        references = Counter(parent for parent in found["parent"] if parent not in gone)


def _counted(db: sqlite3.Connection, references: Mapping[int, int]) -> None:
    if references:
        db.execute(_COUNT, (orjson.dumps(list(references.items())).decode(),))


def folded(histories: Histories, payload: Payload | None) -> str | None:
    """The payload as JSON with its messages replaced by references, which are to be settled."""
    if payload is None:
        return None

    def refer(messages: Sequence[Message]) -> dict[str, int]:
        return {REFERENCE: histories.keep(messages)}

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
