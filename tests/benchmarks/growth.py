"""How the cost grows: with the state, the conversation, the crowd, the tokens, and what the store already holds.

    python tests/benchmarks/growth.py [--only state,history,tasks,threads,tokens,runs] [--repeats 5] [--runs 1000000]

µs of CPU time on the agent's side, and in all, over the same without us in the same process, with every sink on, Langfuse's handler
beside us where its venv is (`run.py --setup`). Prints the numbers and writes a chart for each as SVG.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import venvs
from asked import Asked
from charts import Chart
from filling import filled
from run import SINKS
from sizes import GROWTH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Lines = Mapping[str, Sequence[tuple[int, float]]]

ARMS = {f"ours: {SINKS[-1]}": "ours", "Langfuse": "Langfuse’s own"}
RUNS = "runs"
"""In the store: nothing that others do."""
PATIENCE = 4.0
"""Seconds of one sample."""
CHARTS = Path(__file__).parents[2] / ".charts"


def grown(asked: Sequence[Asked], name: str, repeats: int) -> Lines:
    """Of each arm two lines: on the agent's thread, and in all. One that takes too long is not drawn further."""
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    patient = list(asked)
    for size in GROWTH[name].sizes:
        for worker in tuple(patient):
            begun = time.monotonic()
            samples = [worker.ask("growth", name, size) for _ in range(repeats + 1)][1:]
            if "error" in samples[0] or time.monotonic() - begun > PATIENCE * (repeats + 1):
                patient.remove(worker)
            good = [one for one in samples if "error" not in one]
            for key, line in (("agent", ""), ("all", ", in all")):
                lines[ARMS[worker.arm] + line] += [(size, 1e6 * statistics.median(one[key] for one in good))] if good else []
            _say(f"{name} {size:,}, {worker.arm}: {samples[0].get('error', '')}")
    return lines


def chart(name: str, lines: Lines) -> Chart:
    if name == RUNS:
        return Chart(title="The store, by the runs in it", x="runs in the store", y="µs", series=lines)
    return Chart(title=GROWTH[name].title, x=GROWTH[name].x, y=GROWTH[name].y, series=lines)


def told(drawn: Chart) -> str:
    """The numbers behind a chart, and by how much the largest costs more than the smallest."""
    rows = [f"{drawn.title} ({drawn.y}, by {drawn.x})"]
    for name, points in drawn.series.items():
        cells = "  ".join(f"{size:,}: {cost:,.1f}" for size, cost in points)
        rows.append(f"  {name:24} {cells}" + (f"   ×{points[-1][1] / points[0][1]:.1f}" if points[0][1] > 0 else ""))
    return "\n".join(rows)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)  # noqa: T201 - progress


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*GROWTH, RUNS])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", type=int, default=100_000, help="the most that are put into the store; a million takes minutes")
    parser.add_argument("--charts", type=Path, default=CHARTS)
    options = parser.parse_args(arguments)
    options.charts.mkdir(exist_ok=True)
    with ExitStack() as stack:
        log = stack.enter_context((Path(tempfile.gettempdir()) / "bench-workers.log").open("w"))
        asked = [stack.enter_context(Asked(python, arm, log, seconds=600)) for arm in ARMS if (python := venvs.python(arm))]
        for worker in asked:
            worker.begun()
        for name in options.only:
            sizes = [10**power for power in range(3, 7) if 10**power <= options.runs]
            drawn = chart(name, filled(sizes, _say) if name == RUNS else grown(asked, name, options.repeats))
            (options.charts / f"growth-{name}.svg").write_text(drawn.svg())
            print(told(drawn), flush=True)  # noqa: T201 - for whoever runs this


if __name__ == "__main__":
    main()
