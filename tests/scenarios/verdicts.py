"""What is wrong with the spans of a play, by its golden tree: for `peers.py`, which plays.

What is in doubt is decided in favour of the spans: each run gets the span with which the least is wrong, how a model or an
unnamed graph is called is nobody's business, a resumed graph may go on below the one that waited, and an ERROR is no blame for
a cancelled run if the span says that it was cancelled.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import StatusCode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace import Span

    Told = tuple[str, str, Mapping[str, int]]
    """The family, the name and the tokens of a span."""

CLASSES = {
    "runs missing": "a graph, agent, node, model, tool, retriever or chain without a span",
    "runs doubled or invented": "a span of no run; the framework's own count",
    "wrong parent or broken trace": "below another run; more traces than roots; a parent that is nowhere",
    "wrong blame": "ERROR on what went well, waits for a human or was stopped",
    "failure not shown": "no ERROR on what failed",
    "interrupt shown as plain success": "no word of it",
    "left open": "a span that never ends",
    "tokens counted wrong": "the sum of the models' spans",
    "span left with the caller": "current after the call or between two chunks",
    "log lines and warnings": "that are not there without it",
    "agent disturbed": "its caller sees something else",
    "crashed": "the play broke off",
}
"""Of defects; the last four are of the play, not of its spans."""
_LINE = re.compile(r"( *)(\w+) (.+?) (ok|error|interrupted|cancelled|abandoned)\b(.*)")
_TOKENS = re.compile(r" (\d+)\+(\d+) tokens(?! cached)")
_OPERATIONS = {
    "chat": "model",
    "execute_tool": "tool",
    "retrieval": "retriever",
    "invoke_node": "node",
    "invoke_workflow": "graph",
    "invoke_agent": "graph",
}
_COUNTS = {"prompt_tokens": "input", "completion_tokens": "output"}
"""Names that Langfuse's server understands, too."""


@dataclass(frozen=True)
class Placed:
    """A run of a golden tree, or a span. Of a span `outcome` is `error` or nothing, and `words` all but inputs and outputs."""

    key: tuple[str, str]
    parent: int | None
    label: str
    outcome: str
    words: str
    tokens: Counter[str]
    span: Any = None


def of_langfuse(span: Span) -> Told:
    """Read an observation. Graphs, nodes, agents and chains are one family, which it does not keep apart."""
    told: Any = span.attributes
    kind = told.get("langfuse.observation.type")
    usage = json.loads(told.get("langfuse.observation.usage_details", "{}"))
    family = {"generation": "model", "tool": "tool", "retriever": "retriever"}.get(kind, "run")
    return family, span.name, {_COUNTS.get(name, name): count for name, count in usage.items()}


def of_gen_ai(span: Span) -> Told:
    """Read a span of the conventions. Tokens of an agent are those of its models again."""
    told: Any = span.attributes
    operation = told.get("gen_ai.operation.name", "")
    family = _OPERATIONS.get(operation, "chain")
    tokens = {name: told.get(f"gen_ai.usage.{name}_tokens", 0) for name in ("input", "output") if family == "model"}
    return family, span.name.removeprefix(operation).strip(), tokens


def golden(tree: str, families: Mapping[str, str]) -> list[Placed]:
    """The runs of a tree. Those of no family are left out, and what is below them moves up; a root may have one for being a root."""
    runs: list[Placed] = []
    around: list[tuple[str, int]] = []
    for indent, kind, name, outcome, words in (_LINE.fullmatch(line).groups() for line in tree.splitlines()):
        around = [(other, number) for other, number in around if len(other) < len(indent)]
        family = families.get(kind) or (None if indent else families.get("root"))
        if family is not None:
            counted = _TOKENS.search(words)
            tokens = Counter(input=int(counted[1]), output=int(counted[2])) if counted else Counter()
            parent = around[-1][1] if around else None
            around.append((indent, len(runs)))
            runs.append(Placed(_key(family, name), parent, f"{kind} {name}", outcome, words, tokens))
    return runs


def shown(spans: Sequence[Span], read: Callable[[Span], Told]) -> list[Placed]:
    """The spans in the order of their starts."""
    places = {span.context.span_id: place for place, span in enumerate(spans)}
    return [_shown(span, places.get(span.parent.span_id) if span.parent else None, *read(span)) for span in spans]


def _shown(span: Span, parent: int | None, family: str, name: str, tokens: Mapping[str, int]) -> Placed:
    told = {key: value for key, value in (span.attributes or {}).items() if not re.search("put|metadata", key)}
    failed = span.status.status_code is StatusCode.ERROR or told.get("langfuse.observation.level") == "ERROR"
    words = f"{told} {span.status.description} {[(event.name, event.attributes) for event in span.events]}".lower()
    counted = Counter({count: tokens.get(count, 0) for count in ("input", "output")})
    return Placed(_key(family, name), parent, span.name, "error" if failed else "", words, counted, span)


