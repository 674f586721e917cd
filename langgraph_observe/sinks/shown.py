"""Where content may be shown: on spans, in events, in both or, unless somebody says so, nowhere. And where exceptions are."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langgraph_observe.records import Started

log: Final = logging.getLogger("langgraph_observe")
SWITCH: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
OF_CALL: Final = "langgraph_observe_content"
"""Key of a call's metadata, whose value is as the switch's: it wins over sink and environment, for the call and all inside it."""

Mode: TypeAlias = Literal["NO_CONTENT", "SPAN_ONLY", "EVENT_ONLY", "SPAN_AND_EVENT"]
Place: TypeAlias = Literal["span", "event"]
PLACES: Final[Mapping[Mode, frozenset[Place]]] = {
    "NO_CONTENT": frozenset(),
    "SPAN_ONLY": frozenset({"span"}),
    "EVENT_ONLY": frozenset({"event"}),
    "SPAN_AND_EVENT": frozenset({"span", "event"}),
}
_BEFORE: Final[Mapping[str, Mode]] = {"TRUE": "SPAN_ONLY", "FALSE": "NO_CONTENT", "": "NO_CONTENT"}
"""What the switch was before it had four values."""

EXCEPTIONS: Final = "OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"
_SIGNALS: Final[Mapping[str, frozenset[Place]]] = {
    "logs": frozenset({"event"}),
    "logs/dup": frozenset({"span", "event"}),
}


class Shown:
    """Whether content may be shown in a place: as the call says, else as the sink was told, else as the environment says."""

    def __init__(self, place: Place, told: Mode | None) -> None:
        """Raises ValueError where `told` is no mode. A value of the environment or of a call that is none means no content."""
        if told is not None and told not in PLACES:
            message = f"content is one of {', '.join(PLACES)}, not {told}"
            raise ValueError(message)
        self._place: Place = place
        self._otherwise = place in PLACES[told or _of_environment()]

    def __call__(self, run: Started | None) -> bool:
        """Of a run, or of what belongs to none."""
        said = run.metadata.get(OF_CALL) if run else None
        return self._otherwise if said is None else self._place in PLACES[_mode(said) or "NO_CONTENT"]


def _of_environment() -> Mode:
    if (mode := _mode(os.environ.get(SWITCH, ""))) is None:
        log.warning("%s has an unknown value: no content is shown", SWITCH)
    return mode or "NO_CONTENT"


def _mode(said: object) -> Mode | None:
    word = str(said).strip().upper()
    return _BEFORE.get(word) or next((mode for mode in PLACES if mode == word), None)


def exceptions() -> frozenset[Place]:
    """Where exceptions are told: on spans, unless the environment says more, or otherwise."""
    return _SIGNALS.get(os.environ.get(EXCEPTIONS, "").strip().lower(), frozenset({"span"}))
