"""What was said, in the shapes of the GenAI conventions, of a bounded size. Pure; not on the agent's thread.

The shapes: gen-ai-input-messages, -output-messages, -tool-definitions and -retrieval-documents .json of
open-telemetry/semantic-conventions-genai. On spans they are JSON strings, which is what every backend reads today; in events
they are structures.
"""

from __future__ import annotations

import hashlib
import json
import re
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import orjson

from langgraph_observe.sinks.encoding import encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from langgraph_observe.payloads import Payload
    from langgraph_observe.records import Finished

MESSAGE: Final = 32_768
"""Characters of JSON that one message may fill."""
ATTRIBUTE: Final = 131_072
"""Characters of JSON that one attribute may fill: an OTLP request must stay in the megabytes with 512 spans in it."""
DEEPEST: Final = 8
"""Containers within containers, in an event: protobuf reads a hundred messages within messages, and a mapping is three."""
_CUTS: Final = (16_384, 4_096, 1_024, 256, 64)
_MEDIA: Final = re.compile(
    r"data:(?P<kind>[\w.+/-]*);base64,(?P<url>[A-Za-z0-9+/=_-]{64,})"
    r'|(?P<quote>\\*")(?P<key>base64|data)(?P=quote): ?(?P=quote)(?P<alone>[A-Za-z0-9+/=_-]{64,})(?P=quote)'
)
"""Binary as text, in JSON and in JSON within it: in a URL, or as LangChain, OpenAI, Anthropic and Google have it."""
_OF_MEDIA: Final = ("base64", '"data')
"""One of these is in all that `_MEDIA` matches, and found a hundred times faster."""

_REASONS: Final = {
    "completed": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_calls": "tool_call",
    "tool_use": "tool_call",
    "function_call": "tool_call",
    "refusal": "content_filter",
    "safety": "content_filter",
    "guardrail_intervened": "content_filter",
}
"""Why a message ends, in a provider's words, lower case → as the schema of output messages has it; the span has the former."""

Part = dict[str, Any]


def attributes(record: Finished, limit: int | None = None) -> dict[str, str]:
    """What the run was given and what it gave, under the names of its kind, each in `limit` characters."""
    taken, given = record.input or record.run.input, record.output
    kind = record.run.kind
    if kind == "agent" and not all(side.messages for side in (taken, given) if side):
        kind = "graph"  # given tuples, or a state of another kind: shown as it is
    match kind:
        case "model" | "agent":
            made = {
                "gen_ai.input.messages": conversation(taken, "user"),
                "gen_ai.output.messages": answers(given, record.finish_reasons),
                "gen_ai.tool.definitions": _shown(record.run.tools, definitions),
            }
        case "tool":
            made = {"gen_ai.tool.call.arguments": _shown(taken), "gen_ai.tool.call.result": _shown(given, result)}
        case "retriever":
            made = {"gen_ai.retrieval.query.text": _plain(taken), "gen_ai.retrieval.documents": _shown(given, documents)}
        case _:
            made = {}
    if not made or kind in {"agent", "retriever"}:
        made |= _values(taken, given)
    return {name: text if limit is None else _within(text, limit) for name, text in made.items() if text is not None}


def _within(text: str, limit: int) -> str:
    """What was JSON still is."""
    if len(text) <= limit:
        return text
    try:
        return fit(json.loads(text), limit)
    except ValueError:
        return text[:limit]


def structures(attributes: Mapping[str, str]) -> dict[str, Any]:
    """What is JSON in these, as structures that OTLP can hold."""
    return {name: _shallow(json.loads(text, parse_int=_int64)) for name, text in attributes.items()}


def _int64(digits: str) -> int | str:
    return number if -(2**63) <= (number := int(digits)) < 2**63 else digits


