"""For tests, ours and yours: a tree as text, strict mode, a fake clock and ids, a chat model that follows a script."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool

from langgraph_observe import observer
from langgraph_observe.records import Finished, Started

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_core.runnables import Runnable

    from langgraph_observe.records import Record


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Inside, whatever goes wrong in observing is raised into the agent instead of being logged and counted."""
    before, observer.strict = observer.strict, True
    try:
        yield
    finally:
        observer.strict = before


def tree(records: Iterable[Record]) -> str:
    """The runs as an indented text that a test can compare: kind, name, outcome, and what is not as usual.

    Children stand below their parents in the order in which they started; `⋯` marks a run that has not finished,
    `?` one whose parent is not among the records.
    """
    runs: dict[str, Started] = {}
    ends: dict[str, list[Finished]] = {}
    for record in records:
        if isinstance(record, Started):
            runs[record.span_id] = record
        elif isinstance(record, Finished):
            ends.setdefault(record.run.span_id, []).append(record)
    children: dict[str | None, list[Started]] = {}
    for run in runs.values():
        children.setdefault(run.parent_span_id if run.parent_id is not None else None, []).append(run)
    lines = list(_lines(None, children, ends, 0))
    lost = [run for parent, orphans in children.items() if parent is not None and parent not in runs for run in orphans]
    return "\n".join([*lines, *(f"? {_line(run, ends.get(run.span_id, []))}" for run in lost)])


def _lines(
    parent: str | None, children: dict[str | None, list[Started]], ends: dict[str, list[Finished]], depth: int
) -> Iterator[str]:
    for run in children.get(parent, ()):
        yield "  " * depth + _line(run, ends.get(run.span_id, []))
        yield from _lines(run.span_id, children, ends, depth + 1)


def _line(run: Started, ends: Sequence[Finished]) -> str:
    if not ends:
        return f"{run.kind} {run.name} ⋯"
    end = ends[0]
    usage = end.usage
    notes = [
        f"({end.reason})" if end.reason else "",
        f"{end.failure.type}" if end.failure else "",
        f"attempt {run.attempt}" if run.attempt > 1 else "",
        f"→ {', '.join(end.goto)}" if end.goto else "",
        f"{'~' if usage.estimated else ''}{usage.input_tokens}+{usage.output_tokens} tokens" if usage else "",
        "cached" if end.cached else "",
        *(link.kind for link in end.run.links),
        f"ended {len(ends)} times" if len(ends) > 1 else "",
    ]
    return " ".join([run.kind, run.name, end.outcome, *filter(None, notes)])


class Clock:
    """A clock that advances by `step` nanoseconds each time it is read. Give it to the tracker: `Tracker(observer, clock=…)`."""

    def __init__(self, step: int = 1_000_000) -> None:
        self._ticks = itertools.count(step, step)

    def __call__(self) -> int:
        """The time, in nanoseconds."""
        return next(self._ticks)


class ScriptedModel(BaseChatModel):
    """A real chat model whose answers are yours: it streams word by word, calls tools and reports its tokens.

    `respond(messages)` gives the answer, an `AIMessage` or its text. Tokens are counted as words. With `provider` and
    `model` of a real vendor, the price is that vendor's.
    """

    respond: Callable[[list[BaseMessage]], AIMessage | str]
    model: str = "scripted-1"
    provider: str = "scripted"
    seconds: float = 0.0
    """How long it thinks before the first word."""
    usage: bool = True
    """Whether it reports tokens."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return LangSmithParams(ls_provider=self.provider, ls_model_name=self.model, ls_model_type="chat")

    def bind_tools(self, tools: Sequence[Any], *, tool_choice: str | None = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        """Offer tools, in OpenAI's form."""
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _answer(self, messages: list[BaseMessage]) -> AIMessage:
        if self.seconds:
            time.sleep(self.seconds)
        said = self.respond(messages)
        return AIMessage(said) if isinstance(said, str) else said

    def _about(self, messages: list[BaseMessage], answer: AIMessage) -> dict[str, Any]:
        asked = sum(len(message.text.split()) for message in messages)
        told = len(answer.text.split()) + sum(2 + len(call["args"]) for call in answer.tool_calls)
        counts = {"input_tokens": asked, "output_tokens": told, "total_tokens": asked + told}
        reason = "tool_calls" if answer.tool_calls else "stop"
        return {
            "usage_metadata": counts if self.usage else None,
            "response_metadata": {"model_name": self.model, "finish_reason": reason},
        }

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        answer = self._answer(messages)
        message = answer.model_copy(update=self._about(messages, answer))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        answer = self._answer(messages)
        words = answer.text.split(" ") if answer.text else []
        pieces = [
            AIMessageChunk(content=word if first else f" {word}")
            for first, word in zip([True] + [False] * len(words), words, strict=False)
        ]
        if answer.tool_calls:
            pieces.append(
                AIMessageChunk(
                    content="",
                    tool_call_chunks=[
                        {
                            "type": "tool_call_chunk",
                            "name": call["name"],
                            "args": json.dumps(call["args"]),
                            "id": call["id"],
                            "index": index,
                        }
                        for index, call in enumerate(answer.tool_calls)
                    ],
                )
            )
        pieces.append(AIMessageChunk(content="", **self._about(messages, answer)))
        for piece in pieces:
            chunk = ChatGenerationChunk(message=piece)
            if run_manager is not None:
                run_manager.on_llm_new_token(piece.text, chunk=chunk)
            yield chunk
