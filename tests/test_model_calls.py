"""What a record of a model call says, end to end: the real integrations, the real handler, a loopback server."""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from providers import (
    QUESTION,
    STREAMS,
    WHOLES,
    Reply,
    anthropic,
    call,
    claude,
    ended,
    failure,
    gpt,
    one_certificate,  # noqa: F401 - a fixture, used by being here
    openai,
)
from ways import WAYS

from langgraph_observe import CallbackHandler, observe
from langgraph_observe.capture import tokens
from langgraph_observe.process.price import price
from langgraph_observe.records import Finished, Payload, Usage
from langgraph_observe.testing import strict, tree

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from langgraph_observe.records import Record

pytestmark = pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning")  # Anthropic's SDK, on its models' ends

BOTH = pytest.mark.parametrize(("serve", "model"), [(openai, gpt), (anthropic, claude)], ids=["openai", "anthropic"])
TOLD = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100, "input_tokens": 1000, "output_tokens": 100}
"""In the words of both."""

# Question and answer, each as text and as tokens. In: the text + 4 for a message + 3 for the reply. By characters, a letter or
# a space is 0.25 and "?" 0.45: 2.95 → 3; "Hello big world" 3.75 → 4; "Hello big" 2.25 → 2. By o200k_base: 4, 3 and 2.
GUESSES = {
    "characters×1": (10, {"Hello big world": 4, "Hello big": 2}),
    "o200k_base×1": (11, {"Hello big world": 3, "Hello big": 2}),
}


def guessed(method: str | None, answer: str) -> Usage:
    """The estimate for gpt-5.2: 1.75 in and 14 out per million."""
    sent, said = GUESSES[method or ""]
    received = said[answer]
    cost = (sent * Decimal("1.75") + received * 14) / 1_000_000
    return Usage(input_tokens=sent, output_tokens=received, estimated=True, method=method, cost=cost)


def check_guess(usage: Usage | None, answer: str) -> None:
    assert usage is not None
    expected = guessed(usage.method, answer)
    for field in ("input_tokens", "output_tokens", "estimated", "cost", "reasoning_tokens", "cache_read_tokens"):
        assert getattr(usage, field) == getattr(expected, field), field


def text_of(payload: Payload | None) -> str:
    """The text of the one message in it."""
    assert payload is not None
    (message,) = payload.messages
    content: Any = message.plain["content"]
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


@tool
def look(at: str) -> str:
    """Look at it."""
    return at


# -- in a node of a graph