def _shallow(value: object, room: int = DEEPEST) -> object:
    """The same, with JSON in the place of what lies too deep."""
    if not isinstance(value, (dict, list)):
        return value
    if not room:
        return encoded(value)
    if isinstance(value, list):
        return [_shallow(item, room - 1) for item in value]
    return {key: _shallow(item, room - 1) for key, item in value.items()}


def _values(taken: Payload | None, given: Payload | None) -> dict[str, str | None]:
    """A state is no chat message, and the text of a document no part of the conventions.

    `input.value` and `output.value` are OpenInference's names: Phoenix, Arize, MLflow and Langfuse show them as a span's input
    and output, and in a list of traces those of the root, where they look for no messages. A name of our own would be shown by
    nobody.
    """
    mime = "application/json"
    return {
        "input.value": _shown(taken),
        "input.mime_type": mime if taken else None,
        "output.value": _shown(given),
        "output.mime_type": mime if given else None,
    }


def _shown(payload: Payload | None, convert: Callable[[object], object] | None = None) -> str | None:
    if payload is None:
        return None
    return lean(encoded(convert(payload.value)) if convert else payload.json.decode(), ATTRIBUTE)


def lean(text: str, limit: int) -> str:
    """JSON of at most `limit` characters, in which media are named by their hashes."""
    whole = _without_media(text)
    return whole if len(whole) <= limit else _cut(orjson.loads(whole), len(whole), limit)


def _without_media(text: str) -> str:
    return _MEDIA.sub(_named, text) if any(word in text for word in _OF_MEDIA) else text


def _named(found: re.Match[str]) -> str:
    if found["url"]:
        return f"data:{found['kind']};{_digest(found['url'])}"
    quote = found["quote"]
    return f"{quote}{found['key']}{quote}:{quote}{_digest(found['alone'])}{quote}"


def _plain(payload: Payload | None) -> str | None:
    if payload is None:
        return None
    value = payload.value
    if isinstance(value, dict) and len(value) == 1:  # {"query": …}
        (value,) = value.values()
    return _without_media(value)[:MESSAGE] if isinstance(value, str) else lean(encoded(value), MESSAGE)


def fit(value: object, limit: int) -> str:
    """JSON of at most `limit` characters, and always whole JSON.

    Long texts inside are shortened, step by step; as a last resort the head of a list is left out.
    """
    return whole if len(whole := encoded(value)) <= limit else _cut(value, len(whole), limit)


