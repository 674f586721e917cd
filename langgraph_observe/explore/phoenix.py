"""Arize Phoenix as a source, by its REST API: it gives its spans back as OTLP, in OpenInference's vocabulary."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from langgraph_observe.explore.otlp import span
from langgraph_observe.explore.server import LATEST, PAGE, Server, shown
from langgraph_observe.explore.source import sifted
from langgraph_observe.explore.vocabulary import records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph_observe.explore.source import Filter
    from langgraph_observe.records import Record


class Phoenix:
    """The latest traces of one of its projects. Raises ConnectionError and PermissionError, which say what to do."""

    def __init__(self, address: str, *, project: str = "default", latest: int = LATEST) -> None:
        self.project = project
        self._latest = latest
        self._server = Server("Phoenix", address)

    def ids(self, wanted: Filter, /, limit: int | None = None) -> list[str]:
        """See Source."""
        return sifted(self._traces(wanted.since_ns), self.records, replace(wanted, since_ns=None), limit)

    def records(self, trace_id: str, /) -> list[Record]:
        """See Source."""
        return records([span(one) for one in self._spans({"trace_id": trace_id})])

    def __str__(self) -> str:
        return f"Phoenix at {shown(self._server.address)}, project {self.project}"

    def _traces(self, since_ns: int | None) -> Iterator[str]:
        since = None if since_ns is None else datetime.fromtimestamp(since_ns / 1e9, UTC).isoformat()
        roots = (span(one) for one in self._spans({"parent_id": "null", "start_time": since}))
        latest = sorted(islice(roots, self._latest), key=lambda root: (root.start_ns, root.trace_id), reverse=True)
        yield from dict.fromkeys(root.trace_id for root in latest)

    def _spans(self, parameters: dict[str, str | None]) -> Iterator[dict[str, Any]]:
        cursor = None
        while True:
            path = f"/v1/projects/{quote(self.project, safe='')}/spans/otlpv1"
            page = self._server.get(path, {**parameters, "limit": PAGE, "cursor": cursor})
            yield from page["data"]
            if (cursor := page.get("next_cursor")) is None:
                return
