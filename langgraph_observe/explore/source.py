"""Where traces are read from: the Source protocol, what can be asked of one, and the source that is a list in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from langgraph_observe.records import Finished, Noted, Scored, Started

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langgraph_observe.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which traces. What is None does not matter.

    Graph, thread, session, user and tag are those of one run, any in the trace: a graph that answers a web request is not
    the root of its trace.
    """

    prefix: str | None = None
    """How the trace's id or the root's run id begins."""
    graph: str | None = None
    outcome: str | None = None
    """An outcome of the root run, or `running`."""
    thread: str | None = None
    session: str | None = None
    user: str | None = None
    tag: str | None = None
    model: str | None = None
    """A model that was asked, or that answered."""
    since_ns: int | None = None
    """Nanoseconds since the epoch: traces that began then or later."""

    def __post_init__(self) -> None:
        """Raises TypeError: a UUID or a number for a text is equal to it in one source, to nothing in another."""
        for name, value in asdict(self).items():
            wanted = int if name == "since_ns" else str
            if not isinstance(value, wanted | None):
                msg = f"{name} must be {wanted.__name__}, not {type(value).__name__}"
                raise TypeError(msg)


class Source(Protocol):
    """Recorded traces, read only."""

    def ids(self, wanted: Filter, /, limit: int | None = None) -> Sequence[str]:
        """The trace ids that match, the latest first, `limit` of them at most."""

    def records(self, trace_id: str, /) -> Sequence[Record]:
        """What was recorded of a trace, in any order; none for an unknown id. Payloads are read when they are asked for."""


class Memory:
    """The last records, in memory: a sink to be fed and a source to be read. Whole records: payloads stay alive with them."""

    def __init__(self, records: Iterable[Record] = (), *, capacity: int = 20_000) -> None:
        """`capacity` in records."""
        self._records = deque(records, maxlen=capacity)

    def __call__(self, record: Record) -> None:
        """Keep a record; the oldest goes."""
        self._records.append(record)  # atomic and reentrant

    def ids(self, wanted: Filter, /, limit: int | None = None) -> list[str]:
        """See Source."""
        traces: dict[str, list[Started | Finished]] = {}
        for record in self._records.copy():
            match record:
                case Started() | Finished():
                    traces.setdefault(_begun(record).trace_id, []).append(record)
                case Noted(run=run):
                    traces.setdefault(run.trace_id, []).append(run)
                case Scored():
                    pass
        times = {trace: min(_begun(run).at_ns for run in runs) for trace, runs in traces.items() if _matches(runs, wanted)}
        latest = sorted(times, key=lambda trace: (times[trace], trace), reverse=True)
        since = wanted.since_ns or 0
        return [trace for trace in latest if times[trace] >= since][:limit]

    def records(self, trace_id: str, /) -> list[Record]:
        """See Source."""
        return [record for record in self._records.copy() if _trace_id(record) == trace_id]

    def __str__(self) -> str:
        return "memory"


def _begun(record: Started | Finished) -> Started:
    return record if isinstance(record, Started) else record.run


def _trace_id(record: Record) -> str:
    return record.run.trace_id if isinstance(record, (Finished, Noted)) else record.trace_id


def _matches(runs: Iterable[Started | Finished], wanted: Filter) -> bool:
    newest = {_begun(run).span_id: run for run in sorted(runs, key=lambda run: isinstance(run, Finished))}.values()
    return (
        (wanted.prefix is None or any(_named(run, wanted.prefix) for run in newest))
        and (wanted.outcome is None or any(_ended(run, wanted.outcome) for run in newest))
        and any(_concerns(_begun(run), wanted) for run in newest)
        and (wanted.model is None or any(_used(run, wanted.model) for run in newest))
    )


def _named(run: Started | Finished, prefix: str) -> bool:
    begun = _begun(run)
    return begun.trace_id.startswith(prefix) or (begun.parent_id is None and begun.id.startswith(prefix))


def _ended(run: Started | Finished, outcome: str) -> bool:
    return _begun(run).parent_id is None and outcome == (run.outcome if isinstance(run, Finished) else "running")


def _concerns(run: Started, wanted: Filter) -> bool:
    asked = (wanted.graph, wanted.thread, wanted.session, wanted.user)
    found = (run.graph, run.thread_id, run.session_id, run.user_id)
    return wanted.tag in (None, *run.tags) and all(a is None or a == f for a, f in zip(asked, found, strict=True))


def _used(run: Started | Finished, model: str) -> bool:
    return _begun(run).kind == "model" and model in (_begun(run).model, run.model)
