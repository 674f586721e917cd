"""HTML and SVG as values, for pages that run no script and load nothing: what is put in is escaped, what could do harm cannot be said.

Colours hold on a white and on a black page: text takes the page's own, surfaces are translucent, marks are of middle tone.
Styles are inline only, and only such as JupyterLab leaves in an untrusted notebook: no `var(`, no `<style>`, no `<svg>`.
"""

from __future__ import annotations

import base64
import html
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from langgraph_observe.records import Kind, Outcome

TAGS: Final = frozenset({"bdi", "b", "code", "details", "div", "img", "pre", "small", "span", "summary"})
TABLES: Final = frozenset({"table", "tbody", "td", "th", "thead", "tr"})
SHAPES: Final = frozenset({"svg", "circle", "defs", "g", "line", "marker", "path", "rect", "text", "title", "tspan"})
HTML_ATTRIBUTES: Final = frozenset({"alt", "colspan", "hidden", "open", "src", "style", "title", "width", "height"})
PICTURE: Final = "data:image/svg+xml;base64,"
LINE_ENDS: Final = frozenset("\n\t")

KINDS: Final[dict[Kind, str]] = {
    "graph": "#6e6ade",
    "node": "#3b82d6",
    "agent": "#9c5fd6",
    "model": "#c77d1e",
    "tool": "#1f9a86",
    "retriever": "#2b8fb3",
    "chain": "#7d8590",
    "stream": "#c9568f",
}
OUTCOMES: Final[dict[Outcome | None, str]] = {
    "ok": "#2f9e5c",
    "error": "#e5484d",
    "interrupted": "#bd7f14",
    "cancelled": "#a06cc4",
    "abandoned": "#a06cc4",
    None: "#2b8fb3",
}
TRACK: Final = "rgba(127,127,127,.13)"
EDGE: Final = "1px solid rgba(127,127,127,.28)"
GREY: Final = "#7d8590"
"""Text and lines in a picture, which cannot ask the page for its colour: about as far from white as from black."""
MONO: Final = "ui-monospace,SFMono-Regular,Menlo,Consolas,monospace"
FONT: Final = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;font-size:13px;line-height:20px"


class Markup(str):
    """Text that is HTML already. Only this module makes it."""

    __slots__ = ()


def tag(name: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """An element. Children that are not Markup are shown as the text they are; what is None is left out.

    Raises ValueError for an element or an attribute that a safe page has no need of.
    """
    drawing = name in SHAPES
    if not drawing and name not in TAGS | TABLES:
        msg = f"no element {name}"
        raise ValueError(msg)
    given = "".join(_attribute(key, value, drawing=drawing) for key, value in attributes.items() if value is not None)
    if name == "img":
        return Markup(f"<img{given}>")
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Children one after the other."""
    return Markup("".join(child if isinstance(child, Markup) else _escaped(child) for child in children if child is not None))


def visible(text: str) -> str:
    """The text with nothing in it that cannot be seen: control characters, escapes, bidi and zero-width marks become their names."""
    if text.isprintable():
        return text
    text = text.replace("\r\n", "\n")
    return "".join(c if c.isprintable() or c in LINE_ENDS else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def either(plain: str, rich: Markup) -> Markup:
    """One of the two is seen, never both: the rich one where styles are kept, the plain one where they are taken away.

    GitHub's preview drops `style` and keeps `hidden`; every notebook does the opposite, or keeps both.
    """
    shown = tag("div", rich, hidden="hidden", style=f"display:block;{FONT};max-width:1200px;text-align:left")
    return tag("div", tag("pre", plain, style="display:none"), shown)


def picture(svg: Markup, *, alt: str, width: float, height: float) -> Markup:
    """A drawing as an image: the one form of SVG that an untrusted notebook shows."""
    data = PICTURE + base64.b64encode(svg.encode()).decode()
    size = f"width:{width:.0f}px;max-width:100%;display:block"
    return tag("img", src=data, alt=alt, width=f"{width:.0f}", height=f"{height:.0f}", style=f"{size};height:auto")


def svg(width: float, height: float, *shapes: str) -> Markup:
    """A drawing on its own: also a file that any browser opens."""
    return tag(
        "svg", *shapes, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:.0f} {height:.0f}", width=f"{width:.0f}",
        height=f"{height:.0f}", font_family="system-ui,'Segoe UI',Roboto,sans-serif", font_size="12",
    )  # fmt: skip


def dot(colour: str, *, size: int = 8) -> Markup:
    """A mark of this colour."""
    return tag("span", style=f"display:inline-block;width:{size}px;height:{size}px;border-radius:50%;background:{colour}")


def badge(text: str, colour: str) -> Markup:
    """A word with a coloured frame; it reads without its colour."""
    frame = f"border:1px solid {colour};border-radius:9px;padding:0 7px;font-size:12px;line-height:17px;white-space:nowrap"
    return tag("span", text, style=f"display:inline-block;{frame}")


def faint(*children: str | None) -> Markup:
    """Said in a lower voice."""
    return tag("span", *children, style="opacity:.65")


def block(text: str, *, height: int = 320) -> Markup:
    """Content as it is, its line ends kept; what is high is scrolled."""
    face = f"font-family:{MONO};font-size:12px;line-height:17px;white-space:pre-wrap;overflow-wrap:break-word"
    frame = f"margin:2px 0 6px 0;padding:6px 8px;border-radius:5px;background:{TRACK};max-height:{height}px;overflow:auto"
    return tag("div", text, style=f"{frame};{face}")


def _attribute(key: str, value: str | float, *, drawing: bool) -> str:
    if not drawing and key not in HTML_ATTRIBUTES:
        msg = f"no attribute {key}"
        raise ValueError(msg)
    if key == "src" and not str(value).startswith(PICTURE):
        msg = "a picture comes with the page"
        raise ValueError(msg)
    return f' {key.replace("_", "-")}="{_escaped(str(value))}"'


def _escaped(text: str) -> str:
    return html.escape(visible(text))
