"""LLMResult → what the model answered: tokens, model, response id, finish reasons.

Pure, and fast enough for the agent's thread. Integrations disagree on where they put things and on what a total is; the
two tables below are all that is known about that. The semantics aimed at are those of LangChain's `UsageMetadata` and of
OpenTelemetry's `gen_ai.usage.*`: totals that include their parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from langchain_core.outputs import ChatGenerationChunk

from langgraph_observe.payloads import Lazy
from langgraph_observe.records import Usage

if TYPE_CHECKING:
    from langchain_core.outputs import Generation, LLMResult

__all__ = ["Answer", "answer", "arrived", "has_content"]

Fields: TypeAlias = Mapping[str, tuple[str, ...]]

DIALECTS: Final[Mapping[str, Fields]] = {
    # DeepSeek, raw: the OpenAI names besides, so it must come before them
    "prompt_cache_hit_tokens": {
        "input_tokens": ("prompt_tokens",),
        "output_tokens": ("completion_tokens",),
        "cache_read_tokens": ("prompt_cache_hit_tokens",),
        "reasoning_tokens": ("completion_tokens_details.reasoning_tokens",),
    },
    # OpenAI chat completions, raw, and everything compatible with them
    "prompt_tokens": {
        "input_tokens": ("prompt_tokens",),
        "output_tokens": ("completion_tokens",),
        "cache_read_tokens": ("prompt_tokens_details.cached_tokens",),
        "cache_write_tokens": ("prompt_tokens_details.cache_write_tokens",),
        "reasoning_tokens": ("completion_tokens_details.reasoning_tokens",),
        "input_audio_tokens": ("prompt_tokens_details.audio_tokens",),
        "output_audio_tokens": ("completion_tokens_details.audio_tokens",),
    },
    # LangChain's own, OpenAI Responses, raw, and Anthropic, raw, which alone leaves the cache out of `input_tokens`;
    # LangChain sets `cache_creation` to 0 where it gives the two ages apart
    "input_tokens": {
        "input_tokens": ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
        "output_tokens": ("output_tokens",),
        "cache_read_tokens": (
            "input_token_details.cache_read",
            "input_tokens_details.cached_tokens",
            "cache_read_input_tokens",
        ),
        "cache_write_tokens": (
            "input_token_details.cache_creation",
            "input_token_details.ephemeral_5m_input_tokens",
            "input_token_details.ephemeral_1h_input_tokens",
            "cache_creation_input_tokens",
        ),
        "cache_write_5m_tokens": (
            "input_token_details.ephemeral_5m_input_tokens",
            "cache_creation.ephemeral_5m_input_tokens",
        ),
        "cache_write_1h_tokens": (
            "input_token_details.ephemeral_1h_input_tokens",
            "cache_creation.ephemeral_1h_input_tokens",
        ),
        "reasoning_tokens": ("output_token_details.reasoning", "output_tokens_details.reasoning_tokens"),
        "input_audio_tokens": ("input_token_details.audio",),
        "output_audio_tokens": ("output_token_details.audio",),
    },
    # Bedrock: Converse, and the metrics that end an invocation's stream; both leave the cache out
    "inputTokens": {
        "input_tokens": ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"),
        "output_tokens": ("outputTokens",),
        "cache_read_tokens": ("cacheReadInputTokens",),
        "cache_write_tokens": ("cacheWriteInputTokens",),
    },
    "inputTokenCount": {
        "input_tokens": ("inputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount"),
        "output_tokens": ("outputTokenCount",),
        "cache_read_tokens": ("cacheReadInputTokenCount",),
        "cache_write_tokens": ("cacheWriteInputTokenCount",),
    },
    # Gemini, raw: thoughts are no candidates
    "prompt_token_count": {
        "input_tokens": ("prompt_token_count", "tool_use_prompt_token_count"),
        "output_tokens": ("candidates_token_count", "thoughts_token_count"),
        "cache_read_tokens": ("cached_content_token_count",),
        "reasoning_tokens": ("thoughts_token_count",),
    },
    "input_token_count": {"input_tokens": ("input_token_count",), "output_tokens": ("generated_token_count",)},  # watsonx
    "prompt_eval_count": {"input_tokens": ("prompt_eval_count",), "output_tokens": ("eval_count",)},  # Ollama
}
"""By the name that tells a dialect, the first that is present: which of its numbers, added up, are which of ours."""

COUNTED: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    key: {name: tuple(ours for ours, names in dialect.items() if name in names) for names in dialect.values() for name in names}
    for key, dialect in DIALECTS.items()
}
"""The other way round: which of ours a number of theirs is a part of."""

PLACES: Final = ("token_usage", "usage", "usage_metadata", "amazon-bedrock-invocationMetrics")
TIERS: Final = ("priority", "flex")
TIER: Final = ("service_tier",)
ID: Final = ("id",)
MODEL: Final = ("model_name", "model", "model_id")
FINISH: Final = ("finish_reason", "stop_reason", "stopReason", "done_reason", "status")
STANDARD: Final = "input_tokens"
"""LangChain's `usage_metadata` has it."""
COUNTS: Final = tuple(field.name for field in fields(Usage) if field.name.endswith("_tokens"))
NOTHING: Final[Mapping[str, object]] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model call came back with. None, or empty, is unknown."""

    measured: Lazy[Usage | None] = field(default_factory=lambda: Lazy(None), compare=False)
    """What the provider said, once per call."""
    silent: bool = True
    """The provider said nothing."""
    model: str | None = None
    """The model that answered."""
    response_id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    """One per choice that has one."""
    cached: bool = False
    """A hit in LangChain's own LLM cache; `usage` is that of the first call."""

    @property
    def usage(self) -> Usage | None:
        """Read from the provider's words when it is asked for."""
        return self.measured.value


