"""One run as it was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langgraph_observe.records import Failure, Finished, Kind, Noted, Outcome, Payload, Started, Stream, Usage


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """One run as it was recorded. Its payloads are read when they are asked for."""

    started: Started
    finished: Finished | None = None
    """None while the run goes on, and for ever if its process was killed."""
    events: tuple[Noted, ...] = ()
    """Moments inside it, in the order of time."""

    @property
    def id(self) -> str:
        """LangChain's run id."""
        return self.started.id

    @property
    def span_id(self) -> str:
        """The W3C span id."""
        return self.started.span_id

    @property
    def kind(self) -> Kind:
        """What ran."""
        return self.started.kind

    @property
    def name(self) -> str:
        """As recorded: whoever shows it must make it harmless."""
        return self.started.name

    @property
    def outcome(self) -> Outcome | None:
        """None: not ended."""
        return None if self.finished is None else self.finished.outcome

    @property
    def seconds(self) -> float | None:
        """None: not ended."""
        return None if self.finished is None else self.finished.seconds

    @property
    def first_token_seconds(self) -> float | None:
        """Of a streamed model call, from its start."""
        return None if self.finished is None else self.finished.first_token_seconds

    @property
    def usage(self) -> Usage | None:
        """Tokens and cost of a model call."""
        return None if self.finished is None else self.finished.usage

    @property
    def failure(self) -> Failure | None:
        """What was raised."""
        return None if self.finished is None else self.finished.failure

    @property
    def input(self) -> Payload | None:
        """What went in."""
        return (None if self.finished is None else self.finished.input) or self.started.input

    @property
    def output(self) -> Payload | None:
        """What came out."""
        return None if self.finished is None else self.finished.output

    @property
    def stream(self) -> Stream | None:
        """How its answer came, piece by piece."""
        return None if self.finished is None else self.finished.stream

    def __str__(self) -> str:
        from langgraph_observe.explore.detail import text

        return text(self)

    def __repr__(self) -> str:
        from langgraph_observe.explore.detail import line

        return f"<{line(self)}>"

    def _repr_html_(self) -> str:
        from langgraph_observe.explore.detail import page

        return page(self)
