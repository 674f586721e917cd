"""Chat messages in the shapes that spans hold them in, as the plain ones of `payloads.Message`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

FLATTENED: Final = re.compile(r"llm\.(input|output)_messages\.(\d+)\.message\.(.+)")


def parsed(value: Any) -> Any:
    """JSON in a text; any other text as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):  # no JSON, or brackets without end
        return value


def spoken(value: Any) -> Any:
    """Messages in the conventions' shape, or with tool calls in OpenAI's, as plain ones; anything else as it is."""
    match value:
        case list() if value and all(isinstance(one, dict) and "parts" in one for one in value):
            return [_message(one) for one in value]
        case list():
            return [spoken(one) for one in value]
        case {"role": str(), "tool_calls": list(calls)}:
            return {**value, "tool_calls": [_call(one) for one in calls]}
        case {"messages": list(messages)}:
            return {**value, "messages": spoken(messages)}
        case _:
            return value


def _call(one: Any) -> Any:
    match one:
        case {"function": {"name": name, "arguments": arguments}}:
            return {"id": one.get("id"), "name": name, "args": parsed(arguments)}
        case _:
            return one


def _message(one: Mapping[str, Any]) -> dict[str, Any]:
    parts = [part for part in one["parts"] if isinstance(part, dict)]
    said = [part["content"] for part in parts if part.get("type") == "text" and isinstance(part.get("content"), str)]
    answers = [part for part in parts if part.get("type") == "tool_call_response"]
    calls = [{"id": p.get("id"), "name": p.get("name"), "args": p.get("arguments")} for p in parts if p.get("type") == "tool_call"]
    others = [p for p in parts if p.get("type") not in {"text", "tool_call", "tool_call_response"}]
    content: Any = [*({"type": "text", "text": one} for one in said), *others] if others else "".join(said)
    if answers:
        content = answers[0].get("response", answers[0].get("result"))
    return {
        "role": str(one.get("role")),
        "content": content,
        **({"tool_calls": calls} if calls else {}),
        **({"tool_call_id": answers[0].get("id")} if answers else {}),
    }


def flattened(told: Mapping[str, Any], side: str) -> Any:
    """OpenInference's messages, an attribute for every leaf."""
    rows: dict[int, dict[str, Any]] = {}
    for key, value in told.items():
        if (found := FLATTENED.fullmatch(key)) and found[1] == side:
            rows.setdefault(int(found[2]), {})[found[3]] = value
    return [_leaves(row) for _, row in sorted(rows.items())] or None


def _leaves(row: Mapping[str, Any]) -> dict[str, Any]:
    calls = [
        {
            "id": row.get(key.replace("function.name", "id")),
            "name": name,
            "args": parsed(row.get(key.replace("name", "arguments"))),
        }
        for key, name in sorted(row.items())
        if key.endswith("tool_call.function.name")
    ]
    return {"role": str(row.get("role")), "content": row.get("content", ""), **({"tool_calls": calls} if calls else {})}
