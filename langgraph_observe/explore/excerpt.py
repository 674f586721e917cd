"""Which runs of a trace are worth a line: of a large one the failed, the first, the slowest, and how many more there are."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from langgraph_observe.explore import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langgraph_observe.explore.run import Run
    from langgraph_observe.explore.trace import Trace

LINES: Final = 160
"""Runs shown of one trace."""
REPEATS: Final = 6
"""Siblings of one name that are all shown; of more, these few."""
FIRST: Final = 3
TROUBLES: Final = 25
"""Failed runs that are shown with the way to them, whatever else there is."""
Way: TypeAlias = tuple[bool, ...]
Family: TypeAlias = "Mapping[str | None, Sequence[Run]]"


@dataclass(frozen=True, slots=True)
class Omitted:
    """Siblings that have no line of their own."""

    runs: tuple[Run, ...]
    below: int
    """Runs below them."""

    def __str__(self) -> str:
        kinds = Counter(f"{run.kind} {words.clean(run.name, 40)}" for run in self.runs)
        named = ", ".join(f"{count:,} × {name}" for name, count in kinds.most_common(3))
        others = f" and {len(kinds) - 3} more names" if len(kinds) > FIRST else ""
        return " · ".join([f"{named}{others}", *self._spread()])

    def _spread(self) -> Iterator[str]:
        if self.below:
            yield f"{self.below:,} runs below"
        if times := sorted(run.seconds for run in self.runs if run.seconds is not None):
            yield f"{words.duration(times[0])} to {words.duration(times[-1])}"
        if failed := sum(run.outcome == "error" for run in self.runs):
            yield f"✖ {failed:,} failed"


def lines(trace: Trace, limit: int = LINES) -> list[tuple[Run | Omitted, Way]]:
    """About `limit` runs in the order of the tree, each with its way down as in `Trace.walk`; after its siblings, what is left out."""
    family: dict[str | None, Sequence[Run]] = {None: trace.roots}
    family.update(trace.children)
    chosen = _chosen(trace, family, limit)
    return list(_told(family, chosen))


def _chosen(trace: Trace, family: Family, limit: int) -> set[str]:
    parents = {run.span_id: parent for parent, runs in family.items() for run in runs}
    chosen = {span for run in islice(_failed(trace), TROUBLES) for span in _way_up(run.span_id, parents, limit)}
    waiting = deque(_few(family[None]))
    while waiting and len(chosen) < limit:  # by depth: the outline of everything before the detail of something
        run = waiting.popleft()
        chosen.add(run.span_id)
        waiting.extend(_few(family.get(run.span_id, ())))
    return chosen


def _failed(trace: Trace) -> Iterator[Run]:
    return (run for run in trace if run.outcome == "error")


def _way_up(span: str | None, parents: Mapping[str, str | None], limit: int) -> list[str]:
    """From the run to its root; nothing if that alone would fill the page."""
    way: list[str] = []
    while span is not None:
        way.append(span)
        span = parents[span]
    return way if len(way) <= limit else []


def _few(siblings: Sequence[Run]) -> Iterator[Run]:
    counts = Counter((run.kind, run.name) for run in siblings)
    slowest = {(run.kind, run.name): run.span_id for run in sorted(siblings, key=lambda run: run.seconds or 0.0)}
    seen: Counter[tuple[str, str]] = Counter()
    for run in siblings:
        same = run.kind, run.name
        seen[same] += 1
        if counts[same] <= REPEATS or seen[same] <= FIRST or slowest[same] == run.span_id:
            yield run


def _told(family: Family, chosen: set[str]) -> Iterator[tuple[Run | Omitted, Way]]:
    waiting = _level(family[None], (), family, chosen)[::-1]
    while waiting:
        line, way = waiting.pop()
        yield line, way
        if not isinstance(line, Omitted):
            waiting.extend(_level(family.get(line.span_id, ()), way, family, chosen, root=False)[::-1])


def _level(
    siblings: Sequence[Run], way: Way, family: Family, chosen: set[str], *, root: bool = True
) -> list[tuple[Run | Omitted, Way]]:
    shown: list[Run | Omitted] = [run for run in siblings if run.span_id in chosen]
    if left := tuple(run for run in siblings if run.span_id not in chosen):
        shown.append(Omitted(left, sum(1 for _ in _below(left, family))))
    return [(line, () if root else (*way, line is shown[-1])) for line in shown]


def _below(runs: Iterable[Run], family: Family) -> Iterator[Run]:
    waiting = [child for run in runs for child in family.get(run.span_id, ())]
    while waiting:
        run = waiting.pop()
        yield run
        waiting.extend(family.get(run.span_id, ()))
