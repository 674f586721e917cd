"""Many traces at a glance: how they ended, where the time goes, tokens and cost over time. For looking; tables are for counting."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from langgraph_observe.explore import html, listing, words
from langgraph_observe.explore.trace import tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langgraph_observe.explore.html import Markup
    from langgraph_observe.explore.trace import Trace
    from langgraph_observe.records import Kind, Outcome

ROWS: Final = 14
"""Nodes shown, those first where most time went."""
BARS: Final = 48
"""Moments of the picture over time, at most."""
WIDTH: Final = 640
HEIGHT: Final = 92
BASE: Final = HEIGHT - 18
LEFT: Final = 58
NARROW: Final = 8


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How traces ended."""

    counts: Mapping[Outcome | None, int]

    @classmethod
    def of(cls, traces: Iterable[Trace]) -> Outcomes:
        """Counted, the most frequent first."""
        return cls(dict(Counter(trace.outcome for trace in traces).most_common()))

    def __str__(self) -> str:
        return " · ".join(
            f"{words.MARKS[outcome]} {outcome or 'running'} {count:,} ({self._share(count):.0%})"
            for outcome, count in self.counts.items()
        )

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html.either(str(self), self.drawn())

    def drawn(self) -> Markup:
        """One bar of shares, its words below."""
        parts = [
            html.tag("div", style=f"width:{self._share(count):.2%};min-width:2px;background:{html.OUTCOMES[outcome]}")
            for outcome, count in self.counts.items()
        ]
        bar = html.tag(
            "div",
            *parts,
            style=f"display:flex;height:14px;border-radius:4px;overflow:hidden;max-width:{WIDTH}px;background:{html.TRACK}",
        )
        named = [
            html.tag(
                "span",
                html.dot(html.OUTCOMES[outcome]),
                f" {outcome or 'running'} {count:,} ",
                html.faint(f"{self._share(count):.0%}"),
                style="margin-right:16px",
            )
            for outcome, count in self.counts.items()
        ]
        return html.tag("div", bar, html.tag("div", *named, style="margin-top:3px"))

    def _share(self, count: int) -> float:
        return count / max(sum(self.counts.values()), 1)


@dataclass(frozen=True, slots=True)
class Latency:
    """How long nodes, models and tools took: those first where most time went."""

    seconds: Mapping[tuple[Kind, str], Sequence[float]]
    """By kind and name, ascending."""
    errors: Mapping[tuple[Kind, str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, traces: Iterable[Trace], kinds: Sequence[Kind] = ("node", "model", "tool", "retriever")) -> Latency:
        """Of the runs of these kinds that have ended."""
        found: dict[tuple[Kind, str], list[float]] = {}
        errors: Counter[tuple[Kind, str]] = Counter()
        for run in (run for trace in traces for run in trace if run.kind in kinds and run.seconds is not None):
            name = (run.started.model or run.name) if run.kind == "model" else run.name
            found.setdefault((run.kind, name), []).append(run.seconds or 0.0)
            errors[run.kind, name] += run.outcome == "error"
        slowest = sorted(found, key=lambda key: -sum(found[key]))
        return cls({key: sorted(found[key]) for key in slowest}, errors)

    def __str__(self) -> str:
        heads = ("kind", "name", "count", "p50", "p95", "max", "errors")
        return listing.text(heads, [tuple(cell or "" for cell in row) for row in self._rows()], frozenset(heads[2:])) + self._left()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html.either(str(self), self.drawn())

    def drawn(self) -> Markup:
        """A table with a bar: dark to p50, light to p95, a line at the maximum."""
        longest = max((times[-1] for times in self.seconds.values()), default=0.0) or 1.0
        heads = ("kind", "name", "p50 · p95 · max", "count", "p50", "p95", "max", "errors")
        lines = []
        for key, (kind, name, *cells) in zip(list(self.seconds)[:ROWS], self._rows(), strict=True):
            shown = html.joined(html.dot(html.KINDS[key[0]]), " ", html.faint(kind))
            failed = cells[-1] and html.tag("b", f"✖ {cells[-1]}", style=f"color:{html.OUTCOMES['error']}")
            lines.append(
                [shown, html.tag("b", name), _range(self.seconds[key], longest, html.KINDS[key[0]]), *cells[:-1], failed or None]
            )
        return html.joined(listing.table(heads, lines, frozenset(heads[3:])), html.faint(self._left().strip()))

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (kind, words.clean(name, 40), f"{len(times):,}", *(words.duration(t) for t in (_rank(times, 0.5), _rank(times, 0.95), times[-1])), str(self.errors.get((kind, name)) or ""))
            for (kind, name), times in list(self.seconds.items())[:ROWS]
        ]  # fmt: skip

    def _left(self) -> str:
        return f"\n⋯ {len(self.seconds) - ROWS} more" if len(self.seconds) > ROWS else ""


