"""The gen_ai vocabulary: a run as the name, kind and attributes of OpenTelemetry's GenAI conventions. Pure.

Names follow open-telemetry/semantic-conventions-genai (spans at 024a4f94), which has no release yet. They are written out
here: the constants of `opentelemetry.semconv._incubating` are those of v1.41 and deprecated. What LangGraph alone knows is
under `langgraph.*`, what this package adds under `langgraph_observe.*`; nothing new is put under `gen_ai.*`.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from langgraph_observe.payloads import text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langgraph_observe.records import Failure, Finished, Started

SCOPE: Final = "langgraph_observe"
STREAM: Final = f"{SCOPE}.stream"
VERSION: Final = version("langgraph-observe")
LONGEST: Final = 65_536
"""Characters of an attribute that is no content, and of a name: one of megabytes would cost its span, or the batch around it."""

Value: TypeAlias = str | bool | int | float | list[str]
Attributes: TypeAlias = dict[str, Value]
Era: TypeAlias = Literal["released", "latest"]
Names: TypeAlias = Literal["released", "latest", "both"]

NAMES: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
ERAS: Final[Mapping[Names, frozenset[Era]]] = {
    "released": frozenset({"released"}),
    "latest": frozenset({"latest"}),
    "both": frozenset({"released", "latest"}),
}
RENAMED: Final[Mapping[str, Era]] = {
    "gen_ai.usage.cache_creation.input_tokens": "released",
    "gen_ai.usage.cache_write.input_tokens": "latest",
}
"""Attributes that v1.41, the last release, and the conventions of today call by different names. What only the newer have
replaces nothing, and is told either way."""

OPERATIONS: Final = {
    "graph": "invoke_workflow",
    "agent": "invoke_agent",
    "node": "invoke_node",  # proposal semantic-conventions-genai#188, shipped by Google ADK
    "model": "chat",
    "tool": "execute_tool",
    "retriever": "retrieval",
}
"""A chain (a prompt template, a parser, a sequence) and an HTTP stream are no operation of the conventions: their spans are
named by the run and carry no `gen_ai.operation.name`, since a made-up value would be a violation."""

OPENINFERENCE: Final = {"graph": "CHAIN", "node": "CHAIN", "chain": "CHAIN", "stream": "CHAIN", "retriever": "RETRIEVER"}
"""`openinference.span.kind` of what Phoenix or MLflow do not know by its operation: they would show it as of unknown kind."""

PROVIDERS: Final = {
    "openai-codex": "openai",
    "azure": "azure.ai.openai",
    "amazon_bedrock": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "anthropic-bedrock": "aws.bedrock",
    "openai-mantle": "aws.bedrock",
    "anthropic-mantle": "aws.bedrock",
    "google_genai": "gcp.gen_ai",
    "google_vertexai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "xai": "x_ai",
}
"""LangChain's `ls_provider` → `gen_ai.provider.name`, where they differ."""

_DEFAULT_NAMES: Final = frozenset({"LangGraph", "StateGraph", "CompiledStateGraph", "Pregel"})
"""Type names that LangGraph gives a graph without a name: the conventions forbid them as a workflow's name."""

_UNSAID: Final = {"model": "unknown", "remote": "langgraph"}
"""The provider where nobody names one: a remote graph is spoken to in LangGraph's own protocol."""
_CANCELLED: Final = {"task_cancelled": "asyncio.exceptions.CancelledError"}
_PORTS: Final = {"https": 443, "http": 80}


def names() -> Names:
    """What OTEL_SEMCONV_STABILITY_OPT_IN, a list with commas, says of gen_ai."""
    said = {word.strip() for word in os.environ.get(NAMES, "").split(",")}
    if "gen_ai_latest_experimental/dup" in said:
        return "both"
    return "latest" if "gen_ai_latest_experimental" in said else "released"