def _key(family: str, name: str) -> tuple[str, str]:
    return family, "" if family in {"model", "retriever"} or name == "LangGraph" else name


def verdicts(runs: Sequence[Placed], spans: Sequence[Placed]) -> Iterator[tuple[str, str]]:
    """What is wrong: the class of defect, and with what."""
    found = _pairs(runs, spans)
    for number, run in enumerate(runs):
        if number in found:
            yield from _of_one(run, spans[found[number]])
            if not _hangs(number, runs, spans, found):
                yield "wrong parent or broken trace", run.label
        else:
            yield from (("runs missing", run.label), *_of_failure(run, None))
    for place, span in enumerate(spans):
        if place not in found.values():
            yield "runs doubled or invented", span.label
        if span.span.end_time is None:
            yield "left open", span.label
        if span.span.parent and span.parent is None:
            yield "wrong parent or broken trace", f"{span.label} without parent"
    yield from _of_all(runs, spans)


def _of_one(run: Placed, span: Placed) -> Iterator[tuple[str, str]]:
    said_so = run.outcome == "cancelled" and "cancel" in span.words
    if span.outcome == "error" and run.outcome != "error" and not said_so:
        yield "wrong blame", run.label
    if run.outcome == "interrupted" and span.outcome != "error" and "interrupt" not in span.words:
        yield "interrupt shown as plain success", run.label
    yield from _of_failure(run, span)


def _of_failure(run: Placed, span: Placed | None) -> Iterator[tuple[str, str]]:
    if run.outcome == "error" and (span is None or span.outcome != "error"):
        yield "failure not shown", run.label


def _of_all(runs: Sequence[Placed], spans: Sequence[Placed]) -> Iterator[tuple[str, str]]:
    traces = len({span.span.context.trace_id for span in spans})
    if traces > sum(run.parent is None for run in runs):
        yield "wrong parent or broken trace", f"{traces} traces"
    right, told = (sum((one.tokens for one in some), Counter()) for some in (runs, spans))
    if right != told:
        yield "tokens counted wrong", f"{told['input']}+{told['output']}, not {right['input']}+{right['output']}"


def _pairs(runs: Sequence[Placed], spans: Sequence[Placed]) -> dict[int | None, int]:
    """Which span is which run's: as long as there are any, one that hangs where it should."""
    found: dict[int | None, int] = {}
    while pair := next(_fitting(runs, spans, found), None):
        found |= [pair]
    return found


def _fitting(runs: Sequence[Placed], spans: Sequence[Placed], found: Mapping[int | None, int]) -> Iterator[tuple[int, int]]:
    taken = set(found.values())
    for anywhere in (False, True):
        for number, run in enumerate(runs):
            if number not in found:
                around = found.get(_around(runs, number, found))
                fit = [
                    place
                    for place, span in enumerate(spans)
                    if place not in taken and span.key in (run.key, (run.key[0], ""))
                    if anywhere or _around(spans, place, taken) == around
                ]
                yield from [(number, min(fit, key=_unlike(runs, number, spans)))] if fit else []


def _unlike(runs: Sequence[Placed], number: int, spans: Sequence[Placed]) -> Callable[[int], tuple[int, ...]]:
    run, inside = runs[number], _inside(runs, number)

    def distance(place: int) -> tuple[int, ...]:
        span, other = spans[place], _inside(spans, place)
        calls_in_order = place if run.parent is None else 0
        unlike = ((inside - other) + (other - inside)).total()
        waits = (run.outcome == "interrupted") != ("interrupt" in span.words)
        return calls_in_order, span.key != run.key, unlike, len([*_of_one(run, span)]) + waits, place

    return distance


def _hangs(number: int, runs: Sequence[Placed], spans: Sequence[Placed], found: Mapping[int | None, int]) -> bool:
    around = _around(runs, number, found)
    goes_on = runs[number].parent is None and "resumed_from" in runs[number].words
    return goes_on or _around(spans, found[number], found.values()) == found.get(around)


def _around(tree: Sequence[Placed], number: int, among: Collection[int | None]) -> int | None:
    """The nearest of these that it is inside of."""
    parent = tree[number].parent
    while parent is not None and parent not in among:
        parent = tree[parent].parent
    return parent


def _inside(tree: Sequence[Placed], number: int) -> Counter[Any]:
    return Counter(one.key for place, one in enumerate(tree) if _around(tree, place, {number}) == number)
