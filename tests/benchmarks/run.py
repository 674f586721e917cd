"""Us and others, side by side: what observing a graph costs, and what is really recorded for it.

    python tests/benchmarks/run.py --setup      make the others' venvs (once, from PyPI; under /tmp)
    python tests/benchmarks/run.py              print the tables (about 8 minutes on 2 quiet cores)

Every arm is a process of its own. Samples go round: in each repeat every arm is measured once beside the same work without it
in the same process, so that what the machine does meanwhile happens to all. What is printed are medians of the differences, in
CPU time: `12 (20)` is 12 on the agent's thread (on all threads while it runs, where an agent has several), 20 in all with what is
left to others. `!3%`: so much of what was to be received never came. Ratios and the loop's lag are to, and of, the unobserved.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import venvs
from asked import Asked
from results import Results, costs, markdown, plain, recorded, weights
from rivals import RIVALS
from workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Sequence

SINKS = ("a function", "metrics", "store", "spans", "Langfuse", "lines", "all of them")
ARMS = ("no handler", "empty handler", *(f"ours: {name}" for name in SINKS), *RIVALS)
MEMORY, WEIGHT = "memory", "weight"
PARTS = (*WORKLOADS, MEMORY, WEIGHT)


def measure(asked: Sequence[Asked], names: Sequence[str], repeats: int, over: str, results: Results) -> None:
    """Round and round."""
    for name in names:
        begun, work = time.monotonic(), WORKLOADS[name]
        for worker in asked:
            alike = work.alike or name
            if alike not in results.recorded[worker.arm]:
                results.recorded[worker.arm][alike] = worker.ask("recorded", alike)
        for _ in range(max(1, round(repeats * work.share))):
            for worker in asked:
                base = "none" if work.shows in ("×", "ms in all") else over
                results.samples[worker.arm][name].append(worker.ask("sample", name, base))
        _say(f"{work.says}: {time.monotonic() - begun:.0f} s")


def remember(asked: Sequence[Asked], runs: int, results: Results) -> None:
    """Last: what it leaves is not to be in the other samples."""
    for worker in asked:
        begun = time.monotonic()
        results.memory[worker.arm] = worker.ask("memory", runs)
        _say(f"memory, {worker.arm}: {time.monotonic() - begun:.0f} s")


def weigh(arms: Sequence[str], results: Results) -> None:
    for arm in arms:
        name = RIVALS[arm][1] if arm in RIVALS else venvs.OURS if arm == f"ours: {SINKS[-1]}" else None
        if name:
            results.weight[arm] = venvs.milliseconds(name), venvs.megabytes(name)


def measured(options: argparse.Namespace, results: Results) -> None:
    """All that was asked for."""
    with contextlib.ExitStack() as stack:
        asked = begun(options.arms, stack, results)
        measure(asked, [name for name in options.workloads if name in WORKLOADS], options.repeats, options.over, results)
        if MEMORY in options.workloads:
            remember(asked, options.runs, results)
    if WEIGHT in options.workloads:
        weigh(options.arms, results)


def begun(arms: Sequence[str], stack: contextlib.ExitStack, results: Results) -> list[Asked]:
    """The workers, until the stack ends. Who cannot be started is named; what they print goes to a file."""
    log = stack.enter_context((Path(tempfile.gettempdir()) / "bench-workers.log").open("w"))
    pythons = {arm: venvs.python(arm) for arm in arms}
    asked = [stack.enter_context(Asked(python, arm, log)) for arm, python in pythons.items() if python]
    for arm in pythons.keys() - {worker.arm for worker in asked}:
        _say(f"{arm} is not installed: run with --setup")
    for worker in asked:
        results.versions[worker.arm] = worker.begun().get("version", "")
        if worker.lost:
            _say(f"{worker.arm} {worker.lost} at its start, see {log.name}")
    return asked


def printed(results: Results, options: argparse.Namespace) -> str:
    """The tables."""
    shown = markdown if options.markdown else plain
    arms = [arm for arm in options.arms if arm in results.samples or arm in results.memory or arm in results.weight]
    names = [name for name in options.workloads if name in WORKLOADS]
    tables = [costs(results, arms, names, clock=clock) for clock in (False, True)] if names else []
    tables += [recorded(results, arms, name) for name in names if WORKLOADS[name].texts]
    if {MEMORY, WEIGHT} & {*options.workloads}:
        tables.append(weights(results, arms))
    return "\n\n".join(map(shown, tables))


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)  # noqa: T201 - progress


def _chosen(known: Sequence[str]) -> object:
    def parse(text: str) -> list[str]:
        """Names, or their beginnings, with commas."""
        asked = [part.strip().lower() for part in text.split(",")]
        if unknown := [part for part in asked if not any(name.lower().startswith(part) for name in known)]:
            message = f"{', '.join(unknown)}: there are {', '.join(known)}"
            raise argparse.ArgumentTypeError(message)
        return [name for name in known if name.lower() in asked or any(name.lower().startswith(part) for part in asked)]

    return parse


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setup", action="store_true")
    parser.add_argument("--arms", type=_chosen(ARMS), default=list(ARMS), help="by their beginnings, as 'ours,langfuse'")
    parser.add_argument("--workloads", type=_chosen(PARTS), default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1_000, help="of which the memory is measured")
    parser.add_argument(
        "--over", choices=("empty", "none"), default="empty", help="what costs are measured above: an empty handler, nobody"
    )
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", type=Path, help="where to write all samples")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = parsed(arguments)
    if options.setup:
        venvs.setup(options.arms)
        return
    results = Results()
    with contextlib.suppress(KeyboardInterrupt):  # what there is by then is shown
        measured(options, results)
    if options.json:
        options.json.write_text(json.dumps(vars(results)))
    print(printed(results, options))  # noqa: T201 - for whoever runs this


if __name__ == "__main__":
    main()