def answer(result: LLMResult | None) -> Answer:
    """Read a result, or the part of one that an error carries. Takes any shape and never raises."""
    prompts = _prompts(result)
    if not prompts:
        return Answer()
    output = _mapping(getattr(result, "llm_output", None))
    first = _about(prompts[0][0], output)
    measured, silent = _measured(prompts, output, _text(TIER, first))
    return Answer(
        measured=measured,
        silent=silent,
        model=_text(MODEL, first),
        response_id=_text(ID, first) or _message_id(prompts[0][0]),
        finish_reasons=tuple(reason for choices in prompts for one in choices if (reason := _text(FINISH, _about(one, NOTHING)))),
        cached=not output and all(_said(choices[0]).get("total_cost") == 0 for choices in prompts),
    )


def arrived(partial: LLMResult | None) -> LLMResult | None:
    """What an error's result holds of the answer. LangChain adds an empty message with the HTTP error's headers and body."""
    said = [choices for choices in _prompts(partial) if any(map(has_content, choices))]
    return partial.model_copy(update={"generations": said}) if partial and said else None


def has_content(chunk: object) -> bool:
    """Whether a streamed piece says anything: text, a tool call or reasoning; not an empty piece that ends the stream (trap t26)."""
    message = getattr(chunk, "message", None)
    if message is None:
        return bool(getattr(chunk, "text", ""))
    reasoning = _mapping(getattr(message, "additional_kwargs", None)).get("reasoning_content")
    return bool(message.content or getattr(message, "tool_call_chunks", None) or reasoning)


def _prompts(result: LLMResult | None) -> list[Sequence[Generation]]:
    """The choices of each prompt; an error's result has empty ones."""
    generations = getattr(result, "generations", None)
    if not isinstance(generations, Sequence):
        return []
    return [choices for choices in generations if isinstance(choices, Sequence) and choices]


def _measured(prompts: Sequence[Sequence[Generation]], output: Mapping[str, object], tier: str | None) -> tuple[Lazy[Any], bool]:
    """Usage, and whether there is none. LangChain's own form is copied now and read later."""
    said = [_said(choices[0]) for choices in prompts]
    if all((_count(one.get(STANDARD)) is not None) for one in said):
        kept: Any = [{key: dict(part) if isinstance(part, dict) else part for key, part in one.items()} for one in said]
        return Lazy(kept, lambda kept: _total([usage for one in kept if (usage := _read(one, tier))])), False
    usage = _usage(prompts, output, tier)
    return Lazy(usage), usage is None


