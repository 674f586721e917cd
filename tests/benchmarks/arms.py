"""Our own ways to look: each sink alone, all of them, and the floor."""

from __future__ import annotations

import logging
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from prometheus_client import CollectorRegistry
from received import Received
from rivals import KEYS, Arm, empty, none
from spans import Encoded, provider

from langgraph_observe import Observer
from langgraph_observe.records import Finished
from langgraph_observe.sinks import langfuse, log, otel, otlp, prometheus, store

if TYPE_CHECKING:
    from collections.abc import Callable

    from langgraph_observe import Sink

    Ready: TypeAlias = tuple[Sink, Callable[[], None]]
    """A sink, and what counts what its backend has received."""


class Lines(logging.Handler):
    def __init__(self, received: Received) -> None:
        super().__init__()
        self._received = received

    def emit(self, record: logging.LogRecord) -> None:
        self._received.spans += 1
        self._received.body(record.getMessage().encode())


def _function(received: Received) -> Ready:
    def seen(record: object) -> None:
        if isinstance(record, Finished):
            received.spans += 1

    return seen, _nothing


def _spans(received: Received) -> Ready:
    made = provider(received)
    return otel.Spans(tracer_provider=made, content="SPAN_ONLY", on_close=made.shutdown), _nothing


def _langfuse(received: Received) -> Ready:
    return langfuse.Traces(**KEYS, span_exporter=Encoded(received, otlp.request)), _nothing


def _lines(received: Received) -> Ready:
    logger = logging.getLogger(f"benchmark.{id(received)}")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(Lines(received))
    return log.Lines(logger=logger), _nothing


def _metrics(received: Received) -> Ready:
    registry = CollectorRegistry()
    return prometheus.Metrics(registry=registry), Counted(registry, received)


def _store(received: Received) -> Ready:
    sink = store.Store(Path(tempfile.mkdtemp(prefix="benchmark-")) / "traces.db")
    return sink, Stored(sink.path, received)


SINKS: dict[str, Callable[[Received], Ready]] = {
    "a function": _function,
    "metrics": _metrics,
    "store": _store,
    "spans": _spans,
    "lines": _lines,
    "Langfuse": _langfuse,
}


def ours(*names: str) -> Arm:
    """`observe(graph)` with the default processors. What was received is what the last of the sinks received."""
    received = Received()
    made = [SINKS[name](received if name == names[-1] else Received()) for name in names]
    observer = Observer(*(sink for sink, _ in made))
    return Arm(observer.watch, lambda: observer.flush(60), received, made[-1][1], lambda: _dropped(observer))


def _dropped(observer: Observer) -> int:
    counted: Counter[str] = Counter()
    for counts in observer.health().values():
        counted.update(counts)
    return sum(counted[name] for name in ("dropped", "lost", "errors"))


def _nothing() -> None:
    pass


class Stored:
    """The runs in the file since it was last looked at."""

    def __init__(self, path: Path, received: Received) -> None:
        self._path, self._received, self._seen, self._pages = path, received, 0, 0

    def __call__(self) -> None:
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as file:
            self._runs(file)
            before, (self._pages,) = self._pages, file.execute("PRAGMA page_count").fetchone()
            self._received.sent += (self._pages - before) * file.execute("PRAGMA page_size").fetchone()[0]
            if self._received.keeping:
                for texts in ("SELECT json FROM messages", "SELECT coalesce(input, '') || coalesce(output, '') FROM payloads"):
                    self._received.bodies += (text.encode() for (text,) in file.execute(texts))

    def _runs(self, file: sqlite3.Connection) -> None:
        query = "SELECT key, kind, name, coalesce(input_tokens + output_tokens, 0) FROM runs WHERE key > ? ORDER BY key"
        for key, kind, name, tokens in file.execute(query, (self._seen,)):
            self._seen = key
            self._received.spans += 1
            self._received.span(name, {"gen_ai.operation.name": kind, "gen_ai.usage.input_tokens": tokens})


class Counted:
    """Durations in the registry since it was last looked at: one of each graph, node, model and tool."""

    def __init__(self, registry: CollectorRegistry, received: Received) -> None:
        self._registry, self._received, self._before = registry, received, 0

    def __call__(self) -> None:
        samples = (sample for family in self._registry.collect() for sample in family.samples)
        now = sum(int(sample.value) for sample in samples if sample.name.endswith("_duration_seconds_count"))
        self._received.spans += now - self._before
        self._before = now


OURS: dict[str, Callable[[], Arm]] = {
    "no handler": none,
    "empty handler": empty,
    **{f"ours: {name}": lambda name=name: ours(name) for name in SINKS},
    "ours: all of them": lambda: ours(*SINKS),
}
