"""Payloads: snapshots that become redacted plain data, and JSON, on the thread that first asks for it.

The agent's thread pays for references only. Whatever is made is made once, for all sinks, and not at all if none reads it.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import Final, Generic, TypeAlias, TypeVar

Redactor: TypeAlias = Callable[[str | None, object], object]
"""`(key, value) -> value`, called top down for each entry of a mapping (with its key) and for every other value (key None):
the mapping's keys, and the text that stands for an object which JSON does not know, too.
Returning the same object means "look inside it"; anything else takes its place and is shown to the redactors after this one only."""

T = TypeVar("T")
UNREADABLE: Final = "<unreadable: {}>"
TOO_DEEP: Final = "<too deep or a cycle>"
DEEPEST: Final = 64
"""Containers within containers. capture keeps 24; this is for payloads made by hand."""
REDACTION_FAILED: Final = "<content dropped: a redactor failed>"


class Lazy(Generic[T]):
    """A value that is made by the first reader and kept. `then` adds a step that runs when it is made."""

    __slots__ = ("_state",)

    def __init__(self, value: T, *steps: Callable[[T], T]) -> None:
        self._state = value, steps  # one attribute, so that no reader sees a new value with the steps of the old one

    def then(self, step: Callable[[T], T]) -> None:
        """Add a step. For processors, before any sink has read the value."""
        value, steps = self._state
        self._state = value, (*steps, step)

    @property
    def value(self) -> T:
        """The value after every step. Two threads that ask at once may both make it; they make the same."""
        value, steps = self._state
        if steps:
            for step in steps:
                value = step(value)
            self._state = value, ()
        return value


class Message:
    """One chat message, captured when it was first seen and shared by every payload that holds it.

    So a history of 1,000 messages is redacted, encoded and hashed once, not once a node.
    `plain` is a dict: role (`system`, `user`, `assistant`, `tool`, or the provider's own), content (text or a list of
    content blocks) and, where present, name, id, tool_calls (`[{id, name, args}]`), invalid_tool_calls, tool_call_id,
    status (`error` for a failed tool), additional_kwargs.
    """

    __slots__ = ("_cache", "_encode", "_redactors", "_snapshot")

    def __init__(
        self, snapshot: Mapping[str, object] | Lazy[Mapping[str, object]], *, encode: Callable[[object], bytes] | None = None
    ) -> None:
        """`encode` makes JSON of plain data, by default with the standard library."""
        self._snapshot = snapshot
        self._encode = encode
        self._redactors: tuple[Redactor, ...] = ()
        self._cache: dict[str, object] = {}

    @property
    def role(self) -> str:
        """Who speaks."""
        held = self._snapshot
        return str((held.value if isinstance(held, Lazy) else held)["role"])

    def redact(self, redactors: tuple[Redactor, ...]) -> None:
        """Use these redactors from now on; what was made with others is forgotten."""
        if redactors is not self._redactors and redactors != self._redactors:
            self._redactors = redactors
            self._cache = {}

    def cached(self, key: str, make: Callable[[Mapping[str, object]], T]) -> T:
        """`make(plain)`, made once under this key. A sink keeps its own vocabulary of the message here."""
        cache = self._cache
        if key not in cache:
            cache[key] = make(self.plain)
        return cache[key]  # type: ignore[return-value]  # the key belongs to one maker

    @property
    def plain(self) -> Mapping[str, object]:
        """The redacted message as JSON-able data."""
        cache = self._cache
        if "plain" not in cache:
            value = plain(self._snapshot, self._redactors)
            cache["plain"] = value if isinstance(value, dict) else {"role": self.role, "content": value}
        return cache["plain"]  # type: ignore[return-value]  # a dict by the line above

    @property
    def json(self) -> bytes:
        """The redacted message as UTF-8 JSON."""
        return self.cached("json", self._encode or encode)

    @property
    def digest(self) -> str:
        """SHA-256 of `json`, the first 32 hex digits: the key under which a store keeps the message once."""
        return self.cached("digest", lambda _: hashlib.sha256(self.json).hexdigest()[:32])


def plain(value: object, redactors: tuple[Redactor, ...] = (), message: Callable[[Message], object] = lambda m: m.plain) -> object:
    """JSON-able data from a snapshot: redacted, string keys, no NaN, no lone surrogate; a message is what `message` makes of it.

    A redactor that raises costs the whole content, never a leak and never the run. A cycle, and what lies deeper than
    `DEEPEST` containers, is cut off. Two keys that a redactor makes equal become one entry, the last.
    """
    try:
        return _Walk(redactors, message).value(None, value, redactors)
    except Exception:
        return REDACTION_FAILED


class _Walk:
    """One pass over one snapshot. `pending` are the redactors that may still look at an item."""

    __slots__ = ("_above", "_message", "_redactors")

    def __init__(self, redactors: tuple[Redactor, ...], message: Callable[[Message], object]) -> None:
        self._redactors = redactors
        self._message = message
        self._above: set[int] = set()

    def value(self, key: str | None, item: object, pending: tuple[Redactor, ...]) -> object:
        if type(item) is Lazy:  # a part that capture has put off
            item = item.value
        for position, redactor in enumerate(pending, 1):
            changed = redactor(key, item)
            if changed is not item:
                return self.value(key, changed, pending[position:])
        kind = type(item)
        if kind is str:  # most of what there is
            return item if item.isascii() else text(item)  # type: ignore[attr-defined]  # a str by its type
        return self._bounded(item, pending) if kind is dict or kind is list else self._inside(item, pending)  # type: ignore[arg-type]  # the same

    def _inside(self, item: object, pending: tuple[Redactor, ...]) -> object:
        match item:
            case Message():
                item.redact(self._redactors)  # all of them: it may come out of a list that a redactor has cut short
                return self._message(item)
            case enum.Enum():
                return self.value(None, item.value, pending)
            case str():
                return text(item)
            case None | int() | float():  # before what asks an ABC, which takes its time
                return self._leaf(item, pending)
            case dict() | list() | tuple() | set() | frozenset() | Mapping():
                return self._bounded(item, pending)
            case _:
                return self._leaf(item, pending)

    def _leaf(self, item: object, pending: tuple[Redactor, ...]) -> object:
        out = leaf(item)
        return self.value(None, out, pending) if isinstance(out, str) else out

    def _bounded(self, item: Mapping[object, object] | Collection[object], pending: tuple[Redactor, ...]) -> object:
        if id(item) in self._above or len(self._above) >= DEEPEST:
            return TOO_DEEP
        self._above.add(id(item))
        try:
            return self._container(item, pending)
        finally:
            self._above.discard(id(item))

    def _container(self, item: Mapping[object, object] | Collection[object], pending: tuple[Redactor, ...]) -> object:
        match item:
            case dict() | Mapping():
                return {self._key(name := text(k), pending): self.value(name, v, pending) for k, v in item.items()}
            case set() | frozenset():
                return sorted((self.value(None, v, pending) for v in item), key=repr)
            case _:
                return [self.value(None, v, pending) for v in item]

    def _key(self, name: str, pending: tuple[Redactor, ...]) -> str:
        for redactor in pending:
            if redactor(None, name) is not name:
                return text(self.value(None, name, pending))
        return name


def text(value: object) -> str:
    """A string that UTF-8 can hold. Keys of a mapping may be anything."""
    out = str.__str__(value) if isinstance(value, str) else leaf_text(value)  # not str(): a subclass may say anything
    return out if out.isascii() else out.encode("utf-8", "replace").decode()


def leaf(value: object) -> object:
    """A JSON number, true, false or null for what is one; text for anything else."""
    match value:
        case None | bool():
            out: object = value
        case enum.Enum():
            out = leaf(value.value)
        case int() if -(2**63) <= value < 2**64:
            out = int(value)
        case float() if math.isfinite(value):
            out = float(value)
        case _:
            out = text(leaf_text(value))
    return out


def leaf_text(value: object) -> str:
    """Text for a value that JSON does not know; binary is named by its size, never shown."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{type(value).__name__}: {len(value)} bytes>"
    try:
        return str(value)
    except Exception as error:
        return UNREADABLE.format(type(error).__name__)