def talking(model: BaseChatModel, seen: list[Record], *, in_async: bool) -> Any:
    def talk(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    async def atalk(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("talk", atalk if in_async else talk).add_edge(START, "talk")
    return observe(graph.compile(name="chat"), seen.append, process=[price()])


async def words_of(model: BaseChatModel, way: str) -> tuple[str, list[Record]]:
    """What a chat's user sees, and what we do."""
    seen: list[Record] = []
    graph = talking(model, seen, in_async=way == "astream")
    state = {"messages": [("user", QUESTION)]}
    with strict():
        if way == "stream":
            pieces = [message.text for message, _ in graph.stream(state, stream_mode="messages")]
        else:
            pieces = [message.text async for message, _ in graph.astream(state, stream_mode="messages")]
    return "".join(pieces), seen


@pytest.mark.parametrize("way", STREAMS)
async def test_a_node_that_streams_without_usage_is_estimated_and_the_cure_is_told_once(way: str, caplog: pytest.LogCaptureFixture):
    tokens._hint.cache_clear()
    ends: list[Finished] = []
    with caplog.at_level(logging.INFO, "langgraph_observe"), openai(Reply(usage=TOLD)) as server:
        for _ in range(2):
            shown, seen = await words_of(gpt(server, stream_usage=None), way)
            assert shown == "Hello big world"
            ends += (record for record in seen if isinstance(record, Finished) and record.run.kind == "model")
        for end in ends:
            check_guess(end.usage, "Hello big world")
    assert len(ends) == 2
    assert len([line for line in caplog.messages if "stream_usage=True" in line]) == 1
    assert QUESTION not in caplog.text


@pytest.mark.parametrize("way", STREAMS)
async def test_a_node_that_streams_with_usage_is_exact(way: str):
    with openai(Reply(usage=TOLD)) as server:
        shown, seen = await words_of(gpt(server), way)
    assert shown == "Hello big world"
    assert tree(seen) == "graph chat ok\n  node talk ok\n    model ChatOpenAI ok 1000+100 tokens"
    (end,) = (record for record in seen if isinstance(record, Finished) and record.run.kind == "model")
    assert end.usage is not None
    assert end.usage.cost == Decimal("0.00315")  # 1000·1.75 + 100·14
    assert end.first_token_seconds is not None  # langgraph makes `invoke` in a node a stream


# -- cut off


async def cut_off(model: BaseChatModel, way: str) -> Finished:
    """Ask and go away after two words."""
    seen: list[Record] = []
    config: Any = {"callbacks": [CallbackHandler(seen.append, process=[price()])]}
    said = ""
    with strict():
        if way == "stream":
            stream = model.stream(QUESTION, config)
            while said != "Hello big":
                said += next(stream).text
            stream.close()
        else:
            astream = model.astream(QUESTION, config)
            while said != "Hello big":
                said += (await anext(astream)).text
            await astream.aclose()
    return ended(seen)


@pytest.mark.parametrize("way", STREAMS)
async def test_a_stream_that_its_consumer_closes_keeps_what_arrived(way: str):
    with openai(Reply(usage=TOLD)) as server:
        end = await cut_off(gpt(server), way)
        check_guess(end.usage, "Hello big")
    assert (end.outcome, end.reason, end.failure) == ("cancelled", "stream_closed", None)
    assert text_of(end.output) == "Hello big"
    assert end.first_token_seconds is not None


async def test_a_cancelled_stream_keeps_what_arrived():
    seen: list[Record] = []
    arrived = asyncio.Event()

    async def listen(model: BaseChatModel) -> None:
        said = ""
        async for chunk in model.astream(QUESTION, {"callbacks": [CallbackHandler(seen.append, process=[price()])]}):
            said += chunk.text
            if said == "Hello big":
                arrived.set()

    with strict(), openai(Reply(usage=TOLD, stalls_after=2)) as server:
        task = asyncio.create_task(listen(gpt(server)))
        await asyncio.wait_for(arrived.wait(), 10)
        task.cancel()
        await asyncio.wait([task])
        end = ended(seen)
        check_guess(end.usage, "Hello big")
    assert (end.outcome, end.reason, text_of(end.output)) == ("cancelled", "task_cancelled", "Hello big")


@BOTH
async def test_a_cancelled_call_ends_with_nothing_known(serve: Any, model: Any):
    seen: list[Record] = []
    with strict(), serve(Reply(usage=TOLD, stalls_after=0)) as server:
        handler = CallbackHandler(seen.append, process=[price()])
        task = asyncio.create_task(model(server).ainvoke(QUESTION, {"callbacks": [handler]}))
        assert await asyncio.to_thread(server.asked.wait, 10)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)  # LangChain tells nothing: the task's own end does, in its next turn
    end = ended(seen)
    assert (end.outcome, end.reason, end.usage, end.output) == ("cancelled", "task_cancelled", None, None)
    assert (end.first_token_seconds, end.stream) == (None, None)


@BOTH
@pytest.mark.parametrize("way", STREAMS)
async def test_a_stream_that_breaks_off_keeps_what_arrived_and_says_that_its_tokens_are_a_guess(serve: Any, model: Any, way: str):
    with serve(Reply(usage=TOLD, breaks_after=2)) as server:
        end = await failure(model(server), way)
    assert (end.outcome, text_of(end.output)) == ("error", "Hello big")
    assert end.usage is not None
    assert end.usage.estimated
    if model is gpt:
        check_guess(end.usage, "Hello big")
    assert end.failure is not None
    assert "refused by the test server" in end.failure.message
    assert end.finish_reasons == ()


@BOTH
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [401, 429, 500])
async def test_a_refused_call_has_said_and_used_nothing(serve: Any, model: Any, status: int, way: str):
    with serve(Reply(status=status)) as server:
        end = await failure(model(server), way)
    assert (end.outcome, end.usage, end.output, end.model, end.finish_reasons) == ("error", None, None, None, ())
    assert end.first_token_seconds is None


