"""OTLP JSON: a trace written as OpenTelemetry's own file format, and such files read, ours and those of a collector.

Written are the gen_ai attributes that `sinks.otel` sends, so that any backend shows the trace, and with them the record
itself, so that what is read again is what was written.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from langgraph_observe.explore import data
from langgraph_observe.explore.source import matched
from langgraph_observe.explore.storefile import shown, together
from langgraph_observe.explore.vocabulary import NOTED, RECORD, Span, records
from langgraph_observe.records import Finished, Noted, Started
from langgraph_observe.sinks.store.schema import StoreError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from langgraph_observe.explore.run import Run
    from langgraph_observe.explore.source import Filter
    from langgraph_observe.explore.trace import Trace
    from langgraph_observe.records import Link, Record, Scored

ERROR: Final = 2
HEX: Final = frozenset("0123456789abcdefABCDEF")
UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError)
"""What is raised of data that is not of the form it should be."""
SPAN_ID: Final = 16
"""Hex digits; base64 of the same is of 12 characters."""
RESULT: Final = "gen_ai.evaluation.result"
"""The conventions' event for a score."""


class OtlpFile:
    """The traces in a file of OTLP JSON, or of a JSON document a line as collectors write; also of our records, a line each.

    The file is read again when it has changed. A last line that is not whole, since it is being written, is left out.
    Raises StoreError for a file that holds no spans.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self._seen: tuple[int, int] | None = None
        self._traces: dict[str, list[Record]] = {}

    def ids(self, wanted: Filter, /, limit: int | None = None) -> list[str]:
        """See Source."""
        times = {trace: at_ns for trace, held in self._read().items() if (at_ns := matched(held, wanted)) is not None}
        return sorted(times, key=lambda trace: (times[trace], trace), reverse=True)[:limit]

    def records(self, trace_id: str, /) -> list[Record]:
        """See Source."""
        return self._read().get(trace_id, [])

    def __str__(self) -> str:
        return shown(self.path)

    def _read(self) -> dict[str, list[Record]]:
        found = self.path.stat()
        state = found.st_mtime_ns, found.st_size
        if state != self._seen:
            self._traces = _by_trace(self._records())
            self._seen = state
        return self._traces

    def _records(self) -> Iterator[Record]:
        spans: list[Span] = []
        try:
            for document in documents(self.path.read_bytes()):
                if "resourceSpans" in document or "resource_spans" in document:
                    spans += spans_of(document)
                else:
                    yield data.record(document)
            yield from records(spans)
        except UNREADABLE as error:
            msg = f"{self.path} holds no OTLP JSON, or is damaged: {error}"
            raise StoreError(msg) from error


def documents(text: bytes) -> Iterator[Mapping[str, Any]]:
    """The JSON objects in it: one, a list of them, or one a line. Raises ValueError where there is none."""
    try:
        whole = orjson.loads(text)
    except ValueError:
        yield from _lines(text)
        return
    yield from whole if isinstance(whole, list) else [whole]


def _lines(text: bytes) -> Iterator[Mapping[str, Any]]:
    lines = [line for line in text.splitlines() if line.strip()]
    for place, line in enumerate(lines):
        try:
            yield orjson.loads(line)
        except ValueError:
            if place == 0 or place < len(lines) - 1:
                raise


def spans_of(document: Mapping[str, Any]) -> list[Span]:
    """The spans of an ExportTraceServiceRequest, its names in camel or snake case. Resource attributes stand behind the span's own.

    A span that cannot be read hides no other; where none can, what is wrong with the first is raised.
    """
    held = [
        (one, _attributes(_of(resource.get("resource") or {}, "attributes")))
        for resource in _of(document, "resourceSpans") or ()
        for scope in _of(resource, "scopeSpans") or ()
        for one in _of(scope, "spans") or ()
    ]
    return _readable(held)


def _readable(held: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[Span]:
    found: list[Span] = []
    troubles: list[Exception] = []
    for one, around in held:
        try:
            found.append(span(one, around))
        except UNREADABLE as error:
            troubles.append(error)
    if troubles and not found:
        raise troubles[0]
    return found


def span(one: Mapping[str, Any], around: Mapping[str, Any] | None = None) -> Span:
    """A span of OTLP JSON."""
    status = one.get("status") or {}
    failed = status.get("code") in {ERROR, "STATUS_CODE_ERROR", "ERROR"}
    return Span(
        trace_id=_id(_of(one, "traceId")) or "",
        span_id=_id(_of(one, "spanId")) or "",
        parent_id=_id(_of(one, "parentSpanId")),
        name=str(one.get("name") or ""),
        start_ns=int(_of(one, "startTimeUnixNano") or 0),
        end_ns=int(_of(one, "endTimeUnixNano") or 0),
        attributes={**(around or {}), **_attributes(one.get("attributes"))},
        events=[
            (str(event.get("name") or ""), int(_of(event, "timeUnixNano") or 0), _attributes(event.get("attributes")))
            for event in one.get("events") or ()
        ],
        links=[
            (_id(_of(link, "traceId")) or "", _id(_of(link, "spanId")) or "", _attributes(link.get("attributes")))
            for link in one.get("links") or ()
        ],
        error=str(status.get("message") or "") if failed else None,
    )


def _by_trace(found: Iterator[Record]) -> dict[str, list[Record]]:
    traces: dict[str, list[Record]] = {}
    for record in found:
        trace = record.run.trace_id if isinstance(record, (Finished, Noted)) else record.trace_id
        traces.setdefault(trace, []).append(record)
    return traces


def _of(one: Mapping[str, Any], name: str) -> Any:
    """A field by its name in OTLP JSON, or as protobuf spells it."""
    if name in one:
        return one[name]
    return one.get("".join(f"_{c.lower()}" if c.isupper() else c for c in name))


def _id(text: str | None) -> str | None:
    """Hex. Protobuf's own JSON has base64 there, and MLflow that of some ids."""
    if not text:
        return None
    if len(text) in {SPAN_ID, 2 * SPAN_ID} and HEX.issuperset(text):
        return None if not text.strip("0") else text.lower()
    try:
        return base64.b64decode(text, validate=True).hex()
    except binascii.Error:
        return text


