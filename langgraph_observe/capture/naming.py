"""What a run is called, of which kind it is and how it ended.

Pure; from LangGraph's metadata and types, never from a substring of a name or of an error's text.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from langgraph.errors import GraphBubbleUp, GraphDrained, GraphInterrupt, NodeTimeoutError, ParentCommand

from langgraph_observe.capture.payload import Snapshot, qualified
from langgraph_observe.payloads import text
from langgraph_observe.records import Failure, Prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import CodeType, TracebackType

    from langgraph_observe.records import Outcome

NAMESPACE: Final = "langgraph_checkpoint_ns"
HIDDEN: Final = "langsmith:hidden"
_RETRY: Final = "retry:attempt:"
_FRAMEWORK_TAGS: Final = ("graph:step:", "seq:step:", "map:key:", _RETRY, "condition:", "branch:", "langsmith:")
INTERNAL: Final = frozenset(
    {
        "thread_id",
        "checkpoint_id",
        "checkpoint_ns",
        "session_id",
        "user_id",
        "langgraph_step",
        "langgraph_node",
        "langgraph_triggers",
        "langgraph_path",
        NAMESPACE,
        "langgraph_request_id",
        "langfuse_session_id",
        "langfuse_user_id",
        "langfuse_tags",
        "langfuse_trace_name",
        "langfuse_prompt",
        "traceparent",
        "tracestate",
        "lc_agent_name",
        "lc_versions",
        "ls_provider",
        "ls_model_name",
        "ls_model_type",
        "ls_temperature",
        "ls_max_tokens",
        "ls_stop",
        "ls_integration",
        "ls_structured_output_format",
        "ls_retriever_name",
        "ls_vector_store_provider",
        "ls_embedding_provider",
    }
)
"""Metadata keys with a place of their own on a record; what remains is the user's."""
PARAMETERS: Final = (
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "top_p",
    "top_k",
    "n",
    "seed",
    "stop",
    "stop_sequences",
    "frequency_penalty",
    "presence_penalty",
    "reasoning_effort",
    "reasoning",
    "thinking",
    "service_tier",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "logprobs",
    "verbosity",
)
_MODEL_KEYS: Final = ("model", "model_name", "model_id", "deployment_name")
_BASE_URL_KEYS: Final = (
    "openai_api_base",
    "base_url",
    "anthropic_api_url",
    "azure_endpoint",
    "endpoint_url",
    "api_base",
    "endpoint",
)
METADATA_CHARS: Final = 32_768
"""Metadata is redacted on the agent's thread, so it is kept short."""
_MESSAGE_CHARS: Final = 4_096
_STACK_CHARS: Final = 16_384
_FRAMES: Final = 30
_CAUSES: Final = 5


def name_of(serialized: Mapping[str, Any] | None, given: object, fallback: str) -> str:
    """The run name, else the class name. `serialized["repr"]` is left alone: it may hold secrets."""
    if isinstance(given, str) and given:
        return text(given)
    if serialized:
        name = serialized.get("name") or (serialized.get("id") or [None])[-1]
        if isinstance(name, str) and name:
            return text(name)
    return fallback


def attempt(tags: object) -> int:
    """Which try of `with_retry` this is: LangChain says so in a tag, from the second on."""
    for tag in tags if isinstance(tags, (list, tuple, set, frozenset)) else ():
        if isinstance(tag, str) and tag.startswith(_RETRY) and (number := tag.removeprefix(_RETRY)).isdecimal():
            return int(number)
    return 1


def user_tags(tags: object) -> tuple[str, ...]:
    """Tags that people gave, without those by which LangChain numbers its steps. What is no list of texts gives none."""
    found: tuple[str, ...] = ()
    for tag in tags if isinstance(tags, (list, tuple, set, frozenset)) else ():
        if isinstance(tag, str) and not tag.startswith(_FRAMEWORK_TAGS):
            found = (*found, text(tag))
    return found


def given(metadata: Mapping[str, Any], *keys: str) -> str | None:
    """The first of these keys that says something, as text. Langfuse's own names come first where both are given."""
    for key in keys:
        value = metadata.get(key)
        if value is not None and (told := text(value)):
            return told
    return None


def user_metadata(metadata: Mapping[str, Any]) -> dict[str, object]:
    """What the user gave, bounded; without what the frameworks add and what has a place of its own."""
    snapshot = Snapshot(chars=METADATA_CHARS)
    return {text(key): snapshot.of(metadata[key]) for key in metadata if key not in INTERNAL}


