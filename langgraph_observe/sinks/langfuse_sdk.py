"""What of Langfuse's own SDK is in the same process: which spans it need not send, what it says about the runs inside of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry import context as otel
from opentelemetry import trace

from langgraph_observe.sinks import gen_ai

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from langgraph_observe.records import Started
    from langgraph_observe.sinks.gen_ai import Attributes

_PROPAGATED: Final = {
    "session_id": "session.id",
    "user_id": "user.id",
    "trace_name": "langfuse.trace.name",
    "tags": "langfuse.trace.tags",
    "environment": "langfuse.environment",
    "version": "langfuse.version",
}
"""What the SDK keeps in OpenTelemetry's context, under `langfuse.propagated.`, and the attribute that it becomes."""


def others(span: ReadableSpan) -> bool:
    """For `Langfuse(should_export_span=others)`, in an application that uses the SDK (`@observe`) beside this sink.

    The SDK's processor takes every span with a `gen_ai` attribute from the application's provider. Left out here are those of
    `otel.Spans`, which would arrive twice, and what a provider's client (Anthropic's traces by itself) or an instrumentation of
    one tells of a model call that is recorded already: its tokens would be paid for twice.
    """
    from langfuse.span_filter import is_default_export_span

    if span.instrumentation_scope is not None and span.instrumentation_scope.name == gen_ai.SCOPE:
        return span.end_time is None  # asked at its start, whether it will arrive: what is inside of it is no root
    return is_default_export_span(span) and not _told_twice(span)


def sends_ours(public_key: str) -> bool:
    """Whether the SDK sends to this project whatever the application's provider has by the rule of its own, not by `others`."""
    active = getattr(trace.get_tracer_provider(), "_active_span_processor", None)
    processors = getattr(active, "_span_processors", ())  # the SDK's own: a tuple
    return isinstance(processors, tuple) and any(
        getattr(one, "public_key", None) == public_key
        and str(getattr(getattr(one, "_should_export_span", None), "__module__", "")).startswith("langfuse.")
        for one in processors
    )


def _told_twice(span: ReadableSpan) -> bool:
    """Whether it is a generation inside of a model call of ours. What a user observes in a model of his own is none."""
    kind = (span.attributes or {}).get("langfuse.observation.type", "generation")
    return kind == "generation" and span.parent is not None and trace.format_span_id(span.parent.span_id) in calls


class Recent:
    """The last few thousand ids. Not those of open calls only: a client whose stream is broken off ends its span later.

    Takes no lock, and may be entered again from within.
    """

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._new: set[str] = set()
        self._old: set[str] = set()

    def add(self, name: str) -> None:
        """Remember it; now and then, forget the older half."""
        if len(self._new) >= self._most:
            self._new, self._old = set(), self._new
        self._new.add(name)

    def __contains__(self, name: str) -> bool:
        return name in self._new or name in self._old


calls: Final = Recent()
"""Model calls that are sent to Langfuse, of every sink: `others` is a function, not a method, since it is needed before any."""


class Around(NamedTuple):
    """What a root finds around it where the application uses Langfuse's SDK, too."""

    nested: bool
    """Whether it is inside of an observation of the SDK: then it is no root in Langfuse."""
    said: Attributes
    """By `langfuse.propagate_attributes`."""


NOTHING: Final = Around(nested=False, said={})


def around(run: Started, public_key: str) -> Around:
    """For a root that begins, on the thread where it does. `NOTHING` where the SDK is not used, or for another project."""
    return Around(_nested(run, public_key), _propagated())


def _nested(run: Started, public_key: str) -> bool:
    parent = trace.get_current_span()
    scope = getattr(parent, "instrumentation_scope", None)
    if getattr(scope, "name", None) != "langfuse-sdk" or (getattr(scope, "attributes", None) or {}).get("public_key") != public_key:
        return False
    return trace.format_span_id(parent.get_span_context().span_id) == run.parent_span_id


def _propagated() -> Attributes:
    context = otel.get_current()
    said = {name: context.get(f"langfuse.propagated.{key}") for key, name in _PROPAGATED.items()}
    metadata = context.get("langfuse.propagated.metadata")
    if isinstance(metadata, dict):
        said |= {f"langfuse.trace.metadata.{key}": _plain(value) for key, value in metadata.items()}
    return gen_ai.known({key: value for key, value in said.items() if isinstance(value, (str, list))})


def _plain(value: object) -> object:
    """The SDK keeps metadata as JSON, texts in quotes; its server takes them off in batches that name the SDK only."""
    return json.loads(value) if isinstance(value, str) and value.startswith('"') else value