def _attributes(given: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    return {one["key"]: _value(one.get("value")) for one in given or ()}


def _value(held: Mapping[str, Any] | None) -> Any:
    """Of the kinds of value the one that is there: Phoenix names them all."""
    for kind, inner in (held or {}).items():
        match kind.replace("_", "").lower(), inner:
            case _, None:
                continue
            case "arrayvalue", {}:
                return [_value(one) for one in inner.get("values") or ()]
            case "kvlistvalue", {}:
                return _attributes(inner.get("values"))
            case "intvalue", _:
                return int(inner)
            case _:
                return inner
    return None


@together()
def document(trace: Trace) -> dict[str, Any]:
    """The trace as an ExportTraceServiceRequest."""
    from langgraph_observe.sinks import gen_ai

    told = [_written(run) for run in trace]
    of_runs = {one["spanId"]: one for one in told}
    for score in trace.scores:
        of_runs.get(score.span_id or "", told[0])["events"].append(_scored(score))
    scope = {"name": gen_ai.SCOPE, "version": gen_ai.VERSION}
    service = _pairs({"service.name": "langgraph-observe"})
    return {"resourceSpans": [{"resource": {"attributes": service}, "scopeSpans": [{"scope": scope, "spans": told}]}]}


def as_otlp(trace: Trace) -> str:
    """`document`, as text."""
    return orjson.dumps(document(trace)).decode()


def _written(run: Run) -> dict[str, Any]:
    from langgraph_observe.sinks import gen_ai

    begun, end = run.started, run.finished
    failed = end is not None and gen_ai.error_type(end) is not None
    return {
        "traceId": begun.trace_id,
        "spanId": begun.span_id,
        "parentSpanId": begun.parent_span_id or "",
        "name": gen_ai.span_name(begun),
        "kind": gen_ai.span_kind(begun).value + 1,  # the API counts from 0, OTLP from 1
        "startTimeUnixNano": str(begun.at_ns),
        "endTimeUnixNano": str(end.at_ns if end else 0),
        "attributes": _pairs(_said(begun, end)),
        "events": [*map(_event, run.events)],
        "links": [_link(link) for link in begun.links],
        "status": {"code": ERROR, "message": run.failure.message if run.failure else ""} if failed else {},
    }


def _said(begun: Started, end: Finished | None) -> dict[str, Any]:
    from langgraph_observe.sinks import content, gen_ai

    of_all = gen_ai.known({"session.id": begun.session_id, "user.id": begun.user_id, "langfuse.trace.tags": list(begun.tags)})
    told = gen_ai.begun(begun) if end is None else gen_ai.ended(end) | content.attributes(end)
    return {**told, **of_all, RECORD: _json(end or begun)}


def _event(noted: Noted) -> dict[str, Any]:
    name = f"{NOTED}{noted.kind}"
    told = {RECORD: _json(noted), **({f"{name}.name": noted.name} if noted.name else {})}
    return {"name": name, "timeUnixNano": str(noted.at_ns), "attributes": _pairs(told)}


def _scored(score: Scored) -> dict[str, Any]:
    value = "label" if isinstance(score.value, str) else "value"
    told = {"gen_ai.evaluation.name": score.name, f"gen_ai.evaluation.score.{value}": score.value, RECORD: _json(score)}
    why = {"gen_ai.evaluation.explanation": score.comment} if score.comment else {}
    return {"name": RESULT, "timeUnixNano": str(score.at_ns), "attributes": _pairs({**told, **why})}


def _link(link: Link) -> dict[str, Any]:
    return {"traceId": link.trace_id, "spanId": link.span_id, "attributes": _pairs({"langgraph.link.kind": link.kind})}


def _json(record: Record) -> str:
    return orjson.dumps(data.told(record)).decode()


def _pairs(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _typed(value)} for key, value in attributes.items()]


def _typed(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [_typed(one) for one in value]}}
        case _:
            return {"stringValue": str(value)}
