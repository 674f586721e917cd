"""What was recorded, as trees: Run and Trace, built from records in any order."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.records import Finished, Kind, Noted, Outcome, Scored, Started, totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from decimal import Decimal

    from langgraph_observe.records import Failure, Payload, Record, Usage

WORST: Final[tuple[Outcome, ...]] = ("ok", "interrupted", "cancelled", "abandoned", "error")


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Trace:
    """The runs of a trace as a tree. Iterating gives every run, a parent before its children, in the order of time."""

    id: str
    roots: tuple[Run, ...]
    """The runs without a parent here, first in time first: the graph called, and orphans, whose parent was not recorded."""
    children: Mapping[str, tuple[Run, ...]] = field(repr=False)
    """By the parent's span id."""
    scores: tuple[Scored, ...] = ()
    after: Callable[[Trace], str | None] = field(default=lambda _: None, repr=False, compare=False)
    """Finds the trace that went on from this one."""

    @classmethod
    def of(cls, trace_id: str, records: Iterable[Record], after: Callable[[Trace], str | None] = lambda _: None) -> Trace:
        """Build the tree from the records of one trace, in any order. Raises LookupError if there is no run among them."""
        found = list(records)
        runs = _runs(found)
        if not runs:
            msg = f"trace {trace_id} has no runs"
            raise LookupError(msg)
        parents = _parents(runs)
        children: dict[str, list[Run]] = {}
        for run in runs.values():
            if (parent := parents[run.span_id]) is not None:
                children.setdefault(parent, []).append(run)
        roots = tuple(run for run in runs.values() if parents[run.span_id] is None)
        scores = sorted((r for r in found if isinstance(r, Scored)), key=lambda s: (s.at_ns, s.id))
        return cls(trace_id, roots, {parent: tuple(runs) for parent, runs in children.items()}, tuple(scores), after)

    def __iter__(self) -> Iterator[Run]:
        return (run for run, _ in self.walk())

    def walk(self) -> Iterator[tuple[Run, tuple[bool, ...]]]:
        """Each run with its way down: for each level, whether it is the last of its siblings. Empty for a root."""
        waiting: list[tuple[Run, tuple[bool, ...]]] = [(root, ()) for root in reversed(self.roots)]
        while waiting:  # no recursion: a tree may be as deep as it likes
            run, way = waiting.pop()
            yield run, way
            below = self.children.get(run.span_id, ())
            waiting.extend((child, (*way, child is below[-1])) for child in reversed(below))

    def __len__(self) -> int:
        return len(self.roots) + sum(map(len, self.children.values()))

    def __getitem__(self, name: str) -> tuple[Run, ...]:
        """The runs of this name, in the order of the tree. Raises KeyError if there is none."""
        if found := self.find(name=name):
            return found
        raise KeyError(name)

    def find(self, *, kind: Kind | None = None, name: str | None = None, outcome: Outcome | None = None) -> tuple[Run, ...]:
        """The runs of which all that is given is true."""
        wanted: dict[str, Any] = {"kind": kind, "name": name, "outcome": outcome}
        wanted = {attribute: value for attribute, value in wanted.items() if value is not None}
        return tuple(run for run in self if all(getattr(run, attribute) == value for attribute, value in wanted.items()))

    @property
    def root(self) -> Run:
        """The first of the roots."""
        return self.roots[0]

    @property
    def name(self) -> str:
        """What the trace was called, or its graph, or its first run."""
        started = self.root.started
        return started.trace_name or started.graph or started.name

    @property
    def at_ns(self) -> int:
        """When it began, nanoseconds since the epoch."""
        return self.root.started.at_ns

    @property
    def thread_id(self) -> str | None:
        """LangGraph's thread, of the first run that has one: the root may be a web request."""
        return next((run.started.thread_id for run in self if run.started.thread_id is not None), None)

    @property
    def resumed_from(self) -> str | None:
        """The trace of the interrupted run that this one goes on from."""
        links = (link for root in self.roots for link in root.started.links if link.kind == "resumed_from")
        return next((link.trace_id for link in links if link.trace_id != self.id), None)

    @property
    def resumed_by(self) -> str | None:
        """The trace that went on from this one's interrupt. Looked for among the later ones of the thread, each time it is asked."""
        return self.after(self) if self.outcome == "interrupted" else None

    @property
    def outcome(self) -> Outcome | None:
        """The worst of the roots'. None while one of them goes on."""
        outcomes = [run.outcome for run in self.roots]
        return None if None in outcomes else max((o for o in outcomes if o), key=WORST.index)

    @property
    def failure(self) -> Failure | None:
        """What the roots raised first."""
        return next((run.failure for run in self.roots if run.failure), None)

    @property
    def seconds(self) -> float | None:
        """From the first root's start to the last root's end. None while one of them goes on."""
        if len(self.roots) == 1:
            return self.root.seconds  # monotonic
        ends = [run.finished.at_ns for run in self.roots if run.finished is not None]
        return None if len(ends) < len(self.roots) else (max(ends) - self.at_ns) / 1e9

    @property
    def duration(self) -> timedelta | None:
        """`seconds` as a timedelta."""
        return None if self.seconds is None else timedelta(seconds=self.seconds)

    @property
    def usage(self) -> Usage:
        """Tokens and cost of its model calls together, each counted once; see `records.totals`."""
        return totals(run.finished for run in self.find(kind="model") if run.finished is not None)

    @property
    def tokens(self) -> int | None:
        """Input and output tokens together, None if unknown."""
        return tokens(self.usage)

    @property
    def cost(self) -> Decimal | None:
        """US dollars, None if unknown. Of what is known, if `incomplete`."""
        return self.usage.cost

    @property
    def incomplete(self) -> bool:
        """Some model call that was paid for has no known cost."""
        ended = (run.finished for run in self.find(kind="model"))
        return any(end is not None and not end.cached and (end.usage is None or end.usage.cost is None) for end in ended)

    def __str__(self) -> str:
        from langgraph_observe.explore.tree import text

        return text(self)

    def __repr__(self) -> str:
        return str(self)

    def __rich__(self) -> object:
        from langgraph_observe.explore.tree import rich

        return rich(self)


