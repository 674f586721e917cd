"""Observer: processors, then sinks; isolation, flush, close. `observe()`. The default Observer from the environment."""

from __future__ import annotations

import atexit
import logging
import math
import os
import re
import threading
import time
import uuid
import weakref
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypedDict, TypeVar, cast

from langgraph_observe.payloads import text
from langgraph_observe.records import Failure, Finished, Scored
from langgraph_observe.shared import Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from langgraph.pregel.protocol import PregelProtocol
    from opentelemetry.trace import Span
    from typing_extensions import Unpack

    from langgraph_observe.capture.handler import CallbackHandler
    from langgraph_observe.capture.tracker import Tracker
    from langgraph_observe.records import Processor, Record, Sink, Started

    AnyGraph = TypeVar("AnyGraph", bound="PregelProtocol[Any, Any, Any, Any]")

log: Final = logging.getLogger("langgraph_observe")
_living: Final[weakref.WeakSet[Observer]] = weakref.WeakSet()
_default: Observer | None = None
_defaulting: Final = threading.Lock()
_TRACE_ID: Final = re.compile("[0-9a-f]{32}")
strict = False
"""Raise what would be logged: for tests. `testing.strict()` sets it."""


class Options(TypedDict, total=False):
    """What `observe(graph, …)` and `CallbackHandler(…)` say about the runs they see. LangChain's own config wins over it."""

    session_id: str
    user_id: str
    trace_name: str
    tags: Sequence[str]
    metadata: Mapping[str, object]
    labels: Mapping[str, str]
    """Low cardinality: fit for a metric."""
    payloads: Literal["delta", "full", "none"]
    """How much of a node's and a graph's input is kept. `delta`, the default: what is new since the state was last shown.
    A model's input is always whole, but with `none`."""
    baggage: Literal["read", "write", "both", "none"]
    """Session and user as OpenTelemetry's baggage (`session.id`, `user.id`): taken from the caller's, where the config says
    nothing; put on every request that is made in the run. `none`, the default: neither, since baggage goes to anybody who is
    asked, and comes from anybody who asks."""


_CHOICES: Final = {"payloads": ("delta", "full", "none"), "baggage": ("read", "write", "both", "none")}


def checked(options: Mapping[str, Any]) -> Options:
    """The options that say something, as clean text. Raises TypeError and ValueError for what they cannot be."""
    if unknown := options.keys() - Options.__annotations__.keys():
        message = f"there is no option {', '.join(sorted(unknown))}; there are {', '.join(Options.__annotations__)}"
        raise TypeError(message)
    out = {key: text(value) if isinstance(value, str) else value for key, value in options.items() if value is not None}
    for name, choices in _CHOICES.items():
        if out.get(name, choices[0]) not in choices:
            message = f"{name} is one of {', '.join(choices)}, not {out[name]}"
            raise ValueError(message)
    if isinstance(out.get("tags"), str):
        message = "tags is a list of texts, not one text"
        raise TypeError(message)
    return cast("Options", out)


