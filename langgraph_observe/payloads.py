"""Payloads: snapshots that become redacted plain data, and JSON, on the thread that first asks for it.

The agent's thread pays for references only. Whatever is made is made once, for all sinks, and not at all if none reads it.
"""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeAlias, TypeVar

Redactor: TypeAlias = Callable[[str | None, object], object]
"""`(key, value) -> value`, called top down for each entry of a mapping (with its key) and for every other value (key None).
Returning the same object means "look inside it"; anything else takes its place and is not looked into again."""

T = TypeVar("T")
UNREADABLE: Final = "<unreadable: {}>"
REDACTION_FAILED: Final = "<content dropped: a redactor failed>"


class Lazy(Generic[T]):
    """A value that is made by the first reader and kept. `then` adds a step that runs when it is made."""

    __slots__ = ("_steps", "_value")

    def __init__(self, value: T, *steps: Callable[[T], T]) -> None:
        self._value = value
        self._steps = steps

    def then(self, step: Callable[[T], T]) -> None:
        """Add a step. For processors, before any sink has read the value."""
        self._steps = (*self._steps, step)

    @property
    def value(self) -> T:
        """The value after every step. Two threads that ask at once may both make it; they make the same."""
        if steps := self._steps:
            value = self._value
            for step in steps:
                value = step(value)
            self._value, self._steps = value, ()
        return self._value


class Message:
    """One chat message, captured when it was first seen and shared by every payload that holds it.

    So a history of 1,000 messages is redacted, encoded and hashed once, not once a node.
    `plain` is a dict: role (`system`, `user`, `assistant`, `tool`, or the provider's own), content (text or a list of
    content blocks) and, where present, name, id, tool_calls (`[{id, name, args}]`), invalid_tool_calls, tool_call_id,
    status (`error` for a failed tool), additional_kwargs.
    """

    __slots__ = ("_cache", "_redactors", "_snapshot")

    def __init__(self, snapshot: Mapping[str, object]) -> None:
        self._snapshot = snapshot
        self._redactors: tuple[Redactor, ...] = ()
        self._cache: dict[str, object] = {}

    @property
    def role(self) -> str:
        """Who speaks."""
        return str(self._snapshot["role"])

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
        return self.cached("json", encode)

    @property
    def digest(self) -> str:
        """SHA-256 of `json`, the first 32 hex digits: the key under which a store keeps the message once."""
        return self.cached("digest", lambda _: hashlib.sha256(self.json).hexdigest()[:32])


def plain(value: object, redactors: tuple[Redactor, ...] = (), message: Callable[[Message], object] = lambda m: m.plain) -> object:
    """JSON-able data from a snapshot: redacted, string keys, no NaN, no lone surrogate; a message is what `message` makes of it.

    A redactor that raises costs the whole content, never a leak and never the run.
    """

    def walk(key: str | None, item: object) -> object:
        for redactor in redactors:
            changed = redactor(key, item)
            if changed is not item:
                return leaf(changed)
        return inside(item)

    def inside(item: object) -> object:
        match item:
            case Message():
                item.redact(redactors)
                return message(item)
            case Mapping():
                return {text(k): walk(text(k), v) for k, v in item.items()}
            case list() | tuple():
                return [walk(None, v) for v in item]
            case set() | frozenset():
                return sorted((walk(None, v) for v in item), key=repr)
            case _:
                return leaf(item)

    try:
        return walk(None, value)
    except Exception:
        return REDACTION_FAILED


def text(value: object) -> str:
    """A string that UTF-8 can hold. Keys of a mapping may be anything."""
    out = value if isinstance(value, str) else leaf_text(value)
    return out if out.isascii() else out.encode("utf-8", "replace").decode()


def leaf(value: object) -> object:
    """A JSON scalar for a scalar; text for anything else."""
    match value:
        case None | bool():
            out: object = value
        case enum.Enum():
            out = leaf(value.value)
        case str():
            out = text(value)
        case int() if -(2**63) <= value < 2**64:
            out = int(value)
        case float() if math.isfinite(value):
            out = value
        case dict() | list():
            out = plain(value)
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

    __slots__ = ("_encode", "_json", "_redactors", "_snapshot", "_value", "omitted")

    def __init__(
        self, snapshot: object, *, omitted: Mapping[str, int | None] | None = None, encode: Callable[[object], bytes] = encode
    ) -> None:
        self._snapshot = snapshot
        self._redactors: tuple[Redactor, ...] = ()
        self._encode = encode
        self._value: object = _UNMADE
        self._json: bytes | None = None
        self.omitted: Mapping[str, int | None] = omitted or {}

    def redact(self, *redactors: Redactor) -> None:
        """Add redactors. For processors, before any sink has read the payload."""
        self._redactors = (*self._redactors, *redactors)
        self._value, self._json = _UNMADE, None

    def fold(self, message: Callable[[Message], object]) -> object:
        """The redacted view with every message replaced by what `message` makes of it."""
        return plain(self._snapshot, self._redactors, message)

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