def tokens(usage: Usage | None) -> int | None:
    """Input and output tokens together, of what is known of them."""
    known = [] if usage is None else [count for count in (usage.input_tokens, usage.output_tokens) if count is not None]
    return sum(known) if known else None


def _runs(records: Iterable[Record]) -> dict[str, Run]:
    """By span id, in the order of time."""
    started: dict[str, Started] = {}
    finished: dict[str, Finished] = {}
    events: dict[str, list[Noted]] = {}
    for record in records:
        match record:
            case Started(span_id=span):
                started.setdefault(span, record)
            case Finished(run=run):
                started[run.span_id], finished[run.span_id] = run, record
            case Noted(run=run):
                started.setdefault(run.span_id, run)
                events.setdefault(run.span_id, []).append(record)
            case Scored():
                pass
    order = sorted(started, key=lambda span: (started[span].at_ns, span))
    return {span: Run(started[span], finished.get(span), _by_time(events.get(span, ()))) for span in order}


def _by_time(events: Iterable[Noted]) -> tuple[Noted, ...]:
    return tuple(sorted(events, key=lambda event: (event.at_ns, event.kind, event.name or "")))


def _parents(runs: Mapping[str, Run]) -> dict[str, str | None]:
    """Each run's parent among these. A ring of parents, which no tracker writes but a file may hold, is cut at its first run."""
    parents: dict[str, str | None] = {}
    for span, run in runs.items():
        parent = run.started.parent_span_id
        parents[span] = parent if parent in runs else None
    settled: set[str] = set()
    for span in runs:
        way: dict[str, None] = {}
        at: str | None = span
        while at is not None and at not in settled and at not in way:
            way[at] = None
            at = parents[at]
        if at in way:
            parents[min(_ring(at, parents), key=list(runs).index)] = None
        settled.update(way)
    return parents


def _ring(start: str, parents: Mapping[str, str | None]) -> list[str]:
    ring, at = [start], parents[start]
    while at is not None and at != start:
        ring.append(at)
        at = parents[at]
    return ring
