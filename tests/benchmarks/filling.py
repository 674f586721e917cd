"""The store as it fills: what writing a run costs, and reading, when 10³ to 10⁶ runs are there already."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads import loop

from langgraph_observe import Finished, Observer, Payload
from langgraph_observe.explore.source import Filter
from langgraph_observe.explore.storefile import StoreFile
from langgraph_observe.sinks.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

AT_ONCE = 5_000
"""Runs between two flushes: the queue is never full."""


def agents() -> Iterator[list[Finished]]:
    """The records of one agent, again and again, as if of another call: with ids, times and payloads of their own."""
    seen: list[Any] = []
    with Observer(seen.append) as observer:
        loop(observer.watch)()
    ends = [record for record in seen if isinstance(record, Finished)]
    for number in itertools.count():
        yield [_again(end, number) for end in ends]


def _again(end: Finished, number: int) -> Finished:
    spans = {name: f"{number:08x}{getattr(end.run, name)[8:]}" for name in ("span_id", "parent_span_id") if getattr(end.run, name)}
    run = replace(
        end.run, trace_id=f"{number:032x}", at_ns=end.run.at_ns + 1_000_000 * number, input=_fresh(end.run.input), **spans
    )
    return replace(end, run=run, output=_fresh(end.output))


def _fresh(payload: Payload | None) -> Payload | None:
    """Nobody has encoded it yet."""
    return payload and Payload(payload._snapshot, omitted=payload.omitted, encode=payload._encode)


def filled(sizes: Sequence[int], say: Callable[[str], None]) -> Mapping[str, Sequence[tuple[int, float]]]:
    """µs, by runs in the store."""
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        store, more, runs = Store(Path(folder) / "traces.db", keep_bytes=None), agents(), 0
        for size in sizes:
            batches: list[float] = []
            while runs < size:
                batch = [end for ends in itertools.islice(more, min(AT_ONCE, size) // 34) for end in ends]
                batches.append(_written(store, batch) / len(batch))
                runs += len(batch)
            for name, seconds in (("write a run", sorted(batches[-5:])[len(batches[-5:]) // 2]), *_read(store.path)):
                lines[name].append((size, 1e6 * seconds))
            say(f"store, {runs:,} runs: {store.path.stat().st_size / 1e6:,.0f} MB")
        store.close()
    return lines


def _written(store: Store, batch: Sequence[Finished]) -> float:
    """CPU seconds of the process, the queue's put included."""
    begun = time.process_time()
    for end in batch:
        store(end)
    store.flush(60)
    return time.process_time() - begun


def _read(path: Path) -> Iterator[tuple[str, float]]:
    source = StoreFile(path)
    begun = time.perf_counter()
    (last, *_) = source.ids(Filter(), 20)
    yield "list the last 20", time.perf_counter() - begun
    begun = time.perf_counter()
    source.records(last)
    yield "read a trace of 34", time.perf_counter() - begun
