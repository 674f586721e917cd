"""How spans and events leave: in requests of a bounded size, with failures counted and said once."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import SpanFlags
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue
    from opentelemetry.sdk.trace import ReadableSpan

log: Final = logging.getLogger("langgraph_observe")
REQUEST: Final = 8 * 1024 * 1024
"""Bytes of one request before compression: collectors take 20 MiB, Langfuse warns above 16 MB."""
HEAVY: Final = 4 * 1024 * 1024
"""Characters after which a provider is asked to export: its processor would put 512 items, however large, into one request."""
LIGHT: Final = HEAVY // 1024
"""What any item counts for: the queue of the SDK's processor holds 2,048, drops what is more, and ours is ten times as long."""


def requests(spans: Sequence[ReadableSpan], limit: int = REQUEST) -> Iterator[tuple[Sequence[ReadableSpan], bytes | None]]:
    """Spans, of one resource and one scope, with their OTLP body, halved until it fits `limit` bytes.

    A span that is too large alone comes alone, and so does one that cannot be encoded (text that UTF-8 cannot hold), with None.
    """
    body = _encoded(spans)
    if len(spans) <= 1 or (body is not None and len(body) <= limit):
        yield spans, body
        return
    middle = len(spans) // 2
    yield from requests(spans[:middle], limit)
    yield from requests(spans[middle:], limit)


def _encoded(spans: Sequence[ReadableSpan]) -> bytes | None:
    try:
        body: bytes = request(spans).SerializeToString()
    except Exception:
        return None
    return body


