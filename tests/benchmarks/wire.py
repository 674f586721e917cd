"""Bytes on the wire of a conversation: what each handler hands to an OTLP exporter, encoded as OTLP protobuf.

    python tests/benchmarks/wire.py [--turns 30] [--arm NAME …]

An agent with a checkpointer is asked once a turn, so its state holds the whole conversation at the last. The bytes are
those of `ExportTraceServiceRequest` before and after gzip, content on everywhere; the store's are those of its file. Peers are
measured where they are installed (`opentelemetry-instrumentation-genai-langchain`).
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ |= {
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
    "LANGGRAPH_OBSERVE_STORE": "off",
    "LANGFUSE_TRACING_ENABLED": "true",
}

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rich.console import Console
from rich.table import Table

from langgraph_observe import Observer
from langgraph_observe.sinks.langfuse import Traces
from langgraph_observe.sinks.otel import Spans
from langgraph_observe.sinks.store import Store
from langgraph_observe.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langgraph.graph.state import CompiledStateGraph

    Payloads = Any
    Told = tuple[CompiledStateGraph[Any, Any, Any, Any], dict[str, Any], Callable[[], tuple[int, int]]]

WORDS = "The observatory opens at nine, and the telescope is free from ten until the clouds come in. "
KEYS = {"public_key": "pk-lf-1", "secret_key": "sk-lf-1"}


def chatbot() -> CompiledStateGraph[Any, Any, Any, Any]:
    """Two nodes, as an agent has them at least: one looks at the state, one asks the model."""
    model = ScriptedModel(respond=lambda messages: f"{len(messages)}: {WORDS * 4}")
    builder = StateGraph(MessagesState)
    builder.add_node("guard", lambda _: {})
    builder.add_node("answer", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_edge(START, "guard")
    builder.add_edge("guard", "answer")
    return builder.compile(name="chatbot", checkpointer=InMemorySaver())


def sizes(memory: InMemorySpanExporter) -> tuple[int, int]:
    """Of everything that was exported, each turn in one request."""
    sent = encode_spans(memory.get_finished_spans()).SerializeToString()
    return len(sent), len(gzip.compress(sent))


@contextlib.contextmanager
def spans(payloads: Payloads) -> Iterator[Told]:
    """OpenTelemetry spans of ours."""
    provider, memory = _provider()
    with Observer(Spans(tracer_provider=provider)) as observer:
        yield observer.watch(chatbot(), payloads=payloads), {}, lambda: (observer.flush(), sizes(memory))[1]


@contextlib.contextmanager
def langfuse(payloads: Payloads) -> Iterator[Told]:
    """Langfuse by us."""
    memory = InMemorySpanExporter()
    with Observer(Traces(span_exporter=memory, **KEYS)) as observer:
        yield observer.watch(chatbot(), payloads=payloads), {}, lambda: (observer.flush(), sizes(memory))[1]


@contextlib.contextmanager
def store(payloads: Payloads) -> Iterator[Told]:
    """The embedded store; its file, and gzipped."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traces.db"
        observer = Observer(Store(path))

        def size() -> tuple[int, int]:
            observer.close()
            held = b"".join(one.read_bytes() for one in Path(folder).glob("traces.db*"))
            return len(held), len(gzip.compress(held))

        yield observer.watch(chatbot(), payloads=payloads), {}, size


@contextlib.contextmanager
def langfuses(_: Payloads) -> Iterator[Told]:
    """Langfuse's own handler."""
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    provider, memory = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    client = Langfuse(**KEYS, tracer_provider=provider, span_exporter=memory)
    yield chatbot(), {"callbacks": [CallbackHandler(public_key=KEYS["public_key"])]}, lambda: (client.flush(), sizes(memory))[1]
    client.shutdown()


@contextlib.contextmanager
def official(_: Payloads) -> Iterator[Told]:
    """opentelemetry-instrumentation-genai-langchain."""
    from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

    provider, memory = _provider()
    LangChainInstrumentor().instrument(tracer_provider=provider)
    yield chatbot(), {}, lambda: sizes(memory)
    LangChainInstrumentor().uninstrument()


def _provider() -> tuple[TracerProvider, InMemorySpanExporter]:
    provider, memory = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return provider, memory


ARMS: dict[str, tuple[Callable[[Payloads], contextlib.AbstractContextManager[Told]], Payloads]] = {
    "ours, spans, full": (spans, "full"),
    "ours, spans, delta": (spans, "delta"),
    "ours, Langfuse, full": (langfuse, "full"),
    "ours, Langfuse, delta": (langfuse, "delta"),
    "ours, store, delta": (store, "delta"),
    "Langfuse's handler": (langfuses, None),
    "OpenTelemetry's genai-langchain": (official, None),
}


def measured(name: str, turns: int) -> tuple[int, int]:
    """Play the conversation."""
    arm, payloads = ARMS[name]
    with arm(payloads) as (graph, config, size):
        for turn in range(turns):
            asked = {"messages": [("user", f"{turn}. When may I look at Saturn?")]}
            graph.invoke(asked, {"configurable": {"thread_id": "t-1"}, **config})
        return size()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--arm", action="append", choices=ARMS)
    options = parser.parse_args()
    table = Table(f"{options.turns} turns", "kB", "kB, gzip")
    for name in options.arm or ARMS:
        try:
            table.add_row(name, *(f"{size / 1000:.0f}" for size in measured(name, options.turns)))
        except ModuleNotFoundError as error:
            table.add_row(name, f"no {error.name}")
    Console().print(table)


if __name__ == "__main__":
    main()
