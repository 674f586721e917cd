"""What a backend shows of a run, in words that do not depend on which backend it is."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Span:
    """One row of a trace's page."""

    id: str
    parent: str | None
    name: str
    kind: str
    """In Phoenix's words: CHAIN, AGENT, LLM, TOOL, RETRIEVER, UNKNOWN."""
    at: Any
    error: str | None
    """The message of its status, where that is an error."""
    events: Sequence[tuple[str, Mapping[str, Any]]] = ()
    """Name and attributes."""
    tokens: Mapping[str, int] = field(default_factory=dict)
    """`input`, `output`, `cached`."""
    input: Any = None
    output: Any = None
    asked: Sequence[str] = ()
    """Of a chat: the messages that it was told, as `spoken` puts them."""
    answered: Sequence[str] = ()
    tools: Sequence[str] = ()
    """Names of those that were offered."""
    links: Sequence[str] = ()
    """Ids of the spans that led to this one."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The page of a trace."""

    spans: Sequence[Span]
    session: str | None
    user: str | None
    tokens: int | None
    cost: float | None
    """Dollars, by the backend's own list of prices."""

    def __getitem__(self, name: str) -> Span:
        """The first span of this name."""
        return min((span for span in self.spans if span.name == name), key=lambda span: span.at)


class Backend(Protocol):
    """A server, and how it is read."""

    program: str
    ready: str
    """A path that answers 200 once it takes spans."""
    headers: Mapping[str, str]
    """Of the OTLP exporter."""

    def arguments(self, port: int, place: Path) -> Sequence[str]: ...

    def environment(self, port: int, place: Path) -> Mapping[str, str]: ...

    def trace(self, url: str, trace_id: str) -> Trace | None:
        """None while there is nothing of it."""


def tree(trace: Trace) -> str:
    """As indented text: kind, name, tokens of a chat, and the error."""
    return "\n".join(_lines(trace.spans, None, 0))


def _lines(spans: Sequence[Span], parent: str | None, depth: int) -> Iterator[str]:
    for span in sorted((span for span in spans if span.parent == parent), key=lambda span: span.at):
        notes = (f"{span.tokens['input']}+{span.tokens['output']}" if span.tokens else "", f"✗ {span.error}" if span.error else "")
        yield "  " * depth + " ".join(filter(None, (span.kind, span.name, *notes)))
        yield from _lines(spans, span.id, depth + 1)


def spoken(role: str, text: str, calls: Sequence[tuple[str, Any]]) -> str:
    """A message as a line: who, what, and the tools it calls."""
    return f"{role}: " + ", ".join(filter(None, (text, *(f"{name} {json.dumps(arguments)}" for name, arguments in calls))))