def encode(value: object) -> bytes:
    """UTF-8 JSON by the standard library. capture gives payloads a faster one."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_message_as_plain).encode()


def _message_as_plain(value: object) -> object:
    return value.plain if isinstance(value, Message) else leaf_text(value)


class Payload:
    """An immutable snapshot of an input or an output, its redacted view and its JSON, each made once when first read.

    In the `delta` policy a state holds what is new only: `omitted` names the keys that repeat what the parent has
    already shown, with how many leading items of a list were left out (None: the whole value).
    """

    __slots__ = ("_clean", "_encode", "_json", "_omitted", "_redactors", "_snapshot", "_value")

    def __init__(
        self, snapshot: object, *, omitted: Mapping[str, int | None] | None = None, encode: Callable[[object], bytes] = encode
    ) -> None:
        self._snapshot = snapshot
        self._redactors: tuple[Redactor, ...] = ()
        self._encode = encode
        self._clean: object = _UNMADE
        self._value: object = _UNMADE
        self._json: bytes | None = None
        self._omitted: Mapping[str, int | None] = omitted or {}

    def redact(self, redactors: tuple[Redactor, ...]) -> None:
        """Add redactors. For processors, before any sink has read the payload."""
        self._redactors = (*self._redactors, *redactors) if self._redactors else redactors
        self._clean, self._value, self._json = _UNMADE, _UNMADE, None

    @property
    def omitted(self) -> Mapping[str, int | None]:
        """Which keys repeat what was shown before: redacted, for a key may be anything."""
        return {str(plain(key, self._redactors)): count for key, count in self._omitted.items()}

    def fold(self, message: Callable[[Message], object]) -> object:
        """The redacted view, made once, with every message replaced by what `message` makes of it."""
        if self._clean is _UNMADE:
            self._clean = plain(self._snapshot, self._redactors, lambda m: m)
        return self._replaced(self._clean, message)

    def _replaced(self, item: object, message: Callable[[Message], object]) -> object:
        if type(item) is dict:
            return {key: self._replaced(value, message) for key, value in item.items()}
        if type(item) is list:
            return [self._replaced(value, message) for value in item]
        if isinstance(item, Message):
            item.redact(self._redactors)  # a payload with others may have been read since
            return message(item)
        return item

    @property
    def value(self) -> object:
        """The redacted view: dict, list, str, int, float, bool and None only."""
        if self._value is _UNMADE:
            self._value = self.fold(lambda m: m.plain)
        return self._value

    @property
    def json(self) -> bytes:
        """The redacted view as UTF-8 JSON."""
        if self._json is None:
            self._json = self._encode(self.fold(lambda m: m))
        return self._json

    @property
    def messages(self) -> list[Message]:
        """The messages anywhere inside, in order, redacted."""
        found: list[Message] = []
        self.fold(found.append)
        return found

    def __repr__(self) -> str:
        return f"Payload({self.json.decode()[:200]})"


class _Unmade(enum.Enum):
    UNMADE = enum.auto()


_UNMADE: Final = _Unmade.UNMADE
