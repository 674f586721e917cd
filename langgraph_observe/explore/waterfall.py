"""One trace as a page: its head, then a line for each run, in the order of the tree, with a bar on one scale of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from langgraph_observe.explore import detail, excerpt, html, tree, values, words
from langgraph_observe.explore.excerpt import Omitted
from langgraph_observe.explore.storefile import together

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langgraph_observe.explore.excerpt import Way
    from langgraph_observe.explore.html import Markup
    from langgraph_observe.explore.run import Run
    from langgraph_observe.explore.trace import Trace

CONTENTS: Final = 90_000
"""Bytes of HTML for what runs hold: of those that matter most, as far as it goes."""
SCROLLED: Final = 34
"""Lines from which on the tree is scrolled in its own frame."""
DEEPEST: Final = 16
"""Levels that are still moved to the right."""
STEP: Final = 15
ORDER: Final = ("graph", "model", "tool", "retriever", "agent", "stream", "node", "chain")
"""Whose content is wanted first."""
COLUMNS: Final = "grid-template-columns:minmax(0,1fr) 36% 66px 84px 66px;column-gap:8px"
ROW: Final = f"display:inline-grid;width:calc(100% - 20px);{COLUMNS};vertical-align:top;text-align:left"
"""Beside the fold's own mark, whose width is the browser's business: lines are aligned at their right."""
NAME: Final = "overflow:hidden;text-overflow:ellipsis;white-space:nowrap"
RIGHT: Final = "text-align:right;white-space:nowrap"
TICKS: Final = 4


@together()
def page(trace: Trace) -> Markup:
    """The trace for a notebook: the tree with its waterfall, or its text where styles are taken away."""
    shown = excerpt.lines(trace)
    return html.either(
        tree.text(trace, shown), html.joined(_head(trace), _failure(trace), _body(trace, shown), _foot(trace, shown))
    )


def _head(trace: Trace) -> Markup:
    usage = trace.usage
    facts = [
        words.duration(trace.seconds),
        f"{words.total(usage)} tokens",
        words.money(usage.cost, estimated=usage.estimated, incomplete=trace.incomplete),
        f"{len(trace):,} runs",
        trace.thread_id and f"thread {words.clean(trace.thread_id)}",
        trace.resumed_from and f"resumed from {words.clean(trace.resumed_from[:8])}",
        (after := trace.resumed_by) and f"resumed by {words.clean(after[:8])}",
        *(f"{words.clean(score.name)} {words.clean(str(score.value))}" for score in trace.scores[:5]),
        words.moment(trace.at_ns),
        words.clean(trace.id[:8]),
    ]
    outcome = html.badge(f"{words.MARKS[trace.outcome]} {trace.outcome or 'running'}", html.OUTCOMES[trace.outcome])
    name = html.tag("bdi", html.tag("b", words.clean(trace.name)), style="font-size:15px;margin-right:8px")
    said = html.tag("span", " · ".join(fact for fact in facts if fact), style="opacity:.75;margin-left:8px")
    return html.tag("div", name, outcome, said, style="margin:4px 0 6px 0")


def culprit(trace: Trace) -> Run | None:
    """Where that began which the trace failed of; of a trace that did not fail, its first failure."""
    failed = [run for run in trace.errors() if run.failure is not None]
    said = trace.failure and trace.failure.message
    return next((run for run in failed if run.failure and run.failure.message == said), failed[0] if failed else None)


def _failure(trace: Trace) -> Markup | None:
    run = culprit(trace)
    if run is None or run.failure is None:
        return None
    told = html.joined(html.tag("b", f"✖ {words.clean(run.failure.type)}"), f" {words.clean(run.failure.message, 300)} ")
    where = html.faint(f"in {run.kind} {words.clean(run.name)}")
    edge = f"border-left:3px solid {html.OUTCOMES['error']};background:rgba(229,72,77,.10)"
    return html.tag("div", told, where, style=f"{edge};padding:3px 10px;margin:0 0 6px 0;border-radius:3px")


def _body(trace: Trace, shown: list[tuple[Run | Omitted, Way]]) -> Markup:
    scale = Scale(trace)
    held = _contents([line for line, _ in shown if not isinstance(line, Omitted)])
    wrong = culprit(trace) if trace.outcome == "error" else None
    rows = [
        _omitted(line, way) if isinstance(line, Omitted) else _run(line, way, scale, held.get(line.span_id), unfolded=line is wrong)
        for line, way in shown
    ]
    frame = "max-height:680px;overflow:auto" if len(shown) > SCROLLED else "overflow:hidden"
    return html.tag("div", _axis(scale), *rows, style=f"{frame};border-bottom:{html.EDGE}")


def _foot(trace: Trace, shown: list[tuple[Run | Omitted, Way]]) -> Markup | None:
    runs = sum(not isinstance(line, Omitted) for line, _ in shown)
    if runs == len(trace):
        return None
    return html.tag(
        "div", html.faint(f"{runs:,} of {len(trace):,} runs: the failed, the first and the slowest. print(t) shows all")
    )


class Scale:
    """Time from the first start to the last moment known, as percentages."""

    def __init__(self, trace: Trace) -> None:
        runs = list(trace)
        self.start = min(run.started.at_ns for run in runs)
        ends = (run.finished.at_ns if run.finished else max([run.started.at_ns, *(e.at_ns for e in run.events)]) for run in runs)
        self.span = max(1, max(ends) - self.start)

    @property
    def seconds(self) -> float:
        """The whole of it."""
        return self.span / 1e9

    def place(self, run: Run) -> tuple[float, float]:
        """Where the bar begins and how long it is. A run that goes on reaches to the end."""
        left = min(max(run.started.at_ns - self.start, 0) / self.span, 1.0) * 100
        long = 100 - left if run.seconds is None else min(run.seconds * 1e9 / self.span * 100, 100 - left)
        return left, max(long, 0.0)


def _contents(runs: Iterable[Run]) -> dict[str, Markup]:
    """The HTML of what each holds, by span id: of the failed, then by kind, until there is enough."""
    left, held = CONTENTS, {}
    for run in sorted(runs, key=lambda run: (run.outcome != "error", ORDER.index(run.kind))):
        made = detail.body(run, values.BRIEF)
        left -= len(made.encode())
        if left < 0:
            break
        held[run.span_id] = made
    return held


def _axis(scale: Scale) -> Markup:
    marks = (words.duration(scale.seconds * n / TICKS) for n in range(TICKS))
    ticks = [html.tag("span", mark, style=f"width:{100 / TICKS:g}%;border-left:{html.EDGE};padding-left:3px") for mark in marks]
    cells = [
        html.tag("span", "run"),
        html.tag("span", *ticks, style="display:flex;white-space:nowrap"),
        *(html.tag("span", name, style=RIGHT) for name in ("duration", "tokens", "cost")),
    ]
    line = html.tag("div", *cells, style=ROW)
    return html.tag("div", line, style=f"text-align:right;font-size:11px;opacity:.65;border-bottom:{html.EDGE}")


def _run(run: Run, way: Way, scale: Scale, held: Markup | None, *, unfolded: bool) -> Markup:
    usage = run.usage if run.kind == "model" else None
    cells = [
        html.tag("div", *_name(run), style=f"{NAME};padding-left:{_indent(way)}px"),
        _bar(run, scale),
        html.tag("div", words.duration(run.seconds), style=RIGHT),
        html.tag("div", words.flow(usage) if usage else None, style=RIGHT),
        html.tag("div", _cost(run), style=RIGHT),
    ]
    inside = held or html.faint(f"t.run({run.span_id[:8]!r}) shows what it holds")
    summary = html.tag("summary", html.tag("div", *cells, style=ROW), style="cursor:pointer;text-align:right")
    below = html.tag("div", inside, style=f"margin:2px 0 8px {_indent(way) + 30}px")
    return html.tag("details", summary, below, open="open" if unfolded else None)


def _name(run: Run) -> Iterator[str]:
    mark = words.MARKS[run.outcome]
    if run.outcome != "ok":
        yield html.tag("b", f"{mark} ", style=f"color:{html.OUTCOMES[run.outcome]}")
    yield html.dot(html.KINDS[run.kind])
    yield html.faint(f" {run.kind} ")
    yield html.tag("bdi", html.tag("b", words.clean(run.name, 60)))
    if run.failure is not None:
        yield html.tag("span", f" {words.clean(run.failure.type)}", style=f"color:{html.OUTCOMES['error']}")
    if facts := " · ".join(filter(None, tree.remarks(run))):
        yield html.faint(f" {facts}")


def _bar(run: Run, scale: Scale) -> Markup:
    left, long = scale.place(run)
    colour = html.OUTCOMES["error"] if run.outcome == "error" else html.KINDS[run.kind]
    wait = run.first_token_seconds / run.seconds * 100 if run.first_token_seconds and run.seconds else 0.0
    faded = "opacity:.5;" if run.seconds is None else ""
    first = html.tag("div", style=f"width:{min(wait, 100):.1f}%;background:rgba(127,127,127,.62)") if wait else None
    place = f"margin-left:{min(left, 99.4):.2f}%;width:{long:.2f}%;min-width:2px;height:10px;border-radius:2px"
    bar = html.tag("div", first, style=f"{faded}{place};background:{colour};display:flex;overflow:hidden")
    start = words.duration((run.started.at_ns - scale.start) / 1e9)
    return html.tag("div", bar, style=f"background:{html.TRACK};padding:5px 0;overflow:hidden", title=f"starts after {start}")


def _cost(run: Run) -> str | None:
    usage = run.usage if run.kind == "model" else None
    if run.finished is not None and run.finished.cached:
        return "cached"
    return words.money(usage.cost, estimated=usage.estimated) if usage else None


def _omitted(line: Omitted, way: Way) -> Markup:
    return html.tag("div", html.faint(f"⋯ {line}"), style=f"padding-left:{_indent(way) + 20}px;{NAME}")


def _indent(way: Way) -> int:
    return min(len(way), DEEPEST) * STEP
