"""What is around a run in OpenTelemetry: whether its caller wants instrumentation, whether it is sampled, the context of its span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.trace import TraceFlags

if TYPE_CHECKING:
    from langgraph_observe.records import Scored, Started

SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


def suppressed() -> bool:
    """Whether the caller suppresses instrumentation, by the API's key or by that of older instrumentations."""
    return bool(otel.get_value(_SUPPRESS_INSTRUMENTATION_KEY) or otel.get_value("suppress_instrumentation"))


def flags(root: Started) -> TraceFlags:
    """Sampled, unless the caller's span, which is the root's parent, is not. What a sampler says of our own is not known here."""
    caller = trace.get_current_span().get_span_context()
    return caller.trace_flags if f"{caller.span_id:016x}" == root.parent_span_id else SAMPLED


def context(ids: Started | Scored, flags: TraceFlags) -> otel.Context:
    """That of the run's span, by the ids that the record gives it; of a score of a whole trace, that of no span."""
    span = trace.SpanContext(int(ids.trace_id, 16), int(ids.span_id or "0", 16), is_remote=False, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(span), otel.Context())