class Observer:
    """Takes records from capture, through the processors, to the sinks.

    One guard stands between a processor or a sink and the agent: what they raise is logged once for each kind of error,
    by type only (its text may hold a prompt), and counted in `health()`. Processors default to `redact()` and `price()`.
    """

    def __init__(self, *sinks: Sink, process: Iterable[Processor] | None = None) -> None:
        sinks = () if _off("LANGGRAPH_OBSERVE_ENABLED") else sinks
        self._sinks = sinks
        self._names = dict(zip(map(id, sinks), _distinct([_name(sink) for sink in sinks]), strict=True))
        self._process = tuple(_default_process() if process is None else process)
        self._errors: Counter[str] = Counter()
        self._logged: set[tuple[str, type[BaseException]]] = set()
        self._tracker: Tracker | None = None
        self._closed = False
        self.payloads = any(getattr(sink, "payloads", True) for sink in sinks)
        """Whether any sink reads inputs and outputs. If none does, none are made."""
        in_context = [sink for sink in sinks if getattr(sink, "context", False)]
        self.in_context = bool(in_context)
        """Whether user code should find the run it is in as OpenTelemetry's current span."""
        self._spans: list[Callable[[Started], Span | None]] = [sink.span for sink in in_context if hasattr(sink, "span")]
        self._ids_only = len(self._spans) < len(in_context)
        self._calls = tuple(map(self._called, sinks))
        for sink in sinks:
            self._ask(sink, "watch", self.health)
        _living.add(self)
        atexit.unregister(_last_words)
        atexit.register(_last_words)  # exit hooks run last in, first out: before those of the sinks, which close them

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """As they were given."""
        return self._sinks

    @property
    def tracker(self) -> Tracker:
        """The open runs. One for all handlers, so that a run which two of them report is recorded once."""
        if self._tracker is None:
            from langgraph_observe.capture.tracker import Tracker

            self._tracker = Tracker(self)
        return self._tracker

    @property
    def handler(self) -> CallbackHandler:
        """A callback handler for this Observer, without options."""
        return self.handle()

    def handle(self, **options: Unpack[Options]) -> CallbackHandler:
        """A callback handler for this Observer."""
        from langgraph_observe.capture.handler import CallbackHandler

        return CallbackHandler(observer=self, **options)

    def watch(self, graph: AnyGraph, **options: Unpack[Options]) -> AnyGraph:
        """A copy of the compiled graph whose runs this Observer sees. The graph given is left as it is."""
        from langgraph_observe.capture.watched import watched

        if not self._sinks:
            return graph
        seen: AnyGraph = watched(graph, self.handle(**options))
        nodes = [name for name in getattr(seen, "nodes", ()) if not name.startswith("__")]
        for sink in self._sinks:
            self._ask(sink, "expect", getattr(seen, "name", None) or "LangGraph", nodes, options.get("labels"))
        return seen

    def emit(self, record: Record) -> Record | None:
        """Through the processors, to every sink. What the processors made of it, None if they dropped it.

        Every run that started ends: a `Finished` that is dropped goes on without its content.
        """
        for process in self._process:
            try:
                out = process(record)
            except Exception as error:  # a redactor that fails must not let the record through
                self.failed(_name(process), error)
                out = None
            if out is None:
                if not isinstance(record, Finished):
                    return None
                out = _bare(record)
            record = out
        for sink in self._calls:
            try:
                sink(record)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # a CancelledError of the sink's own would cancel the agent
                self.failed(self._names[id(sink)], error)
        return record

    def span(self, run: Started) -> Span | None:
        """What stands for this run in OpenTelemetry's context: a sink's live span, else one that has its ids only."""
        for source in self._spans:
            if (span := source(run)) is not None:
                return span
        if not self._ids_only:
            return None
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

        return NonRecordingSpan(
            SpanContext(int(run.trace_id, 16), int(run.span_id, 16), is_remote=False, trace_flags=TraceFlags(1))
        )

    def failed(self, who: str, error: BaseException) -> None:
        """Count a fault of ours or of a sink's; log the first of its kind. In strict mode, raise it."""
        self._errors[who] += 1
        if strict:
            raise error
        if (who, type(error)) not in self._logged:
            self._logged.add((who, type(error)))
            log.warning("%s failed with %s; the agent goes on, further ones are counted only", who, type(error).__name__)

    def score(
        self, name: str, value: float | str, *, trace_id: str, span_id: str | None = None, run_id: str | None = None,
        comment: str | None = None, source: str = "api", id: str | None = None,  # noqa: A002 - the record's own name for it
    ) -> Scored:  # fmt: skip
        """Feedback or an evaluation for a run. The same `id` again replaces what was said.

        Raises ValueError for a trace id that is not 32 hex digits and for a number that is none.
        """
        if not _TRACE_ID.fullmatch(trace_id) or (isinstance(value, float) and not math.isfinite(value)):
            message = "a score needs a trace id of 32 hex digits and a finite value"
            raise ValueError(message)
        scored = Scored(
            trace_id=trace_id, name=text(name), value=text(value) if isinstance(value, str) else value, span_id=span_id, run_id=run_id,
            comment=None if comment is None else text(comment), source=source, at_ns=time.time_ns(),
            id=id or uuid.uuid4().hex,
        )  # fmt: skip
        self.emit(scored)
        return scored

    def flush(self, timeout: float = 5.0) -> bool:
        """Deliver what was recorded before now, within `timeout` seconds in all. False if something is left."""
        deadline = time.monotonic() + timeout
        done = True
        for sink in self._sinks:
            done &= self._ask(sink, "flush", max(0.0, deadline - time.monotonic())) is not False
        return done

    def close(self, timeout: float = 5.0) -> None:
        """End the open runs as abandoned, flush, close every sink. Idempotent; what comes later is dropped by the sinks."""
        if self._closed:
            return
        self._closed = True
        deadline = time.monotonic() + timeout
        self.abandon()
        self.flush(timeout)
        for sink in self._sinks:
            self._ask(sink, "close", max(0.0, deadline - time.monotonic()))

    def abandon(self) -> None:
        """End the open runs, as abandoned."""
        if self._tracker is not None:
            self._tracker.close()

    def _called(self, sink: Sink) -> Sink:
        """What is called for a sink: itself, unless another Observer has it, too."""
        for other in list(_living):
            if (call := other._share(sink)) is not None:  # noqa: SLF001 - this class's own
                return self._named(Shared(sink, call.taken), sink)
        return sink

    def _share(self, sink: Sink) -> Shared | None:
        """What is called from now on for this sink, if it is one of ours."""
        position = next((position for position, mine in enumerate(self._sinks) if mine is sink), None)
        if position is None:
            return None
        call = self._calls[position]
        if not isinstance(call, Shared):
            call = self._named(Shared(sink, set()), sink)
            self._calls = (*self._calls[:position], call, *self._calls[position + 1 :])
        return call

    def _named(self, call: Shared, sink: Sink) -> Shared:
        self._names[id(call)] = self._names[id(sink)]
        return call

    def _ask(self, sink: Sink, method: str, *arguments: object) -> object:
        try:
            call: Callable[..., object] | None = getattr(sink, method, None)
            return call(*arguments) if callable(call) else None
        except Exception as error:
            self.failed(self._names[id(sink)], error)
            return None

    def health(self) -> dict[str, dict[str, int]]:
        """For each sink by name: queued, dropped, errors and whatever it counts. Under `capture`: runs open now, errors.

        A processor is there once it has failed.
        """
        report = {"capture": {"open": len(self._tracker) if self._tracker else 0, "errors": 0}}
        for sink in self._sinks:
            counts = self._ask(sink, "health")
            known = counts if isinstance(counts, dict) else {}
            report[self._names[id(sink)]] = {"errors": 0, **{key: count for key, count in known.items() if isinstance(count, int)}}
        for name, errors in list(self._errors.items()):
            report.setdefault(name, {"errors": 0})["errors"] += errors
        return report

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def observe(graph: AnyGraph, *sinks: Sink, process: Iterable[Processor] | None = None, **options: Unpack[Options]) -> AnyGraph:
    """A copy of a compiled LangGraph graph, of its own class, whose every run is recorded.

    With no sinks: to the default Observer, made from the environment and shared by the process. The agent's results,
    exceptions, types and streaming order are those without us. Raises TypeError for what is no compiled graph.
    """
    return _observer(sinks, process).watch(graph, **options)


