"""Spans of any backend → records: what OpenTelemetry's gen_ai, OpenInference, MLflow and Langfuse call the same things.

A span that `otlp.spans` wrote holds its record and gives it back as it was. Of any other that is told which its attributes say:
LangChain's run ids, for one, they do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.explore import data
from langgraph_observe.explore.spoken import flattened, parsed, spoken
from langgraph_observe.payloads import Lazy, text
from langgraph_observe.records import Failure, Finished, Link, Noted, Prompt, Started, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langgraph_observe.records import Kind, Outcome, Payload, Record

RECORD: Final = "langgraph_observe.record"
"""The record itself, as JSON."""
NOTED: Final = "langgraph."
"""How the names of events begin that are moments inside a run."""
KINDS: Final[dict[str, dict[str, Kind]]] = {
    "gen_ai.operation.name": {
        "chat": "model",
        "text_completion": "model",
        "generate_content": "model",
        "invoke_workflow": "graph",
        "invoke_agent": "agent",
        "invoke_node": "node",
        "execute_tool": "tool",
        "retrieval": "retriever",
    },
    "openinference.span.kind": {"LLM": "model", "AGENT": "agent", "TOOL": "tool", "RETRIEVER": "retriever"},
    "mlflow.spanType": {"LLM": "model", "CHAT_MODEL": "model", "AGENT": "agent", "TOOL": "tool", "RETRIEVER": "retriever"},
    "langfuse.observation.type": {"generation": "model", "agent": "agent", "tool": "tool", "retriever": "retriever"},
}
"""The first attribute that says one of these."""
NAMES: Final[dict[str, tuple[str, ...]]] = {
    "input": (
        *("langfuse.observation.input", "gen_ai.input.messages", "gen_ai.tool.call.arguments", "gen_ai.retrieval.query.text"),
        *("mlflow.spanInputs", "input.value", "traceloop.entity.input"),
    ),
    "output": (
        *("langfuse.observation.output", "gen_ai.output.messages", "gen_ai.tool.call.result", "mlflow.spanOutputs", "output.value"),
        *("gen_ai.retrieval.documents", "traceloop.entity.output"),
    ),
    "tools": ("gen_ai.tool.definitions", "mlflow.chat.tools"),
    "model": ("gen_ai.request.model", "llm.model_name", "mlflow.llm.model", "gen_ai.response.model"),
    "answered": ("gen_ai.response.model", "langfuse.observation.model.name", "llm.model_name"),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "mlflow.llm.provider"),
    "thread": ("gen_ai.conversation.id", "langfuse.observation.metadata.thread_id"),
    "session": ("session.id", "mlflow.trace.session", "gen_ai.conversation.id"),
    "user": ("user.id", "mlflow.trace.user", "enduser.id"),
    "tags": ("langfuse.trace.tags", "tag.tags"),
    "cost": ("langgraph.cost", "gen_ai.usage.cost", "llm.cost.total", "llm.usage.total_cost"),
    "call": ("gen_ai.tool.call.id", "tool_call.id", "tool.id"),
}
"""What it is called, the best first."""
COUNTS: Final[dict[str, tuple[str, ...]]] = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"),
    "cache_read_tokens": ("gen_ai.usage.cache_read.input_tokens", "llm.token_count.prompt_details.cache_read"),
    "cache_write_tokens": (
        *("gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
        "llm.token_count.prompt_details.cache_write",
    ),
    "reasoning_tokens": ("gen_ai.usage.reasoning.output_tokens", "llm.token_count.completion_details.reasoning"),
}
NOBODY: Final = Started(id="", root_id="", trace_id="", span_id="", kind="chain", name="", at_ns=0)
"""The parent of a root: it says nothing."""
OUTCOMES: Final = frozenset({"ok", "error", "interrupted", "cancelled", "abandoned"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span of any backend. Ids are hex; times nanoseconds since the epoch, `end_ns` 0 while it goes on."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Any]
    events: Sequence[tuple[str, int, Mapping[str, Any]]] = ()
    """Name, time and attributes."""
    links: Sequence[tuple[str, str, Mapping[str, Any]]] = ()
    """Trace id, span id and attributes."""
    error: str | None = None
    """The words of a status that is an error."""


def records(spans: Iterable[Span]) -> list[Record]:
    """The records of the spans of one trace or several, each run in the graph and the node that its parents are."""
    found = {(span.trace_id, span.span_id): span for span in spans}
    told: dict[tuple[str, str], Started] = {}
    out: list[Record] = []
    for key in sorted(found, key=lambda key: _depth(key, found)):
        span = found[key]
        if own := _kept(span):
            out += own
            continue
        told[key] = run = _started(span, told.get((span.trace_id, span.parent_id or "")))
        out += [_finished(span, run) if span.end_ns else run, *_noted(span, run)]
    return out


def _kept(span: Span) -> list[Record]:
    """What a span of ours holds; nothing where that is damaged, or of another's making: then the attributes tell."""
    held = [told[RECORD] for told in (span.attributes, *(told for _, _, told in span.events)) if RECORD in told]
    try:
        return [data.record(parsed(one)) for one in held] if RECORD in span.attributes else []
    except ValueError:
        return []


