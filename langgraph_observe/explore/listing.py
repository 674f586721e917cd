"""Many traces as a table: the same lines as text and as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from langgraph_observe.explore import html, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langgraph_observe.explore.html import Markup
    from langgraph_observe.explore.row import Row
    from langgraph_observe.explore.trace import Trace

HEADS: Final = ("time", "graph", "outcome", "duration", "tokens", "cost", "thread", "id")
RIGHT: Final = frozenset({"duration", "tokens", "cost"})
HEAD: Final = "font-weight:400;font-size:12px;opacity:.65"
CELL: Final = "padding:2px 12px 2px 0;white-space:nowrap"
"""Jupyter says otherwise of every cell, so each must say it itself; what it says of rows can be said by the row."""


def row(trace: Row | Trace) -> tuple[str, ...]:
    """A trace as cells, in the order of HEADS."""
    usage = trace.usage
    return (
        words.moment(trace.at_ns),
        words.clean(trace.name, 32),
        f"{words.MARKS[trace.outcome]} {trace.outcome or 'running'}",
        words.duration(trace.seconds),
        words.total(usage),
        words.money(usage.cost, estimated=usage.estimated, incomplete=trace.incomplete),
        words.clean(trace.thread_id or words.UNKNOWN, 32),
        words.clean(trace.id[:8]),
    )


def text(heads: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[str] = RIGHT) -> str:
    """Columns of text under their heads."""
    from rich.cells import cell_len  # a Chinese name takes two cells a letter

    lines = [heads, *rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]

    def cell(content: str, width: int, head: str) -> str:
        space = " " * (width - cell_len(content))
        return space + content if head in right else content + space

    return "\n".join("  ".join(map(cell, line, widths, heads)).rstrip() for line in lines)


@dataclass(frozen=True, slots=True, repr=False)
class Listing:
    """Traces, a line each."""

    traces: Sequence[Row | Trace]
    note: str
    """What stands below: how many there are, and where."""

    def __str__(self) -> str:
        return "\n".join([*([text(HEADS, map(row, self.traces))] if self.traces else []), self.note])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        longest = max((trace.seconds or 0.0 for trace in self.traces), default=0.0)
        lines = table(HEADS, (_line(trace, longest) for trace in self.traces)) if self.traces else None
        return html.either(
            str(self), html.joined(lines, html.tag("div", html.faint(self.note), style="margin-top:4px;font-size:12px"))
        )


def table(heads: Sequence[str], lines: Iterable[Sequence[str | None]], right: frozenset[str] = RIGHT) -> Markup:
    """A plain table that takes the page's colours."""
    sides = ["right" if head in right else "left" for head in heads]
    top = html.tag("thead", _row("th", heads, sides, f"{HEAD};{CELL}"))
    body = html.tag("tbody", *(_row("td", line, sides, CELL) for line in lines))
    whole = html.tag("table", top, body, style=f"border-collapse:collapse;border:none;margin:0;{html.FONT}")
    return html.tag("div", whole, style="overflow:auto")


def _row(name: str, cells: Sequence[str | None], sides: Sequence[str], style: str) -> Markup:
    made = (
        html.tag(name, cell, style=f"{style};text-align:{side}" if cell else None) for cell, side in zip(cells, sides, strict=True)
    )
    return html.tag("tr", *made, style=f"border-bottom:{html.EDGE}")


def meter(share: float, colour: str, *, width: int = 90) -> Markup:
    """A bar of this share, 0 to 1, of its cell."""
    filled = html.tag(
        "div", style=f"width:{min(max(share, 0), 1) * 100:.1f}%;min-width:1px;height:8px;background:{colour};border-radius:2px"
    )
    return html.tag(
        "div", filled, style=f"display:inline-block;width:{width}px;background:{html.TRACK};border-radius:2px;vertical-align:middle"
    )


def _line(trace: Row | Trace, longest: float) -> list[str | None]:
    time, graph, outcome, duration, *rest, ident = row(trace)
    took = html.joined(
        f"{duration} ", meter((trace.seconds or 0.0) / longest if longest else 0.0, html.OUTCOMES[trace.outcome], width=64)
    )
    face = f"font-family:{html.MONO};font-size:12px"
    return [
        html.faint(time),
        html.tag("bdi", html.tag("b", graph)),
        html.badge(outcome, html.OUTCOMES[trace.outcome]),
        took,
        *rest,
        html.tag("span", ident, style=face),
    ]
