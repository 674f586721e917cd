"""What is compared: ways of observing a graph, each with its own backend, on a machine of its own where it has a server."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from langgraph_observe import CallbackHandler, Observer
from langgraph_observe.sinks import langfuse, log, otel, prometheus, store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from langgraph_observe import Sink

KEYS = {"public_key": "pk-lf-bench", "secret_key": "sk-lf-bench"}
LANGFUSE = "Langfuse's own"
TWO = "ours: store and spans"
ALL = "ours: all of them"
EMPTY = "empty handler"
NONE = "no handler"


@dataclass(frozen=True)
class Arm:
    """`watch` gives the graph to call, `callbacks` go with any other runnable; `flush` ends the work behind."""

    watch: Callable[[Any], Any]
    callbacks: tuple[Any, ...]
    flush: Callable[[], object] = lambda: None


class Empty(BaseCallbackHandler):
    """The least that a handler can cost."""

    run_inline = True

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        pass

    on_chain_start = on_chain_end = on_chain_error = on_chat_model_start = on_llm_start = _nothing
    on_llm_new_token = on_llm_end = on_llm_error = on_tool_start = on_tool_end = _nothing


class Nowhere(SpanExporter):
    """Spans end here."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@contextlib.contextmanager
def arms() -> Iterator[Mapping[str, Arm]]:
    """All of them by name, and what they need, for as long as they are measured."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(server())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        alone = {f"ours: {name}": ours(stack, make(directory / "alone", url)) for name, make in SINKS.items()}
        two = [SINKS[name](directory / "two", url) for name in ("store", "spans")]
        yield {
            NONE: Arm(lambda graph: graph, ()),
            EMPTY: called(Empty()),
            **alone,
            TWO: ours(stack, *two),
            ALL: ours(stack, *(make(directory / "all", url) for make in SINKS.values())),
            LANGFUSE: stack.enter_context(theirs(url)),
        }


def called(handler: BaseCallbackHandler, flush: Callable[[], object] = lambda: None) -> Arm:
    """A handler in a graph's config."""
    return Arm(lambda graph: graph.with_config(callbacks=[handler]), (handler,), flush)


def ours(stack: contextlib.ExitStack, *sinks: Sink) -> Arm:
    """`observe(graph)` with the default processors."""
    observer = stack.enter_context(Observer(*sinks))
    return Arm(observer.watch, (CallbackHandler(observer=observer),), observer.flush)


@contextlib.contextmanager
def theirs(url: str) -> Iterator[Arm]:
    """The handler that Langfuse's SDK brings, on a tracer provider of its own."""
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler as Theirs

    client = Langfuse(**KEYS, base_url=url, tracer_provider=TracerProvider())
    handler = Theirs(public_key=KEYS["public_key"])
    yield called(handler, client.flush)
    client.shutdown()


def _spans(_: Path, __: str) -> Sink:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return otel.Spans(tracer_provider=provider, content="NO_CONTENT", on_close=provider.shutdown)


def _lines(_: Path, __: str) -> Sink:
    logger = logging.getLogger("benchmark")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    return log.Lines(logger=logger)


SINKS: dict[str, Callable[[Path, str], Sink]] = {
    "a function": lambda *_: _nothing,
    "metrics": lambda *_: prometheus.Metrics(registry=CollectorRegistry()),
    "store": lambda directory, _: store.Store(directory / "traces.db"),
    "spans": _spans,
    "langfuse": lambda _, url: langfuse.Traces(**KEYS, base_url=url),
    "lines": _lines,
}


def _nothing(record: object) -> None:
    pass


@contextlib.contextmanager
def server() -> Iterator[str]:
    """The URL of a server in a process of its own: its work is not ours."""
    file = Path(__file__).with_name("accepting.py")
    with subprocess.Popen([sys.executable, file], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()
