"""One arm in a process of its own: measures a sample whenever it is asked, beside one of the same process without the arm.

Requests and answers are lines of JSON. Runs in any venv with LangGraph; imports nothing of ours but for our own arms.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import os
import re
import sys
import time
from contextvars import Context
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rivals import RIVALS, Arm, Events, called, empty, none
from sizes import GROWTH
from workloads import WORKLOADS, Workload, mixed

if TYPE_CHECKING:
    from collections.abc import Callable


class Complaints(logging.Handler):
    """Counts what is logged while somebody looks: warnings, errors, tracebacks."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


class Worker:
    def __init__(self, name: str) -> None:
        self._complaints = Complaints(logging.WARNING)
        logging.getLogger().addHandler(self._complaints)
        self._base = {"empty": empty(), "none": none()}
        self._runner = asyncio.Runner()
        self._turns = itertools.cycle((-1, 1))
        self._ready: dict[tuple[Any, ...], Any] = {}
        for module in ("langgraph.graph", "langgraph.prebuilt"):
            __import__(module)
        self._arm = _made(name)

    # -- what can be asked

    def sample(self, workload: str, over: str) -> dict[str, Any]:
        """Both, taking turns in who is first: the arm's costs, those without it, and how many spans came of all calls."""
        work = WORKLOADS[workload]
        self._arm.received.clear()
        order = [("arm", self._arm), (over, self._base[over])][:: next(self._turns)]
        costs = {which: self._measured(workload, work, which, arm) for which, arm in order}
        self._arm.settle()
        return {"cost": costs["arm"], "base": costs[over], "spans": self._arm.received.spans}

    def recorded(self, workload: str) -> dict[str, Any]:
        """One call, looked at closely. Also the first, so that nothing is measured cold."""
        work = WORKLOADS[workload]
        self._measured(workload, work, "arm", self._arm, calls=1)
        self._arm.settle()
        received = self._arm.received
        received.clear()
        received.keeping, logged = True, self._complaints.count
        self._measured(workload, work, "arm", self._arm, calls=1)
        self._arm.settle()
        received.keeping = False
        told = received.told(work.nodes, work.texts)
        received.clear()
        logged = self._complaints.count - logged
        return {**told, "logged": logged, "events": self._events(work), "dropped": self._arm.dropped()}

    def memory(self, runs: int) -> dict[str, float]:
        """What is left after runs of every kind, once all is delivered and collected. A fifth as many go before, to warm up."""
        self._arm.on()
        run = mixed(self._arm.watch)
        for number in range(runs // 5):
            Context().run(run, number)
        objects, resident = self._left()
        for number in range(runs):
            Context().run(run, number)
            if number % 500 == 0:
                self._arm.flush()
                self._arm.settle()
        left, grown = self._left()
        self._arm.off()
        return {
            "objects": (left - objects) / runs,
            "megabytes": (grown - resident) / 1e6 / runs * 1000,
            "dropped": self._arm.dropped(),
        }

    def growth(self, name: str, size: int) -> dict[str, float]:
        """Seconds a unit above the unobserved: on the agent's side and in all."""
        growth = GROWTH[name]
        added = []
        for position in range(len(growth.make(self._base["none"].watch, 1))):
            base, cost = (self._grown(name, size, position, which) for which in ("none", "arm"))
            key = "process" if growth.threads else "thread"
            added.append({"agent": cost[key] - base[key], "all": cost["all"] - base["all"]})
        self._arm.settle()
        units = growth.units(size)
        return {key: (added[-1][key] - (added[0][key] if len(added) > 1 else 0.0)) / units for key in ("agent", "all")}

    # -- how

    def _grown(self, name: str, size: int, position: int, which: str) -> dict[str, float]:
        arm = self._base.get(which, self._arm)
        arm.on()
        try:
            if (name, which, size) not in self._ready:
                self._ready = {key: value for key, value in self._ready.items() if key[2:] == (size,)}  # a large one is not kept
                self._ready[name, which, size] = GROWTH[name].make(arm.watch, size)
            return self._timed(GROWTH[name].on_loop, self._ready[name, which, size][position], 1, arm)
        finally:
            arm.off()

    def _left(self) -> tuple[int, int]:
        self._arm.flush()
        self._arm.settle()
        self._arm.received.clear()
        for _ in range(3):
            gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return len(gc.get_objects()), pages * os.sysconf("SC_PAGE_SIZE")

    def _events(self, work: Workload) -> int:
        handler = Events()
        self._call(work.on_loop, work.make(called(handler)), 1)
        return handler.count

    def _measured(self, name: str, work: Workload, which: str, arm: Arm, calls: int | None = None) -> dict[str, float]:
        """Seconds for one call: on the clock, of the calling thread, of the process, and with what is left behind."""
        arm.on()
        try:
            if (name, which) not in self._ready:
                self._ready[name, which] = work.make(arm.watch)
            return self._timed(work.on_loop, self._ready[name, which], calls or work.calls, arm)
        finally:
            arm.off()

    def _timed(self, on_loop: bool, once: Callable[[], Any], calls: int, arm: Arm) -> dict[str, float]:
        arm.flush()
        gc.collect()
        wall, process, thread = time.perf_counter(), time.process_time(), time.thread_time()
        told = self._call(on_loop, once, calls)
        costs = {
            "thread": time.thread_time() - thread,
            "process": time.process_time() - process,
            "wall": time.perf_counter() - wall,
        }
        arm.flush()
        costs["all"] = time.process_time() - process
        return {name: seconds / calls for name, seconds in costs.items()} | ({} if told is None else {"told": told})

    def _call(self, on_loop: bool, once: Callable[[], Any], calls: int) -> float | None:
        """In an empty context: who leaves something there leaves it to nobody. What the workload itself has measured, on average."""

        async def repeated() -> list[float | None]:
            return [await once() for _ in range(calls)]

        context = Context()
        told = self._runner.run(repeated(), context=context) if on_loop else [context.run(once) for _ in range(calls)]
        return sum(told) / calls if isinstance(told[0], float) else None


def _made(name: str) -> Arm:
    if name in RIVALS:
        return RIVALS[name][0]()
    from arms import OURS

    return OURS[name]()


def _version(name: str) -> str:
    return version(re.match(r"[\w-]+", RIVALS[name][2][0])[0]) if name in RIVALS else ""


def main() -> None:
    """Lines of JSON in, lines of JSON out; what libraries print goes to the error stream."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    print(json.dumps({"version": _version(sys.argv[1])}), file=out, flush=True)
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        try:
            answer = getattr(worker, method)(*arguments)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), file=out, flush=True)
    os._exit(0)  # some wait for a server at their exit


if __name__ == "__main__":
    main()
