"""MLflow's tracking server as a source, by its REST API: it gives its spans back as OTLP, as protobuf spells it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.explore.otlp import span
from langgraph_observe.explore.server import LATEST, Server, shown
from langgraph_observe.explore.source import sifted
from langgraph_observe.explore.vocabulary import records

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langgraph_observe.explore.source import Filter
    from langgraph_observe.explore.vocabulary import Span
    from langgraph_observe.records import Record

PAGE: Final = 500
"""Traces that it gives at once."""
PREFIX: Final = "tr-"
"""How its ids of traces begin; W3C's follows."""


class Mlflow:
    """The latest traces of one of its experiments. Raises ConnectionError and PermissionError, which say what to do."""

    def __init__(self, address: str, *, experiment: str = "0", latest: int = LATEST) -> None:
        self.experiment = experiment
        self._latest = latest
        self._server = Server("MLflow", address)

    def ids(self, wanted: Filter, /, limit: int | None = None) -> list[str]:
        """See Source."""
        return sifted(islice(self._traces(wanted.since_ns), self._latest), self.records, wanted, limit)

    def records(self, trace_id: str, /) -> list[Record]:
        """See Source."""
        found = self._server.get("/api/3.0/mlflow/traces/batchGet", {"trace_ids": PREFIX + trace_id}).get("traces") or ()
        return records([_span(trace_id, one, trace) for trace in found for one in trace["spans"]])

    def __str__(self) -> str:
        return f"MLflow at {shown(self._server.address)}, experiment {self.experiment}"

    def _traces(self, since_ns: int | None) -> Iterator[str]:
        token = None
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": self.experiment}}
        asked: dict[str, Any] = {"locations": [place], "max_results": PAGE, "order_by": ["timestamp_ms DESC"]}
        if since_ns is not None:
            asked["filter"] = f"trace.timestamp_ms >= {since_ns // 10**6}"
        while True:
            page = self._server.post("/api/3.0/mlflow/traces/search", {**asked, **({"page_token": token} if token else {})})
            yield from (str(one["trace_id"]).removeprefix(PREFIX) for one in page.get("traces") or ())
            if not (token := page.get("next_page_token")):
                return


def _span(trace_id: str, one: Mapping[str, Any], trace: Mapping[str, Any]) -> Span:
    """With what MLflow knows of the whole trace: session and user."""
    about = trace["trace_info"].get("trace_metadata") or {}
    return span({**one, "trace_id": trace_id}, about)
