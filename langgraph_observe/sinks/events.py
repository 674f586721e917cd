"""Events: what was said, failed, judged and waited for, as log records of OpenTelemetry, in the gen_ai vocabulary.

They go to the logger provider that the application runs, with the ids of the run's span and at the record's time.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from opentelemetry import _logs as logs
from opentelemetry._logs import SeverityNumber
from opentelemetry._logs._internal import ProxyLoggerProvider  # no public way to ask whether one is installed
from opentelemetry.trace import SpanKind, TraceFlags

from langgraph_observe.records import Finished, Noted, Scored, Started
from langgraph_observe.sinks import around, gen_ai
from langgraph_observe.sinks import content as said
from langgraph_observe.sinks.around import SAMPLED
from langgraph_observe.sinks.deferred import Deferred, at_exit
from langgraph_observe.sinks.otlp import Load, within
from langgraph_observe.sinks.shown import Shown, exceptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.context import Context

    from langgraph_observe.records import Record
    from langgraph_observe.sinks.shown import Mode

log: Final = logging.getLogger("langgraph_observe")
SWITCH: Final = "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"
PAUSES: Final = {"interrupt": "gen_ai.agent.paused", "resume": "gen_ai.agent.resumed"}
"""What is noted → its event; proposal semantic-conventions-genai#445, so with the latest names only."""

_Flags: TypeAlias = TraceFlags | Literal[False]
"""Of a run's caller; False where that suppresses instrumentation."""
_Told: TypeAlias = tuple[Finished | Noted | Scored, TraceFlags]


class _Event(NamedTuple):
    name: str
    severity: SeverityNumber | None
    attributes: gen_ai.Attributes
    content: Mapping[str, str] = {}
    """Attributes that are JSON, and structures in an event."""


