"""Our own models of what the GenAI conventions put into JSON: messages and their parts, tool definitions, documents, instructions.

Written from the facts of gen-ai-input-messages, -output-messages, -system-instructions, -tool-definitions and
-retrieval-documents .json of open-telemetry/semantic-conventions-genai at 2b902ce1 (v1.41.1 differs in `compaction` and in a
required `finish_reason`). A fault of the rule `shape` is one for those schemas, too; `STRICTER` are the rules that they leave
open, with our reason.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from genai_table import FINISH_REASONS, MODALITIES, ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Violation(NamedTuple):
    """What is broken, and where."""

    rule: str
    where: str


STRICTER = {
    "unknown key": "the schemas let any key pass, so that a misspelt one does",
    "unknown role": "any text is one; a model is spoken to in these five, and a LangChain `human` is a slip of ours",
    "unknown part": "any type that the schema does not know is a generic part; ours is `block` alone",
    "unknown modality": "any text is one; content blocks have these four",
    "unknown finish reason": "any text is one; what a provider says in other words has an equal here",
    "arguments as text": "anything is an argument; a text that holds an object was encoded once too often",
    "data in a URI": "the schema says so in words only",
    "media in full": "the schema wants bytes; we name them by their hash, and no span grows by megabytes",
    "broken function": "to the schema, a function with a wrong description or no schema of parameters is a generic tool",
    "broken instruction": "what is no text is anything, to the schema; instructions are given as texts",
}
"""Rules of ours that the published schemas do not have → why."""

_HASH = re.compile(r"sha256:[0-9a-f]{64}")


def faults(shape: str, value: object) -> list[Violation]:
    """What is wrong with the decoded value: `input`, `output`, `instructions`, `tools`, `documents` or `any`."""
    if shape == "any":
        return []
    if not isinstance(value, list):
        return [Violation("shape", f"{shape} is no list")]
    return [fault for place, item in enumerate(value) for fault in _ITEMS[shape](item, f"{shape}[{place}]")]


def _object(
    value: object, where: str, required: dict[str, Callable], optional: dict[str, Callable] | None = None
) -> Iterator[Violation]:
    """A mapping that has all of the required keys, and of the others those that are optional."""
    if not isinstance(value, dict):
        yield Violation("shape", f"{where} is no object")
        return
    yield from (Violation("shape", f"{where} has no {key}") for key in required if key not in value)
    fields = required | (optional or {})
    for key, item in value.items():
        if key in fields:
            yield from fields[key](item, f"{where}.{key}")
        else:
            yield Violation("unknown key", f"{where}.{key}")


def _anything(value: object, where: str) -> Iterator[Violation]:
    yield from ()


def _text(value: object, where: str) -> Iterator[Violation]:
    if not isinstance(value, str):
        yield Violation("shape", f"{where} is no text")


def _maybe(value: object, where: str) -> Iterator[Violation]:
    """A text or null."""
    return _anything(value, where) if value is None else _text(value, where)


def _one_of(known: set[str], rule: str) -> Callable:
    def check(value: object, where: str) -> Iterator[Violation]:
        if not isinstance(value, str):
            yield Violation("shape", f"{where} is no text")
        elif value not in known:
            yield Violation(rule, f"{where} = {value}")

    return check


def _reason(value: object, where: str) -> Iterator[Violation]:
    return _anything(value, where) if value is None else _one_of(FINISH_REASONS, "unknown finish reason")(value, where)


def _arguments(value: object, where: str) -> Iterator[Violation]:
    """An object. What is no JSON (a model may say anything) stays text."""
    try:
        held = json.loads(value) if isinstance(value, str) else None
    except ValueError:
        held = None
    if isinstance(held, dict):
        yield Violation("arguments as text", where)


def _uri(value: object, where: str) -> Iterator[Violation]:
    if isinstance(value, str) and value.startswith("data:"):
        yield Violation("data in a URI", where)
    yield from _text(value, where)


def _hashed(value: object, where: str) -> Iterator[Violation]:
    if isinstance(value, str) and not _HASH.fullmatch(value):
        yield Violation("media in full", where)
    yield from _text(value, where)


def _server(value: object, where: str) -> Iterator[Violation]:
    """What a provider's own tool was asked, or answered: a type, and whatever it has."""
    keys = dict.fromkeys(value, _anything) if isinstance(value, dict) else {}
    return _object(value, where, {"type": _text}, {**keys, "type": _text})


