"""Two traces side by side: runs aligned by their way down (kind and name) and by which of its like each is."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from langgraph_observe.explore import html, listing, values, words
from langgraph_observe.explore.trace import tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from langgraph_observe.explore.html import Markup
    from langgraph_observe.explore.run import Run
    from langgraph_observe.explore.trace import Trace
    from langgraph_observe.records import Outcome, Usage

T = TypeVar("T")
Number = TypeVar("Number", float, int, Decimal)
Both: TypeAlias = tuple[T | None, T | None]
"""Of the first trace and of the second."""
Place: TypeAlias = tuple[str, str, int]
"""Kind, name, and which of its like among its siblings, from 1."""
COMPARED: Final = 60
"""Pairs of which the outputs are compared: models and tools first."""
SHOWN: Final = 100
CHANGED: Final = 8
"""Outputs whose difference is written out."""
LINES: Final = 20
"""Lines of one output's difference."""
LINE: Final = 160
"""Characters of one line: of a longer one the part that differs is found."""
SIGNS: Final = {"+": "#2f9e5c", "-": "#e5484d", "~": "#c98a1b"}
HEADS: Final = ("", "run", "duration", "Δ", "tokens", "Δ tokens", "cost", "Δ cost", "outcome")
RIGHT: Final = frozenset(HEADS[2:8])


@dataclass(frozen=True, slots=True)
class Pair:
    """One run of the first trace and the one of the second that stands in its place; one of the two may be missing."""

    depth: int
    first: Run | None
    second: Run | None
    changes: tuple[str, ...] = ()
    """How the output differs: lines of a difference, empty where it does not or was not compared."""

    @property
    def run(self) -> Run:
        """The one that is there; of two, the first."""
        found = self.first or self.second
        assert found is not None  # a pair of none is never made
        return found

    @property
    def sign(self) -> str:
        """`-` only in the first, `+` only in the second, `~` another outcome or output, else nothing."""
        if self.first is None or self.second is None:
            return "+" if self.first is None else "-"
        return "~" if self.changes or self.first.outcome != self.second.outcome else ""


class Diff:
    """What is different in the second trace. Reads like a list of `Pair`, in the order of the tree."""

    def __init__(self, first: Trace, second: Trace) -> None:
        self._first, self._second = first, second
        self._pairs = _compared(list(_aligned(first, second)))

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)

    def __getitem__(self, index: int) -> Pair:
        return self._pairs[index]

    def __str__(self) -> str:
        rows = [
            [pair.sign, "  " * pair.depth + f"{pair.run.kind} {words.clean(pair.run.name)}", *_cells(pair)]
            for pair in self._shown()
        ]
        changes = [line for pair in self._changed() for line in _told(pair)]
        return "\n".join([self._title(), listing.text(HEADS, [self._sums(), *rows], RIGHT), *changes, *self._left()])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        sums: list[str | None] = [html.tag("b", cell) for cell in self._sums()]
        lines = [sums, *(_line(pair) for pair in self._shown())]
        head = html.tag("div", html.tag("b", self._title()), style="margin:4px 0 6px 0")
        changed = map(_change, self._changed())
        return html.either(
            str(self), html.joined(head, listing.table(HEADS, lines, RIGHT), *changed, *map(html.faint, self._left()))
        )

    def _title(self) -> str:
        return " → ".join(f"{words.clean(trace.name)} {words.clean(trace.id[:8])}" for trace in (self._first, self._second))

    def _sums(self) -> list[str]:
        first, second = self._first, self._second
        return [
            "",
            "all",
            *_numbers((first.seconds, second.seconds), (first.tokens, second.tokens), (first.cost, second.cost)),
            _outcomes((first.outcome, second.outcome)),
        ]

    def _shown(self) -> list[Pair]:
        return self._pairs[:SHOWN]

    def _changed(self) -> list[Pair]:
        return [pair for pair in self._pairs if pair.changes][:CHANGED]

    def _left(self) -> list[str]:
        return [f"⋯ {len(self._pairs) - SHOWN:,} more"] if len(self._pairs) > SHOWN else []


def _aligned(first: Trace, second: Trace) -> Iterator[Pair]:
    waiting = _level(0, first.roots, second.roots)[::-1]
    while waiting:
        pair = waiting.pop()
        yield pair
        below = [trace.children.get(run.span_id, ()) if run else () for trace, run in ((first, pair.first), (second, pair.second))]
        waiting.extend(_level(pair.depth + 1, *below)[::-1])


