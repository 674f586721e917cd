"""A sink that several Observers have: it is told of a run once, by the first of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph_observe.records import Finished, Noted, Started

if TYPE_CHECKING:
    from langgraph_observe.records import Record, Sink


class Shared:
    """What an Observer calls in the place of such a sink."""

    def __init__(self, sink: Sink, taken: set[str]) -> None:
        """`taken` are the open runs that one of them tells, by their span ids: of a run that several see, it is the same."""
        self.taken = taken
        self._sink = sink
        self._others: set[str] = set()
        """Of those, the ones that this Observer sees and another tells."""

    def __call__(self, record: Record) -> None:
        """Tell the sink what no other Observer tells it."""
        match record:
            case Started(span_id=span) if span in self.taken:
                self._others.add(span)
                return
            case Started(span_id=span):
                self.taken.add(span)
            case Noted(run=run) if run.span_id in self._others:
                return
            case Finished(run=run) if run.span_id in self._others:
                self._others.discard(run.span_id)
                return
            case Finished(run=run):
                self.taken.discard(run.span_id)
        self._sink(record)
