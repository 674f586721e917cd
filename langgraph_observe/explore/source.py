"""Where traces are read from: the Source protocol, what can be asked of one, and the source that is a list in memory."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from langgraph_observe.payloads import encode
from langgraph_observe.records import Finished, Noted, Scored, Started, totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from langgraph_observe.records import Payload, Record


WHOLE_ID: Final = re.compile("[0-9a-f]{32}")
NUMBERS: Final = frozenset({"since_ns", "min_cost_nusd"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which traces. What is None does not matter.

    Graph, node, thread, session, user and tag are those of one run, any in the trace: a graph that answers a web request is
    not the root of its trace.
    """

    prefix: str | None = None
    """How the trace's id or the root's run id begins."""
    graph: str | None = None
    node: str | None = None
    outcome: str | None = None
    """An outcome of the root run, or `running`."""
    thread: str | None = None
    session: str | None = None
    user: str | None = None
    tag: str | None = None
    model: str | None = None
    """A model that was asked, or that answered."""
    tool: str | None = None
    """A tool that was called."""
    text: str | None = None
    """Is in an input, an output or an error's message; `a` is `A`, as far as ASCII goes."""
    min_cost_nusd: int | None = None
    """Nano-dollars that the trace cost at least, as far as its cost is known."""
    since_ns: int | None = None
    """Nanoseconds since the epoch: traces that began then or later."""

    def __post_init__(self) -> None:
        """Raises TypeError: a UUID or a number for a text is equal to it in one source, to nothing in another."""
        for name, value in asdict(self).items():
            wanted = int if name in NUMBERS else str
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
        traces: dict[str, list[Record]] = {}
        for record in self._records.copy():
            traces.setdefault(_trace_id(record), []).append(record)
        times = {trace: at_ns for trace, records in traces.items() if (at_ns := matched(records, wanted)) is not None}
        return sorted(times, key=lambda trace: (times[trace], trace), reverse=True)[:limit]

    def records(self, trace_id: str, /) -> list[Record]:
        """See Source."""
        return [record for record in self._records.copy() if _trace_id(record) == trace_id]

    def __str__(self) -> str:
        return "memory"


def matched(records: Iterable[Record], wanted: Filter) -> int | None:
    """When the trace with these records began, nanoseconds since the epoch; None if it is not wanted, or has no runs."""
    runs = [run for record in records if (run := _run(record)) is not None]
    if not runs or not _matches(runs, wanted):
        return None
    at_ns = min(_begun(run).at_ns for run in runs)
    return at_ns if at_ns >= (wanted.since_ns or 0) else None


def _run(record: Record) -> Started | Finished | None:
    match record:
        case Started() | Finished():
            return record
        case Noted(run=run):
            return run
        case Scored():
            return None


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
        and (wanted.tool is None or any(_begun(run).kind == "tool" and _begun(run).name == wanted.tool for run in newest))
        and (wanted.min_cost_nusd is None or _cost_nusd(newest) >= wanted.min_cost_nusd)
        and (wanted.text is None or any(_says(run, needle(wanted.text)) for run in newest))
    )


def needle(text: str) -> str:
    """The text as it stands in JSON."""
    return encode(text).decode()[1:-1]


def _named(run: Started | Finished, prefix: str) -> bool:
    begun = _begun(run)
    return begun.trace_id.startswith(prefix) or (begun.parent_id is None and begun.id.startswith(prefix))


def _ended(run: Started | Finished, outcome: str) -> bool:
    return _begun(run).parent_id is None and outcome == (run.outcome if isinstance(run, Finished) else "running")


def _concerns(run: Started, wanted: Filter) -> bool:
    asked = (wanted.graph, wanted.node, wanted.thread, wanted.session, wanted.user)
    found = (run.graph, run.node, run.thread_id, run.session_id, run.user_id)
    return wanted.tag in (None, *run.tags) and all(a is None or a == f for a, f in zip(asked, found, strict=True))


def _used(run: Started | Finished, model: str) -> bool:
    return _begun(run).kind == "model" and model in (_begun(run).model, run.model)


def _cost_nusd(runs: Iterable[Started | Finished]) -> int:
    """-1 where nothing is known: of $0 at least are those that are known to cost that."""
    cost = totals(run for run in runs if isinstance(run, Finished) and run.run.kind == "model").cost
    return -1 if cost is None else round(cost.scaleb(9))


def _says(run: Started | Finished, text: str) -> bool:
    sought = text.encode().lower()  # of bytes: ASCII only, as SQLite's LIKE
    return any(sought in said.lower() for said in _said(run))


def _said(run: Started | Finished) -> Iterable[bytes]:
    payloads: list[Payload | None] = [_begun(run).input]
    if isinstance(run, Finished):
        payloads += [run.input, run.output]
        yield encode(run.failure.message if run.failure else "")
    yield from (payload.json for payload in payloads if payload is not None)


def sifted(traces: Iterable[str], read: Callable[[str], Sequence[Record]], wanted: Filter, limit: int | None) -> list[str]:
    """Those of the trace ids that are wanted, in their order, by as little reading as will do. For sources that are far away.

    A prefix is one of trace ids only; a whole id is asked for by itself, so it need not be among `traces`.
    """
    if (prefix := wanted.prefix) is not None:
        traces = (one for one in traces if one.startswith(prefix))
        if WHOLE_ID.fullmatch(prefix):
            traces = [prefix] if read(prefix) else []
        wanted = replace(wanted, prefix=None)
    found = traces if wanted == Filter() else (trace for trace in traces if matched(read(trace), wanted) is not None)
    return list(islice(found, limit))
