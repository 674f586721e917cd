"""What the samples say: medians, and the cells of tables."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workloads import CHUNKS, WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Row = Sequence[str]

MISSING = "–"


def _added(cost: float, base: float, scale: float) -> float:
    return (cost - base) * scale


SHOW: dict[str, Callable[[float, float, float], float]] = {
    "µs an event": _added,
    "µs a chunk": _added,
    "ms": _added,
    "×": lambda cost, base, _: cost / base,
    "ms in all": lambda cost, _, scale: cost * scale,
}


@dataclass
class Results:
    """Of one run, by arm and workload; as data in `--json`."""

    samples: dict[str, dict[str, list[Mapping[str, Any]]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    recorded: dict[str, dict[str, Mapping[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    memory: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    weight: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """Milliseconds of import, megabytes installed."""
    versions: dict[str, str] = field(default_factory=dict)

    def numbers(self, arm: str, workload: str, *, clock: bool = False) -> tuple[float, float] | None:
        """As the workload shows them: on the agent's thread (or threads) and in all, with what is left behind; or on the clock."""
        good = [one for one in self.samples[arm][workload] if "error" not in one]
        if not good:
            return None
        shows = WORKLOADS[workload].shows
        key = "told" if "told" in good[0]["cost"] else "wall" if clock else self._cpu(workload)
        behind = key if clock or shows.startswith("ms") else "all"
        scale = 1e3 if shows.startswith("ms") else 1e6 / self._units(workload)
        show = SHOW[shows]
        both = [[show(one["cost"][name], one["base"][name], scale) for name in (key, behind)] for one in good]
        shown, whole = map(statistics.median, zip(*both, strict=True))
        return shown, whole

    @staticmethod
    def _cpu(workload: str) -> str:
        work = WORKLOADS[workload]
        return "process" if work.threads or work.shows == "×" else "thread"

    def _units(self, workload: str) -> int:
        if WORKLOADS[workload].shows == "µs a chunk":
            return CHUNKS
        return next((told[workload]["events"] for told in self.recorded.values() if "events" in told.get(workload, {})), 1)

    def lost(self, arm: str, workload: str) -> float | None:
        """The part of what one call leads to that did not come of many. None if nothing is counted."""
        work = WORKLOADS[workload]
        each = self.recorded[arm].get(work.alike or workload, {}).get("spans")
        came = [one["spans"] for one in self.samples[arm][workload] if "error" not in one]
        if not each or not came:
            return None
        return 1 - sum(came) / (each * work.calls * work.agents * len(came))

    def cell(self, arm: str, workload: str, *, clock: bool = False) -> str:
        """`12 (20)`: on the agent's thread, and in all; `!` and how much was lost."""
        if (numbers := self.numbers(arm, workload, clock=clock)) is None:
            return next((f"✗ {one['error']}"[:24] for one in self.samples[arm][workload]), MISSING)
        shown, whole = map(_short, numbers)
        lost = self.lost(arm, workload) or 0.0
        told = shown if clock or WORKLOADS[workload].shows.startswith("ms") else f"{shown} ({whole})"
        return f"{told} !{lost:.0%}" if lost > 0.001 else told


def _short(number: float) -> str:
    digits = 0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2
    return f"{number:,.{digits}f}"


def costs(results: Results, arms: Sequence[str], workloads: Sequence[str], *, clock: bool = False) -> Iterator[Row]:
    yield ["on the clock" if clock else "CPU time", *(f"{WORKLOADS[name].says}, {WORKLOADS[name].shows}" for name in workloads)]
    for arm in arms:
        yield [arm, *(results.cell(arm, name, clock=clock) for name in workloads)]


COUNTED = ("spans", "nodes", "models", "tools", "tokens", "texts", "bytes")


def recorded(results: Results, arms: Sequence[str], workload: str) -> Iterator[Row]:
    """Of one call."""
    work = WORKLOADS[workload]
    yield [
        f"recorded of one call: {work.says}",
        *COUNTED[:-2],
        f"texts of {len(work.texts)}",
        "kB",
        "warnings logged",
        "dropped, in all",
        "version",
    ]
    for arm in arms:
        if "spans" in (told := results.recorded[arm].get(workload, {})):
            yield [arm, *(str(told[name]) for name in COUNTED[:-1]), f"{told['bytes'] / 1000:,.0f}", str(told["logged"]), str(told["dropped"]),
                   results.versions.get(arm, "")]  # fmt: skip


def weights(results: Results, arms: Sequence[str]) -> Iterator[Row]:
    yield ["memory and weight", "live objects a run", "MB per 1,000 runs", "import, ms", "installed, MB"]
    for arm in arms:
        left = results.memory.get(arm, {})
        kept = [f"{left[name]:.2f}" if name in left else left.get("error", MISSING)[:24] for name in ("objects", "megabytes")]
        weight = [MISSING if one is None else f"{one:,.0f}" for one in results.weight.get(arm, (None, None))]
        yield [arm, *kept, *weight]


def markdown(rows: Iterable[Row]) -> str:
    head, *body = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def plain(rows: Iterable[Row]) -> str:
    """In columns; a title is broken at its commas."""
    head, *body = rows
    titles = [title.split(", ") for title in head]
    height = max(map(len, titles))
    lines = [[title[row] if row < len(title) else "" for title in titles] for row in range(height)] + list(body)
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
