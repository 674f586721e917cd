"""An estimate of the tokens of a call whose provider said nothing, marked as one, with how it was made.

Most often that is a stream from a `base_url` without `stream_usage=True`. Runs where the usage is first read, off the agent's
thread, and counts the redacted text, which is all that is left there.
Not done: `model.get_num_tokens_from_messages`, which fetches image addresses (OpenAI), calls the API (Anthropic) or downloads
a tokenizer (the rest); and learning the factors below from calls that did report usage, which would make an estimate depend
on what ran before it.
"""

from __future__ import annotations

import functools
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from langgraph_observe.capture.encodings import encoding
from langgraph_observe.payloads import encode
from langgraph_observe.records import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from langgraph_observe.records import Payload, Started

log: Final = logging.getLogger("langgraph_observe")

CHARACTERS: Final = "characters"
DEFAULT: Final = "o200k_base"
ENCODINGS: Final = frozenset({"o200k_base", "cl100k_base"})
"""The two that count chat. `o200k_harmony` is o200k_base with more special tokens, and 72 MB more."""

PER_MESSAGE: Final = 4
"""3 that frame a message and 1 for its role: every role is one token (OpenAI cookbook; langchain_openai's constants)."""
PER_REPLY: Final = 3
PER_NAME: Final = 1
PER_TOOL_CALL_ID: Final = 3
SCHEMA: Final = 0.75
"""Tool schemas are told to a model in a terser form than JSON: measured 87 tokens for 118 of compact JSON."""
IMAGE: Final = 765
"""1024 x 1024 by OpenAI's tiles, 85 + 4 · 170. Its true size is in bytes that a payload does not keep."""

OPENAI: Final = re.compile(r"(ft:)?(chatgpt|gpt|o\d)")
CLAUDE: Final = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2})(?!\d))?")
NEW_CLAUDE: Final = (4, 7)

TEXTS: Final = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "thinking": "thinking",
    "reasoning": "reasoning",
    "refusal": "refusal",
}
"""Content blocks that are text, and where it is."""
IMAGES: Final = frozenset({"image", "image_url", "input_image"})
CALLS: Final = frozenset({"tool_use", "tool_call", "tool_call_chunk", "function_call", "input_json_delta"})
"""What `tool_calls` of the same message says already."""

Count: TypeAlias = "Callable[[str], float]"
"""Tokens of a text."""


@dataclass(frozen=True, slots=True)
class Size:
    """Of a message: tokens of its text, which differ between tokenizers; fixed ones; pieces that nobody can count here."""

    text: float = 0
    fixed: int = 0
    uncounted: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.text + other.text, self.fixed + other.fixed, self.uncounted + other.uncounted)


def estimate(run: Started, output: Payload | None) -> Usage | None:
    """Input tokens from the run, output tokens from `output`; a side that was not captured is None, both: no usage.

    `method` is `o200k_base×1.18`: the encoding and the factor for this family of models, or `characters` where there is no
    file for the encoding (yet); `, without media` if audio or files took part, whose tokens are not counted.
    """
    if run.input is None and output is None:
        return None
    if run.base_url is not None:
        _hint(run.model)
    name, count = _tokenizer(run.model or "")
    factor = _factor(run.model or "")
    sent = None if run.input is None else _size(run.input, name, count, frame=PER_MESSAGE) + _schemas(run.tools, count)
    received = None if output is None else _size(output, name, count)
    media = any(size.uncounted for size in (sent, received) if size)
    return Usage(
        input_tokens=None if sent is None else round(sent.text * factor) + sent.fixed + PER_REPLY,
        output_tokens=None if received is None else round(received.text * factor) + received.fixed,
        estimated=True,
        method=f"{name}×{factor:g}" + (", without media" if media else ""),
    )


