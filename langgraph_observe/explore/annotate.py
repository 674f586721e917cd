"""A person goes through traces and says what they are worth: a question in the terminal or under the cell, a score for each answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.explore import html, tree, values, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langgraph_observe.explore.trace import Trace
    from langgraph_observe.records import Scored

STOP: Final = frozenset({"q", "quit", "stop"})
SAID: Final[dict[str, float | bool]] = {"y": True, "yes": True, "n": False, "no": False}
HELP: Final = "a value, then a comment · Enter: the next · q: enough"


def annotate(
    traces: Iterable[Trace], name: str, *, ask: Callable[[str], str], show: Callable[[str], object], observer: Any = None
) -> Iterator[Scored]:
    """Show each, ask for its score, give it. An answer given again for the same trace replaces the earlier one."""
    for trace in traces:
        show(_brief(trace))
        answer = ask(f"{words.clean(name)}? ({HELP}) ").strip()
        if answer.lower() in STOP:
            return
        if answer:
            value, _, comment = answer.partition(" ")
            yield trace.score(
                name, meant(value), comment=comment.strip() or None, source="annotation", id=f"{name}-{trace.id}", observer=observer
            )


def meant(answer: str) -> float | str | bool:
    """`y` and `no` as true and false, a number as one, anything else as the text it is."""
    if answer.lower() in SAID:
        return SAID[answer.lower()]
    try:
        number = float(answer)
    except ValueError:
        return answer
    return number if number - number == 0 else answer  # neither infinite nor none


def _brief(trace: Trace) -> str:
    """The head, what went in and what came out."""
    head = tree.text(trace, ())
    parts = (("in", trace.root.input), ("out", trace.root.output))
    said = (f"{name}: {html.visible(content)}" for name, part in parts if (content := values.text(part, values.BRIEF)) is not None)
    return "\n".join([head, *said])