def _level(depth: int, first: Sequence[Run], second: Sequence[Run]) -> list[Pair]:
    """Siblings of both: in the first's order, what only the second has after the one that it follows there."""
    ours, theirs = _places(first), _places(second)
    order: list[Place] = list(ours)
    position = 0
    for place in theirs:
        if place in ours:
            position = order.index(place) + 1
        else:
            order.insert(position, place)
            position += 1
    return [Pair(depth, ours.get(place), theirs.get(place)) for place in order]


def _places(siblings: Iterable[Run]) -> dict[Place, Run]:
    seen: Counter[tuple[str, str]] = Counter()
    found: dict[Place, Run] = {}
    for run in siblings:
        name = run.kind, run.name
        seen[name] += 1
        found[*name, seen[name]] = run
    return found


def _compared(pairs: list[Pair]) -> list[Pair]:
    both = [i for i, pair in enumerate(pairs) if pair.first and pair.second]
    both.sort(key=lambda i: pairs[i].run.kind not in ("model", "tool", "retriever"))
    for i in both[:COMPARED]:
        pair = pairs[i]
        pairs[i] = Pair(pair.depth, pair.first, pair.second, tuple(_changes(pair)))
    return pairs


def _changes(pair: Pair) -> Iterator[str]:
    before, after = (_lines(run) for run in (pair.first, pair.second))
    told = [html.visible(line) for line in difflib.unified_diff(before, after, lineterm="", n=1)][2:]
    told = [line for line in told if not line.startswith("@@")]
    yield from told[:LINES]
    if len(told) > LINES:
        yield f"… {len(told) - LINES} more lines"


def _lines(run: Run | None) -> list[str]:
    output = (values.text(run.output, 4 * values.BRIEF) if run else None) or ""
    return [line[i : i + LINE] for line in output.splitlines() for i in range(0, max(len(line), 1), LINE)]


def _cells(pair: Pair) -> list[str]:
    first, second = pair.first, pair.second
    spent = _usage(first), _usage(second)
    return [
        *_numbers(
            (first.seconds if first else None, second.seconds if second else None),
            (tokens(spent[0]), tokens(spent[1])),
            (spent[0].cost if spent[0] else None, spent[1].cost if spent[1] else None),
        ),
        _outcomes(((first or pair.run).outcome, (second or pair.run).outcome)),
    ]


def _usage(run: Run | None) -> Usage | None:
    return run.usage if run and run.kind == "model" else None


def _numbers(seconds: Both[float], counts: Both[int], costs: Both[Decimal]) -> list[str]:
    return [*_both(seconds, words.duration), *_both(counts, words.number), *_both(costs, words.money)]


def _both(values: Both[Number], said: Callable[[Number], str]) -> tuple[str, str]:
    """That of the second, else of the first; and by how much they differ, where both are known."""
    before, after = values
    if before is None or after is None:
        known = before if after is None else after
        return "" if known is None else said(known), ""
    by = after - before
    return said(after), "=" if not by else f"{'+' if by > 0 else '−'}{said(abs(by))}"


def _outcomes(pair: Both[Outcome]) -> str:
    first, second = (outcome or "running" for outcome in pair)
    return first if first == second else f"{first} → {second}"


def _told(pair: Pair) -> list[str]:
    return [f"── output of {pair.run.kind} {words.clean(pair.run.name)} ──", *pair.changes]


def _line(pair: Pair) -> list[str | None]:
    sign, run = pair.sign, pair.run
    mark = html.tag("b", {"-": "−"}.get(sign, sign), style=f"color:{SIGNS[sign]}") if sign else None
    name = html.tag(
        "span",
        html.dot(html.KINDS[run.kind]),
        html.faint(f" {run.kind} "),
        html.tag("bdi", words.clean(run.name, 48)),
        style=f"padding-left:{min(pair.depth, 16) * 15}px",
    )
    return [mark, name, *_cells(pair)]


def _change(pair: Pair) -> Markup:
    summary = html.tag("summary", f"output of {pair.run.kind} {words.clean(pair.run.name)}", style="cursor:pointer;margin-top:4px")
    tints = {"+": "background:rgba(47,158,92,.18)", "-": "background:rgba(229,72,77,.16)"}
    lines = [html.tag("div", line or " ", style=tints.get(line[:1])) for line in pair.changes]
    return html.tag("details", summary, html.block(html.joined(*lines)), open="open" if pair.run.kind != "graph" else None)
