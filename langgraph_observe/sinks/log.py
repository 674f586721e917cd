"""Lines: one structured log line per finished run, through the standard library's logging. Never content."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from opentelemetry import trace

from langgraph_observe.payloads import text
from langgraph_observe.records import Finished
from langgraph_observe.sinks.deferred import Deferred

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langgraph_observe.records import Record, Started, Usage

LONGEST: Final = 200
"""Characters of a name or an id in a line."""


class Lines:
    """One JSON line per finished run: what it was, how it ended, how long it took, what it spent, where its trace is.

    ERROR for a run that failed, `level` for the others. Logged are graphs, agents, nodes, models, tools, retrievers and
    streams; a chain where it is a root or failed, for the chains inside are how a graph is built, not what it does. No input,
    output, metadata, user id or message of an exception is ever in a line.

    Lines are written on a thread of their own: a handler may wait for a disk. `at` in the line is when the run ended. No
    handler is installed; without any, Python shows the failed runs on stderr and nothing else.
    """

    payloads: Final = False

    def __init__(self, *, logger: logging.Logger | None = None, level: int = logging.INFO) -> None:
        """`logger` is `langgraph_observe.runs` by default."""
        self._logger = logger or logging.getLogger("langgraph_observe.runs")
        self._level = level
        self._deferred = Deferred(self._write, name="log.Lines")

    def __call__(self, record: Record) -> None:
        """Queue a run that has ended and is worth a line."""
        if isinstance(record, Finished) and (
            record.run.kind != "chain" or record.run.parent_id is None or record.outcome == "error"
        ):
            self._deferred(record)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was recorded before now is written."""
        return self._deferred.flush(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Write what is queued. What comes later is counted as dropped."""
        self._deferred.close(timeout)

    def health(self) -> Mapping[str, int]:
        """Counts since the start: queued now, dropped, errors."""
        return self._deferred.health()

    def _write(self, record: Record) -> None:
        match record:
            case Finished():
                level = logging.ERROR if record.outcome == "error" else self._level
                if self._logger.isEnabledFor(level):
                    ids = {"trace_id": record.run.trace_id, "span_id": record.run.span_id}
                    with trace.use_span(_span(record.run)):  # whoever exports logs by OpenTelemetry takes their trace from there
                        self._logger.log(level, line(record), extra=ids)


def _span(run: Started) -> trace.Span:
    sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    return trace.NonRecordingSpan(
        trace.SpanContext(int(run.trace_id, 16), int(run.span_id, 16), is_remote=False, trace_flags=sampled)
    )


def line(end: Finished) -> str:
    """ASCII JSON on one line, whatever is in the names; unknown values are left out."""
    return json.dumps({key: _short(value) for key, value in fields(end).items() if value is not None})


def fields(end: Finished) -> dict[str, object]:
    """What a line says, in its order; None for what is not known. The thread and the session are there to find a conversation by."""
    run = end.run
    return {
        "event": "run_finished",
        "at": datetime.fromtimestamp(end.at_ns / 1e9, UTC).isoformat(timespec="milliseconds"),
        "kind": run.kind,
        "name": run.name,
        "outcome": end.outcome,
        "reason": end.reason,
        "seconds": round(end.seconds, 6),
        "graph": run.graph,
        "node": run.node,
        "step": run.step,
        "attempt": run.attempt if run.attempt > 1 else None,
        "thread_id": run.thread_id,
        "session_id": run.session_id,
        "trace_id": run.trace_id,
        "span_id": run.span_id,
        "model": end.model or run.model,
        "cached": end.cached or None,
        **(_spent(None if end.cached else end.usage) if run.kind == "model" else {}),
        "error_type": end.failure.type if end.failure else None,
    }


def _spent(usage: Usage | None) -> dict[str, object]:
    if usage is None:
        return {}
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "estimated": usage.estimated or None,
        "cost_usd": None if usage.cost is None else float(usage.cost),
    }


def _short(value: object) -> object:
    return text(value[:LONGEST]) if isinstance(value, str) else value
