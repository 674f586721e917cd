"""Models and tools that the scenarios of agents share. A model's turn is told by the conversation, so sessions do not mix."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import ToolCall
from langchain_core.outputs import ChatGenerationChunk, Generation, LLMResult
from langchain_core.runnables.config import ensure_config
from langchain_core.tools import tool
from langgraph.types import interrupt
from scenarios.calling import ASYNC, SYNC, without
from scenarios.scenario import Move, ahang, gate

from langgraph_observe.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ASYNC_ONLY = without(SYNC, "what it runs is asynchronous")
SYNC_ONLY = without(ASYNC, "what it runs is synchronous")
ASKED = {"messages": [("user", "what is it")]}


def call(name: str, number: int = 1, /, **arguments: Any) -> ToolCall:
    """What a model says to have a tool called."""
    return ToolCall(name=name, args=arguments, id=f"call-{number}", type="tool_call")


def calling(*calls: ToolCall, text: str = "") -> AIMessage:
    """The model's message with these calls."""
    return AIMessage(text, tool_calls=list(calls))


def settled(line: str) -> str:
    """What the caller saw, without what is a race without us, too.

    Messages get their names and ids late, a reader of events may be earlier; and events are numbered.
    """
    return re.sub(r", (id='(lc_run--)?<uuid>(-0)?'|name='(helper|researcher)'|'seq': \d+)", "", line)


Turn = str | AIMessage | Exception


def turns(*turns: Turn) -> Callable[[list[BaseMessage]], AIMessage | str]:
    """What the model says at its first turn of a conversation, its second, and so on; an exception is raised."""

    def respond(messages: list[BaseMessage]) -> AIMessage | str:
        spoken = sum(isinstance(message, AIMessage) for message in messages)
        return said(turns[min(spoken, len(turns) - 1)])

    return respond


def said(turn: Turn) -> AIMessage | str:
    """The turn, if it is none that fails."""
    if isinstance(turn, Exception):
        raise turn
    return turn


def model(*script: Turn, **options: Any) -> ScriptedModel:
    """A model with this script."""
    return ScriptedModel(respond=turns(*script), **options)


class Tries:
    """How often something was tried: what fails first and then recovers must know, for each session by itself."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def __call__(self, who: str | None = None) -> int:
        """1 at the first try; `who` instead of the thread where no config says which it is."""
        who = who or ensure_config()["configurable"]["thread_id"]
        self._counts[who] += 1
        return self._counts[who]


def recovering(turn: Turn) -> ScriptedModel:
    """A model that fails when it is first asked something. Each session asks something else: see `by_name`."""
    tries = Tries()
    return ScriptedModel(respond=lambda messages: said(turn if tries(messages[0].text) > 1 else ValueError("busy")))


def by_name(ask: Callable[[str], Any]) -> Move:
    """A move whose question has the session's name in it."""
    return Move(answers=lambda graph, config: ask(config["configurable"]["thread_id"]))


class Breaking(ScriptedModel):
    """It breaks off after the first piece of a streamed answer, which tells its tokens, and before any that is not streamed."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Any:
        raise ConnectionError("line is dead")

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        first = next(super()._stream(messages, *args, **kwargs))
        first.message.usage_metadata = {"input_tokens": 2, "output_tokens": 1, "total_tokens": 3}
        yield first
        raise ConnectionError("line is dead")


class Thinking(ScriptedModel):
    """It never answers."""

    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        await ahang()

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        await ahang()
        yield ChatGenerationChunk(message=AIMessageChunk(content=""))


class Completion(BaseLLM):
    """A text model: no messages."""

    error: Exception | None = None

    @property
    def _llm_type(self) -> str:
        return "completion"

    def _generate(self, prompts: list[str], *args: Any, **kwargs: Any) -> LLMResult:
        if self.error:
            raise self.error
        counts = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
        return LLMResult(generations=[[Generation(text="it is so")] for _ in prompts], llm_output={"token_usage": counts})


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@tool
def fail(a: int) -> int:
    """Fail."""
    raise ValueError(f"no {a}")


@tool
async def afail(a: int) -> int:
    """Fail, asynchronously."""
    raise ValueError(f"no {a}")


@tool
def ask(question: str) -> str:
    """Ask a human."""
    return interrupt(question)


@tool
async def aask(question: str) -> str:
    """Ask a human, asynchronously."""
    return interrupt(question)


@tool
def start() -> str:
    """Be there first."""
    gate.get().reached.set()
    return "on my way"


@tool
def stumble() -> str:
    """Fail, once the other one is there."""
    assert gate.get().reached.wait(60)
    raise ValueError("no")


@tool
async def wait() -> str:
    """Be there first, and never come back."""
    await ahang()
    return "never"


@tool
async def astumble() -> str:
    """Fail, once the other one waits."""
    while not gate.get().reached.is_set():  # noqa: ASYNC110 - it may be set in a thread
        await asyncio.sleep(0)
    raise ValueError("no")