def _depth(key: tuple[str, str], found: Mapping[tuple[str, str], Span]) -> int:
    """How many are above it. A ring of parents ends at its first."""
    seen: set[tuple[str, str]] = set()
    while key in found and key not in seen:
        seen.add(key)
        key = (key[0], found[key].parent_id or "")
    return len(seen)


def _started(span: Span, parent: Started | None) -> Started:
    told = span.attributes
    kind = _kind(span)
    name = _name(span, kind)
    above = parent or NOBODY
    links = [Link(trace, one, about["langgraph.link.kind"]) for trace, one, about in span.links if "langgraph.link.kind" in about]
    return Started(
        id=span.span_id,
        parent_id=span.parent_id if parent else None,
        root_id=parent.root_id if parent else span.span_id,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_id,
        kind=kind,
        name=name,
        at_ns=span.start_ns,
        graph=name if kind == "graph" else _text(told.get("gen_ai.workflow.name")) or above.graph,
        node=name if kind == "node" else above.node,
        agent=_text(told.get("gen_ai.agent.name")) or above.agent,
        step=_whole(told.get("langgraph.node.step")),
        attempt=_whole(told.get("langgraph.attempt")) or 1,
        checkpoint_ns=_text(told.get("langgraph.checkpoint_ns")),
        triggers=_texts(told.get("langgraph.node.triggers")),
        thread_id=_text(_first(told, "thread")) or above.thread_id,
        session_id=_text(_first(told, "session")) or above.session_id,
        user_id=_text(_first(told, "user")) or above.user_id,
        trace_name=_text(told.get("langfuse.trace.name")),
        tags=_texts(_first(told, "tags")),
        model=_text(_first(told, "model")) if kind == "model" else None,
        provider=_text(_first(told, "provider")),
        tools=_payload(_first(told, "tools")),
        tool_call_id=_text(_first(told, "call")),
        description=_text(told.get("gen_ai.tool.description") or told.get("gen_ai.agent.description")),
        prompt=_prompt(told),
        streaming=_true(told.get("gen_ai.request.stream")),
        input=_payload(_first(told, "input") or flattened(told, "input")),
        links=tuple(links),
    )


def _finished(span: Span, run: Started) -> Finished:
    told = span.attributes
    return Finished(
        run=run,
        outcome=_outcome(span),
        seconds=max(0, span.end_ns - span.start_ns) / 1e9,
        reason=_text(told.get("langgraph_observe.end_reason")),
        first_token_seconds=_number(told.get("gen_ai.response.time_to_first_chunk")),
        measured=Lazy(_usage(told) if run.kind == "model" else None),
        model=_text(_first(told, "answered")) if run.kind == "model" else None,
        response_id=_text(told.get("gen_ai.response.id")),
        finish_reasons=_texts(told.get("gen_ai.response.finish_reasons")),
        cached=_true(told.get("langgraph_observe.cached")),
        goto=_texts(told.get("langgraph.command.goto")),
        output=_payload(_first(told, "output") or flattened(told, "output")),
        failure=_failure(span),
    )


