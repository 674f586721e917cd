"""What a span, a span's record or a log record breaks of OpenTelemetry's GenAI conventions, by the table of `genai_table`.

A port of the weaver policies of semantic-conventions-genai and of what its pages say in words; a rule has a name, and `RULES`
says what it wants.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import genai_messages
from genai_messages import STRICTER, Violation
from genai_schemas import faults, schema
from genai_table import APPLICATION, CONTENT, ERAS, EVENTS, EVERYWHERE, JSON, NOTES, SIDES, SPANS, TYPE_NAMES, TYPES, USAGE, VALUES
from opentelemetry.trace import StatusCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.trace import ReadableSpan

    from langgraph_observe import Finished

__all__ = ["RULES", "faults", "schema", "told", "violations", "violations_of_event"]

RULES = {
    "operation": "is one of those that the conventions, or a proposal of theirs, know",
    "span name": "is the operation and, where it has one, its subject",
    "span kind": "CLIENT for what leaves the process, INTERNAL otherwise",
    "required": "an attribute that must be there is there",
    "allowed": "an attribute belongs to this operation or event",
    "type": "an attribute has its type",
    "value": "an attribute has one of its values",
    "plain": "no attribute is None, empty or a list of several types",
    "type's name": "no workflow is called as LangGraph calls one that nobody has named",
    "status": "is never set to OK",
    "error": "ERROR and error.type go together",
    "error.type": "is a class name or a code, never a sentence",
    "address and port": "go together",
    "choices": "are told where there is more than one",
    "parts of tokens": "are no more than the whole",
    "era": "of two names of one thing, those that were asked for",
    "time": "a span has ended, and not before it began",
    "content": "is shown where it is switched on, and only there",
    "JSON": "content is whole JSON",
    "note": "an event of a span is an exception or a note, with no other attribute than its own",
    "link": "says why it is there",
    "severity": "is that of the event",
    "context": "a log record has the ids of its span",
    "known": "what the record knows is told, and nothing else: conversation, model, agent, error, …",
    "shape": "messages, tools and documents are as the published schemas say",
    **STRICTER,
}

_CODE = re.compile(r"[\w.<>:-]+")
_DETAILS = {"exception": {"exception.type", "exception.message", "exception.stacktrace"}}
_SAID = {"exception.message", "exception.stacktrace"}


def violations(span: ReadableSpan, *, names: str | None = None, content: bool | None = None) -> list[Violation]:
    """What a finished span breaks; `names` and `content` are what its sink was told, None where that is not known."""
    held = dict(span.attributes or {})
    operation = held.get("gen_ai.operation.name")
    if operation not in SPANS:
        return [Violation("operation", str(operation))]
    row = next((row for row in SPANS[operation] if row.kind is span.kind), SPANS[operation][0])
    return [
        *_shape(span, held, operation, row),
        *_attributes(held, row.required | {"gen_ai.operation.name"} if operation else set(), row.allowed | EVERYWHERE, names),
        *(fault for name in JSON.keys() & held.keys() for fault in _json(name, held[name])),
        *_status(span, held),
        *_events(span),
        *(_hidden(span, held) if content is False else ()),
    ]


def _shape(span, held, operation, row) -> Iterator[Violation]:
    named = operation is None or span.name == " ".join(word for word in (operation, held.get(row.subject)) if word)
    if not named:
        yield Violation("span name", span.name)
    if span.kind is not row.kind:
        yield Violation("span kind", str(span.kind))
    if held.get("gen_ai.workflow.name") in TYPE_NAMES:
        yield Violation("type's name", held["gen_ai.workflow.name"])
    if span.end_time is None or span.end_time < span.start_time:
        yield Violation("time", f"{span.start_time} to {span.end_time}")
    yield from (Violation("link", span.name) for link in span.links if set(link.attributes) != {"langgraph.link.kind"})


def _status(span, held) -> Iterator[Violation]:
    if span.status.status_code is StatusCode.OK:
        yield Violation("status", span.name)
    if (span.status.status_code is StatusCode.ERROR) != ("error.type" in held):
        yield Violation("error", f"{span.status.status_code} with {held.get('error.type')}")


def _events(span) -> Iterator[Violation]:
    for event in span.events:
        own = _DETAILS.get(event.name, {f"{event.name}.{part}" for part in NOTES})
        if not (event.name.startswith("langgraph.") or event.name in _DETAILS) or set(event.attributes) - own:
            yield Violation("note", f"{event.name}: {sorted(event.attributes)}")


def _hidden(span, held) -> Iterator[Violation]:
    """No word of content: no attribute, no payload of a note, no message of an exception."""
    said = [name for name in held if name in CONTENT]
    said += [name for event in span.events for name in event.attributes if name in _SAID or name.endswith(".payload")]
    said += [span.status.description] if (span.status.description or "") != held.get("error.type", "") else []
    yield from (Violation("content", name) for name in said)


def _attributes(held: Mapping[str, Any], required: set[str], allowed: set[str], names: str | None) -> Iterator[Violation]:
    yield from (Violation("required", name) for name in sorted(required - held.keys()))
    for name, value in held.items():
        if name.startswith(APPLICATION):
            continue
        if name not in allowed | required:
            yield Violation("allowed", name)
        elif name not in JSON:
            yield from _valued(name, value)
        if names not in {None, "both", ERAS.get(name, names)}:
            yield Violation("era", name)
    if names == "both" and len(named := ERAS.keys() & held.keys()) == 1:
        yield Violation("era", f"{named} alone")
    yield from _together(held)


def _valued(name: str, value: Any) -> Iterator[Violation]:
    expected = int if name in USAGE else TYPES.get(name, str)
    kind = list if isinstance(value, tuple) else type(value)  # the SDK keeps lists as tuples
    if value is None or value in ("", ()) or (kind is list and {type(one) for one in value} != {str}):
        yield Violation("plain", f"{name} = {value!r}")
    elif kind is not expected:
        yield Violation("type", f"{name} is a {kind.__name__}")
    elif name in VALUES and value not in VALUES[name]:
        yield Violation("value", f"{name} = {value!r}")
    elif name == "error.type" and not _CODE.fullmatch(value):
        yield Violation("error.type", value)


def _together(held: Mapping[str, Any]) -> Iterator[Violation]:
    if ("server.address" in held) is not ("server.port" in held):
        yield Violation("address and port", f"{held.get('server.address')}:{held.get('server.port')}")
    if held.get("gen_ai.request.choice.count") == 1:
        yield Violation("choices", "1")
    for side, whole in (("input", held.get("gen_ai.usage.input_tokens")), ("output", held.get("gen_ai.usage.output_tokens"))):
        parts = [name for name in held if name in USAGE and name.endswith(f".{side}_tokens") and name.count(".") > 2]
        if isinstance(whole, int) and any(isinstance(held[name], int) and held[name] > whole for name in parts):
            yield Violation("parts of tokens", side)


def _json(name: str, value: Any) -> Iterator[Violation]:
    """Of a span: text, whose structure keeps its shape."""
    try:
        structure = json.loads(value)
    except (TypeError, ValueError):
        yield Violation("JSON", f"{name} = {value!r}"[:200])
    else:
        yield from genai_messages.faults(JSON[name], structure)


def told(span: ReadableSpan, record: Finished, *, content: bool = False) -> list[Violation]:
    """What the record knows and its span does not tell, or the other way round: the conditionally required, and the content."""
    run, held = record.run, span.attributes or {}
    context = (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", span.start_time, span.end_time)
    found = [name for name, of in _KNOWN.items() if held.get(name) != of(record)]
    found += ["error.type"] if ("error.type" in held) is not _failed(record) else []
    found += ["ids or times"] if context != (run.trace_id, run.span_id, run.at_ns, record.at_ns) else []
    for side, payload in (("input", record.input or run.input), ("output", record.output)):
        shown = SIDES[side] & held.keys()
        found += [side] if bool(shown) != (content and payload is not None) else []
    return [Violation("known", f"{name} of {span.name}: {held.get(name)!r}") for name in found]


def _failed(record: Finished) -> bool:
    """A human in the loop, a handoff and a closed stream are no errors; what a root left open failed if it says with what."""
    match record.outcome:
        case "cancelled":
            return record.reason not in {"stream_closed", "client_disconnect"}
        case "abandoned":
            return record.failure is not None
    return record.outcome == "error"


def _of(kind: str, read):
    """Known of runs of this kind alone."""
    return lambda record: read(record) or None if record.run.kind == kind else None


def _name(name: str | None) -> str | None:
    return None if name in TYPE_NAMES else name


_FORMATS = {"json_object": "json", "json_schema": "json", "text": "text"}
_KNOWN = {
    "gen_ai.conversation.id": lambda record: record.run.thread_id or record.run.session_id,
    "gen_ai.agent.name": lambda record: _name(record.run.agent or (record.run.graph if record.run.remote else None)),
    "gen_ai.workflow.name": lambda record: (
        None if record.run.remote else _of("graph", lambda one: _name(one.run.graph or one.run.name))(record)
    ),
    "gen_ai.node.name": _of("node", lambda record: record.run.node),
    "gen_ai.tool.name": _of("tool", lambda record: record.run.name),
    "gen_ai.tool.call.id": _of("tool", lambda record: record.run.tool_call_id),
    "gen_ai.request.model": _of("model", lambda record: record.run.model),
    "gen_ai.output.type": _of(
        "model", lambda record: _FORMATS.get((record.run.parameters.get("response_format") or {}).get("type"))
    ),
    "gen_ai.request.stream": _of("model", lambda record: record.run.streaming or record.stream is not None),
    "gen_ai.response.model": _of("model", lambda record: record.model),
    "gen_ai.response.id": _of("model", lambda record: record.response_id),
}


def violations_of_event(record: ReadableLogRecord, *, names: str | None = None, content: bool | None = None) -> list[Violation]:
    """What a log record of ours breaks."""
    log = record.log_record
    held = dict(log.attributes or {})
    if (row := EVENTS.get(log.event_name or "")) is None:
        return [Violation("operation", f"event {log.event_name}")]
    return [
        *_of_log(log, row, names),
        *_attributes(held, row.required, row.allowed | row.content, names),
        *_said(held, row, content),
    ]


def _of_log(log, row, names) -> Iterator[Violation]:
    if (log.severity_number and log.severity_number.value) != row.severity:
        yield Violation("severity", f"{log.event_name}: {log.severity_number}")
    if not log.trace_id or (not log.span_id and log.event_name != "gen_ai.evaluation.result"):
        yield Violation("context", str(log.event_name))
    if names not in {None, "both", row.era or names}:
        yield Violation("era", str(log.event_name))


def _said(held, row, content) -> Iterator[Violation]:
    said = row.content & held.keys()
    if content is False and said:
        yield Violation("content", str(sorted(said)))
    for name in said & JSON.keys():
        yield from genai_messages.faults(JSON[name], _lists(held[name]))


def _lists(value: Any) -> Any:
    """As it was before the SDK made tuples and mappings of its own of it."""
    match value:
        case tuple() | list():
            return [_lists(one) for one in value]
        case dict():
            return {key: _lists(one) for key, one in value.items()}
    return value
