"""What holds of the records of any scenario, whatever it was and however it was called."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, get_args

from langgraph_observe import Finished, Noted, Started
from langgraph_observe.explore import Memory, Traces
from langgraph_observe.records import Outcome, totals
from langgraph_observe.testing import tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langgraph_observe import Record


def sound(records: Sequence[Record], *, late: Iterable[str] = ()) -> None:
    """Every run ended once, under its parent, before it, and in its time; a trace's totals are its models'."""
    runs = {record.span_id: record for record in records if isinstance(record, Started)}
    ends = {record.run.span_id: record for record in records if isinstance(record, Finished)}
    assert Counter(record.run.span_id for record in records if isinstance(record, Finished)) == Counter(runs.keys())
    assert all(end.outcome in get_args(Outcome) and end.run is runs[span] for span, end in ends.items())
    assert all(record.run is runs[record.run.span_id] for record in records if isinstance(record, Noted))
    for run in runs.values():
        if run.parent_id is not None:
            _under(run, runs[run.parent_span_id or ""])
    _in_order(records, set(late))
    _counted_once(records)


def _under(run: Started, parent: Started) -> None:
    assert (parent.id, parent.trace_id, parent.root_id) == (run.parent_id, run.trace_id, run.root_id)
    assert parent.at_ns <= run.at_ns
    inherited = ("thread_id", "session_id", "user_id", "trace_name")
    assert [getattr(run, name) for name in inherited] == [getattr(parent, name) for name in inherited]
    assert set(parent.tags) <= set(run.tags)


def _in_order(records: Sequence[Record], late: set[str]) -> None:
    """Children end before their parents, but for those whose work nobody waits for any more."""
    over: set[str] = set()
    for record in records:
        if isinstance(record, Finished):
            over.add(record.run.span_id)
            if record.run.parent_id is not None and record.run.parent_span_id in over:
                assert record.run.name in late, f"{record.run.kind} {record.run.name} ended after its parent"


def _counted_once(records: Sequence[Record]) -> None:
    """Only models have usage; what the explorer says of a trace is their sum."""
    finished = [record for record in records if isinstance(record, Finished)]
    assert not [end.run.name for end in finished if end.usage is not None and end.run.kind != "model"]
    for trace in Traces(Memory(records)):
        assert trace.usage == totals(end for end in finished if end.run.trace_id == trace.id)


def trees(records: Sequence[Record], sessions: int) -> list[str]:
    """The trees of each session, which is a tag of its roots. A run that belongs to none is shown with the first."""
    roots = {record.root_id: record for record in records if isinstance(record, Started) and record.parent_id is None}
    session = {
        root: next((int(tag[1:]) for tag in run.tags if tag[0] == "s" and tag[1:].isdigit()), 0) for root, run in roots.items()
    }
    parts: list[list[Record]] = [[] for _ in range(sessions)]
    for record in records:
        run = record if isinstance(record, Started) else getattr(record, "run", None)
        if run is not None:
            parts[session.get(run.root_id, 0)].append(record)
    return [tree(part) for part in parts]


def in_any_order(text: str) -> str:
    """The tree with siblings sorted, for what runs at the same time."""
    lines = text.splitlines()
    return "\n".join(_sorted(lines, 0))


def _sorted(lines: Sequence[str], depth: int) -> list[str]:
    heads = [number for number, line in enumerate(lines) if len(line) - len(line.lstrip()) == depth]
    blocks = [lines[start:end] for start, end in zip(heads, [*heads[1:], len(lines)], strict=False)]
    return [line for block in sorted([block[0], *_sorted(block[1:], depth + 2)] for block in blocks) for line in block]
