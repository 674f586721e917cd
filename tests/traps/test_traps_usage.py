"""Tokens, models and first words, where they are repeated, missing or not yet known."""

import asyncio

import pytest
from capture.graphs import call, linear
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from stage import IN, MODEL, Words, ends, handling

from langgraph_observe import CallbackHandler, observe
from langgraph_observe.records import Usage, totals
from langgraph_observe.testing import ScriptedModel, tree


def test_t22_a_model_s_name_told_with_every_chunk_is_told_once():
    class Repeating(ScriptedModel):
        def _stream(self, messages, stop=None, run_manager=None, **kwargs):
            for _ in range(3):
                about = {"model_name": "m-1", "finish_reason": "stop"}
                yield ChatGenerationChunk(message=AIMessageChunk(content="x", response_metadata=about))

    seen, config = handling()
    list(Repeating(respond=str).stream("q", config))

    end = ends(seen)[0]
    assert (end.model, end.finish_reasons) == ("m-1", ("stop",))


def test_t23_a_hit_in_the_cache_has_spent_nothing():
    seen, config = handling()
    model = ScriptedModel(respond=lambda _: "well said", provider="openai", model="gpt-4o", cache=InMemoryCache())
    for _ in range(2):
        assert model.invoke("q", config).text == "well said"

    asked, cached = ends(seen)
    assert (asked.cached, cached.cached) == (False, True)
    assert (cached.usage.cost, cached.usage.cost_source) == (0, "cache")
    together = totals(ends(seen))
    assert (together.output_tokens, together.cost) == (2, asked.usage.cost)


def test_t24_several_choices_are_paid_for_once():
    class Choices(ScriptedModel):
        def _generate(self, messages, stop=None, run_manager=None, **kwargs):
            one = super()._generate(messages).generations[0]
            return ChatResult(generations=[one] * 3)

    seen, config = handling()
    Choices(respond=lambda _: "well said").invoke("q", config)

    assert tree(seen) == "model Choices ok 1+2 tokens"
    assert len(ends(seen)[0].output.messages) == 3


@pytest.mark.parametrize(("told", "expected"), [(True, Usage(input_tokens=1, output_tokens=2)), (False, None)])
def test_t25_tokens_of_a_stream_are_those_told_or_an_estimate_that_says_so(told, expected):
    seen, config = handling()
    list(ScriptedModel(respond=lambda _: "well said", usage=told).stream("q", config))

    usage = ends(seen)[0].usage
    if told:
        assert usage == expected
    else:
        assert usage.estimated
        assert usage.output_tokens > 0
        assert usage.method


@pytest.mark.parametrize(
    "model",
    [
        MODEL,
        ScriptedModel(respond=lambda _: AIMessage("", tool_calls=[call("add", a=1, b=2)])),
        ScriptedModel(respond=lambda _: "well said", output_version="v1"),
    ],
    ids=["text", "a tool call and no text", "blocks"],
)
def test_t26_the_first_token_is_the_first_content(model):
    seen, config = handling()
    list(model.stream("q", config))

    assert 0 < ends(seen)[0].first_token_seconds <= ends(seen)[0].seconds


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol")
def test_t26_the_first_token_is_known_where_only_stream_events_tell_it():
    class Quiet(ScriptedModel):
        def _stream(self, messages, stop=None, run_manager=None, **kwargs):
            yield from super()._stream(messages)

    seen, model = [], Quiet(respond=lambda _: "well said")
    graph = observe(linear(("n", lambda _: {"x": [model.invoke("q").text]})), seen.append)
    assert list(graph.stream_events(IN, version="v3"))

    assert ends(seen, "Quiet")[0].first_token_seconds > 0


def test_t26_an_empty_stream_has_no_first_token():
    seen, config = handling()
    list(ScriptedModel(respond=lambda _: "").stream("q", config))

    assert ends(seen)[0].stream.pieces == 0
    assert ends(seen)[0].first_token_seconds is None


def test_t35_a_model_that_is_invoked_does_not_stream_because_of_us():
    seen, config = handling()
    MODEL.invoke("q", config)

    assert (ends(seen)[0].stream, ends(seen)[0].first_token_seconds) == (None, None)
    assert not isinstance(config["callbacks"][0], _StreamingCallbackHandler)
    assert not [name for name in dir(CallbackHandler) if name.startswith("tap_")]


def test_t49_tokens_are_counted_however_they_are_passed():
    async def astream(config):
        return [chunk async for chunk in Words().astream("q", config)]

    (sync, by_keyword), (asynchronous, by_position) = handling(), handling()
    list(Words().stream("q", by_keyword))
    asyncio.run(astream(by_position))

    assert ends(sync)[0].stream.pieces == ends(asynchronous)[0].stream.pieces >= 3
    assert ends(asynchronous)[0].first_token_seconds is not None
