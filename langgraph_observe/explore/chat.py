"""The talk in a trace: what people, models and tools said to each other, once each, in order."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, overload

from langgraph_observe.explore import html, values, words
from langgraph_observe.explore.storefile import together

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langgraph_observe.explore.html import Markup
    from langgraph_observe.explore.run import Run
    from langgraph_observe.explore.trace import Trace
    from langgraph_observe.records import Payload

ROLES: Final = {"system": "#7d8590", "user": "#3b82d6", "assistant": "#c77d1e", "tool": "#1f9a86"}
SIDES: Final = {"user": "margin-left:18%", "tool": "margin-left:4%;margin-right:14%"}
SHOWN: Final = 80
"""Messages of one page: the first and the last ones of more."""
LONGEST: Final = 1_500


@dataclass(frozen=True, slots=True)
class Said:
    """One message, with the run in which it was first seen."""

    message: Mapping[str, Any]
    """See `payloads.Message.plain`: role, content, tool_calls and so on."""
    run: Run

    @property
    def role(self) -> str:
        """Who speaks."""
        return str(self.message["role"])

    @property
    def text(self) -> str:
        """What is said; tool calls as calls."""
        return values.said(self.message)

    @property
    def by(self) -> str | None:
        """The message's own name, or the node that made it."""
        named = self.message.get("name")
        return str(named) if named else self.run.started.node if self.role == "assistant" else None


class Chat:
    """The messages of a trace. Reads like a list of `Said`."""

    @together()
    def __init__(self, trace: Trace) -> None:
        self._said = list(_talk(trace))

    def __len__(self) -> int:
        return len(self._said)

    def __iter__(self) -> Iterator[Said]:
        return iter(self._said)

    @overload
    def __getitem__(self, index: int) -> Said: ...
    @overload
    def __getitem__(self, index: slice) -> list[Said]: ...
    def __getitem__(self, index: int | slice) -> Said | list[Said]:
        return self._said[index]

    def __str__(self) -> str:
        return "\n\n".join(f"{_title(one)}\n{html.visible(one.text)}" for one in self._said) or "no messages"

    def __repr__(self) -> str:
        """Of much the beginnings: it is kept in the notebook. `print` shows all."""
        return html.visible(_plain(*_ends(self._said))) or "no messages"

    def _repr_html_(self) -> str:
        first, left, last = _ends(self._said)
        gap = html.tag("div", html.faint(f"⋯ {left:,} messages")) if left else None
        bubbles = html.joined(*map(_bubble, first), gap, *map(_bubble, last))
        return html.either(_plain(first, left, last), bubbles if self._said else html.faint("no messages"))


def _talk(trace: Trace) -> Iterator[Said]:
    """Model calls hold whole conversations, so later ones repeat earlier ones: what has been seen as often is not said again."""
    told: Counter[str] = Counter()
    for run, messages in _sources(trace):
        here: Counter[str] = Counter()
        for message in messages:
            key = _key(message)
            here[key] += 1
            if here[key] > told[key]:
                told[key] += 1
                yield Said(message, run)


def _sources(trace: Trace) -> Iterator[tuple[Run, list[Mapping[str, Any]]]]:
    """In the order of time: what roots are given, models asked and answered, and at last the roots' answers.

    What a root is given and the first model is asked stands in the model's order: after the system's words.
    """
    models = sorted(trace.find(kind="model"), key=lambda run: run.started.at_ns)
    asked = {_key(message) for model in models[:1] for message in _messages(model.input)}
    for root in trace.roots:
        yield root, [message for message in _messages(root.input) if _key(message) not in asked]
    for model in models:
        yield model, _messages(model.input)
        yield model, _messages(model.output)
    yield from ((root, _messages(root.output)) for root in trace.roots)


def _messages(payload: Payload | None) -> list[Mapping[str, Any]]:
    try:
        return [] if payload is None else [one.plain for one in payload.messages] or _unmarked(payload.value)
    except Exception:  # content that is gone is no reason to show nothing of the others
        return []


def _unmarked(value: object) -> list[Mapping[str, Any]]:
    """Messages that came from a file as plain data."""
    inner = value.get("messages") if isinstance(value, dict) else value
    return [one for one in inner if isinstance(one, dict) and "role" in one and "content" in one] if isinstance(inner, list) else []


def _key(message: Mapping[str, Any]) -> str:
    """Without ids, which LangGraph adds later."""
    calls = [(call.get("name"), call.get("args")) for call in message.get("tool_calls") or ()]
    return json.dumps(
        [message.get("role"), message.get("content"), calls, message.get("tool_call_id")], default=str, sort_keys=True
    )


def _ends(said: Sequence[Said]) -> tuple[Sequence[Said], int, Sequence[Said]]:
    if len(said) <= SHOWN:
        return said, 0, ()
    return said[: SHOWN // 2], len(said) - SHOWN, said[-SHOWN // 2 :]


def _plain(first: Sequence[Said], left: int, last: Sequence[Said]) -> str:
    lines = [f"{_title(one)}\n{values.cut(one.text, LONGEST)}" for one in first]
    lines += [f"⋯ {left:,} messages"] if left else []
    return "\n\n".join([*lines, *(f"{_title(one)}\n{values.cut(one.text, LONGEST)}" for one in last)])


def _title(said: Said) -> str:
    return words.clean(" · ".join(filter(None, (said.role, said.by))))


def _bubble(said: Said) -> Markup:
    colour = ROLES.get(said.role, html.GREY)
    head = html.tag("div", html.dot(colour, size=7), html.faint(f" {_title(said)}"), style="font-size:11px;line-height:16px")
    content = html.tag("div", values.cut(_spoken(said), LONGEST), style="white-space:pre-wrap;overflow-wrap:break-word")
    calls = [_called(call) for call in said.message.get("tool_calls") or ()]
    frame = f"border-left:3px solid {colour};background:{html.TRACK};border-radius:4px;padding:4px 10px;margin-top:6px"
    return html.tag("div", head, content, *calls, style=f"{frame};max-width:760px;{SIDES.get(said.role, 'margin-right:14%')}")


def _spoken(said: Said) -> str:
    return values.said({**said.message, "tool_calls": None})


def _called(call: Mapping[str, Any]) -> Markup:
    face = f"font-family:{html.MONO};font-size:12px;overflow-wrap:break-word"
    return html.tag(
        "div", html.tag("span", "→ ", style=f"color:{ROLES['tool']}"), values.cut(values.call(call), LONGEST), style=face
    )
