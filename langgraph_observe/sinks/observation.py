"""The langfuse vocabulary: a record as the attributes of one Langfuse observation. Pure; not on the agent's thread.

Read by `OtelIngestionProcessor` of the Langfuse server (v4: observations carry their trace's user, session and tags
themselves). Metadata values are raw: only batches that name the Langfuse SDK in a header have them decoded from JSON.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.payloads import plain, text
from langgraph_observe.sinks import gen_ai
from langgraph_observe.sinks.content import definitions, fit
from langgraph_observe.sinks.encoding import encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langgraph_observe.payloads import Message, Payload
    from langgraph_observe.records import Finished, Noted, Scored, Started, Usage
    from langgraph_observe.sinks.gen_ai import Attributes, Value

FIELD: Final = 4_000_000
"""Characters of one input or output: the server warns at spans of 9.5 MB."""
EVENTS: Final = frozenset({"interrupt", "resume", "retry", "custom"})
"""What is noted and shown as an observation of its own. Routes are read from the nodes, first bytes are a time."""

_TYPES: Final = {
    "graph": "chain",  # an `agent` is one by how it was built (kind agent), never because it is a graph or by its name
    "node": "chain",  # as Langfuse's own handler has it, so that saved filters hold
    "agent": "agent",
    "model": "generation",
    "tool": "tool",
    "retriever": "retriever",
    "chain": "chain",
}
_LEVELS: Final = {"error": "ERROR", "cancelled": "WARNING", "abandoned": "WARNING"}
_ENDINGS: Final = {
    "interrupt": "interrupted: waits for a human",
    "interrupt_before": "interrupted before a node",
    "interrupt_after": "interrupted after a node",
    "handoff": "handed off to another graph",
    "drained": "drained: the server asked the graph to stop",
    "stream_closed": "stream closed by its consumer",
    "task_cancelled": "cancelled",
    "process_stopped": "the process was stopped",
    "timeout": "timed out",
    "sibling_failed": "stopped because a node beside it failed",
    "forgotten": "nobody ended it, and too many others were open",
    "closed": "still open when the Observer was closed",
}
_REASONING_PRICED: Final = frozenset({"openai", "azure.ai.openai", "gcp.gen_ai", "gcp.gemini", "gcp.vertex_ai"})
"""Providers whose models have a price for `output_reasoning` in Langfuse; elsewhere that bucket would cost nothing."""


def attributes(record: Finished) -> Attributes:
    """All of a finished run: gen_ai without content, and langfuse with it."""
    run = record.run
    return (
        gen_ai.ended(record)
        | of_trace(run)
        | _metadata(record)
        | gen_ai.known(
            {
                "langfuse.observation.type": _TYPES.get(run.kind, "span"),
                "langfuse.observation.level": _LEVELS.get(record.outcome, "DEFAULT"),
                "langfuse.observation.status_message": status(record),
            }
        )
        | _said(input=_input(record), output=_output(record))
        | (_generation(record) if run.kind == "model" else {})
    )


def _said(**sides: str | None) -> Attributes:
    """Content, which has its own bound and may be longer than anything else."""
    return {f"langfuse.observation.{side}": text(told) for side, told in sides.items() if told is not None}


def of_trace(run: Started) -> Attributes:
    """What every observation of a trace repeats. Taken from the record, so that no context has to be inherited."""
    return gen_ai.known(
        {
            "session.id": run.session_id or run.thread_id,
            "user.id": run.user_id,
            "langfuse.trace.name": run.trace_name or (run.name if run.parent_id is None else None),
            "langfuse.trace.tags": list(run.tags),
            **{f"langfuse.trace.metadata.{text(key)}": value for key, value in run.labels.items()},
        }
    )


def noted(record: Noted) -> Attributes:
    """A moment inside a run, as an observation of type `event`."""
    run = record.run
    told = gen_ai.known(
        {
            "gen_ai.conversation.id": run.thread_id or run.session_id,
            "langfuse.observation.type": "event",
            "langfuse.observation.level": "WARNING" if record.kind == "retry" else "DEFAULT",
            "langfuse.observation.metadata.event": record.kind,
            "langfuse.observation.metadata.langgraph_node": run.node,
            "langfuse.observation.metadata.langgraph_step": run.step,
        }
    )
    return of_trace(run) | told | _said(input=_shown(record.payload))


def score(record: Scored, environment: str | None) -> dict[str, object]:
    """A body of POST /api/public/scores. The same id and time again replace."""
    value, kind = record.value, "NUMERIC"
    if isinstance(value, bool):
        value, kind = int(value), "BOOLEAN"
    elif isinstance(value, str):
        kind = "CATEGORICAL"
    body = {
        "id": record.id,
        "traceId": record.trace_id,
        "observationId": record.span_id,
        "name": record.name,
        "value": value,
        "dataType": kind,
        "comment": record.comment,
        "environment": environment,
        "timestamp": _when(record.at_ns).isoformat(),
        "metadata": {"source": record.source},
    }
    return {key: plain(item) for key, item in body.items() if item is not None}


def status(record: Finished) -> str | None:
    """Why a run did not simply end well, in words."""
    failure = record.failure
    if record.outcome == "error" and failure is not None:
        return f"{failure.type}: {failure.message}" if failure.message else failure.type
    if record.reason is not None:
        return _ENDINGS.get(record.reason, record.reason)
    return record.outcome if record.outcome != "ok" else None


def _metadata(record: Finished) -> Attributes:
    """The user's own and LangGraph's, one attribute a key: only those can be filtered by."""
    run, usage, taken, given = record.run, record.usage, record.input or record.run.input, record.output
    known = {
        "langgraph_node": run.node,
        "langgraph_step": run.step,
        "ls_provider": run.provider,
        "attempt": run.attempt if run.attempt > 1 else None,
        "goto": record.goto or None,
        "resumed_from": [link.trace_id for link in run.links if link.kind == "resumed_from"] or None,
        "finish_reason": ", ".join(record.finish_reasons) or None,
        "cached": record.cached or None,
        "usage_estimated": (usage.method or True) if usage and usage.estimated else None,
        "cost_source": usage.cost_source if usage else None,
        "input_omitted": taken and (taken.omitted or None),
        "output_omitted": given and (given.omitted or None),
    }
    own = plain(dict(run.metadata)) if run.metadata else {}
    return _raw(own if isinstance(own, dict) else {"metadata": own}) | _raw(known)


def _raw(metadata: Mapping[str, object]) -> Attributes:
    prefix = "langfuse.observation.metadata."
    return {prefix + gen_ai.short(key): _value(value) for key, value in metadata.items() if value is not None}


def _value(value: object) -> Value:
    if isinstance(value, (bool, int, float)):
        return value
    return gen_ai.short(value if isinstance(value, str) else encoded(value))


def _generation(record: Finished) -> Attributes:
    run, usage = record.run, record.usage
    first = run.at_ns + round(record.first_token_seconds * 1e9) if record.first_token_seconds is not None else None
    parameters = plain(dict(run.parameters))
    if usage and usage.service_tier and isinstance(parameters, dict):  # Langfuse selects a price's tier by it
        parameters |= {"service_tier": usage.service_tier}
    optional: dict[str, Value | None] = {
        "langfuse.observation.model.name": record.model or run.model,
        "langfuse.observation.model.parameters": encoded(parameters) if parameters else None,
        "langfuse.observation.usage_details": encoded(found) if usage and (found := buckets(record, usage)) else None,
        "langfuse.observation.cost_details": encoded(spent) if (spent := _cost(record, usage)) else None,
        # JSON, so quoted: the server parses it
        "langfuse.observation.completion_start_time": encoded(_when(first).isoformat()) if first else None,
        "langfuse.observation.prompt.name": run.prompt.name if run.prompt else None,
        "langfuse.observation.prompt.version": run.prompt.version if run.prompt else None,
    }
    return gen_ai.known(optional)


def buckets(record: Finished, usage: Usage) -> dict[str, int]:
    """Our inclusive counts as Langfuse's exclusive buckets: their sum is the total.

    Parts that do not fit their whole (a provider that contradicts itself) are left in it.
    """
    short, long, written = usage.cache_write_5m_tokens, usage.cache_write_1h_tokens, usage.cache_write_tokens
    reasoning = usage.reasoning_tokens if gen_ai.provider(record.run) in _REASONING_PRICED else None
    made = _parted(
        "input",
        usage.input_tokens,
        {
            "input_cache_read": usage.cache_read_tokens,
            "input_cache_creation_5m": short,
            "input_cache_creation_1h": long,
            "input_cache_creation": max(0, written - (short or 0) - (long or 0)) if written is not None else None,
            "input_audio": usage.input_audio_tokens,
        },
    ) | _parted("output", usage.output_tokens, {"output_reasoning": reasoning, "output_audio": usage.output_audio_tokens})
    whole = usage.input_tokens is not None and usage.output_tokens is not None
    return made | {"total": sum(made.values())} if whole else made


def _parted(name: str, total: int | None, parts: Mapping[str, int | None]) -> dict[str, int]:
    if total is None:
        return {}
    known = {key: count for key, count in parts.items() if count}
    rest = total - sum(known.values())
    return {name: rest, **known} if rest >= 0 else {name: total}


def _cost(record: Finished, usage: Usage | None) -> dict[str, float] | None:
    """Ours wherever it is known, so that every sink shows the same money; Langfuse prices by its own list what we cannot.

    An answer from LangChain's cache cost nothing, whatever its tokens are.
    """
    if record.cached:
        return {"total": 0.0}
    return {"total": float(usage.cost)} if usage and usage.cost is not None else None


def _input(record: Finished) -> str | None:
    taken = record.input or record.run.input
    if taken is None or record.run.kind != "model":
        return _shown(taken)
    messages = [_openai(message) for message in taken.messages] or [{"role": "user", "content": taken.value}]
    tools = record.run.tools
    offered: dict[str, object] = {"tools": [_tool(one) for one in definitions(tools.value)]} if tools else {}
    return fit({"messages": messages, **offered}, FIELD)


def _output(record: Finished) -> str | None:
    given = record.output
    if given is None or record.run.kind != "model" or not (messages := given.messages):
        return _shown(given)
    choices = [_openai(message) for message in messages]
    return fit(choices[0] if len(choices) == 1 else choices, FIELD)


def _shown(payload: Payload | None) -> str | None:
    if payload is None:
        return None
    value = payload.fold(_openai)
    return value if isinstance(value, str) and len(value) <= FIELD else fit(value, FIELD)


def _openai(message: Message) -> object:
    return message.cached("openai", openai)


def openai(message: Mapping[str, object]) -> dict[str, object]:
    """A message in OpenAI's form, which Langfuse's chat view reads."""
    kept = {key: message[key] for key in ("role", "content", "name", "tool_call_id", "status") if message.get(key) is not None}
    calls = message.get("tool_calls")
    if calls:
        kept["tool_calls"] = [_call(one) for one in calls] if isinstance(calls, list) else calls
    return kept


def _call(call: object) -> object:
    if not isinstance(call, dict):  # a redactor may have put a text in its place
        return call
    arguments = call.get("args")
    text = arguments if isinstance(arguments, str) else encoded(arguments)
    return {"id": call.get("id"), "type": "function", "function": {"name": call.get("name"), "arguments": text}}


def _tool(flat: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {key: item for key, item in flat.items() if key != "type"}}


def _when(at_ns: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_ns // 1000)
