"""Traces: recorded traces as a collection, the latest first."""

from __future__ import annotations

import operator
import re
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, overload
from uuid import UUID

from langgraph_observe.explore import words
from langgraph_observe.explore.source import Filter, Memory
from langgraph_observe.explore.storefile import StoreFile
from langgraph_observe.explore.trace import Trace
from langgraph_observe.sinks.store.schema import configured_path

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator

    from langgraph_observe.explore.source import Source

SHOWN: Final = 20
UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
HEADS: Final = ("time", "graph", "outcome", "duration", "tokens", "cost", "thread", "id")
RIGHT: Final = frozenset({"duration", "tokens", "cost"})


class Traces:
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
    ) -> None:
        """`before` is called before each reading: it flushes the writers of this process, so that reads see their own writes."""
        self.memory = Memory()
        self.before = before
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

    def open(self, path: str | os.PathLike[str]) -> Traces:
        """The traces of another store file."""
        return Traces(StoreFile(path), before=self.before, now=self._now)

    def flush(self) -> None:
        """Let what this process has recorded reach the source."""
        if self.before is not None:
            self.before()

    def filter(
        self,
        *,
        graph: str | None = None,
        outcome: str | None = None,
        thread: str | None = None,
        session: str | None = None,
        user: str | None = None,
        since: str | timedelta | datetime | None = None,
        model: str | None = None,
        tag: str | None = None,
    ) -> Traces:
        """Those of which all that is given is true, and of an earlier filter what is not given anew.

        `outcome` may be `running`; `since` is `"90s"`, `"30m"`, `"2h"`, `"7d"`, `"1w"`, a timedelta or a moment.
        """
        given: dict[str, Any] = {
            "graph": graph,
            "outcome": outcome,
            "thread": thread,
            "session": session,
            "user": user,
            "model": model,
            "tag": tag,
        }
        given = {name: value for name, value in given.items() if value is not None}
        wanted = replace(self._wanted, **given) if since is None else replace(self._wanted, **given, since_ns=self._since(since))
        chosen = Traces(self._source, before=self.before, wanted=wanted, now=self._now)
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
            return self._read(_count(n))
        for trace in self._read(1):
            return trace
        msg = f"no traces in {self.source}"
        raise LookupError(msg)

    def __getitem__(self, prefix: str | UUID) -> Trace:
        """The trace whose id, or whose root's run id, begins so. Raises LookupError if there is none, or more than one."""
        self.flush()
        ids = self.source.ids(replace(self._wanted, prefix=str(prefix) if isinstance(prefix, UUID) else prefix), limit=2)
        if len(ids) != 1:
            msg = f"{'no trace' if not ids else 'more than one trace'} in {self.source} begins with {prefix!r}"
            raise LookupError(msg)
        return Trace.of(ids[0], self.source.records(ids[0]), self._after)

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

    def table(self) -> str:
        """The latest traces, a line each. Unlike showing them, this raises StoreError where a file cannot be read."""
        rows, total = [_row(trace) for trace in self._read(SHOWN)], len(self)
        if not rows:
            return f"no traces in {self.source}"
        return "\n".join([*_table([HEADS, *rows]), f"{len(rows)} of {total} in {self.source}"])

    def _read(self, limit: int) -> list[Trace]:
        self.flush()
        return list(self._each(limit))

    def _each(self, limit: int | None) -> Iterator[Trace]:
        for trace_id in self.source.ids(self._wanted, limit=limit):
            if records := self.source.records(trace_id):  # it may have been forgotten meanwhile
                yield Trace.of(trace_id, records, self._after)

    def _after(self, interrupted: Trace) -> str | None:
        """The first of the thread's later traces that says that it resumes this one."""
        if interrupted.thread_id is None:
            return None
        later = self.source.ids(Filter(thread=interrupted.thread_id, since_ns=interrupted.at_ns))
        for trace_id in reversed(later):
            if (records := self.source.records(trace_id)) and Trace.of(trace_id, records).resumed_from == interrupted.id:
                return trace_id
        return None

    def _since(self, since: str | timedelta | datetime) -> int:
        match since:
            case datetime():
                return round(since.timestamp() * 1e9)
            case timedelta():
                return self._now() - round(since.total_seconds() * 1e9)
            case _:
                return self._since(_period(since))


def _count(n: int) -> int:
    """Checked here: to one source a negative number means all, to another all but some."""
    if operator.index(n) < 0:
        msg = f"{n} traces cannot be asked for"
        raise ValueError(msg)
    return n


def _period(text: str) -> timedelta:
    if found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text):
        return timedelta(**{UNITS[found[2]]: float(found[1])})
    msg = f"{text!r} is no period: give a number and one of {', '.join(UNITS)}, as '2h'"
    raise ValueError(msg)


def _row(trace: Trace) -> tuple[str, ...]:
    usage = trace.usage
    return (
        words.moment(trace.at_ns),
        words.clean(trace.name, 32),
        f"{words.MARKS[trace.outcome]} {trace.outcome or 'running'}",
        words.duration(trace.seconds),
        words.total(usage),
        words.money(usage.cost, estimated=usage.estimated, incomplete=trace.incomplete),
        words.clean(trace.thread_id or words.UNKNOWN, 32),
        words.clean(trace.id[:8]),
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    from rich.cells import cell_len  # a Chinese name takes two cells a letter

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]

    def cell(text: str, width: int, head: str) -> str:
        space = " " * (width - cell_len(text))
        return space + text if head in RIGHT else text + space

    return ["  ".join(map(cell, row, widths, HEADS)).rstrip() for row in rows]
