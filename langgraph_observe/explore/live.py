"""What is being recorded, as it comes: a view that is drawn anew, and each trace once it has ended."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langgraph_observe.explore.trace import Trace

LOOKED_AT: Final = 500
"""Traces, the latest, among which one is looked for that has ended since the last look."""


def watch(
    view: Any, *, every: float, seconds: float | None = None, sleep: Callable[[float], object] = time.sleep,
    now: Callable[[], float] = time.monotonic,
) -> None:  # fmt: skip
    """Show `view` anew when its text has changed, every so many seconds, in the cell or in the terminal.

    It ends after `seconds`, or when it is interrupted (Ctrl-C, the notebook's stop button), and leaves what was shown last.
    """
    end = None if seconds is None else now() + seconds
    drawn = None
    with _screen() as draw:
        try:
            while end is None or now() < end:
                if (text := repr(view)) != drawn:
                    draw(view, text)
                    drawn = text
                sleep(every)
        except KeyboardInterrupt:
            pass


def follow(
    ids: Callable[[int], Sequence[str]], read: Callable[[str], Trace | None], *, every: float, last: int,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Trace]:  # fmt: skip
    """Each trace once it has ended, the oldest first: the `last` ones that have, then for ever those to come.

    `ids` gives so many of the latest; `read` a trace, or None for one that was forgotten meanwhile.
    """
    told: set[str] = set()
    first = True
    while True:
        latest = ids(LOOKED_AT)
        ended = [trace for one in reversed(latest) if one not in told and (trace := read(one)) and trace.outcome is not None]
        told = told.intersection(latest) | {trace.id for trace in ended}
        yield from ended[len(ended) - min(last, len(ended)) :] if first else ended
        first = False
        sleep(every)


@contextmanager
def _screen() -> Iterator[Callable[[Any, str], object]]:
    """What draws: in a notebook one output that is updated, in a terminal a part of it."""
    if _in_notebook():
        yield _cell()
        return
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda _, text: live.update(Text(text), refresh=True)


def _cell() -> Callable[[Any, str], object]:
    from IPython.display import display  # type: ignore[import-not-found,unused-ignore]  # there, or nobody would ask

    shown: list[Any] = []

    def draw(view: Any, _: str) -> None:
        if shown:
            shown[0].update(view)
        else:
            shown.append(display(view, display_id=True))  # type: ignore[no-untyped-call,unused-ignore]  # IPython has no types

    return draw


def _in_notebook() -> bool:
    """In a kernel: IPython in a terminal has none."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None
