"""`Pieces`: what is streamed, counted as it goes by. A clock read, a counter and now and then a point for each piece."""

from __future__ import annotations

from typing import Final

from langgraph_observe.records import STALL_SECONDS, Stream

POINTS: Final = 64
"""Of a timeline. When there are as many, every second one goes, and only every second piece is noted from then on."""
_STALL_NS: Final = round(STALL_SECONDS * 1e9)


class Pieces:
    """When the first and the last piece came, how many, the longest wait between two, and the way there in a few points."""

    __slots__ = ("_due", "_longest_ns", "_noticed_ns", "_points", "_stalls", "_stride", "count", "first_ns", "kinds", "last_ns")

    def __init__(self) -> None:
        self.count = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.kinds: dict[str, int] = {}
        self._longest_ns = self._noticed_ns = -1
        self._stalls = 0
        self._points: list[tuple[int, int]] = []
        self._due = self._stride = 1

    def add(self, now: int, pieces: int = 1) -> None:
        """So many have come at this moment, on the run's clock."""
        self.count += pieces
        if self.last_ns is None:
            self.first_ns = now
        elif now - self.last_ns > self._noticed_ns:
            self._gap(now - self.last_ns)
        self.last_ns = now
        if self.count >= self._due:
            self._point(now)

    def _gap(self, gap: int) -> None:
        self._longest_ns = max(self._longest_ns, gap)
        self._stalls += gap > _STALL_NS
        self._noticed_ns = min(self._longest_ns, _STALL_NS)

    def _point(self, now: int) -> None:
        self._points.append((now, self.count))
        if len(self._points) == POINTS:
            self._points = self._points[::2]
            self._stride *= 2
        self._due = self.count + self._stride

    def told(self, started_ns: int, times: int = 1) -> Stream:
        """All of it, on the clock of a run; each piece was told so many `times`."""

        def since(moment: int | None) -> float | None:
            return None if moment is None else (moment - started_ns) / 1e9

        last = [] if self.last_ns is None else [(self.last_ns, self.count)]
        points = dict.fromkeys([*self._points, *last])
        return Stream(
            pieces=self.count // times,
            kinds={kind: count // times for kind, count in self.kinds.items()},
            last_seconds=since(self.last_ns),
            longest_gap_seconds=None if self._longest_ns < 0 else self._longest_ns / 1e9,
            stalls=self._stalls,
            timeline=tuple(((moment - started_ns) / 1e9, count // times) for moment, count in points),
        )
