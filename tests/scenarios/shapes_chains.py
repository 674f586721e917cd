"""Scenarios of LCEL chains, and of a model, a tool, a retriever alone: what no graph is around."""

from __future__ import annotations

import warnings
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks.manager import adispatch_custom_event, dispatch_custom_event
from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.documents import Document
from langchain_core.output_parsers import BaseOutputParser, StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import (
    ConfigurableField,
    ConfigurableFieldSpec,
    RunnableBranch,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from langchain_core.runnables.history import RunnableWithMessageHistory
from pydantic import BaseModel
from scenarios.actors import (
    ASYNC_ONLY,
    Breaking,
    Completion,
    Thinking,
    add,
    by_name,
    call,
    calling,
    fail,
    model,
    multiply,
    recovering,
    turns,
)
from scenarios.calling import CHAIN, CROWDS, only
from scenarios.scenario import Move, Scenario

from langgraph_observe import Noted, Record, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.callbacks import CallbackManagerForRetrieverRun

ABSENT = only(CHAIN, "no graph: it is watched by its callbacks")


def case(ending: str, chain: Callable[[], Any], given: Any, tree: str, **more: Any) -> Scenario:
    """A scenario of something that is no graph."""
    absent = {**ABSENT, **more.pop("absent", {})}
    moves = {"moves": (given if isinstance(given, Move) else Move(given),), **more}
    return Scenario("chain", ending, chain, tree, absent=absent, **moves)


class Number(BaseOutputParser[int]):
    """What the model says must be a number."""

    def parse(self, text: str) -> int:
        return int(text)


class Shelf(BaseRetriever):
    """Documents, or none."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        if query == "nothing":
            raise LookupError(query)
        return [Document("a book")]


class Answer(BaseModel):
    """What is asked for."""

    number: int


ASK = ChatPromptTemplate.from_template("say {word}")
SAY = {"word": "it"}
SAY_NAME = by_name(lambda name: {"word": name})


def spoken(parser: Any, *script: Any) -> Callable[[], Any]:
    """A prompt, a model, a parser."""
    return lambda: ASK | model(*script) | parser


def double(value: Any) -> Any:
    """A function inside a chain."""
    return value * 2


def ask_inside(value: dict[str, str]) -> str:
    """A function that runs a chain."""
    return (ASK | model("it")).invoke(value).text


async def aask_inside(value: dict[str, str]) -> str:
    """A function that runs a chain, asynchronously."""
    return (await (ASK | model("it")).ainvoke(value)).text


def structured(number: Any, **options: Any) -> Callable[[], Any]:
    """A model whose answer is a call of its schema."""
    return lambda: model(calling(call("Answer", number=number))).with_structured_output(Answer, **options)


class Memory(BaseChatMessageHistory):
    """What was said in a session."""

    def __init__(self) -> None:
        self.messages = []

    def add_messages(self, messages: Sequence[Any]) -> None:
        self.messages.extend(messages)

    def clear(self) -> None:
        self.messages.clear()


def remembering() -> Any:
    """A chain that knows what was said before: deprecated, and everywhere."""
    histories: dict[str, Memory] = defaultdict(Memory)
    prompt = ChatPromptTemplate.from_messages([MessagesPlaceholder("before"), ("human", "{word}")])
    with warnings.catch_warnings(action="ignore"):
        return RunnableWithMessageHistory(
            prompt | model("first", "second"),
            lambda thread_id: histories[thread_id],
            input_messages_key="word",
            history_messages_key="before",
            history_factory_config=[ConfigurableFieldSpec(id="thread_id", annotation=str)],
        )


def alternatives() -> Any:
    """A chain with another model to choose, which is chosen."""
    either = model("it").configurable_alternatives(ConfigurableField("who"), other=model("that", name="other"))
    return (ASK | either).with_config(configurable={"who": "other"})


def letters(words: Any) -> Any:
    """A stream made of a stream."""
    for word in words:
        yield from word


async def aletters(words: Any) -> Any:
    """The same, asynchronously."""
    async for word in words:
        for letter in word:
            yield letter


def telling(value: int) -> int:
    """A function that tells of its progress."""
    dispatch_custom_event("half", {"of": value})
    return value


async def atelling(value: int) -> int:
    """A function that tells of its progress, asynchronously."""
    await adispatch_custom_event("half", {"of": value})
    return value


def told(records: Sequence[Record]) -> None:
    """Each session has told of its progress once."""
    roots = [run for run in records if isinstance(run, Started)]
    notes = [note for note in records if isinstance(note, Noted)]
    assert [(note.kind, note.name, note.payload.value) for note in notes] == [("custom", "half", {"of": 3})] * len(roots)
    assert {note.run.span_id for note in notes} == {root.span_id for root in roots}


AT_ONCE = {"wait_exponential_jitter": False, "stop_after_attempt": 2}
SPOKEN = (
    "chain RunnableSequence ok\n"
    "  chain ChatPromptTemplate ok\n"
    "  model ScriptedModel ok 2+1 tokens\n"
    "  chain {parser} ok"
)  # fmt: skip

BROKEN = "chain RunnableSequence error ConnectionError\n  chain ChatPromptTemplate ok\n  model Breaking error ConnectionError"
STREAMED = ("stream, callbacks", "astream, callbacks", "astream_events v2")
ANSWERED = "chain RunnableSequence ok\n  chain ChatPromptTemplate ok\n  model ScriptedModel ok 2+1 tokens"
INSIDE = ANSWERED.replace("\n", "\n  ")
FAILS = "chain RunnableSequence error ValueError\n    chain ChatPromptTemplate ok\n    model ScriptedModel error ValueError"
INVALID = "pydantic_core._pydantic_core.ValidationError"
RAW = (
    "chain RunnableSequence ok\n"
    "  chain RunnableParallel<raw> ok\n"
    "    model ScriptedModel ok 2+3 tokens\n"
    "  chain RunnableWithFallbacks ok\n"
    "    chain RunnableAssign<parsed,parsing_error> {0}\n"
    "      chain RunnableParallel<parsed,parsing_error> {0}\n"
    "        chain RunnableSequence {0}\n"
    "          chain RunnableLambda ok\n"
    "          chain PydanticToolsParser {0}\n"
    "        chain RunnableLambda ok"
)
AT_ONE_CALL = dict.fromkeys(("batch", "abatch"), "LangChain asks all prompts in one call, and tells the tokens with the first only")
ONE_TASK = {"invoke, callbacks": "no task", "stream, callbacks": "no task", **dict.fromkeys(CROWDS, "one task is cancelled")}
CANCELLED = (
    "chain RunnableSequence cancelled (task_cancelled)\n  chain ChatPromptTemplate ok\n  model Thinking cancelled (task_cancelled)"
)
REMEMBERED = (
    "chain RunnableWithMessageHistory ok\n"
    "  chain insert_history ok\n"
    "    chain RunnableParallel<before> ok\n"
    "      chain load_history ok\n"
    "  chain check_sync_or_async ok\n"
    "    chain RunnableSequence ok\n"
    "      chain ChatPromptTemplate ok\n"
    "      model ScriptedModel ok 1+1 tokens"
)
WITH_RAW = RAW.format("ok")
WITH_RAW_WRONG = (
    RAW.format(f"error {INVALID}")
    + "\n    chain RunnableAssign<parsed> ok\n      chain RunnableParallel<parsed> ok\n        chain RunnableLambda ok"
)
PARSED = "chain RunnableSequence {0}\n  model ScriptedModel ok 2+3 tokens\n  chain PydanticToolsParser {0}"

SCENARIOS = [
    case("ok", spoken(StrOutputParser(), "it"), SAY, SPOKEN.format(parser="StrOutputParser")),
    case(
        "error in the prompt",
        spoken(StrOutputParser(), "it"),
        {"verb": "it"},
        "chain RunnableSequence error KeyError\n  chain ChatPromptTemplate error KeyError",
    ),
    case(
        "error in the model",
        spoken(StrOutputParser(), ValueError("busy")),
        SAY,
        "chain RunnableSequence error ValueError\n  chain ChatPromptTemplate ok\n  model ScriptedModel error ValueError",
    ),
    case(
        "error in the middle of an answer",
        lambda: ASK | Breaking(respond=turns("it is so")) | StrOutputParser(),
        SAY,
        BROKEN,
        differs=dict.fromkeys(STREAMED, BROKEN + " 2+1 tokens\n  chain StrOutputParser error ConnectionError"),
    ),
    case(
        "error in the parser",
        spoken(Number(), "it"),
        SAY,
        SPOKEN.format(parser="Number")
        .replace("Sequence ok", "Sequence error ValueError")
        .replace("Number ok", "Number error ValueError"),
    ),
    case(
        "parallel",
        lambda: RunnableParallel(a=ASK | model("it"), b=RunnableLambda(len)),
        SAY,
        "chain RunnableParallel<a,b> ok\n  chain RunnableSequence ok\n    chain ChatPromptTemplate ok\n"
        "    model ScriptedModel ok 2+1 tokens\n  chain len ok",
        parallel=True,
    ),
    case(
        "branch",
        lambda: RunnableBranch((RunnableLambda(bool).with_config(run_name="any"), RunnableLambda(double)), RunnableLambda(len)),
        3,
        "chain RunnableBranch ok\n  chain any ok\n  chain double ok",
    ),
    case(
        "assign",
        lambda: RunnablePassthrough.assign(text=ASK | model("it") | StrOutputParser()),
        SAY,
        "chain RunnableAssign<text> ok\n  chain RunnableParallel<text> ok\n    "
        + SPOKEN.format(parser="StrOutputParser").replace("\n", "\n    "),
    ),
    case("a function that runs a chain", lambda: RunnableLambda(ask_inside), SAY, f"chain ask_inside ok\n  {INSIDE}"),
    case(
        "a function that runs a chain, async",
        lambda: RunnableLambda(aask_inside),
        SAY,
        f"chain aask_inside ok\n  {INSIDE}",
        absent=ASYNC_ONLY,
    ),
    case(
        "retried, recovers",
        lambda: (ASK | recovering("it")).with_retry(**AT_ONCE),
        SAY_NAME,
        f"chain RunnableSequence ok\n  {FAILS}\n  {INSIDE.replace(' ok', ' ok attempt 2', 1)}",
        differs=dict.fromkeys(STREAMED, FAILS.replace("\n  ", "\n")),  # LangChain does not try a stream again
    ),
    case(
        "retried, gives up",
        lambda: (ASK | model(ValueError("busy"))).with_retry(**AT_ONCE),
        SAY,
        f"chain RunnableSequence error ValueError\n  {FAILS}\n  {FAILS.replace('ValueError', 'ValueError attempt 2', 1)}",
        differs=dict.fromkeys(STREAMED, FAILS.replace("\n  ", "\n")),
    ),
    case("structured", structured(3), "say it", PARSED.format("ok")),
    case(
        "structured, wrong",
        structured("three"),
        "say it",
        PARSED.format(f"error {INVALID}"),
        differs=dict.fromkeys(STREAMED, PARSED.format("ok")),  # LangChain waits for the rest of a part that does not fit
    ),
    case("structured, with the raw answer", structured(3, include_raw=True), "say it", WITH_RAW, parallel=True),
    case(
        "structured, with the raw answer, wrong",
        structured("three", include_raw=True),
        "say it",
        WITH_RAW_WRONG,
        parallel=True,
        differs=dict.fromkeys(STREAMED, WITH_RAW),
    ),
    case("a retriever", Shelf, "any", "retriever Shelf ok"),
    case("a retriever that fails", Shelf, "nothing", "retriever Shelf error LookupError"),
    case(
        "a retriever in a chain",
        lambda: {"word": Shelf()} | ASK | model("it"),
        "any",
        "chain RunnableSequence ok\n  chain RunnableParallel<word> ok\n    retriever Shelf ok\n  chain ChatPromptTemplate ok\n  model ScriptedModel ok 4+1 tokens",
    ),
    case(
        "a retriever in a chain that fails",
        lambda: {"word": Shelf()} | ASK | model("it"),
        "nothing",
        "chain RunnableSequence error LookupError\n  chain RunnableParallel<word> error LookupError\n    retriever Shelf error LookupError",
    ),
    case("a text model", Completion, "say it", "model Completion ok 2+3 tokens", absent=AT_ONE_CALL),
    case("a text model that fails", lambda: Completion(error=ValueError("busy")), "say it", "model Completion error ValueError"),
    case(
        "a text model in a chain",
        lambda: ASK | Completion(),
        SAY,
        ANSWERED.replace("ScriptedModel ok 2+1", "Completion ok 2+3"),
        absent=AT_ONE_CALL,
    ),
    case("a chat model", lambda: model("it"), "say it", "model ScriptedModel ok 2+1 tokens"),
    case("a chat model that fails", lambda: model(ValueError("busy")), "say it", "model ScriptedModel error ValueError"),
    case(
        "a chat model that breaks off",
        lambda: Breaking(respond=turns("it is so")),
        "say it",
        "model Breaking error ConnectionError",
        differs=dict.fromkeys(STREAMED, "model Breaking error ConnectionError 2+1 tokens"),
    ),
    case("a tool", lambda: add, {"a": 1, "b": 2}, "tool add ok"),
    case("a tool, async", lambda: multiply, {"a": 1, "b": 2}, "tool multiply ok", absent=ASYNC_ONLY),
    case("a tool that fails", lambda: fail, {"a": 1}, "tool fail error ValueError"),
    case("a tool called by a model", lambda: add, call("add", a=1, b=2), "tool add ok"),
    case("bound", lambda: ASK | model("it").bind(stop=["so"]), SAY, ANSWERED),
    case("named", lambda: (ASK | model("it")).with_config(run_name="speech"), SAY, ANSWERED.replace("RunnableSequence", "speech")),
    case("an alternative chosen", alternatives, SAY, ANSWERED.replace("ScriptedModel", "other")),
    case(
        "mapped",
        lambda: RunnableLambda(double).map(),
        [1, 2],
        "chain RunnableEach<double> ok" + 2 * "\n  chain double ok",
        absent={"astream_events v2": "LangChain has no events of it"},
    ),
    case("generated", lambda: RunnableGenerator(letters, aletters), "ab", "chain letters ok"),
    case("remembered", remembering, SAY, REMEMBERED + "\n" + REMEMBERED.replace("1+1", "3+1"), moves=(Move(SAY), Move(SAY))),
    case(
        "cancelled in the model",
        lambda: ASK | Thinking(respond=str),
        SAY,
        CANCELLED,
        moves=(Move(SAY, cancel="cancel"),),
        absent=ONE_TASK,
    ),
    case("custom events", lambda: RunnableLambda(telling), 3, "chain telling ok", also=told),
    case("custom events, async", lambda: RunnableLambda(atelling), 3, "chain atelling ok", also=told, absent=ASYNC_ONLY),
]