# -- what was asked, what was answered


@BOTH
@pytest.mark.parametrize("way", WAYS)
async def test_the_first_token_is_timed_in_streams_only(serve: Any, model: Any, way: str):
    with serve(Reply(usage=TOLD)) as server:
        end = await call(model(server), way)
    assert text_of(end.output) == "Hello big world"
    if way in STREAMS:
        assert 0 < (end.first_token_seconds or 0) <= end.seconds
        assert end.stream.pieces >= 3
    else:
        assert (end.first_token_seconds, end.stream) == (None, None)


@pytest.mark.parametrize("way", WAYS)
async def test_openai_what_was_asked(way: str):
    with openai(Reply(usage=TOLD, model="gpt-4o-2024-08-06")) as server:
        model = gpt(server, model="gpt-4o", temperature=0.3, max_tokens=99, service_tier="flex", stop=["END"], seed=7)
        end = await call(model.bind_tools([look]), way)
    run, sent = end.run, server.requests[0]
    assert (run.kind, run.name, run.provider, run.model, end.model) == (
        "model",
        "ChatOpenAI",
        "openai",
        "gpt-4o",
        "gpt-4o-2024-08-06",
    )
    assert run.base_url == server.url
    assert run.parameters == {"temperature": 0.3, "max_completion_tokens": 99, "service_tier": "flex", "stop": ["END"], "seed": 7}
    assert {key: sent[key] for key in run.parameters} == run.parameters
    assert run.tools is not None
    assert run.tools.value == sent["tools"]
    assert text_of(run.input) == QUESTION
    assert end.response_id == ("chatcmpl-test" if way in WHOLES else None)  # langchain-openai drops it from a stream


@pytest.mark.parametrize("way", WAYS)
async def test_anthropic_what_was_asked(way: str):
    with anthropic(Reply(usage=TOLD, model="claude-sonnet-4-5-20250929", finish="max_tokens")) as server:
        end = await call(claude(server, temperature=0.3, max_tokens=99).bind_tools([look]).bind(stop=["END"]), way)
    run, sent = end.run, server.requests[0]
    assert (run.name, run.provider, run.model) == ("ChatAnthropic", "anthropic", "claude-sonnet-4-5")
    assert (end.model, end.finish_reasons) == ("claude-sonnet-4-5-20250929", ("max_tokens",))
    assert run.base_url == server.url
    assert run.parameters == {"temperature": 0.3, "max_tokens": 99, "stop": ["END"]}
    assert sent["stop_sequences"] == ["END"]
    assert run.tools is not None
    assert run.tools.value == sent["tools"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_without_tools_or_parameters_names_none(way: str):
    with openai(Reply(usage=TOLD)) as server:
        run = (await call(gpt(server), way)).run
    assert (run.tools, run.parameters, run.prompt) == (None, {}, None)


@pytest.mark.parametrize("way", WAYS)
async def test_tool_calls_are_in_the_output(way: str):
    with openai(Reply(usage=TOLD, finish="tool_calls", tool_call=("look", '{"at":"it"}'))) as server:
        end = await call(gpt(server).bind_tools([look]), way)
    assert end.output is not None
    (message,) = end.output.messages
    assert message.plain["tool_calls"] == [{"id": "call_1", "name": "look", "args": {"at": "it"}}]
    assert end.finish_reasons == ("tool_calls",)
    assert (end.first_token_seconds is not None) is (way in STREAMS)  # pieces of a call are content, too
    assert "refusal" not in message.plain.get("additional_kwargs", {})  # OpenAI's client says None for what was not said