@dataclass(frozen=True, slots=True)
class Spending:
    """Tokens and cost over time, in equal parts of it."""

    starts: Sequence[int]
    """Nanoseconds since the epoch, where each part begins."""
    tokens: Sequence[int]
    cost: Sequence[Decimal | None]
    """US dollars, of what is known; None where nothing is."""
    unknown: int = 0
    """Traces with a part of unknown cost."""
    estimated: int = 0
    """Traces with tokens that were estimated."""

    @classmethod
    def of(cls, traces: Iterable[Trace]) -> Spending:
        """By the time when each trace began."""
        found = sorted(map(_spent, traces), key=lambda one: one[0])
        if not found:
            return cls((), (), ())
        first, span = found[0][0], max(found[-1][0] - found[0][0], 1)
        bars = min(BARS, max(1, len(found)))
        tokens: list[int] = [0] * bars
        cost: list[Decimal | None] = [None] * bars
        for at_ns, count, spent, *_ in found:
            bar = min((at_ns - first) * bars // span, bars - 1)
            tokens[bar] += count
            cost[bar] = cost[bar] if spent is None else spent + (cost[bar] or 0)
        starts = [first + span * bar // bars for bar in range(bars)]
        return cls(starts, tokens, cost, sum(one[3] for one in found), sum(one[4] for one in found))

    def __str__(self) -> str:
        rows = [
            (words.moment(at), words.number(tokens or None), words.money(cost))
            for at, tokens, cost in zip(self.starts, self.tokens, self.cost, strict=True)
            if tokens or cost is not None
        ]
        return "\n".join([listing.text(("from", "tokens", "cost"), rows), *self._notes()])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html.either(str(self), self.drawn())

    def drawn(self) -> Markup:
        """Two rows of bars under each other, on one scale of time."""
        if not self.starts:
            return html.faint("no traces")
        known = [cost for cost in self.cost if cost is not None]
        spent = sum(known, Decimal(0)) if known else None
        costs = [float(cost or 0) for cost in self.cost]
        counted = f"{'~' if self.estimated else ''}{sum(self.tokens):,} tokens"
        paid = f"{words.money(spent, incomplete=self.unknown > 0, estimated=self.estimated > 0)} cost"
        pictures = [
            _columns(counted, self.tokens, f"{max(self.tokens):,}", html.KINDS["node"], self.starts),
            _columns(paid, costs, words.money(max(known, default=None)), html.KINDS["model"], self.starts),
        ]
        return html.joined(*pictures, html.faint(" · ".join(self._notes())))

    def _notes(self) -> Iterator[str]:
        if self.unknown:
            yield f"traces with calls of unknown cost: {self.unknown:,}"
        if self.estimated:
            yield f"traces with estimated tokens: {self.estimated:,}"


@dataclass(frozen=True, slots=True)
class Overview:
    """Outcomes, latency and spending of the same traces."""

    outcomes: Outcomes
    latency: Latency
    spending: Spending
    note: str = ""

    @classmethod
    def of(cls, traces: Sequence[Trace], note: str = "") -> Overview:
        """All three; `note` says of what."""
        return cls(Outcomes.of(traces), Latency.of(traces), Spending.of(traces), note)

    def __str__(self) -> str:
        return "\n\n".join(filter(None, (str(self.outcomes), str(self.latency), str(self.spending), self.note)))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        parts = (("outcomes", self.outcomes.drawn()), ("latency", self.latency.drawn()), ("over time", self.spending.drawn()))
        titled = [
            html.joined(html.tag("div", name, style="font-size:12px;opacity:.65;margin:12px 0 3px 0"), part) for name, part in parts
        ]
        return html.either(
            str(self), html.joined(*titled, html.tag("div", html.faint(self.note), style="margin-top:6px;font-size:12px"))
        )


def _spent(trace: Trace) -> tuple[int, int, Decimal | None, bool, bool]:
    usage = trace.usage
    return trace.at_ns, tokens(usage) or 0, usage.cost, trace.incomplete, usage.estimated


def _rank(times: Sequence[float], share: float) -> float:
    """The nearest rank of ascending times."""
    return times[max(math.ceil(share * len(times)) - 1, 0)]


def _range(times: Sequence[float], longest: float, colour: str) -> Markup:
    half, most = _rank(times, 0.5) / longest * 100, _rank(times, 0.95) / longest * 100
    end = min(times[-1] / longest * 100, 99.5)
    parts = [
        html.tag("div", style=f"width:{half:.1f}%;min-width:1px;background:{colour};border-radius:2px 0 0 2px"),
        html.tag("div", style=f"width:{max(most - half, 0):.1f}%;background:{colour};opacity:.4"),
        html.tag("div", style=f"margin-left:{max(end - most, 0):.1f}%;width:2px;background:{colour}"),
    ]
    return html.tag(
        "div", *parts, style=f"display:flex;width:260px;height:10px;background:{html.TRACK};border-radius:2px;overflow:hidden"
    )


def _columns(title: str, counts: Sequence[float], top: str, colour: str, starts: Sequence[int]) -> Markup:
    drawing = html.svg(WIDTH, HEIGHT, *_bars(counts, colour), *_scale(top if any(counts) else words.UNKNOWN, starts))
    return html.joined(html.tag("div", title), html.picture(drawing, alt=f"{title} over time", width=WIDTH, height=HEIGHT))


def _bars(counts: Sequence[float], colour: str) -> Iterator[Markup]:
    most, step = max(counts) or 1.0, (WIDTH - LEFT) / max(len(counts), NARROW)
    for i, count in enumerate(counts):
        high = count / most * (BASE - 8)
        place = {"x": f"{LEFT + i * step + 1:.1f}", "y": f"{BASE - high:.1f}", "width": f"{step - 2:.1f}", "height": f"{high:.1f}"}
        yield html.tag("rect", fill=colour, rx=1, **place)


def _scale(top: str, starts: Sequence[int]) -> Iterator[Markup]:
    """The highest at the left, the first and the last moment below."""
    letters: dict[str, str | float] = {"fill": html.GREY, "font_size": 11}
    yield html.tag("text", top, x=LEFT - 6, y=14, text_anchor="end", **letters)
    yield html.tag("line", x1=LEFT, y1=BASE, x2=WIDTH, y2=BASE, stroke=html.GREY, stroke_opacity=0.6)
    yield html.tag("text", _short(starts[0]), x=LEFT, y=HEIGHT - 4, **letters)
    if len(starts) >= NARROW:
        yield html.tag("text", _short(starts[-1]), x=WIDTH, y=HEIGHT - 4, text_anchor="end", **letters)


def _short(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9).astimezone().strftime("%d %b %H:%M")