def _cut(value: object, size: int, limit: int) -> str:
    lengths = _lengths(value, [])
    for cut in _CUTS:
        if sum(min(length, cut) for length in lengths) <= limit and len(short := encoded(shortened(value, cut))) <= limit:
            return short
    value = shortened(value, _CUTS[-1])
    while isinstance(value, list) and value:
        value = value[len(value) // 2 + 1 :]
        if len(tail := encoded(value)) <= limit:
            return tail
    return encoded(f"<{size} characters>")


def _lengths(value: object, found: list[int]) -> list[int]:
    """Of the long texts inside, so that nothing is shortened only to be found too long."""
    if isinstance(value, str):
        if len(value) > _CUTS[-1]:
            found.append(len(value))
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            _lengths(item, found)
    return found


def shortened(value: object, cut: int) -> object:
    """The same shape with every text of more than `cut` characters cut, and marked so."""
    if isinstance(value, str):
        return value if len(value) <= cut else f"{value[: cut - 1]}…"
    if isinstance(value, dict):
        return {key: shortened(item, cut) for key, item in value.items()}
    return [shortened(item, cut) for item in value] if isinstance(value, list) else value


def conversation(payload: Payload | None, role: str) -> str | None:
    """Messages as a JSON array, each encoded once in its life. What is no message is one of `role`."""
    if payload is None:
        return None
    found = [one.cached("gen_ai", lambda plain: _bounded(message(plain))) for one in payload.messages]
    return joined(found or [_bounded(_spoken_by(role, payload))])


def _spoken_by(role: str, payload: Payload) -> Part:
    return {"role": role, "parts": [{"type": "text", "content": _text(payload)}]}


def _messages(payload: Payload | None, role: str) -> list[Part]:
    if payload is None:
        return []
    return [message(one.plain) for one in payload.messages] or [_spoken_by(role, payload)]


def said(record: Finished) -> tuple[list[Part], list[Part]]:
    """What a model was told and what it answered, as messages, of any size."""
    taken, given = _messages(record.input or record.run.input, "user"), _messages(record.output, "assistant")
    return taken, [_reasoned(one, reason) for one, reason in zip_longest(given, record.finish_reasons[: len(given)])]


def _reasoned(made: Part, reason: str | None) -> Part:
    if not reason:
        return made
    word = reason.lower()
    return made | {"finish_reason": _REASONS.get(word, word if word in _REASONS.values() else reason)}


def _bounded(made: Part) -> str:
    """A message in its room. One of too many parts to be shortened has a single one, that says so."""
    if (text := lean(encoded(made), MESSAGE)).startswith("{"):
        return text
    return fit(made | {"parts": [{"type": "text", "content": json.loads(text)}]}, MESSAGE)


def joined(texts: Sequence[str], limit: int = ATTRIBUTE) -> str:
    """A JSON array of texts that are JSON.

    What does not fit is left out after the first (it may be the system's), oldest first: a prompt's end is what people look for.
    """
    room = limit - 2 - sum(len(text) + 1 for text in texts[:1])
    kept: list[str] = []
    for text in reversed(texts[1:]):
        room -= len(text) + 1
        if room < 0:
            break
        kept.append(text)
    return f"[{','.join([*texts[:1], *reversed(kept)])}]"


def answers(payload: Payload | None, reasons: Sequence[str]) -> str | None:
    """One output message per choice, with its finish reason (deprecated since v1.41, required there)."""
    if payload is None:
        return None
    found = _messages(payload, "assistant")
    return joined([_bounded(_reasoned(one, reason)) for one, reason in zip_longest(found, reasons[: len(found)])])


def _text(payload: Payload) -> str:
    value = payload.value
    return value if isinstance(value, str) else encoded(value)


def message(plain: Mapping[str, object]) -> Part:
    """A chat message as `{role, parts}`."""
    role, content = str(plain["role"]), plain.get("content")
    out: Part = {"role": role, "parts": []}
    if role == "tool":
        out["parts"] = [{"type": "tool_call_response", "id": _word(plain.get("tool_call_id")), "response": content}]
    else:
        out["parts"] = [*_parts(content), *_calls(plain)]
    return out | ({"name": name} if (name := _word(plain.get("name"))) else {})


def _parts(content: object) -> Iterable[Part]:
    for block in content if isinstance(content, list) else [content]:
        match block:
            case str():
                if block:
                    yield {"type": "text", "content": block}
            case {"type": "tool_use" | "tool_call" | "function_call" | "input_json_delta" | "tool_call_chunk"}:
                continue  # said again, and better, by the message's tool_calls
            case dict():
                yield _part(block)


def _calls(plain: Mapping[str, object]) -> Iterable[Part]:
    for call in (*_list(plain.get("tool_calls")), *_list(plain.get("invalid_tool_calls"))):
        if isinstance(call, dict):  # a redactor may have put a text in its place
            name, own = str(call.get("name")), _word(call.get("id"))
            yield {"type": "tool_call", "id": own, "name": name, "arguments": call.get("args")}


def _part(block: Part) -> Part:
    """A content block of OpenAI, Anthropic or LangChain's own standard; an unknown one is generic, never a broken known one."""
    return _spoken(block) or _provided(block) or _standard(block) or {"type": "block", "block": block}


def _spoken(block: Part) -> Part | None:
    match block:
        case {"type": "text" | "input_text" | "output_text", "text": str(text)}:
            return {"type": "text", "content": text}
        case {"type": "reasoning", "reasoning": str(text)} | {"type": "thinking", "thinking": str(text)}:
            return {"type": "reasoning", "content": text}
        case {"type": "reasoning", "summary": list(pieces)}:
            return {"type": "reasoning", "content": "\n".join(str(p.get("text", "")) for p in pieces if isinstance(p, dict))}
        case {"type": "server_tool_use" | "server_tool_call", "name": str(name)}:
            call = block | {"type": name}
            return {"type": "server_tool_call", "id": _word(block.get("id")), "name": name, "server_tool_call": call}
    return None


def _provided(block: Part) -> Part | None:
    """OpenAI's and Anthropic's own forms of images, sound and files."""
    match block:
        case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
            return _linked("image", url, None)
        case {"type": "input_audio", "input_audio": {"data": str(data), "format": str(form)}}:
            return _blob("audio", data, f"audio/{form}")
        case {"type": str(kind), "source": {"type": "base64", "data": str(data)} as source}:
            return _blob(_MODALITIES.get(kind, kind), data, source.get("media_type"))
    return None


def _standard(block: Part) -> Part | None:
    """LangChain's standard content blocks."""
    if (modality := _MODALITIES.get(str(block.get("type")))) is None:
        return None
    match block:
        case {"base64": str(data)}:
            return _blob(modality, data, block.get("mime_type"))
        case {"url": str(url)}:
            return _linked(modality, url, block.get("mime_type"))
        case {"file_id": str(file)}:
            return {"type": "file", "modality": modality, "file_id": file}
    return None


_MODALITIES: Final = {"image": "image", "audio": "audio", "video": "video", "file": "document", "document": "document"}


def _linked(modality: str, url: str, mime: object) -> Part:
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        return _blob(modality, data, head.removeprefix("data:").removesuffix(";base64") or None)
    return {"type": "uri", "modality": modality, "uri": url, "mime_type": _word(mime)}


def _blob(modality: str, data: str, mime: object) -> Part:
    """Binary is named by its hash: equal images are seen to be equal, and no span grows by megabytes."""
    return {"type": "blob", "modality": modality, "mime_type": _word(mime), "content": _digest(data)}


def _digest(data: str) -> str:
    return f"sha256:{hashlib.sha256(data.encode()).hexdigest()}"


def result(value: object) -> object:
    """What a tool gave: of a tool's message, the content."""
    return value["content"] if isinstance(value, dict) and value.get("role") == "tool" and "content" in value else value


def definitions(tools: object) -> list[Part]:
    """Tools as flat function definitions, from OpenAI's nested, Anthropic's or LangChain's form."""
    return [_definition(tool) for tool in _list(tools) if isinstance(tool, dict)]


def _definition(tool: Part) -> Part:
    inner = tool["function"] if isinstance(tool.get("function"), dict) else tool
    name = str(inner.get("name") or tool.get("type"))
    schema = inner.get("parameters") or inner.get("input_schema") or inner.get("args_schema")
    if schema is None and "function" not in tool and tool.get("type") not in {None, "function", "custom"}:
        return {"type": str(tool["type"]), "name": name}  # a provider's own tool, run on its side
    made = {"type": "function", "name": name, "description": _word(inner.get("description")), "parameters": schema}
    return {key: value for key, value in made.items() if value is not None}


def documents(found: object) -> list[Part]:
    """Id and score only: the text of a document is not part of the convention."""
    rows = (found.get("documents") or []) if isinstance(found, dict) else found
    return [_document(row) for row in _list(rows) if isinstance(row, dict)]


def _document(row: Part) -> Part:
    metadata = row.get("metadata") if isinstance(row.get("metadata"), dict) else {}
    both: Part = {**(metadata or {}), **row}
    score = next((both[key] for key in ("score", "relevance_score", "_score") if isinstance(both.get(key), (int, float))), None)
    name = both.get("id") or both.get("source")
    return {key: value for key, value in (("id", str(name) if name else None), ("score", score)) if value is not None}


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
