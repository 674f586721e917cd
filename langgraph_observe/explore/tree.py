"""A trace as a tree: plain text, and the same with colours for `rich`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from langgraph_observe.explore import words
from langgraph_observe.explore.excerpt import Omitted
from langgraph_observe.records import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.text import Text

    from langgraph_observe.explore.excerpt import Way
    from langgraph_observe.explore.run import Run
    from langgraph_observe.explore.trace import Trace
    from langgraph_observe.records import Finished

Piece: TypeAlias = tuple[str, str]
"""Text and its rich style."""
Shown: TypeAlias = "Iterable[tuple[Run | Omitted, Way]]"

STYLES: Final = {"✓": "green", "✖": "bold red", "⏸": "yellow", "⊘": "magenta", "◌": "magenta", "…": "cyan"}
DIM: Final = "dim"


def text(trace: Trace, shown: Shown | None = None) -> str:
    """The tree: mark, kind, name, duration, first token, tokens, cost, attempt and error of each run, a model's own name with it, under a line of totals.

    `shown` are the lines wanted (`excerpt.lines`); all runs, if it says nothing.
    """
    return "\n".join("".join(part for part, _ in line) for line in _lines(trace, trace.walk() if shown is None else shown))


def rich(trace: Trace) -> Text:
    """The tree in colours. Names are plain text to rich: markup in them stays what it is."""
    from rich.text import Text

    return Text("\n").join(Text.assemble(*line) for line in _lines(trace, trace.walk()))


def remarks(run: Run) -> list[str | None]:
    """What is said of a run beside its name, time, tokens and cost."""
    first = run.first_token_seconds
    model = run.started.model
    return [
        words.clean(model) if model and model != run.name else None,
        None if first is None else f"first token {words.duration(first)}",
        "cached" if run.finished is not None and run.finished.cached and run.kind != "model" else None,
        f"attempt {run.started.attempt}" if run.started.attempt > 1 else None,
        *(f"instead of one that failed: {words.clean(event.name or '?')}" for event in run.events if event.kind == "fallback"),
    ]


def _lines(trace: Trace, shown: Shown) -> Iterator[list[Piece]]:
    yield _head(trace)
    for line, way in shown:
        yield [(_branch(way), DIM), *([(f"⋯ {line}", DIM)] if isinstance(line, Omitted) else _line(line))]


def _head(trace: Trace) -> list[Piece]:
    usage = trace.usage
    thread = trace.thread_id and f"thread {words.clean(trace.thread_id)}"
    facts = [
        words.duration(trace.seconds),
        f"{words.total(usage)} tokens",
        words.money(usage.cost, estimated=usage.estimated, incomplete=trace.incomplete),
        thread,
        trace.resumed_from and f"resumed from {words.clean(trace.resumed_from[:8])}",
        (after := trace.resumed_by) and f"resumed by {words.clean(after[:8])}",
        words.clean(trace.id[:8]),
    ]
    return [*_named(words.MARKS[trace.outcome], trace.name), (_joined(facts), DIM)]


def _line(run: Run) -> list[Piece]:
    failure = run.failure and words.clean(run.failure.type)
    kind = (f"{run.kind} ", DIM)
    mark, name = _named(words.MARKS[run.outcome], run.name)
    return [mark, kind, name, (_joined(_facts(run)), DIM), *([(f" · {failure}", STYLES["✖"])] if failure else [])]


def _facts(run: Run) -> list[str | None]:
    model, first, *others = remarks(run)
    return [
        model,
        words.duration(run.seconds),
        first,
        *(_spent(run.finished) if run.finished is not None and run.kind == "model" else ()),
        *others,
    ]


def _spent(call: Finished) -> tuple[str, str]:
    usage = call.usage or Usage()
    return words.flow(usage), "cached" if call.cached else words.money(usage.cost, estimated=usage.estimated)


def _named(mark: str, name: str) -> tuple[Piece, Piece]:
    return (f"{mark} ", STYLES[mark]), (words.clean(name), "bold")


def _joined(facts: list[str | None]) -> str:
    return "".join(f" · {fact}" for fact in facts if fact)


def _branch(way: tuple[bool, ...]) -> str:
    """The lines that lead to a run, from whether each level on the way is the last of its siblings."""
    if not way:
        return ""
    return "".join("   " if last else "│  " for last in way[:-1]) + ("└─ " if way[-1] else "├─ ")
