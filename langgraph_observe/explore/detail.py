"""One run: what it was given, what it answered, what it cost, how its answer came; as text and as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from langgraph_observe.explore import html, sparkline, values, words
from langgraph_observe.records import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph_observe.explore.html import Markup
    from langgraph_observe.explore.run import Run
    from langgraph_observe.records import Noted

EVENTS: Final = 20
PARTS: Final = {
    "cache read": "cache_read_tokens",
    "cache write": "cache_write_tokens",
    "reasoning": "reasoning_tokens",
    "audio in": "input_audio_tokens",
    "audio out": "output_audio_tokens",
}


def line(run: Run) -> str:
    """One line: mark, kind, name, duration."""
    return f"{words.MARKS[run.outcome]} {run.kind} {words.clean(run.name)} · {words.duration(run.seconds)} · {run.span_id[:8]}"


def text(run: Run, longest: int = values.LONGEST) -> str:
    """All of it, in lines."""
    facts = (f"{name}: {value}" for name, value in facts_of(run))
    parts = (f"── {name} ──\n{html.visible(value)}" for name, value in contents(run, longest))
    return "\n".join([line(run), *facts, *parts])


def page(run: Run) -> Markup:
    """The run alone."""
    colour = html.KINDS[run.kind]
    head = html.tag(
        "div", html.dot(colour), " ", html.tag("b", words.clean(run.name)), " ", html.faint(run.kind), " ",
        html.badge(f"{words.MARKS[run.outcome]} {run.outcome or 'running'}", html.OUTCOMES[run.outcome]),
        style="font-size:15px;margin:4px 0 6px 0",
    )  # fmt: skip
    return html.either(text(run), html.joined(head, body(run)))


def body(run: Run, longest: int = values.LONGEST) -> Markup:
    """What stands below its name."""
    facts = [
        html.tag("span", html.faint(f"{name} "), value, style="margin-right:14px")
        for name, value in facts_of(run)
        if name != "stream"
    ]
    parts = [part for name, value in contents(run, longest) for part in (_title(name), html.block(value))]
    return html.joined(html.tag("div", *facts, style="font-size:12px"), sparkline.of(run), *parts)


def facts_of(run: Run) -> Iterator[tuple[str, str]]:
    """What is known of it, by name, on one line each."""
    found = {
        "duration": words.duration(run.seconds),
        "model": (run.finished and run.finished.model) or run.started.model,
        "provider": run.started.provider,
        **(dict(_spent(run)) if run.kind == "model" and run.finished is not None else {}),
        "node": run.started.node if run.kind != "node" else None,
        "step": run.started.step,
        "attempt": run.started.attempt if run.started.attempt > 1 else None,
        "reason": run.finished and run.finished.reason,
        "went to": run.finished and ", ".join(run.finished.goto),
        "finish": run.finished and ", ".join(run.finished.finish_reasons),
        "stream": " · ".join(sparkline.said(run)),
        **{name: value for name, value in run.started.parameters.items() if name != "tools"},
        **{f"metadata {name}": value for name, value in run.started.metadata.items()},
        "span": run.span_id,
    }
    return ((name, words.clean(str(value), 120)) for name, value in found.items() if value not in (None, ""))


def contents(run: Run, longest: int) -> Iterator[tuple[str, str]]:
    """Its failure, moments, input and output, by name, as text of many lines. What is not there is left out."""
    if run.failure is not None:
        yield "error", values.cut(f"{run.failure.type}: {run.failure.message}", longest)
        if run.failure.stack:
            yield "stack", values.cut(run.failure.stack, longest)
    if run.events:
        yield "events", "\n".join(_event(run, event) for event in run.events[:EVENTS]) + _more(len(run.events) - EVENTS)
    for name, payload in (("input", run.input), ("tools", run.started.tools), ("output", run.output)):
        if (said := values.text(payload, longest)) is not None:
            yield name, said


def _spent(run: Run) -> Iterator[tuple[str, str]]:
    usage = run.usage or Usage()
    yield "tokens", words.flow(usage)
    for name, field in PARTS.items():
        if (count := getattr(usage, field)) is not None:
            yield name, words.number(count)
    yield "cost", "cached" if run.finished and run.finished.cached else words.money(usage.cost, estimated=usage.estimated)
    if usage.cost_source:
        yield "price by", usage.cost_source


def _event(run: Run, event: Noted) -> str:
    said = values.text(event.payload, 300)
    at = words.duration((event.at_ns - run.started.at_ns) / 1e9)
    return " ".join(filter(None, (f"+{at}", event.kind, event.name, said)))


def _more(count: int) -> str:
    return f"\n… {count} more" if count > 0 else ""


def _title(name: str) -> Markup:
    return html.tag("div", name, style="font-size:11px;opacity:.65;margin-top:4px;text-transform:uppercase;letter-spacing:.04em")