def request(spans: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """As the SDK's encoder makes it of spans that have a resource and a scope in common, in a third of the time.

    It makes a message of each value and of each attribute, to copy them. What is rare on our spans is left to it.
    """
    made = encode_spans(spans[:1])
    for span in spans[1:]:
        into, values = made.resource_spans[0].scope_spans[0].spans, span.attributes or {}
        if span.events or span.links or span.context.trace_state or not all(map(_plain, values.values())):
            into.append(encode_spans([span]).resource_spans[0].scope_spans[0].spans[0])
        else:
            attributes = into.add(**_without_attributes(span)).attributes
            for key, value in values.items():
                _set(attributes.add(key=key).value, value)
    return made


def _without_attributes(span: ReadableSpan) -> dict[str, Any]:
    ids, parent, status = span.context, span.parent, span.status
    return {
        "trace_id": ids.trace_id.to_bytes(16),
        "span_id": ids.span_id.to_bytes(8),
        "parent_span_id": parent.span_id.to_bytes(8) if parent else b"",
        "flags": _FLAGS[bool(parent and parent.is_remote)],
        "name": span.name,
        "kind": span.kind.value + 1,
        "start_time_unix_nano": span.start_time,
        "end_time_unix_nano": span.end_time,
        "status": {"code": status.status_code.value, "message": status.description},
        "dropped_attributes_count": span.dropped_attributes,
    }


_TOLD: Final = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_FLAGS: Final = (_TOLD, _TOLD | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
"""Of a span whose parent is of this process, and of another."""
_FIELDS: Final = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}


def _plain(value: Any) -> bool:
    return type(value) in _FIELDS or (type(value) in {list, tuple} and all(type(item) in _FIELDS for item in value))


def _set(made: AnyValue, value: Any) -> None:
    if (field := _FIELDS.get(type(value))) is not None:
        setattr(made, field, value)
        return
    made.array_value.SetInParent()
    for item in value:
        _set(made.array_value.values.add(), item)


class Bounded(SpanExporter):
    """An exporter whose requests are bounded, so that one large span never drops the 511 around it (the SDK's does).

    The exporter's own log lines, one to four a batch while a server is down, are held back on this thread while it works;
    the first is quoted in a warning of ours. Lines of other exporters are not touched.
    """

    def __init__(self, exporter: SpanExporter, *, name: str, limit: int = REQUEST) -> None:
        """`limit` in bytes before compression."""
        self.lost = 0
        self._said: set[str] = set()
        self._exporter, self._name, self._limit = exporter, name, limit
        logging.getLogger(type(exporter).__module__).addFilter(_hold_back)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send what can be sent. FAILURE if any span was lost."""
        before = self.lost
        for part, body in requests(spans, self._limit):
            if body is None:
                self.lose(len(part), "a span cannot be encoded")
            else:
                self._send(part)
        return SpanExportResult.FAILURE if self.lost > before else SpanExportResult.SUCCESS

    def _send(self, spans: Sequence[ReadableSpan]) -> None:
        lines: list[str] = []
        _held.lines = lines
        try:
            sent = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception as error:
            sent = False
            lines.append(type(error).__name__)
        finally:
            _held.lines = None
        if not sent:
            self.lose(len(spans), "it does not take our spans", lines[-1] if lines else "")

    def lose(self, count: int, problem: str, detail: str = "") -> None:
        """Count; say each problem once."""
        self.lost += count
        if problem not in self._said:
            self._said.add(problem)
            log.warning("%s: %s; what is lost is counted. %s", self._name, problem, detail)

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is kept here."""
        return self._exporter.force_flush(timeout_millis)


class Counted(BatchSpanProcessor):
    """The SDK's queue before a bounded exporter. What it does not take, by itself told to a log only, is lost with the exporter's."""

    def __init__(self, exporter: Bounded) -> None:
        super().__init__(exporter)
        self._exporter = exporter

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that is sampled, if there is room."""
        queue = self._batch_processor
        full = queue._shutdown or len(queue._queue) >= queue._max_queue_size  # noqa: SLF001 - it tells nowhere else
        if full and span.context is not None and span.context.trace_flags.sampled:
            self._exporter.lose(1, "its queue is full, or closed")
        else:
            super().on_end(span)

    def shutdown(self) -> None:
        """Export what waits. The SDK gives up after a while."""
        super().shutdown()  # type: ignore[no-untyped-call]
        if left := len(self._batch_processor._queue):  # noqa: SLF001 - see above
            self._exporter.lose(left, "it did not take all before the end")


def weight(attributes: Mapping[str, object]) -> int:
    """Characters of the texts in these."""
    return sum(len(value) for value in attributes.values() if isinstance(value, str))


class Load:
    """What a provider was given since it last exported. It is asked to, and waited for, while that is still little."""

    def __init__(self, provider: Callable[[], object]) -> None:
        self._provider, self._weight = provider, 0

    def weigh(self, attributes: Mapping[str, object]) -> None:
        """Count texts of an item that is still ours."""
        self._weight += weight(attributes)

    def add(self, *attributes: Mapping[str, object]) -> None:
        """Count an item, with these texts, that is now the provider's."""
        for some in attributes:
            self.weigh(some)
        self._weight += LIGHT
        if self._weight > HEAVY:
            self._weight = 0
            self.export()

    def export(self, seconds: float = 30.0) -> object:
        """Have it export all that it holds. False if it did not."""
        force: Any = getattr(self._provider(), "force_flush", None)  # the SDK's providers have it, the API's do not
        return force is None or force(max(0, round(seconds * 1000)))


class _Held(threading.local):
    lines: list[str] | None = None


_held: Final = _Held()


def _hold_back(record: logging.LogRecord) -> bool:
    if (lines := _held.lines) is None:
        return True
    lines.append(record.getMessage())
    return False


def within(timeout: float, call: Callable[[], object]) -> bool:
    """Whether `call()` was done, and not false, in `timeout` seconds.

    It runs on a thread of its own: the SDK's flush and shutdown wait as long as the exporter does.
    """
    done: list[object] = []
    try:
        thread = threading.Thread(target=lambda: done.append(call()), name="langgraph-observe-flush", daemon=True)
        thread.start()
    except RuntimeError:  # the interpreter is going down: no new threads
        return call() is not False
    thread.join(max(0.0, timeout))
    return bool(done) and done[0] is not False