@functools.lru_cache(maxsize=100)
def _hint(model: str | None) -> None:
    """Say it once per model: langchain-openai asks a stream for its usage by itself only where there is no `base_url`."""
    log.info(
        "the provider told no tokens of %.100r: they are estimated; ChatOpenAI(stream_usage=True) may make a stream tell them",
        model,
    )


def _tokenizer(model: str) -> tuple[str, Count]:
    name = encoding_name(model)
    loaded = encoding(name)
    if loaded is None:
        return CHARACTERS, by_characters
    return name, lambda text: len(loaded.encode_ordinary(text))  # `encode` raises on a text that holds a special token


def encoding_name(model: str) -> str:
    """The encoding of an OpenAI model; for any other the newest, to be scaled."""
    from tiktoken.model import encoding_name_for_model

    try:
        name = encoding_name_for_model(model)
    except KeyError:
        return DEFAULT
    return name if name in ENCODINGS else DEFAULT


def _factor(model: str) -> float:
    """Tokens of a family's own tokenizer to one of o200k_base, on prose (measured; Claude's by independent probes, 2026-04)."""
    model = model.lower()
    if OPENAI.match(model):
        return 1.0
    if version := CLAUDE.search(model):
        return 1.5 if (int(version[1]), int(version[2] or 0)) >= NEW_CLAUDE else 1.18
    return 1.05


_WIDE: Final = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_DENSE: Final = re.compile(r"[!-@\[-`{-~]")


def by_characters(text: str) -> float:
    """Tokens without a tokenizer: 0.25 for a letter or a space, 0.45 for a digit or punctuation, 0.6 for a CJK character.

    Characters / 4, the usual rule, misses JSON by 44 % and Chinese by 62 %.
    """
    wide, dense = len(_WIDE.findall(text)), len(_DENSE.findall(text))
    return 0.25 * (len(text) - wide - dense) + 0.45 * dense + 0.6 * wide


def _size(payload: Payload, name: str, count: Count, *, frame: int = 0) -> Size:
    """Of the messages, each counted once for all payloads that hold it; of a payload without messages, of its text."""
    if messages := payload.messages:
        bodies = (message.cached(f"tokens:{name}", lambda plain: _body(plain, count)) for message in messages)
        return sum(bodies, Size(fixed=frame * len(messages)))
    return _content(payload.value, count)


def _schemas(tools: Payload | None, count: Count) -> Size:
    return Size() if tools is None else Size(text=SCHEMA * count(tools.json.decode()))


def _body(plain: Mapping[str, object], count: Count) -> Size:
    size = _content(plain.get("content"), count)
    if name := plain.get("name"):
        size += Size(text=count(str(name)), fixed=PER_NAME)
    if plain.get("tool_call_id"):
        size += Size(fixed=PER_TOOL_CALL_ID)
    calls = [call for name in ("tool_calls", "invalid_tool_calls") if isinstance(made := plain.get(name), list) for call in made]
    return sum((_call(call, count) for call in calls if isinstance(call, dict)), size)


def _call(call: Mapping[str, object], count: Count) -> Size:
    args = call.get("args")  # as they were written, where they are no JSON
    return Size(text=count(str(call.get("name"))) + count(args if isinstance(args, str) else encode(args).decode()))


def _content(content: object, count: Count) -> Size:
    """Text, or a list of blocks. What is no text is never read as one: base64 would be 50,000 tokens of nonsense."""
    if isinstance(content, str):
        return Size(text=count(content))
    if isinstance(content, dict):
        return _block(content, count)
    return sum((_content(item, count) for item in content), Size()) if isinstance(content, list) else Size()


def _block(block: Mapping[str, object], count: Count) -> Size:
    kind = str(block.get("type"))
    if kind in TEXTS:
        return _content(block.get(TEXTS[kind]), count)
    if kind in IMAGES:
        return Size(fixed=IMAGE)
    if kind in CALLS:
        return Size()
    return _content(block["content"], count) if "content" in block else Size(uncounted=1)
