"""What the caller of a graph's stream takes, by stream mode. No callback tells: only the layer around the stream sees it."""

from __future__ import annotations

import sys
from inspect import isasyncgen
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from langgraph_observe.capture.caller import codes_of
from langgraph_observe.capture.pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import CodeType
    from uuid import UUID

    from langgraph_observe.capture.handler import CallbackHandler

_Counted: TypeAlias = "tuple[Callable[[], int], Callable[[int], None], dict[str, int]]"
"""Of an observed run: its clock, what takes a moment, how many there were of each mode."""
_OTHER: Final = "__other__"
_OWN: Final = "langgraph."
"""LangGraph's modules: no code of the user's runs there between two chunks. They are known by name, for to import one is to watch
its graphs, and that needs this module whole (see `everywhere`)."""


def calls(base: Any) -> Mapping[int, CodeType]:
    """Those methods of a graph's class that read its stream themselves, and give back the result."""
    found = (kind.__dict__.get(name) for kind in base.__mro__ for name in ("invoke", "ainvoke"))
    return codes_of(*(method for method in found if hasattr(method, "__code__")))


def running(chunks: Any) -> UUID | None:
    """The id of the run that LangGraph's own generator is."""
    frame = chunks.ag_frame if isasyncgen(chunks) else getattr(chunks, "gi_frame", None)
    return getattr(frame.f_locals.get("run_manager"), "run_id", None) if frame is not None else None


def counter(
    pregel: Any,
    options: Mapping[str, Any],
    inside: Mapping[int, CodeType],
    runs: Callable[[], Iterable[tuple[CallbackHandler, Any]]],
) -> Callable[[Any], None] | None:
    """A function that counts a chunk. Which runs it is of is known once their stream has given one.

    Nobody takes anything from a stream that is `inside` of a call, and nobody is there between two chunks (None) in LangGraph's own.
    """
    reader = sys._getframe(3)  # noqa: SLF001 - above are who starts the stream and the generator that it is
    if id(reader.f_code) in inside:
        return None if str(reader.f_globals.get("__name__")).startswith(_OWN) else _nothing
    mode = _mode(pregel, options)
    all_of, each = (mode, None) if isinstance(mode, str) else (None, mode)
    counted: list[_Counted] = []

    def taken(chunk: Any) -> None:
        if not counted:
            counted.extend(_begun(runs(), all_of))
        for now, add, kinds in counted:
            add(now())
            if each is not None:
                kind = each(chunk)
                kinds[kind] = kinds.get(kind, 0) + 1

    return taken


def _begun(runs: Iterable[tuple[CallbackHandler, Any]], kind: str | None) -> Iterable[_Counted]:
    for handler, run_id in runs:
        pieces = Pieces(kind)
        if run_id is not None and (run := handler.tracker.get(run_id)) is not None:
            run.pieces = pieces
        yield handler.tracker.now, pieces.add, pieces.kinds


def _mode(pregel: Any, options: Mapping[str, Any]) -> str | Callable[[Any], str]:
    """Which mode a chunk is of: asked for one, all are; of several, the chunk says."""
    asked = options.get("stream_mode") or getattr(pregel, "stream_mode", None) or _OTHER
    if options.get("version") == "v2":
        return lambda chunk: _named(chunk, "type")
    if isinstance(asked, str):
        return asked
    place = 1 if options.get("subgraphs") else 0
    return lambda chunk: _named(chunk, place)


def _named(chunk: Any, place: Any) -> str:
    try:
        name = chunk[place]
    except (LookupError, TypeError):
        return _OTHER
    return name if isinstance(name, str) else _OTHER


def _nothing(_: Any) -> None:
    """What is told of a chunk that nobody takes."""