def _noted(span: Span, run: Started) -> Iterator[Noted]:
    for name, at_ns, told in span.events:
        if name.startswith(NOTED):
            kind, own, shown = name.removeprefix(NOTED), _text(told.get(f"{name}.name")), _payload(told.get(f"{name}.payload"))
            yield Noted(run=run, kind=kind, at_ns=at_ns, name=own, payload=shown)


def _kind(span: Span) -> Kind:
    for attribute, kinds in KINDS.items():
        if (kind := kinds.get(str(span.attributes.get(attribute)))) is not None:
            return kind
    return "chain"


def _name(span: Span, kind: Kind) -> str:
    """Without the operation that the conventions put before it."""
    own = span.attributes.get("gen_ai.node.name") if kind == "node" else None
    operation = span.attributes.get("gen_ai.operation.name")
    return str(own or (span.name.removeprefix(f"{operation} ") if operation else span.name))


def _outcome(span: Span) -> Outcome:
    said = span.attributes.get("langgraph_observe.outcome")
    if said in OUTCOMES:
        return said  # type: ignore[no-any-return]  # one of the literals, by the line above
    if _true(span.attributes.get("langgraph.interrupted")):
        return "interrupted"
    return "ok" if span.error is None else "error"


def _failure(span: Span) -> Failure | None:
    exceptions = [told for name, _, told in span.events if name == "exception"]
    if exceptions:
        last = exceptions[-1]
        message = _text(last.get("exception.message")) or span.error or ""
        return Failure(str(last.get("exception.type") or "error"), message, _text(last.get("exception.stacktrace")))
    if span.error is None:
        return None
    return Failure(str(span.attributes.get("error.type") or "error"), span.error)


def _usage(told: Mapping[str, Any]) -> Usage | None:
    known = {name: count for name, keys in COUNTS.items() if (count := _count(told, keys)) is not None}
    counts: dict[str, Any] = {**_mlflow_usage(told), **known}
    cost = _money(_first(told, "cost"))
    if not counts and cost is None:
        return None
    estimated, method = told.get("langgraph_observe.usage.estimated"), _text(told.get("langgraph_observe.usage.method"))
    return Usage(**counts, cost=cost, estimated=_true(estimated), method=method)


def _mlflow_usage(told: Mapping[str, Any]) -> dict[str, Any]:
    names = {"input_tokens": "input_tokens", "output_tokens": "output_tokens", "cache_read_input_tokens": "cache_read_tokens"}
    found = parsed(told.get("mlflow.chat.tokenUsage"))
    return {names[key]: count for key, count in found.items() if key in names} if isinstance(found, dict) else {}


def _count(told: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    return _whole(next((told[key] for key in keys if told.get(key) is not None), None))


# Backends keep numbers and lists as texts at times, and a file may hold anything.


def _text(value: Any) -> str | None:
    return None if value is None else text(value)


def _texts(value: Any) -> tuple[str, ...]:
    value = parsed(value)
    return tuple(text(one) for one in value) if isinstance(value, list) else ()


def _true(value: Any) -> bool:
    return value is True or value == "true"


def _number(value: Any) -> float | None:
    try:
        return None if value is None or not math.isfinite(number := float(value)) else number
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _money(cost: Any) -> Decimal | None:
    """To the nano-dollar: a backend's float has more digits than it knows."""
    try:
        return None if cost is None else round(Decimal(str(cost)), 9).normalize()
    except InvalidOperation:
        return None


def _prompt(told: Mapping[str, Any]) -> Prompt | None:
    name, version = _text(told.get("gen_ai.prompt.name")), _whole(told.get("gen_ai.prompt.version"))
    return Prompt(name, version) if name and version is not None else None


def _first(told: Mapping[str, Any], what: str) -> Any:
    return next((told[key] for key in NAMES[what] if told.get(key) not in (None, "")), None)


def _payload(value: Any) -> Payload | None:
    return None if value is None else data.payload(spoken(parsed(value)))
