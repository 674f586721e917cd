"""How others are switched on, as their documentation says, each with a backend in its own process. Needs none of ours."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import BaseCallbackHandler
from received import Received

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

os.environ |= {
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
    "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental",
    "OTEL_METRICS_EXPORTER": "none",
    "TRACELOOP_TRACE_CONTENT": "true",
    "LANGSMITH_TRACING": "false",
    "LANGFUSE_TRACING_ENABLED": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
KEYS = {"public_key": "pk-lf-bench", "secret_key": "sk-lf-bench"}
HOSTS = ("langchain_core", "langgraph", "langchain")


@dataclass
class Arm:
    """One way to look: `watch` gives the graph to call, `on` and `off` are for what patches the host itself."""

    watch: Callable[[Any], Any] = lambda graph: graph
    flush: Callable[[], object] = lambda: None
    received: Received = field(default_factory=Received)
    settle: Callable[[], object] = lambda: None
    """Counts what has been received, where that takes time of its own."""
    dropped: Callable[[], int] = lambda: 0
    """What it says itself that it dropped."""
    patches: Patches | None = None

    def on(self) -> None:
        if self.patches:
            self.patches.put(1)

    def off(self) -> None:
        if self.patches:
            self.patches.put(0)


class Patches:
    """What somebody has replaced in LangChain and LangGraph, taken out and put back: not all can undo what they do."""

    def __init__(self, instrument: Callable[[], object]) -> None:
        before = dict(self._attributes())
        instrument()
        self._changed = [
            (owner, name, before[owner, name], value)
            for (owner, name), value in self._attributes()
            if (owner, name) in before and before[owner, name] is not value
        ]

    @staticmethod
    def _attributes() -> Iterator[tuple[tuple[Any, str], Any]]:
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in HOSTS:
                classes = {
                    value for value in vars(module).values() if isinstance(value, type) and value.__module__.startswith(HOSTS)
                }
                for owner in (module, *classes):
                    yield from (((owner, key), value) for key, value in list(vars(owner).items()) if callable(value))

    def put(self, which: int) -> None:
        for owner, name, *values in self._changed:
            setattr(owner, name, values[which])


class Empty(BaseCallbackHandler):
    """The least that a handler can cost."""

    run_inline = True

    def _nothing(self, *args: Any, **kwargs: Any) -> None:
        pass

    on_chain_start = on_chain_end = on_chain_error = on_chat_model_start = on_llm_start = _nothing
    on_llm_new_token = on_llm_end = on_llm_error = on_tool_start = on_tool_end = on_tool_error = _nothing


class Events(Empty):
    """Counts callback events, tokens left out."""

    def __init__(self) -> None:
        self.count = 0

    def _counted(self, *args: Any, **kwargs: Any) -> None:
        self.count += 1

    on_chain_start = on_chain_end = on_chain_error = on_chat_model_start = on_llm_start = _counted
    on_llm_end = on_llm_error = on_tool_start = on_tool_end = on_tool_error = _counted


def called(handler: Any) -> Callable[[Any], Any]:
    """A handler in a graph's config."""
    return lambda graph: graph.with_config(callbacks=[handler])


def none() -> Arm:
    """Nobody looks."""
    return Arm()


def empty() -> Arm:
    return Arm(watch=called(Empty()))


def langfuse() -> Arm:
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler
    from opentelemetry.sdk.trace import TracerProvider
    from spans import Encoded

    received = Received()
    client = Langfuse(**KEYS, tracer_provider=TracerProvider(shutdown_on_exit=False), span_exporter=Encoded(received))
    return Arm(called(CallbackHandler(public_key=KEYS["public_key"])), client.flush, received)


def _instrumented(instrument: Callable[[Any], object]) -> Arm:
    """What patches the host, on a tracer provider with its exporter."""
    import langchain_core.tracers.langchain  # noqa: F401
    import langgraph.prebuilt  # noqa: F401 - what is to be patched must be there before
    from spans import provider

    received = Received()
    made = provider(received)
    arm = Arm(flush=made.force_flush, received=received, patches=Patches(lambda: instrument(made)))
    arm.off()
    return arm


def genai() -> Arm:
    from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

    return _instrumented(lambda made: LangChainInstrumentor().instrument(tracer_provider=made))


def openinference() -> Arm:
    from openinference.instrumentation.langchain import LangChainInstrumentor

    return _instrumented(lambda made: LangChainInstrumentor().instrument(tracer_provider=made))


def openllmetry() -> Arm:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    return _instrumented(
        lambda made: LangchainInstrumentor(disable_trace_context_propagation=True).instrument(tracer_provider=made)
    )


def openlit() -> Arm:
    import openlit as lit
    from opentelemetry.trace import set_tracer_provider

    prices = Path(tempfile.mkdtemp(prefix="benchmark-")) / "prices.json"
    prices.write_text("{}")  # else it asks the network

    def instrument(made: Any) -> None:
        set_tracer_provider(made)
        lit.init(pricing_json=str(prices), disable_metrics=True, disable_events=True, capture_message_content=True)

    return _instrumented(instrument)


def langsmith() -> Arm:
    from langchain_core.tracers.langchain import LangChainTracer
    from smith import client

    received = Received()
    made, taking = client(received)
    return Arm(called(LangChainTracer(client=made, project_name="bench")), made.flush, received, settle=taking.count)


def mlflow() -> Arm:
    import mlflow as flow
    import mlflow.langchain
    from flow import count

    flow.set_tracking_uri(f"sqlite:///{tempfile.mkdtemp(prefix='benchmark-')}/mlflow.db")
    flow.set_experiment("bench")
    received = Received()
    count(received)
    arm = Arm(flush=flow.flush_trace_async_logging, received=received, patches=Patches(mlflow.langchain.autolog))
    arm.off()
    return arm


RIVALS: dict[str, tuple[Callable[[], Arm], str, tuple[str, ...]]] = {
    "Langfuse": (langfuse, "langfuse", ("langfuse",)),
    "OpenTelemetry": (genai, "genai", ("opentelemetry-instrumentation-genai-langchain", "langchain")),
    "OpenInference": (openinference, "openinference", ("openinference-instrumentation-langchain",)),
    "OpenLLMetry": (openllmetry, "openllmetry", ("opentelemetry-instrumentation-langchain",)),
    "OpenLIT": (openlit, "openlit", ("openlit==1.44.0", "opentelemetry-sdk==1.45.1", "opentelemetry-instrumentation==0.66b1")),
    "LangSmith": (langsmith, "langsmith", ("langsmith",)),
    "MLflow": (mlflow, "mlflow", ("mlflow",)),
}
"""How it is switched on, the venv it lives in, and what is installed there.

OpenLIT asks for a dozen instrumentations that are not all released with each OpenTelemetry: for want of a pin pip falls back to
a version of a year ago, which does not know LangGraph.
"""
