"""What was recorded, as a tree of runs, built from records in any order."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, overload

from langgraph_observe.explore.forest import parents_of, runs_of
from langgraph_observe.records import Kind, Outcome, Scored, totals

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from langgraph_observe.explore.chat import Chat
    from langgraph_observe.explore.diff import Diff
    from langgraph_observe.explore.run import Run
    from langgraph_observe.explore.topology import Topology
    from langgraph_observe.records import Failure, Record, Usage

WORST: Final[tuple[Outcome, ...]] = ("ok", "interrupted", "cancelled", "abandoned", "error")


@dataclass(frozen=True, slots=True, repr=False)
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
    scorer: Callable[..., Scored] | None = field(default=None, repr=False, compare=False)
    """Takes the scores given here: `Observer.score`."""

    @classmethod
    def of(
        cls, trace_id: str, records: Iterable[Record], after: Callable[[Trace], str | None] = lambda _: None,
        scorer: Callable[..., Scored] | None = None,
    ) -> Trace:  # fmt: skip
        """Build the tree from the records of one trace, in any order. Raises LookupError if there is no run among them."""
        found = list(records)
        runs = runs_of(found)
        if not runs:
            msg = f"trace {trace_id} has no runs"
            raise LookupError(msg)
        parents = parents_of(runs)
        children: dict[str, list[Run]] = {}
        for run in runs.values():
            if (parent := parents[run.span_id]) is not None:
                children.setdefault(parent, []).append(run)
        roots = tuple(run for run in runs.values() if parents[run.span_id] is None)
        scores = {one.id: one for one in sorted((r for r in found if isinstance(r, Scored)), key=lambda s: (s.at_ns, s.id))}
        return cls(
            trace_id, roots, {parent: tuple(runs) for parent, runs in children.items()}, tuple(scores.values()), after, scorer
        )

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
        return worst([run.outcome for run in self.roots])

    @property
    def failure(self) -> Failure | None:
        """What the roots raised first."""
        return next((run.failure for run in self.roots if run.failure), None)

    @property
    def seconds(self) -> float | None:
        """From the first root's start to the last root's end. None while one of them goes on."""
        return lasted([(run.started.at_ns, run.seconds) for run in self.roots])

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

    def run(self, key: str) -> Run:
        """The run of this span id or run id, of an id that begins so, or the first of this name.

        Raises LookupError if there is none, or if the beginning of an id is that of several.
        """
        if found := self.find(name=key):
            return found[0]
        found = tuple(run for run in self if run.span_id.startswith(key) or run.id.startswith(key))
        if len(found) == 1 and key:
            return found[0]
        msg = f"{'several runs' if found else 'no run'} of trace {self.id} for {key!r}"
        raise LookupError(msg)

    def errors(self) -> tuple[Run, ...]:
        """The runs that failed, where it began first: what another failed of comes after it."""
        failed = self.find(outcome="error")
        above = {parent for parent, children in self.children.items() if any(child.outcome == "error" for child in children)}
        return tuple(sorted(failed, key=lambda run: (run.span_id in above, run.started.at_ns)))

    def graph(self, graph: Any = None) -> Topology:
        """The graph as it was gone through. See `Topology.of`: a name, or the compiled graph for the ways that were not gone."""
        from langgraph_observe.explore.topology import Topology

        return Topology.of(self, graph)

    def messages(self) -> Chat:
        """What was said, once each, in order."""
        from langgraph_observe.explore.chat import Chat

        return Chat(self)

    def diff(self, other: Trace) -> Diff:
        """What is different in the other."""
        from langgraph_observe.explore.diff import Diff

        return Diff(self, other)

    def replay_config(self, graph: Any = None, *, before: str | None = None) -> dict[str, Any]:
        """The config with which LangGraph goes through this thread again. See `replay.config`."""
        from langgraph_observe.explore.replay import config

        return config(self, graph, before)

    def score(
        self, name: str, value: float | str, *, comment: str | None = None, run: Run | str | None = None,
        source: str = "notebook", id: str | None = None, observer: Any = None,  # noqa: A002 - the record's own name for it
    ) -> Scored:  # fmt: skip
        """Say how good the trace, or one run of it, was; the same `id` again replaces.

        Goes to the sinks of the default Observer, or of the one given: so to the store and to Langfuse. `traces[t.id].scores` has it.
        Raises LookupError where neither is known (a trace of another file), ValueError for a number that is none.
        """
        scorer = observer.score if observer is not None else self.scorer
        if scorer is None:
            msg = "who takes the score? Give an Observer: t.score(…, observer=observer)"
            raise LookupError(msg)
        of = self.run(run) if isinstance(run, str) else run
        return scorer(
            name, value, trace_id=self.id, span_id=of and of.span_id, run_id=of and of.id, comment=comment, source=source, id=id
        )

    @overload
    def to_html(self) -> str: ...
    @overload
    def to_html(self, path: str | os.PathLike[str]) -> None: ...
    def to_html(self, path: str | os.PathLike[str] | None = None) -> str | None:
        """A page of its own: the tree, the graph and the talk. Given a `path`, it is written there instead."""
        from langgraph_observe.explore.export import as_html, saved

        return saved(as_html(self), path)

    @overload
    def to_otlp(self) -> str: ...
    @overload
    def to_otlp(self, path: str | os.PathLike[str]) -> None: ...
    def to_otlp(self, path: str | os.PathLike[str] | None = None) -> str | None:
        """OTLP JSON that any OpenTelemetry backend takes and `traces.open` reads back whole. Given a `path`, it is written there instead."""
        from langgraph_observe.explore.export import saved
        from langgraph_observe.explore.otlp import as_otlp

        return saved(as_otlp(self), path)

    @overload
    def to_json(self) -> str: ...
    @overload
    def to_json(self, path: str | os.PathLike[str]) -> None: ...
    def to_json(self, path: str | os.PathLike[str] | None = None) -> str | None:
        """Every record of it, payloads and all, as JSON. Given a `path`, it is written there instead."""
        from langgraph_observe.explore.export import as_json, saved

        return saved(as_json(self), path)

    def __str__(self) -> str:
        from langgraph_observe.explore.tree import text

        return text(self)

    def __repr__(self) -> str:
        """Of a large one the lines that matter: it is kept in the notebook. `print` shows all."""
        from langgraph_observe.explore.excerpt import lines
        from langgraph_observe.explore.tree import text

        return text(self, lines(self))

    def __rich__(self) -> object:
        from langgraph_observe.explore.tree import rich

        return rich(self)

    def _repr_html_(self) -> str:
        from langgraph_observe.explore.waterfall import page

        return page(self)


def worst(outcomes: Iterable[Outcome | None]) -> Outcome | None:
    """Of the roots' outcomes. None while one of them goes on."""
    known = [WORST.index(outcome) if outcome else None for outcome in outcomes]
    return None if None in known else WORST[max(place for place in known if place is not None)]


def lasted(roots: Sequence[tuple[int, float | None]]) -> float | None:
    """Seconds from the first root's start to the last one's end; each is told by when it began and how long it took."""
    if len(roots) == 1:
        return roots[0][1]  # monotonic
    ends = [at_ns + round(seconds * 1e9) for at_ns, seconds in roots if seconds is not None]
    return None if len(ends) < len(roots) else (max(ends) - roots[0][0]) / 1e9


def tokens(usage: Usage | None) -> int | None:
    """Input and output tokens together, of what is known of them."""
    known = [] if usage is None else [count for count in (usage.input_tokens, usage.output_tokens) if count is not None]
    return sum(known) if known else None
