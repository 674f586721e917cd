"""For `opentelemetry-instrument`, and for whoever instruments by OpenTelemetry's own classes.

Whoever loads this has opentelemetry-instrumentation, which is no requirement of ours.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from langgraph_observe import everywhere

if TYPE_CHECKING:
    from collections.abc import Collection


BaseInstrumentor: Any = import_module("opentelemetry.instrumentation.instrumentor").BaseInstrumentor


class LangGraphObserveInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # it need not be there when types are checked
    """What `instrument()` does: to the default Observer, whose spans go to the provider that is installed."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """What is instrumented; both are requirements of ours."""
        return ("langchain-core >= 1", "langgraph >= 1.2")

    def _instrument(self, **kwargs: Any) -> None:
        """With a `tracer_provider`: to that one, as spans, and to nobody else."""
        sinks = []
        if (provider := kwargs.get("tracer_provider")) is not None:
            from langgraph_observe.sinks.otel import Spans

            sinks.append(Spans(tracer_provider=provider))
        everywhere.instrument(*sinks)

    def _uninstrument(self, **_: Any) -> None:
        everywhere.uninstrument()
