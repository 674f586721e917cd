"""Payloads for people: as text, cut to what can be read, with the size of the whole named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from langgraph_observe.records import Payload

T = TypeVar("T")
LONGEST: Final = 20_000
"""Characters of a payload that is looked at alone."""
BRIEF: Final = 1_000
"""Characters of one among many."""
LINE: Final = 88
"""Characters of JSON that stand on one line."""
KILO: Final = 1_000
SPEAKERS: Final = ("user", "human", "assistant", "ai", "system")
"""Roles in messages that are pairs of texts."""


def text(payload: Payload | None, longest: int = LONGEST) -> str | None:
    """What it holds; None for none. Messages as a talk, a text as it is, anything else as JSON, indented where it is long."""
    if payload is None:
        return None
    try:
        return _text(payload, longest)
    except Exception as error:  # a file that went away between two cells costs the content, not the page
        return f"<unreadable: {type(error).__name__}>"


def said(message: Mapping[str, Any]) -> str:
    """What one message says: its text, its other blocks as JSON, its tool calls as calls."""
    return "\n".join([*_blocks(message.get("content")), *map(call, message.get("tool_calls") or ())])


def call(one: Mapping[str, Any]) -> str:
    """A tool call as a call: `weather(city="Oslo")`."""
    match one.get("args"):
        case dict(arguments):
            inner = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in arguments.items())
        case other:
            inner = "" if other is None else str(other)
    return f"{one.get('name')}({inner})"


def size(count: int) -> str:
    """Bytes: `812 B`, `12.3 kB`, `10.0 MB`."""
    if count < KILO:
        return f"{count} B"
    return f"{count / KILO:.1f} kB" if count < KILO**2 else f"{count / KILO**2:.1f} MB"


def cut(whole: str, longest: int) -> str:
    """The beginning, and how much there is in all."""
    return whole if len(whole) <= longest else f"{whole[:longest]}…\n[cut: {len(whole):,} characters in all]"


def _text(payload: Payload, longest: int) -> str:
    excerpt = Excerpt(longest)
    shown = _readable(excerpt.of(payload.value))
    note = "; ".join(f"{key} as before" if n is None else f"{n} earlier {key} as before" for key, n in payload.omitted.items())
    head = f"({note})\n" if note else ""
    if excerpt.whole:
        return f"{head}{shown}"
    return f"{head}{shown[:longest]}…\n[cut: {size(len(payload.json))} in all]"


def _readable(value: Any) -> str:
    match value:
        case str():
            return value
        case {"messages": list(messages), **rest} if messages and not rest:
            return _readable(messages)
        case list() if value and all(_is_message(one) or _is_pair(one) for one in value):
            return "\n".join(map(_spoken, value))
        case dict() if _is_message(value):
            return _spoken(value)
        case _:
            line = json.dumps(value, ensure_ascii=False)
            return line if len(line) <= LINE else json.dumps(value, ensure_ascii=False, indent=2)


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("role"), str) and "content" in value


def _is_pair(value: object) -> bool:
    """`("user", "hi")`, which LangChain takes for a message."""
    return isinstance(value, list) and len(value) == 2 and value[0] in SPEAKERS and isinstance(value[1], str)  # noqa: PLR2004


def _spoken(message: Any) -> str:
    role, text = message if isinstance(message, list) else (message["role"], said(message))
    return f"{role}: {text}"


def _blocks(content: object) -> Iterator[str]:
    for block in content if isinstance(content, list) else [content]:
        match block:
            case None | "":
                continue
            case str():
                yield block
            case {"type": "text", "text": str(text)}:
                yield text
            case _:
                yield json.dumps(block, ensure_ascii=False)


class Excerpt:
    """One pass over plain data that takes what about so many characters hold, and knows whether that was all."""

    __slots__ = ("_left", "whole")

    def __init__(self, longest: int) -> None:
        self._left = longest
        self.whole = True
        """Nothing was left out."""

    def of(self, value: Any) -> Any:
        """The beginning of it: of texts and of containers."""
        match value:
            case str():
                return self._text(value)
            case list():
                return [self.of(item) for item in self._some(value)]
            case dict():
                return {self._text(key): self.of(item) for key, item in self._some(value.items())}
            case _:
                self._left -= 4
                return value

    def _text(self, text: str) -> str:
        taken = text[: max(self._left, 0)]
        self.whole &= len(taken) == len(text)
        self._left -= len(text) + 2
        return taken

    def _some(self, items: Iterable[T]) -> Iterator[T]:
        for item in items:
            if self._left <= 0:
                self.whole = False
                return
            yield item