def _observer(sinks: Sequence[Sink], process: Iterable[Processor] | None) -> Observer:
    return Observer(*sinks, process=process) if sinks else default()


def default() -> Observer:
    """The process's Observer, made on first use from the environment (the README's table)."""
    global _default  # noqa: PLW0603 - the one singleton
    if _default is None:
        with _defaulting:
            if _default is None:
                _default = Observer(*_from_environment())
    return _default


def flush_all(timeout: float = 5.0) -> bool:
    """Deliver what the Observers of this process have, within `timeout` seconds in all: reads see their own writes."""
    deadline = time.monotonic() + timeout
    done = True
    for observer in list(_living):
        done &= observer.flush(max(0.0, deadline - time.monotonic()))
    return done


def score(name: str, value: float | str, **told: Any) -> Scored:
    """By the default Observer, which the first score makes. Arguments are those of `Observer.score`."""
    return default().score(name, value, **told)


def _default_process() -> list[Processor]:
    from langgraph_observe.process.price import price
    from langgraph_observe.process.redact import redact

    return [redact(), price()]


def _from_environment() -> Iterator[Sink]:
    """A backend that cannot be had is named in one warning, and the others go on without it."""
    if _off("LANGGRAPH_OBSERVE_ENABLED"):
        return
    for make in (_store, _langfuse, _spans, _events, _metrics, _meters, _lines):
        try:
            if (sink := make()) is not None:
                yield sink
        except Exception as error:
            log.warning("%s is left out: %s", make.__name__.lstrip("_"), error)


def _off(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() in {"off", "false", "0", "no"}


def _store() -> Sink | None:
    from langgraph_observe.sinks.store import Store
    from langgraph_observe.sinks.store.schema import configured_path

    path = configured_path()
    return None if path is None else Store(path)


def _langfuse() -> Sink | None:
    if not (os.environ.get("LANGFUSE_PUBLIC_KEY") or os.environ.get("LANGFUSE_SECRET_KEY")) or _off("LANGFUSE_TRACING_ENABLED"):
        return None
    from langgraph_observe.sinks.langfuse import Traces

    return Traces()


def _spans() -> Sink:
    from langgraph_observe.sinks import otel

    return otel.exporting() if otel.wanted() else otel.Spans()


def _events() -> Sink:
    from langgraph_observe.sinks.events import Events

    return Events()


def _metrics() -> Sink:
    from langgraph_observe.sinks.prometheus import Metrics

    return Metrics()


def _meters() -> Sink:
    from langgraph_observe.sinks.meter import Meters

    return Meters()


def _lines() -> Sink:
    from langgraph_observe.sinks.log import Lines

    return Lines()


def _name(part: object) -> str:
    kind: Any = part if hasattr(part, "__qualname__") else type(part)
    room = (kind.__module__ or "").rpartition(".")[2]  # a built-in method, such as `seen.append`, has no module
    return f"{room}.{kind.__qualname__}".lstrip(".")


def _distinct(names: Sequence[str]) -> list[str]:
    """The same names; of those that stand there more than once, the second and later ones with their number."""
    return [
        name if (before := names[:position].count(name)) == 0 else f"{name}#{before + 1}" for position, name in enumerate(names)
    ]


def _bare(record: Finished) -> Finished:
    failure = record.failure and Failure(record.failure.type, "")
    return replace(record, input=None, output=None, failure=failure)


def _last_words() -> None:
    """At exit: end what is open, and hurry. What is slower than this, `Deferred`'s own exit hook waits for."""
    for observer in list(_living):
        observer.abandon()
    flush_all(2.0)
