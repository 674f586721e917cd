"""A topology drawn: boxes in layers, ways between them, how often each was gone. One picture for a light and a dark page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from langgraph_observe.explore import html, words
from langgraph_observe.explore.layers import layout
from langgraph_observe.explore.topology import END, ENDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langgraph_observe.explore.html import Markup
    from langgraph_observe.explore.layers import Layout
    from langgraph_observe.explore.topology import Edge, Node, Topology

WIDE: Final = 172
HIGH: Final = 46
SMALL: Final = 64
"""The width of start and end."""
THIN: Final = 14
"""The width of a long edge's place."""
ACROSS: Final = 28
DOWN: Final = 44
MARGIN: Final = 14
LOOP: Final = 16
BOX: Final = "#33506f"
"""Dark enough for white letters, light enough to be seen on black."""
LETTERS: Final = 20


def picture(topology: Topology) -> Markup:
    """The drawing as an image, its words in the alternative text."""
    drawing, width, height = drawn(topology)
    return html.picture(drawing, alt=str(topology), width=width, height=height)


def drawn(topology: Topology) -> tuple[Markup, float, float]:
    """The drawing with its size in pixels."""
    edges = {(edge.source, edge.target): edge for edge in sorted(topology.edges, key=lambda edge: edge.times)}
    plan = layout(list(topology.nodes), edges, lowest=END)
    spots, width, height = _spots(plan)
    slowest = max((node.p95 or 0.0 for node in topology.nodes.values()), default=0.0)
    loops = [edges[way] for way in edges if way in plan.back]
    shapes = [
        *(part for way, route in plan.routes.items() for part in _way(edges[way], [spots[place] for place in route])),
        *(part for n, edge in enumerate(loops) for part in _loop(edge, spots, width + LOOP * n)),
        *(part for name, node in topology.nodes.items() for part in _box(node, *spots[name], slowest)),
    ]
    width += LOOP * len(loops) + (30 if loops else 0)
    return html.svg(width, height, *shapes), width, height


def _spots(plan: Layout) -> tuple[dict[object, tuple[float, float]], float, float]:
    """The middle of each, and the size of the whole."""
    rows = [sum(map(_width, layer)) + ACROSS * (len(layer) - 1) for layer in plan.layers]
    width = max(rows, default=0) + 2 * MARGIN
    spots = {}
    for i, (layer, row) in enumerate(zip(plan.layers, rows, strict=True)):
        x = (width - row) / 2
        for place in layer:
            spots[place] = x + _width(place) / 2, MARGIN + i * (HIGH + DOWN) + HIGH / 2
            x += _width(place) + ACROSS
    return spots, width, 2 * MARGIN + len(plan.layers) * (HIGH + DOWN) - DOWN


def _width(place: object) -> int:
    return THIN if isinstance(place, tuple) else SMALL if place in ENDS else WIDE


def _way(edge: Edge, points: Sequence[tuple[float, float]]) -> Iterator[Markup]:
    """A curve down, through the places on its way."""
    (x, y), *others = points
    y += _half(edge.source)
    path = f"M{x:.1f} {y:.1f}"
    end_x, end_y = others.pop()
    for to_x, to_y in [*others, (end_x, end_y - _half(edge.target) - 5)]:
        bend = (to_y - y) / 2
        path += f"C{x:.1f} {y + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y:.1f}"
        middle = ((x + to_x) / 2, (y + to_y) / 2)
        x, y = to_x, to_y
    yield _line(edge, path)
    yield _arrow(edge, x, y, "down")
    yield from _times(edge, middle[0] + 6, middle[1] + 4)


def _loop(edge: Edge, spots: Mapping[object, tuple[float, float]], far: float) -> Iterator[Markup]:
    """A way back up, around all that stands on the right."""
    (x, y), (to_x, to_y) = spots[edge.source], spots[edge.target]
    x, to_x = x + _width(edge.source) / 2, to_x + _width(edge.target) / 2 + 5
    y, to_y = y + 8, to_y - (8 if edge.source == edge.target else -8)
    yield _line(
        edge,
        f"M{x:.1f} {y:.1f}C{far:.1f} {y:.1f} {far:.1f} {y:.1f} {far:.1f} {(y + to_y) / 2:.1f}S{far:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}",
    )
    yield _arrow(edge, to_x, to_y, "left")
    yield from _times(edge, far + 5, (y + to_y) / 2 + 4)


def _half(name: str) -> float:
    return 13 if name in ENDS else HIGH / 2


def _line(edge: Edge, path: str) -> Markup:
    gone = 1.6 if edge.times else 1.0
    dashes = "5 4" if edge.chosen else None
    return html.tag(
        "path", d=path, fill="none", stroke=html.GREY, stroke_width=gone, stroke_dasharray=dashes, stroke_opacity=_tone(edge)
    )


def _arrow(edge: Edge, x: float, y: float, way: str) -> Markup:
    tip = "l-4.5 -2h9l-4.5 7Z" if way == "down" else "l2 -4.5v9l-7 -4.5Z"
    return html.tag("path", d=f"M{x:.1f} {y:.1f}{tip}", fill=html.GREY, fill_opacity=_tone(edge))


def _tone(edge: Edge) -> float:
    return 1.0 if edge.times else 0.45


def _times(edge: Edge, x: float, y: float) -> Iterator[Markup]:
    if edge.times > 1:
        yield html.tag("text", f"{edge.times}×", x=f"{x:.1f}", y=f"{y:.1f}", fill=html.GREY, font_size=11)


def _box(node: Node, x: float, y: float, slowest: float) -> Iterator[Markup]:
    if node.name in ENDS:
        yield html.tag("rect", x=x - SMALL / 2, y=y - 13, width=SMALL, height=26, rx=13, fill="none", stroke=html.GREY)
        yield html.tag("text", ENDS[node.name], x=x, y=y + 4, fill=html.GREY, text_anchor="middle")
        return
    ran = (
        {"fill": BOX, "stroke": _frame(node), "stroke_width": 2}
        if node.runs
        else {"fill": "none", "stroke": html.GREY, "stroke_dasharray": "4 3"}
    )
    ink = "#ffffff" if node.runs else html.GREY
    name = words.clean(node.name, LETTERS) + (" ⊞" if node.inner else "")
    yield html.tag(
        "rect",
        html.tag("title", f"{words.clean(node.name)} · {node}"),
        x=x - WIDE / 2,
        y=y - HIGH / 2,
        width=WIDE,
        height=HIGH,
        rx=7,
        **ran,
    )
    yield html.tag("text", name, x=x, y=y - 3, fill=ink, font_size=13, font_weight=600, text_anchor="middle")
    yield html.tag("text", str(node), x=x, y=y + 13, fill=ink, fill_opacity=0.85, font_size=11, text_anchor="middle")
    if node.p95 and slowest:
        yield html.tag(
            "rect",
            x=x - WIDE / 2 + 8,
            y=y + HIGH / 2 - 5,
            width=f"{node.p95 / slowest * (WIDE - 16):.1f}",
            height=2.5,
            rx=1,
            fill="#f0b04a",
        )


def _frame(node: Node) -> str:
    return html.OUTCOMES["error"] if node.errors else html.OUTCOMES["interrupted"] if node.interrupts else "#5f83a8"