def eras(chosen: Names | None) -> frozenset[Era]:
    """Of what was chosen or else of the environment. Raises ValueError for what is no choice."""
    chosen = chosen or names()
    if chosen not in ERAS:
        message = f"names is one of {', '.join(ERAS)}, not {chosen}"
        raise ValueError(message)
    return ERAS[chosen]


def known(attributes: Mapping[str, Value | None]) -> Attributes:
    """The one None-filter: what is unknown is absent. So is an empty list. Texts are bounded, and such that UTF-8 holds them.

    One that it does not hold would cost the whole batch, or, with an SDK of the application's own, who knows what.
    """
    return {key: _clean(value) for key, value in attributes.items() if value is not None and value != []}


def _clean(value: Value) -> Value:
    if isinstance(value, str):
        return text(value) if len(value) <= LONGEST else short(value)
    return [short(item) for item in value] if isinstance(value, list) else value


def short(value: str) -> str:
    """Text that is bounded, and that UTF-8 can hold."""
    return text(value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…")


def operation(run: Started) -> str | None:
    """`gen_ai.operation.name`."""
    return "invoke_agent" if run.remote else OPERATIONS.get(run.kind)


def subject(run: Started) -> str | None:
    """What the operation is about, as low-cardinality as its convention asks for; None where nobody named it."""
    match run.kind:
        case "model":
            return run.model
        case "tool":
            return run.name
        case "node":
            return run.node or run.name
        case "agent":
            return _given(run.agent, run.name, run.graph)
        case "graph":
            return _given(run.graph, run.name)
        case _:
            return None


def agent(run: Started) -> str | None:
    """`gen_ai.agent.name` of every run in an agent; None where nobody named it."""
    return subject(run) if run.kind == "agent" or run.remote else _given(run.agent)


def _given(*names: str | None) -> str | None:
    return next((name for name in names if name and name not in _DEFAULT_NAMES), None)


def span_name(run: Started) -> str:
    """`{operation} {subject}`, or the run's own name where there is no operation."""
    words = (operation(run), subject(run))
    return short(" ".join(word for word in words if word) or run.name)


def span_kind(run: Started) -> SpanKind:
    """CLIENT for what leaves the process."""
    return SpanKind.CLIENT if run.remote or run.kind in {"model", "retriever"} else SpanKind.INTERNAL


def provider(run: Started) -> str | None:
    """`gen_ai.provider.name`. Required of what leaves the process but a retriever's search; the conventions forbid it of an agent here."""
    name = run.provider or _UNSAID.get("remote" if run.remote else run.kind)
    return PROVIDERS.get(name, name) if name and span_kind(run) is SpanKind.CLIENT else None


def begun(run: Started) -> Attributes:
    """What a sampler may want to know, at the start of the span."""
    host, port = server(run.base_url)
    return known(
        {
            "server.address": host,
            "server.port": port,
            "gen_ai.tool.type": "function" if run.kind == "tool" else None,
            "gen_ai.agent.name": agent(run),
            "gen_ai.request.model": run.model if run.kind == "model" else None,
            "gen_ai.tool.name": run.name if run.kind == "tool" else None,
            "gen_ai.provider.name": provider(run),
            "gen_ai.operation.name": operation(run),
        }
    )


def server(base_url: str | None) -> tuple[str | None, int | None]:
    """Host and port, never the user name, the password or the query that a URL may hold."""
    if not base_url:  # all but models
        return None, None
    try:
        url = urlsplit(base_url)
        return url.hostname, (url.port or _PORTS.get(url.scheme)) if url.hostname else None
    except ValueError:
        return None, None


def ended(record: Finished, told: frozenset[Era] = ERAS["both"]) -> Attributes:
    """All attributes but content. Reads the usage: not on the agent's thread.

    The least important first: where there is room for a few only, the SDK keeps those that were set last.
    """
    run = record.run
    ours: dict[str, Value | None] = {
        "langgraph.command.goto": list(record.goto),
        "langgraph.checkpoint_ns": run.checkpoint_ns,
        "langgraph.interrupted": True if record.outcome == "interrupted" else None,
        "langgraph_observe.outcome": record.outcome if record.outcome != "ok" else None,
        "langgraph_observe.end_reason": record.reason,
    }
    theirs: dict[str, Value | None] = {
        "openinference.span.kind": OPENINFERENCE.get(run.kind),
        "user.id": run.user_id,
        "session.id": run.session_id,  # where backends look first: a session may be several conversations
        "gen_ai.conversation.id": run.thread_id or run.session_id,
    }
    required = begun(run) | known({"error.type": error_type(record)})
    ours |= _of_stream(record)
    made = known(ours | _OF_KIND.get(run.kind, _nothing)(record) | theirs) | required
    return {name: value for name, value in made.items() if RENAMED.get(name) is None or RENAMED[name] in told}


def _of_stream(record: Finished) -> dict[str, Value | None]:
    """Pieces over time, of whatever was streamed. Times are seconds since the start of the run."""
    if (stream := record.stream) is None:
        return {}
    return {
        f"{STREAM}.timeline": json.dumps([[round(at, 4), pieces] for at, pieces in stream.timeline]) if stream.timeline else None,
        f"{STREAM}.kinds": sorted(stream.kinds),
        f"{STREAM}.keepalives": stream.keepalives,
        f"{STREAM}.bytes": stream.bytes,
        f"{STREAM}.resumed": stream.resumed or None,
        f"{STREAM}.errors": stream.errors or None,
        f"{STREAM}.stalls": stream.stalls or None,
        f"{STREAM}.longest_gap": stream.longest_gap_seconds,
        f"{STREAM}.time_to_last_piece": stream.last_seconds,
        f"{STREAM}.time_to_first_piece": record.first_token_seconds,
        f"{STREAM}.pieces": stream.pieces,
    }


def _of_http(record: Finished) -> dict[str, Value | None]:
    """OpenTelemetry's own names of HTTP. `observe_stream` knows no request."""
    told = record.run.metadata
    method, status = _text(told.get("http.request.method")), _int(told.get("http.response.status_code"))
    return {"http.route": record.run.name if method else None, "http.request.method": method, "http.response.status_code": status}


def _nothing(_: Finished) -> dict[str, Value | None]:
    return {}


def _of_graph(record: Finished) -> dict[str, Value | None]:
    return {} if record.run.remote else {"gen_ai.workflow.name": subject(record.run)}


def _of_agent(record: Finished) -> dict[str, Value | None]:
    return {"gen_ai.agent.description": record.run.description}


def _of_node(record: Finished) -> dict[str, Value | None]:
    run = record.run
    return {
        "gen_ai.node.name": subject(run),
        "langgraph.node.step": run.step,
        "langgraph.node.triggers": list(run.triggers),
        "langgraph.attempt": run.attempt,
        "langgraph_observe.cached": record.cached or None,
    }


def _of_tool(record: Finished) -> dict[str, Value | None]:
    return {"gen_ai.tool.call.id": record.run.tool_call_id, "gen_ai.tool.description": record.run.description}


def _of_retriever(record: Finished) -> dict[str, Value | None]:
    return {"gen_ai.retrieval.top_k": _int(record.run.parameters.get("k"))}


def _of_model(record: Finished) -> dict[str, Value | None]:
    run = record.run
    streamed = run.streaming or record.stream is not None
    cut = record.reason == "stream_closed" and not record.finish_reasons
    return (
        {name: convert(run.parameters[key]) for key, (name, convert) in _PARAMETERS.items() if key in run.parameters}
        | {
            "gen_ai.request.stream": streamed or None,
            "gen_ai.response.model": record.model,
            "gen_ai.response.id": record.response_id,
            "gen_ai.response.finish_reasons": ["error"] if cut else list(record.finish_reasons),
            "gen_ai.response.time_to_first_chunk": record.first_token_seconds if streamed else None,
            "gen_ai.prompt.name": run.prompt.name if run.prompt else None,
            "gen_ai.prompt.version": str(run.prompt.version) if run.prompt else None,
            "langgraph_observe.cached": record.cached or None,
        }
        | _usage(record)
    )


_OF_KIND: Final[Mapping[str, Callable[[Finished], dict[str, Value | None]]]] = {
    "graph": _of_graph,
    "agent": _of_agent,
    "node": _of_node,
    "tool": _of_tool,
    "retriever": _of_retriever,
    "model": _of_model,
    "stream": _of_http,
}


def _usage(record: Finished) -> dict[str, Value | None]:
    """Totals, and parts of them. An answer from LangChain's cache consumed nothing: its tokens are those of another call."""
    if (usage := record.usage) is None:
        return {}
    cost: dict[str, Value | None] = {"langgraph.cost": float(usage.cost) if usage.cost is not None else None}
    if record.cached:
        return cost
    return cost | {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.cache_write.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "gen_ai.usage.audio.input_tokens": usage.input_audio_tokens,
        "gen_ai.usage.audio.output_tokens": usage.output_audio_tokens,
        "langgraph_observe.usage.estimated": usage.estimated or None,
        "langgraph_observe.usage.method": usage.method,
    }


def error_type(record: Finished) -> str | None:
    """`error.type`: a class name, never a message. None for what is no error: a human in the loop, a closed stream."""
    failure = record.failure.type if record.failure else None
    match record.outcome, record.reason:
        case "error", _:
            return failure or "_OTHER"
        case "cancelled", "stream_closed" | "client_disconnect":
            return None
        case "cancelled", _:
            return failure or _CANCELLED.get(record.reason or "", record.reason) or "_OTHER"
        case "abandoned", _:
            return failure
        case _:
            return None


def exception(failure: Failure, *, shown: bool) -> Attributes:
    """`exception.*`. Its message and its stack are shown where content is: they may quote a prompt."""
    told: dict[str, Value | None] = {"exception.type": failure.type}
    if shown:
        told |= {"exception.message": failure.message or None, "exception.stacktrace": failure.stack}
    return known(told)


def _int(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _texts(value: object) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    return [item for item in value if isinstance(item, str)] if isinstance(value, (list, tuple)) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _choices(value: object) -> int | None:
    return count if (count := _int(value)) != 1 else None


def _output(value: object) -> str | None:
    match value:
        case {"type": "json_object" | "json_schema"}:
            return "json"
        case {"type": "text"}:
            return "text"
        case _:
            return None


def _effort(value: object) -> str | None:
    return _text(value.get("effort")) if isinstance(value, dict) else _text(value)


_PARAMETERS: Final[Mapping[str, tuple[str, Callable[[object], Value | None]]]] = {
    "max_output_tokens": ("gen_ai.request.max_tokens", _int),
    "max_completion_tokens": ("gen_ai.request.max_tokens", _int),
    "max_tokens": ("gen_ai.request.max_tokens", _int),
    "temperature": ("gen_ai.request.temperature", _float),
    "top_p": ("gen_ai.request.top_p", _float),
    "top_k": ("gen_ai.request.top_k", _int),
    "frequency_penalty": ("gen_ai.request.frequency_penalty", _float),
    "presence_penalty": ("gen_ai.request.presence_penalty", _float),
    "stop": ("gen_ai.request.stop_sequences", _texts),
    "stop_sequences": ("gen_ai.request.stop_sequences", _texts),
    "seed": ("gen_ai.request.seed", _int),
    "n": ("gen_ai.request.choice.count", _choices),
    "response_format": ("gen_ai.output.type", _output),
    "reasoning": ("gen_ai.request.reasoning.level", _effort),
    "reasoning_effort": ("gen_ai.request.reasoning.level", _effort),
}
"""A provider's parameter → attribute and its type; where two name the same, the later row wins."""
