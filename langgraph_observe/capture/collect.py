"""`collect_runs`: which runs a piece of code has started, known to that code alone. An attribute `last_run` would be anybody's."""

from __future__ import annotations

import contextlib
import contextvars
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph_observe.observer import Observer
    from langgraph_observe.records import Finished, Outcome, Scored, Started

collecting: Final[contextvars.ContextVar[tuple[list[Root], ...]]] = contextvars.ContextVar("langgraph_observe", default=())
"""The lists to which a root that starts here is added, outermost first."""


@dataclass(slots=True)
class Root:
    """A root run: known from its start, so that a stream's first chunk can carry its trace id."""

    started: Started
    observer: Observer = field(repr=False)
    finished: Finished | None = None
    """None while it goes on."""

    @property
    def id(self) -> str:
        """LangChain's run id."""
        return self.started.id

    @property
    def trace_id(self) -> str:
        """W3C trace id, 32 hex digits: `traces[trace_id]`, Langfuse, any OpenTelemetry backend."""
        return self.started.trace_id

    @property
    def outcome(self) -> Outcome | None:
        """None while it goes on."""
        return None if self.finished is None else self.finished.outcome

    def score(self, name: str, value: float | str, *, comment: str | None = None) -> Scored:
        """Feedback for this very run. Raises ValueError for a number that is none."""
        started = self.started
        return self.observer.score(
            name, value, trace_id=started.trace_id, span_id=started.span_id, run_id=started.id, comment=comment
        )


@contextlib.contextmanager
def collect_runs() -> Iterator[list[Root]]:
    """The root runs that start inside the `with`, in the order of their starts; each list is its own code's alone.

    Followed into tasks, into threads that run in a copy of the context (`batch`, `asyncio.to_thread`) and into streams that
    are first read inside. What no Observer sees, or a sampler drops, is not among them. One of each Observer that sees it.
    """
    roots: list[Root] = []
    outer = collecting.get()
    collecting.set((*outer, roots))
    try:
        yield roots
    finally:
        collecting.set(outer)  # no reset by token: an asynchronous generator may end in another context than it began in
