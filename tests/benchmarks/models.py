"""Chat models without a network: their answers are made up, their tokens counted, and they take no time but what they are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator  # noqa: TC003 - pydantic reads them
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

INPUT, OUTPUT = 70, 7
"""Tokens of every call."""
ABOUT = {"model_name": "gpt-4o-mini", "finish_reason": "stop"}


class Model(BaseChatModel):
    """Answers whole."""

    answer: Callable[[list[BaseMessage]], AIMessage]
    seconds: float = 0.0
    model_name: str = "gpt-4o-mini"

    @property
    def _llm_type(self) -> str:
        return "openai-chat"

    def _get_ls_params(self, stop: Any = None, **kwargs: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": self.model_name, "ls_model_type": "chat"}

    def _result(self, messages: list[BaseMessage]) -> ChatResult:
        usage = {"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
        message = self.answer(messages).model_copy(update={"usage_metadata": usage, "response_metadata": ABOUT})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self.seconds:
            time.sleep(self.seconds)
        return self._result(messages)

    async def _agenerate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self.seconds:
            await asyncio.sleep(self.seconds)
        return self._result(messages)


class Words(Model):
    """Answers word by word."""

    answer: Callable[[list[BaseMessage]], AIMessage] = lambda _: AIMessage("word")
    count: int

    def _chunks(self) -> Iterator[ChatGenerationChunk]:
        for _ in range(self.count - 1):
            yield ChatGenerationChunk(message=AIMessageChunk("word "))
        usage = {"input_tokens": INPUT, "output_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
        yield ChatGenerationChunk(message=AIMessageChunk("word", usage_metadata=usage, response_metadata=ABOUT))

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield from self._chunks()

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks():
            yield chunk
