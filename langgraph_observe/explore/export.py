"""A trace to take away: a page that any browser opens, and JSON with all that was recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.explore import html, words
from langgraph_observe.explore.storefile import together
from langgraph_observe.payloads import Payload

if TYPE_CHECKING:
    import os

    from langgraph_observe.explore.run import Run
    from langgraph_observe.explore.trace import Trace

ELSEWHERE: Final = frozenset({"run", "measured", "input"})
"""Fields of Finished that are told with the beginning, or as usage."""
PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{title}</title></head>
<body style="margin:24px auto;max-width:1200px;padding:0 16px">
{body}
</body></html>
"""


@together()
def as_html(trace: Trace) -> str:
    """One file, light or dark as the reader has it, that loads nothing and runs nothing."""
    from langgraph_observe.explore.chat import Chat
    from langgraph_observe.explore.waterfall import page

    chat = Chat(trace)
    parts = [page(trace), *([html.Markup(chat._repr_html_())] if len(chat) else []), *_graph(trace)]
    body = html.joined(*(html.tag("div", part, style="margin-bottom:28px") for part in parts))
    return PAGE.format(title=html.joined(f"{words.clean(trace.name)} {words.clean(trace.id[:8])}"), body=body)


@together()
def as_json(trace: Trace) -> str:
    """The runs in the order of the tree, and the scores. Times as they are on the records: nanoseconds and seconds."""
    whole = {
        "trace_id": trace.id,
        "runs": [_run(run) for run in trace],
        "scores": [asdict(score) for score in trace.scores],
    }
    return json.dumps(whole, ensure_ascii=False, indent=1)


def saved(text: str, path: str | os.PathLike[str] | None) -> str | None:
    """The text; None once it is written, as UTF-8, where there is a path: a notebook would show what its last line returns."""
    if path is None:
        return text
    Path(path).expanduser().write_text(text, encoding="utf-8")
    return None


def _graph(trace: Trace) -> list[html.Markup]:
    from langgraph_observe.explore.topology import Topology

    try:
        return [html.Markup(Topology.of(trace)._repr_html_())]
    except LookupError:
        return []


def _run(run: Run) -> dict[str, Any]:
    end = run.finished
    told = {} if end is None else {one.name: _plain(getattr(end, one.name)) for one in fields(end) if one.name not in ELSEWHERE}
    usage = {} if run.usage is None else {"usage": _plain(run.usage)}
    events = [{"kind": e.kind, "name": e.name, "at_ns": e.at_ns, "payload": _plain(e.payload)} for e in run.events]
    return {**_fields(run.started), "input": _plain(run.input), **told, **usage, "events": events}


def _fields(record: Any) -> dict[str, Any]:
    return {one.name: _plain(getattr(record, one.name)) for one in fields(record)}


def _plain(value: Any) -> Any:
    """JSON for a field: money as text, exact."""
    match value:
        case Payload():
            return value.value
        case tuple() | list():
            return [_plain(item) for item in value]
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case None | bool() | int() | float() | str():
            return value
        case _:
            return _fields(value) if is_dataclass(value) else str(value)
