"""Tables of many traces: nodes, models, tools, errors, costs, threads, scores, every run, and what SQL is asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from langgraph_observe.explore import questions
from langgraph_observe.explore.database import asked, asked_by_stranger, database
from langgraph_observe.explore.table import Table, framing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langgraph_observe.explore.source import Filter, Source


class Tables(ABC):
    """What a collection of traces can be asked in sum. Traces is one: it knows the source, and what of it is wanted."""

    _wanted: Filter

    @property
    @abstractmethod
    def source(self) -> Source:
        """Where the next question is answered from."""

    @abstractmethod
    def flush(self) -> None:
        """Let what this process has recorded reach the source."""

    def df(self, engine: str | None = None) -> Any:
        """A row for every run, as a frame of pandas, polars or pyarrow: the one that `engine` names, or the first installed.

        Raises ImportError, which says what to install.
        """
        framing(engine)  # before the work
        return self.runs().df(engine)

    def runs(self) -> Table:
        """A row for every run, in the order of time."""
        return self._asked(questions.RUNS)

    def nodes(self) -> Table:
        """Each node of each graph: runs, errors, durations, and what the models in it spent. The most time first."""
        return self._asked(questions.NODES)

    def models(self, by: str | Sequence[str] = ()) -> Table:
        """Each model: calls, errors, tokens, cost, durations. `by` as for `costs`, most often `"day"`."""
        return self._asked(questions.models(_several(by)))

    def tools(self) -> Table:
        """Each tool: calls, errors, durations, the trace of the slowest call."""
        return self._asked(questions.TOOLS)

    def errors(self) -> Table:
        """Each error, by type, place and the first line of its message, where it began: how often, since when, the latest trace."""
        return self._asked(questions.ERRORS)

    def costs(self, by: str | Sequence[str] = "model") -> Table:
        """Tokens and cost by one or more of hour, day, week, month, graph, node, agent, provider, model, thread, session, user, trace.

        Raises ValueError for anything else.
        """
        return self._asked(questions.costs(_several(by) or ["model"]))

    def threads(self) -> Table:
        """Each thread: traces, first and last, how the last one ended, tokens and cost."""
        return self._asked(questions.THREADS)

    def scores(self) -> Table:
        """Every score, the latest first."""
        return self._asked(questions.SCORES)

    def sql(self, question: str, parameters: Sequence[Any] | Mapping[str, Any] = (), *, seconds: float = 10.0) -> Table:
        """What SQLite answers over `runs`, `payloads`, `events`, `scores` and `traces`, the store's tables.

        Reads only: raises PermissionError for whatever else, ValueError for what is no SQL, TimeoutError after `seconds`.
        With a filter, `traces`, `runs`, `events` and `scores` hold the traces that it lets through. Of a directory of stores there
        are no inputs, outputs, tools and messages: these stay in their files.
        """
        self.flush()
        with database(self.source, self._wanted, content=True) as db:
            return Table(*asked_by_stranger(db, question, parameters, seconds))

    def _asked(self, question: str) -> Table:
        self.flush()
        with database(self.source, self._wanted) as db:
            return Table.converted(*asked(db, question))


def _several(by: str | Sequence[str]) -> list[str]:
    return [by] if isinstance(by, str) else list(by)