_MODALITY = _one_of(MODALITIES, "unknown modality")
_MEDIUM = {"mime_type": _maybe, "transcript": _maybe}
PARTS: dict[str, tuple[dict[str, Callable], dict[str, Callable]]] = {
    "text": ({"content": _text}, {}),
    "reasoning": ({"content": _text}, {}),
    "compaction": ({}, {"id": _maybe, "content": _maybe}),
    "tool_call": ({"name": _text}, {"id": _maybe, "arguments": _arguments}),
    "tool_call_response": ({"response": _anything}, {"id": _maybe}),
    "server_tool_call": ({"name": _text, "server_tool_call": _server}, {"id": _maybe}),
    "server_tool_call_response": ({"server_tool_call_response": _server}, {"id": _maybe}),
    "blob": ({"modality": _MODALITY, "content": _hashed}, _MEDIUM),
    "file": ({"modality": _MODALITY, "file_id": _text}, _MEDIUM),
    "uri": ({"modality": _MODALITY, "uri": _uri}, _MEDIUM),
    "block": ({"block": _anything}, {}),
}
"""Type of a part → what it must have, what it may. `block` is ours: a generic part, for a content block that nobody knows."""


def _part(value: object, where: str) -> Iterator[Violation]:
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str):
        yield Violation("shape", f"{where} has no type")
    elif kind not in PARTS or (kind == "block" and "block" not in value):
        yield Violation("unknown part", f"{where}: {kind}")
    else:
        required, optional = PARTS[kind]
        yield from _object(value, where, {"type": _text, **required}, optional)


def _parts(value: object, where: str) -> Iterator[Violation]:
    if not isinstance(value, list):
        yield Violation("shape", f"{where} is no list")
        return
    for place, part in enumerate(value):
        yield from _part(part, f"{where}[{place}]")


_ROLE = {"role": _one_of(ROLES, "unknown role"), "parts": _parts}


def _input(value: object, where: str) -> Iterator[Violation]:
    return _object(value, where, _ROLE, {"name": _maybe})


def _output(value: object, where: str) -> Iterator[Violation]:
    return _object(value, where, _ROLE, {"name": _maybe, "finish_reason": _reason})


def _instruction(value: object, where: str) -> Iterator[Violation]:
    if isinstance(value, dict) and isinstance(value.get("type"), str) and value["type"] != "text":
        yield Violation("broken instruction", f"{where}: {value['type']}")
    else:
        yield from _object(value, where, {"type": _text, "content": _text})


def _schema(value: object, where: str) -> Iterator[Violation]:
    if not isinstance(value, dict):
        yield Violation("broken function", f"{where} is no schema")


def _described(value: object, where: str) -> Iterator[Violation]:
    if not isinstance(value, str):
        yield Violation("broken function", f"{where} is no text")


def _tool(value: object, where: str) -> Iterator[Violation]:
    own = isinstance(value, dict) and value.get("type") == "function"
    return _object(value, where, {"type": _text, "name": _text}, {"description": _described, "parameters": _schema} if own else {})


def _score(value: object, where: str) -> Iterator[Violation]:
    if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
        yield Violation("shape", f"{where} is no number")


def _document(value: object, where: str) -> Iterator[Violation]:
    return _object(value, where, {}, {"id": _text, "score": _score})


_ITEMS = {"input": _input, "output": _output, "instructions": _instruction, "tools": _tool, "documents": _document}
