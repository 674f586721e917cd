"""`Pieces`: what is streamed. Of each piece its moment is kept; they are counted, many at once, now and then and at the end."""

from __future__ import annotations

from operator import sub
from typing import Final

from langgraph_observe.records import STALL_SECONDS, Stream

HELD: Final = 128
"""Moments that are not counted yet: to count one by one takes four times as long."""
POINTS: Final = 64
"""Of a timeline. When there are as many, every second one goes, and only every second piece is noted from then on."""
_STALL_NS: Final = round(STALL_SECONDS * 1e9)


class Pieces:
    """When the first and the last piece came, how many, the longest wait between two, and the way there in a few points."""

    __slots__ = (
        "_due",
        "_first_ns",
        "_kind",
        "_last_ns",
        "_longest_ns",
        "_moments",
        "_points",
        "_stalls",
        "_stride",
        "_total",
        "kinds",
    )

    def __init__(self, kind: str | None = None) -> None:
        """Of one `kind`, if that is known."""
        self._kind = kind
        self.kinds: dict[str, int] = {}
        """Else how many there were of each kind."""
        self._moments: list[int] = []
        self._total = 0
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._longest_ns = -1
        self._stalls = 0
        self._points: list[tuple[int, int]] = []
        self._due = self._stride = 1

    def add(self, now: int) -> None:
        """One has come at this moment, on the run's clock."""
        self._moments.append(now)
        if len(self._moments) >= HELD:
            self._settle()

    @property
    def first_ns(self) -> int | None:
        """When the first came."""
        self._settle()
        return self._first_ns

    def _settle(self) -> None:
        moments, self._moments = self._moments, []
        if not moments:
            return
        before = moments[0] if self._last_ns is None else self._last_ns
        gaps = list(map(sub, moments, (before, *moments)))
        if self._first_ns is None:
            self._first_ns = moments[0]
            del gaps[0]
        if gaps:
            longest = max(gaps)
            self._longest_ns = max(self._longest_ns, longest)
            self._stalls += sum(gap > _STALL_NS for gap in gaps) if longest > _STALL_NS else 0
        self._last_ns = moments[-1]
        while (place := max(0, self._due - self._total - 1)) < len(moments):  # below 0 if threads have counted at the same time
            self._point(moments[place])
        self._total += len(moments)

    def _point(self, moment: int) -> None:
        """The next that is due. When there are too many, every second one goes, and they are due half as often from then on."""
        self._points.append((moment, self._due))
        if len(self._points) == POINTS:
            self._points = self._points[::2]
            self._stride *= 2
        self._due += self._stride

    def told(self, started_ns: int, times: int = 1) -> Stream:
        """All of it, on the clock of a run; each piece was told so many `times`."""
        self._settle()

        def since(moment: int | None) -> float | None:
            return None if moment is None else (moment - started_ns) / 1e9

        kinds = {self._kind: self._total} if self._kind and self._total else self.kinds
        last = [] if self._last_ns is None else [(self._last_ns, self._total)]
        points = dict([*self._points, *last])  # of several at one moment, the last
        return Stream(
            pieces=self._total // times,
            kinds={kind: count // times for kind, count in kinds.items()},
            last_seconds=since(self._last_ns),
            longest_gap_seconds=None if self._longest_ns < 0 else self._longest_ns / 1e9,
            stalls=self._stalls,
            timeline=tuple(((moment - started_ns) / 1e9, count // times) for moment, count in points.items()),
        )
