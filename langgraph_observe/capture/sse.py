"""`Events`: what is in a `text/event-stream`, by the WHATWG's rules, however its bytes are cut into chunks.

Only what a line begins with is looked at, and never more than that is kept: a frame may be of any size. Nothing here can
fail on what it is given; a line that says nothing that is known counts for nothing, as it does for a browser.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from langgraph_observe.capture.pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langgraph_observe.records import Stream

KINDS: Final = 32
"""Event types told apart; those that come later are counted as `OTHER`."""
OTHER: Final = b"__other__"
MESSAGE: Final = b"message"
"""The type of an event that names none."""
_HEAD: Final = 96
"""Bytes of a line that are looked at, and kept from one chunk to the next: a field's name, and a type of reasonable length."""
_KEPT: Final = _HEAD + 3
"""The same with a byte order mark before it."""
_WINDOW: Final = 65_536
"""Bytes that are split at a time: a chunk may be of any size, and a copy of it is made of that."""
_LONG: Final = 1_024
_ENDS: Final = (b"\n", b"\r")
_BOM: Final = b"\xef\xbb\xbf"


class Events(Pieces):
    """The events of one response."""

    __slots__ = ("_after_cr", "_data", "_first", "_head", "_type", "_types", "bytes", "keepalives", "opaque", "resumed")

    def __init__(self, *, resumed: bool = False) -> None:
        super().__init__()
        self.bytes = self.keepalives = 0
        self.resumed = resumed
        self.opaque = False
        """Whether the body is encoded: then it is not read, and each part of it counts as one."""
        self._head = b""
        """What the unfinished line begins with."""
        self._after_cr = False
        self._first = True
        self._data = False
        """Whether the event that is being read has any: else it is none."""
        self._type = MESSAGE
        self._types: dict[bytes, int] = {}

    def feed(self, chunk: bytes, now: int) -> None:
        """The next bytes of the body, which have gone out at this moment."""
        self.bytes += len(chunk)
        if self.opaque:
            complete = int(bool(chunk))
        elif len(chunk) <= _WINDOW:
            complete = self._read(chunk)
        else:
            complete = sum(self._read(chunk[at : at + _WINDOW]) for at in range(0, len(chunk), _WINDOW))
        for _ in range(complete):
            self.add(now)

    def _read(self, chunk: bytes) -> int:
        """How many events this completes. `splitlines` knows all ends of a line, of bytes no others, and is slow on long ones."""
        if self._after_cr and chunk:
            chunk, self._after_cr = chunk.removeprefix(b"\n"), False
        plain = chunk.replace(b"\r\n", b"\n") if len(chunk) > _LONG and b"\r" in chunk else chunk
        if b"\r" in plain:
            self._after_cr = chunk.endswith(b"\r")
            lines = chunk.splitlines()
            rest = b"" if chunk.endswith(_ENDS) else lines.pop()
        else:
            lines = plain.split(b"\n")
            rest = lines.pop()
        if lines and (self._head or self._first):
            lines[0] = self._whole(lines[0])
        if rest and len(self._head) < _KEPT:
            self._head += rest[: _KEPT - len(self._head)]
        return self._take(lines)

    def _whole(self, line: bytes) -> bytes:
        """The line with what came before; the very first without its byte order mark."""
        line, self._head = self._head + line, b""
        if self._first:
            line, self._first = line.removeprefix(_BOM), False
        return line

    def _take(self, lines: Iterable[bytes]) -> int:
        complete = 0
        for line in lines:
            if not line:
                if self._data:
                    complete += 1
                    self._data = False
                    if self._type in self._types:
                        self._types[self._type] += 1
                    else:
                        self._count(self._type)
                self._type = MESSAGE
            elif line.startswith(b"data:") or line == b"data":
                self._data = True
            elif line.startswith(b":"):
                self.keepalives += 1
            elif line.startswith(b"event:"):
                self._type = line[6:_HEAD].removeprefix(b" ") or MESSAGE
            elif line == b"event":
                self._type = MESSAGE
        return complete

    def _count(self, kind: bytes) -> None:
        """LangGraph's servers name a sub-graph's events `values|sub:<uuid>`: what is behind the bar is not their type."""
        if b"|" in kind:
            kind = kind.partition(b"|")[0]
        if kind not in self._types and len(self._types) >= KINDS and kind != b"error":
            kind = OTHER
        self._types[kind] = self._types.get(kind, 0) + 1

    def told(self, started_ns: int, times: int = 1) -> Stream:
        """See Pieces."""
        kinds: dict[str, int] = {}
        for kind, count in self._types.items():
            name = kind.decode(errors="replace")
            kinds[name] = kinds.get(name, 0) + count
        return replace(
            super().told(started_ns, times),
            kinds=kinds,
            bytes=self.bytes,
            keepalives=None if self.opaque else self.keepalives,
            errors=self._types.get(b"error", 0),
            resumed=self.resumed,
        )
