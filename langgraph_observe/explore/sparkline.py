"""How a stream came: pieces over time, the wait for the first one, stalls, and who hung up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from langgraph_observe.explore import html, words
from langgraph_observe.records import STALL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph_observe.explore.html import Markup
    from langgraph_observe.explore.run import Run
    from langgraph_observe.records import Stream

WIDTH: Final = 460
HEIGHT: Final = 64
BASE: Final = 44
"""Where no piece has come yet, in pixels from above."""


def of(run: Run) -> Markup | None:
    """The stream's timeline with its facts below. None where nothing was streamed."""
    if run.stream is None:
        return None
    drawing = drawn(run)
    image = drawing and html.picture(drawing, alt=f"{run.stream.pieces} pieces over time", width=WIDTH, height=HEIGHT)
    facts = html.tag("div", html.faint(" · ".join(said(run))), style="font-size:12px")
    return html.tag("div", image, facts, style="margin:4px 0")


def said(run: Run) -> Iterator[str]:
    """The same in words."""
    stream = run.stream
    if stream is None or run.finished is None:
        return
    yield f"{words.number(stream.pieces)} pieces"
    if run.first_token_seconds is not None:
        yield f"first after {words.duration(run.first_token_seconds)}"
        if (pace := _pace(stream, run.first_token_seconds)) is not None:
            yield f"{pace:.3g} pieces/s"
    if stream.longest_gap_seconds is not None:
        yield f"longest gap {words.duration(stream.longest_gap_seconds)}"
    counts = {"stalls": stream.stalls, "errors": stream.errors, "keep-alives": stream.keepalives}
    yield from (f"{count:,} {name}" for name, count in counts.items() if count)
    if stream.resumed:
        yield "resumed by the client"
    if run.finished.reason is not None:
        yield words.clean(run.finished.reason)
    yield from (f"{words.clean(kind)} {count:,}" for kind, count in list(stream.kinds.items())[:8])


def _pace(stream: Stream, first: float) -> float | None:
    if stream.last_seconds is None or stream.last_seconds <= first:
        return None
    return (stream.pieces - 1) / (stream.last_seconds - first)


def drawn(run: Run) -> Markup | None:
    """The timeline as SVG. None where no time is known."""
    stream = run.stream
    if stream is None or not stream.timeline or not (span := max(run.seconds or 0.0, stream.timeline[-1][0])):
        return None
    most = max(1, *(pieces for _, pieces in stream.timeline))
    points = [(at / span * WIDTH, BASE - pieces / most * (BASE - 6)) for at, pieces in stream.timeline]
    (first, _), (last, _) = points[0], points[-1]
    line, colour = "".join(f"L{x:.1f} {y:.1f}" for x, y in points), html.KINDS[run.kind]
    return html.svg(
        WIDTH,
        HEIGHT,
        *_stalls(stream, span),
        html.tag("path", d=f"M{first:.1f} {BASE}{line}L{last:.1f} {BASE}Z", fill=colour, fill_opacity=0.22),
        html.tag("path", d=f"M{first:.1f} {BASE}{line}", fill="none", stroke=colour, stroke_width=1.6),
        html.tag("line", x1=0, y1=BASE, x2=WIDTH, y2=BASE, stroke=html.GREY, stroke_opacity=0.6),
        *_marks(run, span),
    )


def _stalls(stream: Stream, span: float) -> Iterator[Markup]:
    for (before, _), (after, _) in zip(stream.timeline, stream.timeline[1:], strict=False):
        if after - before > STALL_SECONDS:
            x, width = before / span * WIDTH, (after - before) / span * WIDTH
            yield html.tag("rect", x=f"{x:.1f}", y=4, width=f"{width:.1f}", height=BASE - 4, fill="#e5484d", fill_opacity=0.18)


def _marks(run: Run, span: float) -> Iterator[Markup]:
    """The first piece, and the end if it was not the stream's own."""
    marks = [] if run.first_token_seconds is None else [(run.first_token_seconds, "first", html.KINDS[run.kind])]
    if run.outcome in ("cancelled", "error", "abandoned") and run.seconds is not None:
        marks.append((run.seconds, (run.finished and run.finished.reason) or str(run.outcome), html.OUTCOMES["error"]))
    for at, name, colour in marks:
        x = at / span * WIDTH
        yield html.tag("line", x1=f"{x:.1f}", y1=2, x2=f"{x:.1f}", y2=BASE, stroke=colour, stroke_dasharray="3 2")
        side = "end" if x > WIDTH / 2 else "start"
        label = f"{words.clean(name)} {words.duration(at)}"
        yield html.tag("text", label, x=f"{x:.1f}", y=BASE + 15, fill=html.GREY, font_size=11, text_anchor=side)
