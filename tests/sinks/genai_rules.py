"""OpenTelemetry's GenAI conventions as tables, and what a span breaks of them.

A port of the weaver policies of semantic-conventions-genai (names, kinds, status, required attributes, types), with our own
extensions named. Message shapes are checked against the JSON schemas where a copy is at hand.
"""

from __future__ import annotations

import json
from pathlib import Path

from opentelemetry.trace import SpanKind, StatusCode

SCHEMAS = Path(__file__).resolve().parents[3] / "shared/reference/schemas/latest"

OPERATIONS = {
    # operation: (kind, the attribute in the span's name, required attributes)
    "chat": (SpanKind.CLIENT, "gen_ai.request.model", {"gen_ai.provider.name"}),
    "retrieval": (SpanKind.CLIENT, "gen_ai.data_source.id", set()),
    "execute_tool": (SpanKind.INTERNAL, "gen_ai.tool.name", {"gen_ai.tool.name"}),
    "invoke_agent": (SpanKind.INTERNAL, "gen_ai.agent.name", set()),
    "invoke_workflow": (SpanKind.INTERNAL, "gen_ai.workflow.name", set()),
    "invoke_node": (SpanKind.INTERNAL, "gen_ai.node.name", set()),
}
EVERYWHERE = {"gen_ai.operation.name": str, "gen_ai.conversation.id": str, "gen_ai.agent.name": str}
USAGE = ("input_tokens", "output_tokens", "cache_read.input_tokens", "cache_creation.input_tokens", "cache_write.input_tokens")
MODEL = {
    "gen_ai.provider.name": str,
    "gen_ai.request.model": str,
    **{f"gen_ai.request.{name}": int for name in ("max_tokens", "top_k", "seed", "choice.count")},
    **{f"gen_ai.request.{name}": float for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty")},
    "gen_ai.request.stop_sequences": tuple,
    "gen_ai.request.stream": bool,
    "gen_ai.request.reasoning.level": str,
    "gen_ai.response.id": str,
    "gen_ai.response.model": str,
    "gen_ai.response.finish_reasons": tuple,
    "gen_ai.response.time_to_first_chunk": float,
    **{f"gen_ai.usage.{name}": int for name in USAGE},
    "gen_ai.usage.reasoning.output_tokens": int,
    "gen_ai.usage.audio.input_tokens": int,
    "gen_ai.usage.audio.output_tokens": int,
    "gen_ai.prompt.name": str,
    "gen_ai.prompt.version": str,
    "gen_ai.tool.definitions": "gen-ai-tool-definitions",
}
MESSAGES = {
    "gen_ai.input.messages": "STRICT-gen-ai-input-messages",
    "gen_ai.output.messages": "STRICT-gen-ai-output-messages",
}
ALLOWED = {
    "chat": MODEL | MESSAGES,
    "retrieval": {
        "gen_ai.provider.name": str,
        "gen_ai.retrieval.top_k": int,
        "gen_ai.retrieval.query.text": str,
        "gen_ai.retrieval.documents": "gen-ai-retrieval-documents",
    },
    "execute_tool": {f"gen_ai.tool.{n}": str for n in ("name", "type", "call.id", "description", "call.arguments", "call.result")},
    "invoke_agent": {"gen_ai.agent.description": str, "gen_ai.tool.definitions": "gen-ai-tool-definitions"} | MESSAGES,
    "invoke_workflow": {"gen_ai.workflow.name": str},
    "invoke_node": {"gen_ai.node.name": str},
    None: {},
}
OURS = ("langgraph.", "langgraph_observe.", "input.", "output.", "server.", "error.type")


def violations(span) -> list[str]:
    """What a finished SDK span breaks, in words; empty when it keeps the conventions."""
    held = dict(span.attributes)
    operation = held.get("gen_ai.operation.name")
    if operation is not None and operation not in OPERATIONS:
        return [f"unknown operation {operation}"]
    return [*_shape(span, held, operation), *_status(span, held), *_attributes(held, operation)]


def _shape(span, held, operation):
    if operation is None:
        return
    kind, subject, required = OPERATIONS[operation]
    expected = f"{operation} {held[subject]}" if subject in held else operation
    if span.name != expected:
        yield f"name is {span.name!r}, not {expected!r}"
    if span.kind is not kind:
        yield f"kind is {span.kind}, not {kind}"
    yield from (f"{name} is required" for name in required - held.keys())
    if held.get("gen_ai.workflow.name") in {"LangGraph", "StateGraph"}:
        yield "a type's name is no workflow name"


def _status(span, held):
    if span.status.status_code is StatusCode.OK:
        yield "status OK is forbidden"
    if (span.status.status_code is StatusCode.ERROR) != ("error.type" in held):
        yield "ERROR and error.type go together"
    if span.end_time is None or span.end_time < span.start_time:
        yield "not ended, or before it began"


def _attributes(held, operation):
    allowed = EVERYWHERE | ALLOWED[operation]
    for name, value in held.items():
        if name in allowed:
            yield from _typed(name, value, allowed[name])
        elif name.startswith("gen_ai.") or not (name.startswith(OURS) or name.startswith("user.")):
            yield f"{name} is not for {operation}"
        if value is None or (isinstance(value, tuple) and {type(v) for v in value} != {str}):
            yield f"{name} is None or mixed"


def _typed(name, value, expected):
    if isinstance(expected, str):
        yield from (f"{name}: {fault}" for fault in faults(json.loads(value), schema(expected)))
    elif type(value) is not expected:
        yield f"{name} is a {type(value).__name__}"


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
    if "type" in node and not isinstance(value, TYPES[node["type"]]):
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
