"""The record's ids on OpenTelemetry's spans: one trace id and one span id in every sink."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import Tracer
from opentelemetry.sdk.trace.id_generator import IdGenerator

from langgraph_observe.sinks import gen_ai

if TYPE_CHECKING:
    from opentelemetry import trace


class Minted(threading.local):
    """Of this thread. Not a context variable: a task that a span processor creates would inherit it."""

    ids: tuple[int, int] | None = None
    """Trace id and span id of the span that is being started; None while none is."""


minted: Final = Minted()


class Ids(IdGenerator):
    """Hand out the ids that the record has, and the provider's own to anybody else."""

    def __init__(self, own: IdGenerator) -> None:
        self._own = own
        self.open: dict[str, trace.Span] = {}
        """The spans of this provider that are open, by LangChain's run id: whichever sink is told of a run first makes its span."""

    def generate_trace_id(self) -> int:
        """Of a root."""
        return minted.ids[0] if minted.ids else self._own.generate_trace_id()

    def generate_span_id(self) -> int:
        """Of every span."""
        return minted.ids[1] if minted.ids else self._own.generate_span_id()

    def is_trace_id_random(self) -> bool:
        """False for a record's: its owner may have chosen it."""
        return minted.ids is None and self._own.is_trace_id_random()


def tracer_of(provider: trace.TracerProvider) -> trace.Tracer:
    """Our tracer. The SDK caches it per scope, and its id generator is an attribute of the tracer: the provider is not touched.

    A provider that is not the SDK's keeps its own ids.
    """
    tracer = provider.get_tracer(gen_ai.SCOPE, gen_ai.VERSION)
    if isinstance(tracer, Tracer) and not isinstance(tracer.id_generator, Ids):
        tracer.id_generator = Ids(tracer.id_generator)
    return tracer


def spans_of(tracer: trace.Tracer) -> dict[str, trace.Span]:
    """The spans that are open on this tracer's provider, by LangChain's run id. A foreign provider's are not known."""
    ids = getattr(tracer, "id_generator", None)
    return ids.open if isinstance(ids, Ids) else {}
