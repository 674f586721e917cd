"""Could Langfuse's own span processor carry our spans? Both ways to send, against the same stand-in server.

PYTHONPATH=tests:tests/sinks python tests/benchmarks/langfuse_transport.py
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from langfuse._client.span_processor import LangfuseSpanProcessor
from langfuse_server import KEYS, Langfuse
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_records import finished, started

from langgraph_observe.records import Payload
from langgraph_observe.sinks.langfuse import Traces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from langgraph_observe.records import Record

os.environ["OTEL_EXPORTER_OTLP_HEADERS"] = "x-other-backends-key=secret"
RECORDS = 5_000


class Ours:
    """The sink as it is: records in."""

    def __init__(self, server: Langfuse) -> None:
        self._sink = Traces(base_url=server.url, **KEYS)
        self.put, self.flush = self._sink, self._sink.flush

    def items(self, records: Sequence[Record]) -> Sequence[Record]:
        return records

    def counted(self) -> str:
        health = self._sink.health()
        return str(health["dropped"] + health["lost"] + health["queued"])

    def close(self) -> None:
        self._sink.close(0.1)


class Theirs:
    """The processor of the SDK: finished spans in."""

    def __init__(self, server: Langfuse) -> None:
        self._processor = LangfuseSpanProcessor(**KEYS, base_url=server.url, timeout=5)
        self.put = self._processor.on_end

    def items(self, records: Sequence[Record]) -> Sequence[ReadableSpan]:
        memory = InMemorySpanExporter()
        sink = Traces(span_exporter=memory, **KEYS)
        for record in records:
            sink(record)
        sink.close(60)
        return memory.get_finished_spans()

    def flush(self, timeout: float) -> bool:
        return self._processor.force_flush(round(timeout * 1000))

    def counted(self) -> str:
        return "nowhere"

    def close(self) -> None:
        """At the end of the process: its thread is a daemon, its shutdown waits for the server."""


def burst(make: type[Ours | Theirs]) -> dict[str, str]:
    """Many spans at once, to a server that answers."""
    with Langfuse() as server:
        sender = make(server)
        items = sender.items([finished(started()) for _ in range(RECORDS)])
        seconds = timed(lambda: [sender.put(item) for item in items])
        sender.flush(30)
        sender.close()
        headers = server.requests[0].headers
        return {
            "put, µs": f"{seconds / RECORDS * 1e6:.1f}",
            f"arrived of {RECORDS:,}": f"{len(server.observations):,}",
            "counted as lost": sender.counted(),
            "header of another backend": headers.get("x-other-backends-key", "none"),
        }


def silent(make: type[Ours | Theirs]) -> dict[str, str]:
    """A server that does not answer."""
    with Langfuse(silent=True) as server:
        sender = make(server)
        for item in sender.items([finished(started())]):
            sender.put(item)
        answers: list[bool] = []
        seconds = timed(lambda: answers.append(sender.flush(0.5)))
        sender.close()
        return {"flush(0.5) against a silent server": f"{seconds:.1f} s, {answers[0]}"}


def large(make: type[Ours | Theirs]) -> dict[str, str]:
    """500 spans of 200 KB."""
    with Langfuse() as server:
        sender = make(server)
        for item in sender.items([finished(started(input=Payload("x" * 200_000))) for _ in range(500)]):
            sender.put(item)
        sender.flush(60)
        sender.close()
        return {"arrived of 500 with 200 KB": str(len(server.observations)), "counted as lost, of these": sender.counted()}


def timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> None:
    logging.disable()
    tables = [{key: value for part in (burst, silent, large) for key, value in part(make).items()} for make in (Ours, Theirs)]
    print(f"{'':36}{'ours':>16}{'the SDK':>16}")  # noqa: T201 - for whoever runs this
    for key in tables[0]:
        print(f"{key:36}" + "".join(f"{table[key]:>16}" for table in tables))  # noqa: T201


if __name__ == "__main__":
    main()
    os._exit(0)  # the SDK's thread still waits for the silent server
