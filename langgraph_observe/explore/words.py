"""Values as words for people, and what a stranger wrote made harmless."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from langgraph_observe.explore.trace import tokens

if TYPE_CHECKING:
    from decimal import Decimal

    from langgraph_observe.records import Outcome, Usage

FINEST: Final = 0.0001
"""US dollars that are still told apart."""
UNKNOWN: Final = "—"
MARKS: Final[dict[Outcome | None, str]] = {
    "ok": "✓",
    "error": "✖",
    "interrupted": "⏸",
    "cancelled": "⊘",
    "abandoned": "◌",
    None: "…",
}
"""One mark an outcome; None is a run that goes on, or whose process was killed."""
LONGEST: Final = 80


def clean(text: str, longest: int = LONGEST) -> str:
    """A name on one line, of `longest` characters. What a model or a user wrote moves no cursor and turns no reading direction.

    Control characters, ANSI escapes, line ends, bidi and zero-width marks are shown as escapes.
    """
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut)


def duration(seconds: float | None) -> str:
    """`430 ms`, `1.24 s`, `2 min 05 s`, `1 h 01 min`."""
    match seconds:
        case None:
            return UNKNOWN
        case _ if seconds < 0.9995:  # noqa: PLR2004 - what would be rounded to 1000 ms
            return f"{seconds * 1e3:.3g} ms"
        case _ if seconds < 59.995:  # noqa: PLR2004 - what would be rounded to 60.00 s
            return f"{seconds:.2f} s"
        case _ if seconds < 3599.5:  # noqa: PLR2004 - what would be rounded to 60 min
            return "{} min {:02} s".format(*divmod(round(seconds), 60))
        case _:
            return "{} h {:02} min".format(*divmod(round(seconds / 60), 60))


def money(cost: Decimal | None, *, estimated: bool = False, incomplete: bool = False) -> str:
    """US dollars: `$0.0031`, `~` before an estimate, `≥` before a sum of which a part is unknown, `—` for an unknown, never $0."""
    if cost is None:
        return UNKNOWN
    prefix = ("≥" if incomplete else "") + ("~" if estimated else "")
    if 0 < cost < FINEST:
        return f"{prefix}<$0.0001"
    return f"{prefix}${cost:.2f}" if cost == 0 or cost >= 1 else f"{prefix}${cost:.4f}"


def flow(usage: Usage) -> str:
    """Tokens in and out: `812→45`, `~` before an estimate."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return UNKNOWN
    return f"{'~' if usage.estimated else ''}{number(usage.input_tokens)}→{number(usage.output_tokens)}"


def total(usage: Usage) -> str:
    """Input and output tokens together, `~` before an estimate."""
    count = tokens(usage)
    return f"{'~' if usage.estimated and count is not None else ''}{number(count)}"


def number(count: int | None) -> str:
    """With thousands separated."""
    return UNKNOWN if count is None else f"{count:,}"


def moment(at_ns: int) -> str:
    """Local time, to the second."""
    return datetime.fromtimestamp(at_ns / 1e9).astimezone().strftime("%Y-%m-%d %H:%M:%S")
