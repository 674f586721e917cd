"""`%load_ext langgraph_observe`: under each cell that made a trace, the trace. `%observe on|off`, `%%observe` for a cell with all in it.

Knows no Observer: whoever loads it says where traces are read from, and how a cell's runs are told from others.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from langgraph_observe.explore.collection import Traces
    from langgraph_observe.explore.trace import Trace

SHOWN: Final = 3
"""Traces of one cell, the latest."""
CELL: Final = re.compile(r"%%observe(?=\s|$)[ \t]*(.*)")
USAGE: Final = "%observe on · off · cell [name=…]"


class Root(Protocol):
    """A root run that a cell has started."""

    @property
    def trace_id(self) -> str:
        """Of its trace."""


class Magics:
    """The extension in one shell."""

    def __init__(
        self,
        shell: Any,
        traces: Traces,
        *,
        collect: Callable[[], contextlib.AbstractContextManager[list[Any]]],
        everything: Callable[..., contextlib.AbstractContextManager[object]],
    ) -> None:
        """`collect` gives the roots that start inside it, `everything` observes whatever runs inside it."""
        self.shown = True
        """Whether traces are shown unasked."""
        self._shell, self._traces = shell, traces
        self._collect, self._everything = collect, everything
        self._cells: list[tuple[contextlib.ExitStack, list[Root]]] = []

    def load(self) -> None:
        """From the next cell on."""
        self._shell.events.register("pre_run_cell", self._before)
        self._shell.events.register("post_run_cell", self._after)
        self._shell.register_magic_function(self.observe, "line", "observe")
        self._shell.input_transformers_cleanup.append(as_line)

    def unload(self) -> None:
        """As if it had never been loaded."""
        self._shell.events.unregister("pre_run_cell", self._before)
        self._shell.events.unregister("post_run_cell", self._after)
        self._shell.input_transformers_cleanup.remove(as_line)
        self._shell.magics_manager.magics["line"].pop("observe", None)
        while self._cells:  # the cell that says so: nobody will be told that it has ended
            self._cells.pop()[0].close()

    def observe(self, line: str) -> str | None:
        """`on` and `off`: whether traces are shown; `cell`: observe all that runs in this cell, `name=…` names its traces."""
        match shlex.split(line):
            case [("on" | "off") as state]:
                self.shown = state == "on"
            case ["cell", *options] if all(option.startswith("name=") for option in options):
                self._observe_cell(dict(zip(["trace_name"], (option.removeprefix("name=") for option in options), strict=False)))
            case []:
                return f"traces are {'shown' if self.shown else 'not shown'} under their cells, from {self._traces.source}"
            case _:
                raise ValueError(USAGE)
        return None

    def _observe_cell(self, options: dict[str, str]) -> None:
        if not self._cells:
            msg = "%observe cell: in a cell after the one that loads the extension"
            raise RuntimeError(msg)
        self._cells[-1][0].enter_context(self._everything(**options))

    def _before(self, _info: object) -> None:
        stack = contextlib.ExitStack()
        self._cells.append((stack, stack.enter_context(self._collect())))

    def _after(self, _result: object) -> None:
        if not self._cells:  # the cell that loaded the extension
            return
        stack, roots = self._cells.pop()
        stack.close()
        if self.shown:
            self._show(list(dict.fromkeys(root.trace_id for root in roots)))

    def _show(self, ids: list[str]) -> None:
        for trace_id in ids[-SHOWN:]:
            try:
                self._publish(self._traces[trace_id])
            except Exception as error:  # the cell's own result is what matters
                print(f"trace {trace_id[:8]} cannot be shown: {type(error).__name__}: {error}")  # noqa: T201 - under the cell
        if len(ids) > SHOWN:
            print(f"… and {len(ids) - SHOWN} more: traces.last({len(ids)})")  # noqa: T201 - the same

    def _publish(self, trace: Trace) -> None:
        """As `IPython.display.display`, in the shell that is here: nothing is imported."""
        data, metadata = self._shell.display_formatter.format(trace)
        self._shell.display_pub.publish(data, metadata)


def as_line(lines: list[str]) -> list[str]:
    """`%%observe` as a line magic above the cell's code, which so stays the shell's own: with its `await`, its tracebacks, its line numbers."""
    if lines and (found := CELL.fullmatch(lines[0].rstrip("\n"))):
        return [f"%observe cell {found[1]}".rstrip() + "\n", *lines[1:]]
    return lines