def _usage(prompts: Sequence[Sequence[Generation]], output: Mapping[str, object], tier: str | None) -> Usage | None:
    """A message's own word first: each of n choices repeats the whole call's, so one choice speaks for a prompt."""
    said = [usage for choices in prompts if (usage := _read(_said(choices[0]), tier))]
    if not said:
        said = [usage for raw in _places(output) if (usage := _read(raw, tier))][:1]
    if not said:
        said = [usage for choices in prompts if (usage := _elsewhere(choices[0], tier))]
    return _total(said) if said else None


def _elsewhere(generation: Generation, tier: str | None) -> Usage | None:
    """Streamed integrations without `usage_metadata` leave the vendor's own numbers on the generation."""
    for metadata in _about(generation, NOTHING).sources:
        for raw in (*_places(metadata), metadata):
            if usage := _read(raw, tier):
                return usage
    return None


def _places(metadata: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    return (raw for place in PLACES if (raw := _mapping(metadata.get(place))))


def _read(raw: Mapping[str, object], tier: str | None) -> Usage | None:
    """Usage from one vendor's dictionary; None if it speaks no dialect we know."""
    dialect = next((COUNTED[key] for key in COUNTED if key in raw and _count(raw[key]) is not None), None)
    if dialect is None:
        return None
    counts: dict[str, Any] = {}
    found = _add(raw, "", dialect, counts)
    said = raw.get("service_tier")
    return _inclusive(Usage(**counts, service_tier=found or (said if isinstance(said, str) else None) or tier))


def _add(raw: Mapping[str, object], path: str, dialect: Mapping[str, tuple[str, ...]], counts: dict[str, Any]) -> str | None:
    """Add up what this part of a vendor's dictionary counts, and return its service tier.

    langchain-openai renames the details of a tier, `priority_cache_read`: undone here.
    """
    tier = None
    for key, value in raw.items():
        name = str(key)
        if isinstance(value, dict):
            tier = _add(value, f"{path}{name}.", dialect, counts) or tier
        elif (count := _count(value)) is not None:
            prefix, _, rest = name.partition("_")
            if path and prefix in TIERS:
                tier, name = prefix, rest
            for ours in dialect.get(path + name, ()):
                counts[ours] = counts.get(ours, 0) + count
    return tier


def _inclusive(usage: Usage) -> Usage:
    """Repair a total that leaves the cache out: parts cannot exceed it."""
    parts = (usage.cache_read_tokens or 0) + (usage.cache_write_tokens or 0)
    if usage.input_tokens is not None and parts > usage.input_tokens:
        return replace(usage, input_tokens=usage.input_tokens + parts)
    return usage


def _total(usages: Sequence[Usage]) -> Usage:
    if len(usages) == 1:
        return usages[0]
    known = {name: [count for usage in usages if (count := getattr(usage, name)) is not None] for name in COUNTS}
    sums: dict[str, Any] = {name: sum(counts) for name, counts in known.items() if counts}
    return Usage(**sums, service_tier=usages[0].service_tier)


def _said(generation: Generation) -> Mapping[str, object]:
    """LangChain's `usage_metadata` of a message."""
    return _mapping(getattr(getattr(generation, "message", None), "usage_metadata", None))


class _About(NamedTuple):
    """Where texts about a choice are, the best place first."""

    merged: bool
    """Merging chunks concatenates strings: `m-1m-1m-1`."""
    sources: tuple[Mapping[str, object], ...]


def _about(generation: Generation, output: Mapping[str, object]) -> _About:
    own = _mapping(getattr(getattr(generation, "message", None), "response_metadata", None))
    return _About(
        isinstance(generation, ChatGenerationChunk), (own, _mapping(getattr(generation, "generation_info", None)), output)
    )


def _text(names: tuple[str, ...], about: _About) -> str | None:
    for source in about.sources:
        for name in names:
            if (value := source.get(name)) and isinstance(value, str):
                return _once(value) if about.merged else value
    return None


def _once(text: str) -> str:
    """The shortest text that makes this one when repeated: a text first recurs in its double after one period."""
    return text[: (text + text).find(text, 1)]


def _message_id(generation: Generation) -> str | None:
    """The provider's id of the answer; LangChain puts its own, with the run's id, where there is none."""
    given = getattr(getattr(generation, "message", None), "id", None)
    return given if isinstance(given, str) and not given.startswith(("run-", "lc_")) else None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else NOTHING


def _count(value: object) -> int | None:
    """A count of tokens. Some servers send it as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 or value != value // 1:
        return None
    return int(value)
