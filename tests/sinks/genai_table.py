"""OpenTelemetry's GenAI conventions as a table of our own: which operation has which span, which attribute, which value.

Written from open-telemetry/semantic-conventions-genai, which has no release: spans at 024a4f94, events at 03870916, messages at
2b902ce1, as our notes of November 2026 have them. The last release with GenAI in it is v1.41.1 of semantic-conventions. In
neither are: the proposals (`invoke_node` and `gen_ai.node.name`, #188; pauses, #445), the direction of the SIG (agent and
conversation on every layer, #522) and our extensions under `langgraph.` and `langgraph_observe.`. Metrics: `metric_rules`.
"""

from __future__ import annotations

from typing import NamedTuple

from opentelemetry.trace import SpanKind

CLIENT, INTERNAL = SpanKind.CLIENT, SpanKind.INTERNAL

ROLES = {"system", "user", "assistant", "tool", "developer"}
"""The last is OpenAI's own, for `system`."""
MODALITIES = {"image", "video", "audio", "document"}
FINISH_REASONS = {"stop", "length", "content_filter", "tool_call", "compaction", "error"}
"""Of an output message; the span's `finish_reasons` are the provider's own words."""

TYPES: dict[str, type] = {
    "server.port": int,
    "gen_ai.request.stream": bool,
    "gen_ai.request.stop_sequences": list,
    "gen_ai.response.finish_reasons": list,
    "gen_ai.response.time_to_first_chunk": float,
    "gen_ai.evaluation.score.value": float,
    **dict.fromkeys((f"gen_ai.request.{name}" for name in ("max_tokens", "top_k", "seed", "choice.count")), int),
    **dict.fromkeys(
        (f"gen_ai.request.{name}" for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty")), float
    ),
    "gen_ai.retrieval.top_k": int,
    "langgraph.attempt": int,
    "langgraph.command.goto": list,
    "langgraph.cost": float,
    "langgraph.interrupted": bool,
    "langgraph.interrupt.ids": list,
    "langgraph.node.step": int,
    "langgraph.node.triggers": list,
    "langgraph_observe.cached": bool,
    "langgraph_observe.usage.estimated": bool,
    "http.response.status_code": int,
    "langgraph_observe.stream.kinds": list,
    "langgraph_observe.stream.resumed": bool,
    **dict.fromkeys((f"langgraph_observe.stream.{name}" for name in ("keepalives", "bytes", "errors", "stalls", "pieces")), int),
    **dict.fromkeys(
        (f"langgraph_observe.stream.{name}" for name in ("longest_gap", "time_to_last_piece", "time_to_first_piece")), float
    ),
}
"""What is no text. All of `gen_ai.usage.` are whole numbers; a list is one of texts."""

VALUES = {
    "gen_ai.output.type": {"text", "json", "image", "speech"},
    "gen_ai.tool.type": {"function", "extension", "datastore"},
    "gen_ai.request.stream": {True},  # unset otherwise
    "input.mime_type": {"application/json"},
    "output.mime_type": {"application/json"},
    "langgraph.interrupted": {True},
    "langgraph_observe.cached": {True},
    "openinference.span.kind": {"CHAIN", "RETRIEVER"},
    "langgraph_observe.usage.estimated": {True},
    "langgraph_observe.outcome": {"error", "interrupted", "cancelled", "abandoned"},
}
TYPE_NAMES = {"LangGraph", "StateGraph", "CompiledStateGraph", "Pregel"}
"""What a graph is called that nobody has named: no name of a workflow."""

JSON = {
    "gen_ai.input.messages": "input",
    "gen_ai.output.messages": "output",
    "gen_ai.system_instructions": "instructions",
    "gen_ai.tool.definitions": "tools",
    "gen_ai.retrieval.documents": "documents",
    "gen_ai.tool.call.arguments": "any",
    "gen_ai.tool.call.result": "any",
    "input.value": "any",
    "output.value": "any",
}
"""Content that is JSON text on a span and structures in an event, by its shape in `genai_messages`."""
CONTENT = {*JSON, "gen_ai.retrieval.query.text", "input.mime_type", "output.mime_type"}
"""Shown where the switch for content says so, and nowhere else."""

SIDES = {
    "input": {"gen_ai.input.messages", "gen_ai.tool.call.arguments", "gen_ai.retrieval.query.text", "input.value"},
    "output": {"gen_ai.output.messages", "gen_ai.tool.call.result", "gen_ai.retrieval.documents", "output.value"},
}
"""What was given and what came out, under the name that the operation has for it."""

ERAS = {"gen_ai.usage.cache_creation.input_tokens": "released", "gen_ai.usage.cache_write.input_tokens": "latest"}
"""Names that the release and the conventions of today do not share: told under `released`, `latest`, or `both`."""

USAGE = {
    f"gen_ai.usage.{part}_tokens"
    for part in ("input", "output", "cache_read.input", "cache_creation.input", "cache_write.input", "reasoning.output")
} | {f"gen_ai.usage.{modality}.{side}_tokens" for modality in ("text", "image", "audio", "video") for side in ("input", "output")}
SERVER = {"server.address", "server.port"}
ASKED = {
    f"gen_ai.request.{name}"
    for name in (
        "max_tokens",
        "choice.count",
        "temperature",
        "top_p",
        "stop_sequences",
        "frequency_penalty",
        "presence_penalty",
        "seed",
    )
} | {"gen_ai.output.type", "gen_ai.response.finish_reasons"}
CONVERSATION = {"gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions"}
VALUE = {"input.value", "input.mime_type", "output.value", "output.mime_type"}
"""OpenInference's: of a state, which is no message, of documents with their text, and of an agent, for lists of traces."""

APPLICATION = "user."
"""What the application puts on a span of ours is its own affair; in the tests it has this prefix."""
STREAM = {
    f"langgraph_observe.stream.{name}" for name in ("timeline", "longest_gap", "time_to_last_piece", "time_to_first_piece")
} | {f"langgraph_observe.stream.{name}" for name in ("kinds", "resumed", "keepalives", "bytes", "errors", "stalls", "pieces")}
"""Of whatever was streamed."""
HTTP = {"http.route", "http.request.method", "http.response.status_code"}
EVERYWHERE = STREAM | {
    "error.type",
    "gen_ai.agent.name",
    "gen_ai.conversation.id",
    "gen_ai.operation.name",
    "langgraph.checkpoint_ns",
    "langgraph.command.goto",
    "langgraph.interrupted",
    "langgraph_observe.end_reason",
    "langgraph_observe.outcome",
    "openinference.span.kind",
    "session.id",
    "user.id",
}


class Row(NamedTuple):
    """One kind of span."""

    kind: SpanKind
    subject: str | None
    """The attribute that the span's name ends with, where it has a value."""
    required: set[str]
    allowed: set[str]
    """Besides the required and those of every span."""


_AGENT = ASKED | CONVERSATION | VALUE | {"gen_ai.agent.description", "gen_ai.request.model", "gen_ai.data_source.id"}
_OURS = {"langgraph.cost", "langgraph_observe.cached", "langgraph_observe.usage.estimated", "langgraph_observe.usage.method"}

SPANS: dict[str | None, tuple[Row, ...]] = {
    "chat": (
        Row(
            CLIENT,
            "gen_ai.request.model",
            {"gen_ai.provider.name"},
            ASKED
            | CONVERSATION
            | SERVER
            | USAGE
            | _OURS
            | {f"gen_ai.request.{name}" for name in ("model", "top_k", "stream", "reasoning.level", "previous_response.id")}
            | {f"gen_ai.response.{name}" for name in ("id", "model", "time_to_first_chunk")}
            | {"gen_ai.prompt.name", "gen_ai.prompt.version"},
        ),
    ),
    "retrieval": (
        Row(
            CLIENT,
            "gen_ai.data_source.id",
            set(),
            SERVER
            | {f"gen_ai.retrieval.{name}" for name in ("top_k", "query.text", "documents")}
            | {"gen_ai.data_source.id", "gen_ai.provider.name", "gen_ai.request.model"}
            | VALUE,
        ),
    ),
    "execute_tool": (
        Row(
            INTERNAL,
            "gen_ai.tool.name",
            {"gen_ai.tool.name"},
            {f"gen_ai.tool.{name}" for name in ("type", "description", "call.id", "call.arguments", "call.result")},
        ),
    ),
    "invoke_agent": (
        Row(INTERNAL, "gen_ai.agent.name", set(), _AGENT | {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"}),
        Row(
            CLIENT,
            "gen_ai.agent.name",
            {"gen_ai.provider.name"},
            _AGENT | USAGE | SERVER | {"gen_ai.agent.id", "gen_ai.agent.version"},
        ),
    ),
    "invoke_workflow": (
        Row(
            INTERNAL,
            "gen_ai.workflow.name",
            set(),
            {"gen_ai.workflow.name", "gen_ai.input.messages", "gen_ai.output.messages"} | VALUE,
        ),
    ),
    "invoke_node": (
        Row(
            INTERNAL,
            "gen_ai.node.name",
            {"gen_ai.node.name"},
            VALUE | {"langgraph.attempt", "langgraph.node.step", "langgraph.node.triggers", "langgraph_observe.cached"},
        ),
    ),
    None: (Row(INTERNAL, None, set(), VALUE | HTTP),),
}
"""Operation → its rows; where there are two, the first is that of this process. What is no operation has a span of its own name."""


class Event(NamedTuple):
    """One kind of log record."""

    severity: int | None
    required: set[str]
    allowed: set[str]
    content: frozenset[str] = frozenset()
    """Only where the switch for content says so."""
    era: str | None = None
    """With these names alone."""


_EXCEPTION = Event(13, {"exception.type"}, set(), frozenset({"exception.message", "exception.stacktrace"}))
_PAUSE = Event(
    None,
    set(),
    {
        "langgraph.interrupt.reason",
        "langgraph.interrupt.ids",
        "gen_ai.agent.pause.id",
        "gen_ai.conversation.id",
        "gen_ai.agent.name",
    },
    era="latest",
)
EVENTS = {
    "gen_ai.client.inference.operation.details": Event(
        5,
        {"gen_ai.operation.name", "gen_ai.provider.name"},
        SPANS["chat"][0].allowed - CONVERSATION | EVERYWHERE,
        frozenset(CONVERSATION),
    ),
    "gen_ai.client.operation.exception": _EXCEPTION,
    "exception": _EXCEPTION,
    "gen_ai.evaluation.result": Event(
        None,
        {"gen_ai.evaluation.name"},
        {"langgraph_observe.evaluation.id", "langgraph_observe.evaluation.source", "gen_ai.response.id", "error.type"}
        | {"gen_ai.evaluation.score.value", "gen_ai.evaluation.score.label"},
        frozenset({"gen_ai.evaluation.explanation"}),
    ),
    "gen_ai.agent.paused": _PAUSE,
    "gen_ai.agent.resumed": _PAUSE,
}
NOTES = ("name", "payload")
"""Of a note, which is an event of the span, `langgraph.<kind>`: its attributes after that, the latter content."""
