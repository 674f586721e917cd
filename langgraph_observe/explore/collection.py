"""Traces: recorded traces as a collection, the latest first."""

from __future__ import annotations

import operator
import re
import time
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, overload
from uuid import UUID

from langgraph_observe.explore import html, listing, live, words
from langgraph_observe.explore.annotate import annotate
from langgraph_observe.explore.charts import Latency, Outcomes, Overview, Spending
from langgraph_observe.explore.places import opened
from langgraph_observe.explore.row import rows
from langgraph_observe.explore.source import Filter, Memory
from langgraph_observe.explore.storefile import StoreFile
from langgraph_observe.explore.tables import Tables
from langgraph_observe.explore.trace import Trace
from langgraph_observe.sinks.store.schema import configured_path

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from langgraph_observe.explore.source import Source
    from langgraph_observe.records import Scored

SHOWN: Final = 20
UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
CHARTED: Final = 500
"""Traces that a chart is made of."""


class Traces(Tables):
    """What was recorded, read anew at each question, so that a run that has ended is there.

    With no source: the file of the default Observer (`schema.configured_path`), read when asked; where that is off, `memory`,
    which is empty unless somebody feeds it.
    Raises StoreError where a file cannot be read; showing it never raises.
    """

    def __init__(
        self,
        source: Source | None = None,
        *,
        before: Callable[[], object] | None = None,
        wanted: Filter | None = None,
        now: Callable[[], int] = time.time_ns,
        scorer: Callable[..., Scored] | None = None,
    ) -> None:
        """`before` is called before each reading: it flushes the writers of this process, so that reads see their own writes.

        `scorer` takes the scores given to its traces: the `score` of an Observer that writes to this source.
        """
        self.memory = Memory()
        self.before = before
        self.scorer = scorer
        self._source = source
        self._wanted = wanted or Filter()
        self._now = now

    @property
    def source(self) -> Source:
        """Where the next question is answered from."""
        if self._source is not None:
            return self._source
        path = configured_path()
        return self.memory if path is None else StoreFile(path)

    def open(self, place: str | os.PathLike[str]) -> Traces:
        """The traces that are elsewhere.

        In another store's file or a directory of them, in a file of OTLP JSON, in Langfuse, Phoenix or MLflow: see `places.opened`.
        Raises ValueError for a place that is none.
        """
        return Traces(opened(place), before=self.before, now=self._now)

    def flush(self) -> None:
        """Let what this process has recorded reach the source."""
        if self.before is not None:
            self.before()

    def filter(
        self,
        *,
        graph: str | None = None,
        node: str | None = None,
        outcome: str | None = None,
        tool: str | None = None,
        model: str | None = None,
        thread: str | None = None,
        session: str | None = None,
        user: str | None = None,
        tag: str | None = None,
        text: str | None = None,
        since: str | timedelta | date | None = None,
        min_cost: float | Decimal | None = None,
    ) -> Traces:
        """Those of which all that is given is true, and of an earlier filter what is not given anew.

        `outcome` may be `running`; `text` is looked for in errors and in the JSON of inputs and outputs, so in its keys, too;
        `since` is `"90s"`, `"30m"`, `"2h"`, `"7d"`, `"1w"`, a day or a moment as `"2026-11-21"`, a timedelta, a date or a datetime;
        `min_cost` in US dollars. What is of another type raises TypeError.
        """
        given: dict[str, Any] = {
            "graph": graph,
            "node": node,
            "outcome": outcome,
            "tool": tool,
            "model": model,
            "tag": tag,
            "text": text,
            "thread": thread,
            "session": session,
            "user": user,
            "since_ns": None if since is None else self._since(since),
            "min_cost_nusd": None if min_cost is None else _nusd(min_cost),
        }
        wanted = replace(self._wanted, **{name: value for name, value in given.items() if value is not None})
        chosen = Traces(self._source, before=self.before, wanted=wanted, now=self._now, scorer=self.scorer)
        chosen.memory = self.memory
        return chosen

    @overload
    def last(self) -> Trace: ...
    @overload
    def last(self, n: int) -> list[Trace]: ...
    def last(self, n: int | None = None) -> Trace | list[Trace]:
        """The latest trace, or a list of the `n` latest, the latest first.

        Raises LookupError if one is asked for and there is none, ValueError for a negative `n`.
        """
        if n is not None:
            return self._read(n)
        for trace in self._read(1):
            return trace
        msg = self._none()
        raise LookupError(msg)

    def __getitem__(self, prefix: str | UUID) -> Trace:
        """The trace whose id, or whose root's run id, begins so. Raises LookupError if there is none, or more than one."""
        self.flush()
        ids = self.source.ids(replace(self._wanted, prefix=str(prefix) if isinstance(prefix, UUID) else prefix), limit=2)
        if len(ids) != 1:
            msg = f"{'no trace' if not ids else 'more than one trace'} in {self.source} begins with {prefix!r}"
            raise LookupError(msg)
        return Trace.of(ids[0], self.source.records(ids[0]), self._after, self.scorer)

    def __iter__(self) -> Iterator[Trace]:
        self.flush()
        return self._each(None)

    def __len__(self) -> int:
        self.flush()
        return len(self.source.ids(self._wanted))

    def __repr__(self) -> str:
        try:
            return self.table()
        except Exception as error:  # a notebook and a debugger show it unasked
            return f"{type(error).__name__}: {error}"

    def table(self, limit: int = SHOWN) -> str:
        """The latest traces, a line each. Unlike showing them, this raises StoreError where a file cannot be read."""
        return str(self._listed(_count(limit)))

    def _repr_html_(self) -> str:
        try:
            return self._listed(SHOWN)._repr_html_()
        except Exception:  # as `repr`, which says what is wrong
            return html.tag("pre", repr(self))

    def overview(self, limit: int = CHARTED) -> Overview:
        """How the latest traces ended, where their time went, their tokens and cost over time: charts, to be looked at."""
        found = self._read(limit)
        return Overview.of(found, self._how_many(found))

    def outcomes(self, limit: int = CHARTED) -> Outcomes:
        """How the latest traces ended, as a chart."""
        return Outcomes.of(self._read(limit))

    def latency(self, limit: int = CHARTED) -> Latency:
        """How long the nodes, models and tools of the latest traces took, as a chart."""
        return Latency.of(self._read(limit))

    def spending(self, limit: int = CHARTED) -> Spending:
        """Tokens and cost of the latest traces over time, as a chart."""
        return Spending.of(self._read(limit))

    def annotate(
        self, name: str, *, limit: int = SHOWN, ask: Callable[[str], str] = input, show: Callable[[str], object] = print,
        observer: Any = None,
    ) -> list[Scored]:  # fmt: skip
        """Go through the latest traces: each is shown, asked about, and scored. See `annotate.annotate`."""
        return list(annotate(self._read(limit), name, ask=ask, show=show, observer=observer))

    def watch(self, *, every: float = 1.0, seconds: float | None = None) -> None:
        """Show itself anew as traces come, until it is interrupted or for so many `seconds`. See `live.watch`."""
        live.watch(self, every=every, seconds=seconds)

    def follow(self, *, every: float = 1.0, last: int = 0) -> Iterator[Trace]:
        """Each trace once it has ended: the `last` ones that have, then those to come. Never ends by itself."""
        return live.follow(self._ids, self._whole, every=every, last=_count(last))

    def _ids(self, limit: int) -> Sequence[str]:
        self.flush()
        return self.source.ids(self._wanted, limit=limit)

    def _whole(self, trace_id: str) -> Trace | None:
        records = self.source.records(trace_id)
        return Trace.of(trace_id, records, self._after, self.scorer) if records else None

    def _listed(self, limit: int) -> listing.Listing:
        self.flush()
        found = rows(self.source, self._wanted, limit)
        return listing.Listing(found, self._how_many(found) if found or not limit else self._none())

    def _none(self) -> str:
        return f"no {'' if self._wanted == Filter() else 'such '}traces in {words.clean(str(self.source), 200)}"

    def _how_many(self, found: Sequence[object]) -> str:
        return f"{len(found):,} of {len(self):,} in {words.clean(str(self.source), 200)}"

    def _read(self, limit: int) -> list[Trace]:
        self.flush()
        return list(self._each(_count(limit)))

    def _each(self, limit: int | None) -> Iterator[Trace]:
        for trace_id in self.source.ids(self._wanted, limit=limit):
            if records := self.source.records(trace_id):  # it may have been forgotten meanwhile
                yield Trace.of(trace_id, records, self._after, self.scorer)

    def _after(self, interrupted: Trace) -> str | None:
        """The first of the thread's later traces that says that it resumes this one."""
        if interrupted.thread_id is None:
            return None
        later = self.source.ids(Filter(thread=interrupted.thread_id, since_ns=interrupted.at_ns))
        for trace_id in reversed(later):
            if (records := self.source.records(trace_id)) and Trace.of(trace_id, records).resumed_from == interrupted.id:
                return trace_id
        return None

    def _since(self, since: str | timedelta | date) -> int:
        match since:
            case datetime():
                return round(since.timestamp() * 1e9)
            case date():
                return self._since(datetime.combine(since, datetime.min.time()))
            case timedelta():
                return self._now() - round(since.total_seconds() * 1e9)
            case _:
                return self._since(_moment(since))


def _count(n: int) -> int:
    """Checked here: to one source a negative number means all, to another all but some."""
    if operator.index(n) < 0:
        msg = f"{n} traces cannot be asked for"
        raise ValueError(msg)
    return n


def _nusd(dollars: object) -> int:
    if isinstance(dollars, (int, float, Decimal)):
        return round(dollars * 10**9)
    msg = f"min_cost must be a number, not {type(dollars).__name__}"
    raise TypeError(msg)


def _moment(text: str) -> timedelta | datetime:
    if found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text):
        return timedelta(**{UNITS[found[2]]: float(found[1])})
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        msg = f"{text!r} is no period: give a number and one of {', '.join(UNITS)}, as '2h', or a day, as '2026-11-21'"
        raise ValueError(msg) from error
