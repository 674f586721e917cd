"""Spans that the SDK makes when somebody writes to them, or when their run has ended: it takes longer than all the rest of a run.

A run's ids are known from the beginning, and so are the caller's decision and state: enough for whatever opens a span below.
Where somebody could tell the difference (a processor that is told of starts, a sampler of the user's own), nothing is put off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeGuard

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, StaticSampler, TraceIdRatioBased

if TYPE_CHECKING:
    from collections.abc import Callable

    from langgraph_observe.records import Started

_DEAF: Final = {kind.on_start for kind in (SpanProcessor, BatchSpanProcessor, SimpleSpanProcessor)}
"""What does nothing at a start."""


def puts_off(tracer: trace.Tracer, root: trace.Span) -> bool:
    """Whether the spans below a root may be made late: nobody is told of a start, and all of a trace are sampled or none."""
    return root.is_recording() is root.get_span_context().trace_flags.sampled and _unnoticed(tracer)


def begun(tracer: trace.Tracer, run: Started) -> trace.SpanContext | None:
    """What will be a root's, if that may be made late, too: where every root is sampled, there is nothing to ask the SDK for."""
    if run.parent_span_id is not None or not _unnoticed(tracer):
        return None
    first, enabled = getattr(tracer.sampler, "_root", tracer.sampler), getattr(tracer, "_is_enabled", None)
    if first is not ALWAYS_ON or enabled is None or not enabled():
        return None
    sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    return trace.SpanContext(int(run.trace_id, 16), int(run.span_id, 16), is_remote=False, trace_flags=sampled)


def _unnoticed(tracer: trace.Tracer) -> TypeGuard[Tracer]:
    if type(tracer) is not Tracer or not _of_traces(tracer.sampler):
        return False
    told = getattr(tracer.span_processor, "_span_processors", None)
    return told is not None and all(type(one).on_start in _DEAF for one in told)


def _of_traces(sampler: object) -> bool:
    match sampler:
        case ParentBased() if type(sampler).should_sample is ParentBased.should_sample:
            below = vars(sampler)
            return below.get("_local_parent_sampled") is ALWAYS_ON and below.get("_local_parent_not_sampled") is ALWAYS_OFF
        case _:
            return type(sampler) in (StaticSampler, TraceIdRatioBased)


def _written(name: str) -> Any:
    def write(self: Lazy, *arguments: Any, **options: Any) -> Any:
        try:
            span = self.made()
        except Exception:  # of a processor's: the sink meets it again when the run ends, and counts it
            span = trace.INVALID_SPAN
        return getattr(span, name)(*arguments, **options)

    return write


class Lazy(trace.Span):
    """The span of a run below a root, as far as it is known without the SDK."""

    _made: trace.Span | None = None

    def __init__(self, run: Started, root: trace.SpanContext, make: Callable[..., trace.Span]) -> None:
        """`make(run, bare=…)` starts the SDK's."""
        self._run, self._root, self._make = run, root, make
        self._context: trace.SpanContext | None = None

    def made(self, *, bare: bool = False) -> trace.Span:
        """The SDK's span; of two that two threads make at once, the first. In the middle of another's start, none yet.

        `bare` is one that the sink tells all of at once.
        """
        if self._made is None and (made := self._make(self._run, bare=bare)) is not trace.INVALID_SPAN:
            vars(self).setdefault("_made", made)  # one step
        return self._made or trace.INVALID_SPAN

    def get_span_context(self) -> trace.SpanContext:
        """Its ids; sampled and stated as the root."""
        if self._context is None:
            run, root = self._run, self._root
            self._context = trace.SpanContext(
                int(run.trace_id, 16), int(run.span_id, 16), is_remote=False, trace_flags=root.trace_flags, trace_state=root.trace_state
            )  # fmt: skip
        return self._context

    def is_recording(self) -> bool:
        """Until it has ended, if the root was sampled."""
        return self._root.trace_flags.sampled if self._made is None else self._made.is_recording()

    set_attribute = _written("set_attribute")
    set_attributes = _written("set_attributes")
    add_event = _written("add_event")
    add_link = _written("add_link")
    update_name = _written("update_name")
    set_status = _written("set_status")
    record_exception = _written("record_exception")
    end = _written("end")

    def __getattr__(self, name: str) -> Any:
        if "_make" not in vars(self):  # not yet: it is being copied
            raise AttributeError(name)
        return getattr(self.made(), name)