class Events:
    """One log record per model call (where wanted), exception, evaluation and pause.

    The application's provider is used, never installed, replaced or shut down. The agent's thread queues records; the SDK is
    met on a thread of its own.
    """

    def __init__(
        self,
        *,
        logger_provider: logs.LoggerProvider | None = None,
        content: Mode | None = None,
        details: bool | None = None,
        names: gen_ai.Names | None = None,
        all_exceptions: bool | None = None,
    ) -> None:
        """Without a provider, the global one at each record; while there is none, nothing is kept.

        `content` and `names` are those of `Spans`. `details` of each model call default to what
        OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT says, and that to whether its content may be shown in events. Exceptions are
        those of what leaves the process, which have an event of their own, and, with `all_exceptions` or where
        OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN asks for logs, those of all runs.
        """
        self._given = logger_provider
        self._shown = Shown("event", content)
        self._details = _wanted() if details is None else details
        self._eras = gen_ai.eras(names)
        self._all_exceptions = "event" in exceptions() if all_exceptions is None else all_exceptions
        self._open: dict[str, _Flags] = {}
        self._seen: logs.LoggerProvider | None = None
        self._load = Load(self._provider)
        self._deferred: Deferred[_Told] = Deferred(self._emit, name="events.Events")
        self._listened()

    def __call__(self, record: Record) -> None:
        """Queue a record. Takes no lock of ours, and may be entered again from within."""
        match record:
            case Started() if self._listened():
                above = self._open.get(record.parent_span_id or "")
                self._open[record.span_id] = _flags(record) if above is None else above
            case Finished():
                self._queue(record, self._open.pop(record.run.span_id, SAMPLED))
            case Noted():
                self._queue(record, self._open.get(record.run.span_id, SAMPLED))
            case Scored():
                self._queue(record, self._open.get(record.span_id or "", SAMPLED))

    def flush(self, timeout: float = 5.0) -> bool:
        """Emit what was recorded before now and have the provider export it. False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        drained = self._deferred.flush(timeout)
        left = deadline - time.monotonic()
        return drained and within(left, lambda: self._load.export(left))

    def close(self, timeout: float = 5.0) -> None:
        """Emit what is queued."""
        self._deferred.close(timeout)

    def health(self) -> dict[str, int]:
        """Counts since the start: queued now, dropped, errors; open runs."""
        return self._deferred.health() | {"open": len(self._open)}

    def _queue(self, record: Finished | Noted | Scored, flags: _Flags) -> None:
        if flags is not False and self._listened():
            self._deferred((record, flags))

    def _provider(self) -> logs.LoggerProvider:
        return self._given or logs.get_logger_provider()

    def _listened(self) -> bool:
        """Whether there is a provider to be told."""
        provider = self._provider()
        if isinstance(provider, (ProxyLoggerProvider, logs.NoOpLoggerProvider)):
            return False
        if provider is not self._seen:
            self._seen = provider
            # A provider shuts down at exit, and exit hooks run last in, first out: what waits here must reach it before.
            at_exit(self._deferred.flush)
        return True

    def _emit(self, told: _Told) -> None:
        record, flags = told
        logger = self._provider().get_logger(gen_ai.SCOPE, gen_ai.VERSION)
        context = around.context(record if isinstance(record, Scored) else record.run, flags)
        for event in self._events(record):
            if logger.enabled(context=context, severity_number=event.severity, event_name=event.name):
                logger.emit(_logged(event, record.at_ns, context))
                self._load.add(event.content, event.attributes)

    def _events(self, record: Finished | Noted | Scored) -> Iterator[_Event]:
        match record:
            case Finished():
                yield from self._ended(record)
            case Noted(kind="interrupt" | "resume") if "latest" in self._eras:
                yield _Event(PAUSES[record.kind], None, _pause(record))
            case Scored():
                yield _Event("gen_ai.evaluation.result", None, _evaluation(record, shown=self._shown(None)))

    def _ended(self, record: Finished) -> Iterator[_Event]:
        run, shown = record.run, self._shown(record.run)
        if run.kind == "model" and (shown if self._details is None else self._details):
            yield _Event(
                "gen_ai.client.inference.operation.details",
                SeverityNumber.DEBUG,
                gen_ai.ended(record, self._eras),
                said.attributes(record) if shown else {},
            )
        if record.failure is None or gen_ai.error_type(record) is None:
            return
        leaves = gen_ai.span_kind(run) is SpanKind.CLIENT
        if leaves or self._all_exceptions:
            name = "gen_ai.client.operation.exception" if leaves else "exception"
            yield _Event(name, SeverityNumber.WARN, gen_ai.exception(record.failure, shown=shown))


def _logged(event: _Event, at_ns: int, context: Context) -> logs.LogRecord:
    return logs.LogRecord(
        timestamp=at_ns,
        context=context,
        severity_number=event.severity,
        severity_text=event.severity.name if event.severity else None,
        attributes={**said.structures(event.content), **event.attributes},  # the required last: see `ended`
        event_name=event.name,
    )


def _pause(record: Noted) -> gen_ai.Attributes:
    """Which questions wait is told by their ids; what they ask is content, and on the span."""
    asked = record.payload.value if record.payload else None
    ids = [str(one["id"]) for one in asked if isinstance(one, dict) and "id" in one] if isinstance(asked, list) else []
    return gen_ai.known(
        {
            "langgraph.interrupt.reason": record.name,
            "langgraph.interrupt.ids": ids,
            "gen_ai.agent.pause.id": ids[0] if len(ids) == 1 else None,
            "gen_ai.conversation.id": record.run.thread_id or record.run.session_id,
            "gen_ai.agent.name": gen_ai.agent(record.run),
        }
    )


def _evaluation(record: Scored, *, shown: bool) -> gen_ai.Attributes:
    """A comment is content: who judges an answer quotes it."""
    value = record.value
    label = str(value).lower() if isinstance(value, bool) else value if isinstance(value, str) else None
    return gen_ai.known(
        {
            "langgraph_observe.evaluation.id": record.id,
            "langgraph_observe.evaluation.source": record.source,
            "gen_ai.evaluation.explanation": record.comment if shown else None,
            "gen_ai.evaluation.score.label": label,
            "gen_ai.evaluation.score.value": None if isinstance(value, str) else float(value),
            "gen_ai.evaluation.name": record.name,
        }
    )


def _wanted() -> bool | None:
    """What the environment says of the details; None where it says nothing."""
    word = os.environ.get(SWITCH, "").strip().lower()
    if word not in {"", "true", "false"}:
        log.warning("%s is neither true nor false: the events are made where content is shown in them", SWITCH)
    return {"true": True, "false": False}.get(word)


def _flags(root: Started) -> _Flags:
    return False if around.suppressed() else around.flags(root)
