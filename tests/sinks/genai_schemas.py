"""The published JSON schemas of the GenAI conventions, where a copy is at hand, and as much of JSON schema as they need."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import genai_messages

SCHEMAS = Path(__file__).resolve().parents[3] / "shared/reference/schemas/latest"
FILES = {
    "input": "STRICT-gen-ai-input-messages",
    "output": "STRICT-gen-ai-output-messages",
    "instructions": "gen-ai-system-instructions",
    "tools": "gen-ai-tool-definitions",
    "documents": "gen-ai-retrieval-documents",
}
"""A shape of `genai_messages` → its schema. Strict: a broken part of a known type is no generic one."""


@cache
def schema(name):
    path = SCHEMAS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def faults(value, node, root=None):
    """JSON schema as far as these schemas need it: $ref, anyOf, oneOf, not, const, enum, type, required, properties, items."""
    root = node if root is None else root
    if "$ref" in node:
        target = node["$ref"].removeprefix("#/$defs/")
        return faults(value, root["$defs"][target], root) if target in root.get("$defs", {}) else []
    found = [f"{json.dumps(value)[:200]} fits none" for word in ("anyOf", "oneOf") if _none(value, node.get(word), root)]
    if "not" in node and not faults(value, node["not"], root):
        found.append(f"{value!r} must not be")
    if value not in node.get("enum", [node.get("const", value)]):
        found.append(f"{value!r} is not allowed")
    if "type" in node and (not isinstance(value, TYPES[node["type"]]) or (node["type"] == "number" and isinstance(value, bool))):
        return [*found, f"{value!r} is no {node['type']}"]
    return [*found, *_inside(value, node, root)]


def _none(value, options, root):
    return bool(options) and all(faults(value, option, root) for option in options)


def _inside(value, node, root):
    if isinstance(value, dict):
        yield from (f"{key} is missing" for key in node.get("required", ()) if key not in value)
        for key, sub in node.get("properties", {}).items():
            yield from faults(value[key], sub, root) if key in value else ()
    elif isinstance(value, list) and "items" in node:
        for item in value:
            yield from faults(item, node["items"], root)


TYPES = {"object": dict, "array": list, "string": str, "number": (int, float), "null": type(None), "boolean": bool}


def differences(shape: str, value: object) -> list[str]:
    """Where our model of a shape and the published schema judge the same value differently, but for `STRICTER`. No copy: none."""
    published = schema(FILES[shape])
    ours = {fault.rule for fault in genai_messages.faults(shape, value)}
    theirs = faults(value, published) if published else []
    if not ours and theirs:
        return [f"the schema alone rejects it: {theirs[:3]}"]
    if published and not theirs and ours - genai_messages.STRICTER.keys():
        return [f"we alone reject it: {sorted(ours)}"]
    return []