def prompt_of(metadata: Mapping[str, Any]) -> Prompt | None:
    """A Langfuse prompt client under `langfuse_prompt`: linked unless it is the fallback text."""
    prompt = metadata.get("langfuse_prompt")
    try:
        match prompt:
            case object(name=str() as name, version=int() as version) if not getattr(prompt, "is_fallback", False):
                return Prompt(name, version)
    except Exception:  # anything may stand there, with properties of its own
        return None
    return None


def model_of(metadata: Mapping[str, Any], invocation: Mapping[str, Any]) -> str | None:
    """The model asked for: LangChain's standard name, which honours `bind(model=…)`, else the call's own."""
    for value in (metadata.get("ls_model_name"), *(invocation.get(key) for key in _MODEL_KEYS)):
        if isinstance(value, str) and value:
            return value
    return None


def provider_of(metadata: Mapping[str, Any]) -> str | None:
    """LangChain's `ls_provider`, lower case."""
    value = metadata.get("ls_provider")
    return value.lower() if isinstance(value, str) and value else None


def parameters_of(invocation: Mapping[str, Any]) -> dict[str, object]:
    """What was asked of the model, without its messages and tools."""
    return {key: value for key in PARAMETERS if (value := invocation.get(key)) is not None}


def base_url_of(serialized: Mapping[str, Any] | None) -> str | None:
    """Where the model is served, if the integration says so: any compatible server calls itself `openai`."""
    known = (serialized or {}).get("kwargs") or {}
    for key in _BASE_URL_KEYS:
        value = known.get(key)
        if isinstance(value, str) and value:
            return value
    return None


_ENDINGS: Final[tuple[tuple[type[BaseException], Outcome, str | None], ...]] = (
    (GraphInterrupt, "interrupted", "interrupt"),
    (ParentCommand, "ok", "handoff"),
    (GraphDrained, "interrupted", "drained"),
    (GraphBubbleUp, "interrupted", None),
    (GeneratorExit, "cancelled", "stream_closed"),
    (asyncio.CancelledError, "cancelled", "task_cancelled"),
    (KeyboardInterrupt, "cancelled", "process_stopped"),
    (SystemExit, "cancelled", "process_stopped"),
    (NodeTimeoutError, "error", "timeout"),
)


def ending(error: BaseException) -> tuple[Outcome, str | None]:
    """Outcome and reason. Control flow is a type of LangGraph's; a closed stream or a cancelled task is nobody's fault."""
    return next(((outcome, reason) for kind, outcome, reason in _ENDINGS if isinstance(error, kind)), ("error", None))


def failure_of(error: BaseException, *, content: bool = True) -> Failure:
    """The exception as bounded text, its message only with `content`. One whose `__str__` raises is named all the same."""
    if not content:
        return Failure(qualified(type(error)), "", _stack(error))
    try:
        message = text(str(error)[:_MESSAGE_CHARS])
    except Exception as broken:
        message = f"<unreadable: {type(broken).__name__}>"
    return Failure(qualified(type(error)), message, _stack(error))


def _stack(error: BaseException) -> str:
    """File, line and function of each frame, outermost first, causes before effects. No source lines: they are on a disk."""
    lines: list[str] = []
    seen: BaseException | None = error
    for _ in range(_CAUSES):
        if seen is None:
            break
        frames = [f'  File "{code.co_filename}", line {line}, in {code.co_qualname}' for code, line in _frames(seen.__traceback__)]
        lines[:0] = [*frames[-_FRAMES:], qualified(type(seen))]
        seen = seen.__cause__ or _mistaken(seen) or (None if seen.__suppress_context__ else seen.__context__)
    return "\n".join(lines)[-_STACK_CHARS:]


def _mistaken(error: BaseException) -> BaseException | None:
    """LangChain takes a cancellation raised inside a model for its answer, and fails on reading that (trap t46)."""
    read = error.obj if isinstance(error, AttributeError) else None
    return read if isinstance(read, BaseException) and issubclass(type(read), asyncio.CancelledError) else None


def _frames(trace: TracebackType | None) -> Iterator[tuple[CodeType, int]]:
    while trace is not None:
        yield trace.tb_frame.f_code, trace.tb_lineno
        trace = trace.tb_next
