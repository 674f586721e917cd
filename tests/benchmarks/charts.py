"""Line charts as SVG files, readable on a light page and on a dark one: no library, no script."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Point = tuple[float, float]

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 40, 48
COLOURS = ("#2f81f7", "#db6d28", "#3fa45b", "#a371f7", "#d4558f", "#8b949e")
"""Three to one or better against white and against near-black."""
STYLE = """text{font:12px system-ui,sans-serif;fill:#57606a}.title{font-size:14px;font-weight:600;fill:#24292f}
.grid{stroke:#8b949e;stroke-opacity:.25}.line{fill:none;stroke-width:2}
@media(prefers-color-scheme:dark){text{fill:#9aa4af}.title{fill:#e6edf3}}"""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Both axes are logarithmic, so that a flat line costs the same and a slope of one grows alike."""

    title: str
    x: str
    y: str
    series: Mapping[str, Sequence[Point]]

    def svg(self) -> str:
        """The file."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
            f"<title>{escape(self.title)}</title><style>{STYLE}</style>",
            _text(LEFT, 20, self.title, kind="title"),
            _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, self.x, anchor="middle"),
            _text(LEFT, 36, self.y),
            *self._axes(),
            *self._lines(),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _scales(self) -> tuple[Callable[[float], float], Callable[[float], float], Sequence[float], Sequence[float]]:
        points = [point for line in self.series.values() for point in line]
        columns, rows = (_decades([point[axis] for point in points]) for axis in (0, 1))
        return (
            _log(columns, LEFT, WIDTH - RIGHT),
            _log(rows, HEIGHT - BOTTOM, TOP + 8),
            columns,
            rows,
        )

    def _axes(self) -> Iterator[str]:
        across, up, columns, rows = self._scales()
        for value in columns:
            yield _text(across(value), HEIGHT - BOTTOM + 18, _short(value), anchor="middle")
        for value in rows:
            yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(value):.1f}" y2="{up(value):.1f}"/>'
            yield _text(LEFT - 8, up(value) + 4, _short(value), anchor="end")

    def _lines(self) -> Iterator[str]:
        across, up, *_ = self._scales()
        ends = _apart([up(max(line[-1][1], _SMALLEST)) for line in self.series.values()])
        for (name, line), colour, end in zip(self.series.items(), COLOURS * 3, ends, strict=False):
            places = [(across(x), up(max(y, _SMALLEST))) for x, y in line]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            yield f'<polyline class="line" stroke="{colour}" points="{path}"/>'
            yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)
            yield _text(WIDTH - RIGHT + 10, end + 4, name, fill=colour)


_SMALLEST = 0.1
"""What is less, or negative by chance, is drawn here: there is no logarithm of it."""


def _decades(values: Sequence[float]) -> list[float]:
    low, high = (math.floor(math.log10(max(min(values), _SMALLEST))), math.ceil(math.log10(max(*values, _SMALLEST))))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _log(ticks: Sequence[float], begin: float, end: float) -> Callable[[float], float]:
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])
    return lambda value: begin + (math.log10(value) - low) / (high - low) * (end - begin)


def _apart(heights: Sequence[float], least: float = 14.0) -> list[float]:
    """The same, far enough from each other to be read."""
    out = list(heights)
    order = sorted(range(len(out)), key=out.__getitem__)
    for above, below in pairwise(order):
        out[below] = max(out[below], out[above] + least)
    return out


def _text(x: float, y: float, text: str, *, anchor: str = "start", kind: str = "", fill: str = "") -> str:
    style = f' style="fill:{fill}"' if fill else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'


def _short(value: Any) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
