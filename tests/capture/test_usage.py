from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation, LLMResult

from langgraph_observe.capture.usage import Answer, answer, has_content
from langgraph_observe.records import Usage


def result(*prompts: list[Any], output: dict[str, Any] | None = None) -> LLMResult:
    return LLMResult.model_construct(generations=list(prompts), llm_output=output)


def said(usage: dict[str, Any] | None = None, **about: Any) -> ChatGeneration:
    info = about.pop("info", None)
    message = AIMessage.model_construct(content="hello", usage_metadata=usage, response_metadata=about, id=about.get("id"))
    return ChatGeneration.model_construct(message=message, generation_info=info, text="hello")


def streamed(usage: dict[str, Any] | None = None, **about: Any) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content="hello", usage_metadata=usage, response_metadata=about))


def total(read: int, write: int, **details: Any) -> dict[str, Any]:
    return {"input_tokens": read, "output_tokens": write, "total_tokens": read + write, **details}


def usage_of(*args: Any, **kwargs: Any) -> Usage | None:
    return answer(result(*args, **kwargs)).usage


def test_usage_metadata_is_taken_as_it_is_and_what_it_does_not_say_stays_unknown():
    assert usage_of([said(total(10, 2))]) == Usage(input_tokens=10, output_tokens=2)


def test_an_explicit_zero_is_zero():
    assert usage_of([said(total(0, 0, input_token_details={"cache_read": 0}))]) == Usage(
        input_tokens=0, output_tokens=0, cache_read_tokens=0
    )


def test_silence_is_none():
    assert answer(result([said()], output={"token_usage": None})) == Answer()


def test_truth_is_no_count():
    assert usage_of([said({"input_tokens": True, "output_tokens": 1})]) is None


def test_details_are_parts_of_the_totals():
    usage = total(
        100,
        50,
        input_token_details={"audio": 3, "cache_read": 60, "cache_creation": 20},
        output_token_details={"audio": 4, "reasoning": 30},
    )
    assert usage_of([said(usage)]) == Usage(
        input_tokens=100,
        output_tokens=50,
        cache_read_tokens=60,
        cache_write_tokens=20,
        reasoning_tokens=30,
        input_audio_tokens=3,
        output_audio_tokens=4,
    )


def test_n_choices_repeat_one_calls_usage():
    assert usage_of([said(total(10, 6)), said(total(10, 6)), said(total(10, 6))]) == Usage(input_tokens=10, output_tokens=6)


def test_several_prompts_in_one_result_are_added_up():
    details = {"input_token_details": {"cache_read": 4}}
    assert usage_of([said(total(10, 1))], [said(total(20, 2, **details))]) == Usage(
        input_tokens=30, output_tokens=3, cache_read_tokens=4
    )


@pytest.mark.parametrize("tier", ["priority", "flex"])
def test_the_details_of_a_service_tier_are_the_same_details(tier: str):
    usage = total(
        1000,
        100,
        input_token_details={f"{tier}_cache_read": 400, tier: 600},
        output_token_details={f"{tier}_reasoning": 64, tier: 36},
    )
    assert usage_of([said(usage)]) == Usage(
        input_tokens=1000, output_tokens=100, cache_read_tokens=400, reasoning_tokens=64, service_tier=tier
    )


def test_a_service_tier_comes_from_the_response_too():
    assert usage_of([said(total(1, 1), service_tier="default")]) == Usage(input_tokens=1, output_tokens=1, service_tier="default")


def test_cache_writes_of_two_ages_make_the_total_that_langchain_zeroes():
    details = {"cache_read": 600, "cache_creation": 0, "ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}
    assert usage_of([said(total(1000, 100, input_token_details=details))]) == Usage(
        input_tokens=1000,
        output_tokens=100,
        cache_read_tokens=600,
        cache_write_tokens=300,
        cache_write_5m_tokens=100,
        cache_write_1h_tokens=200,
    )


def test_a_total_that_leaves_the_cache_out_is_repaired():
    usage = usage_of([said(total(10, 1, input_token_details={"cache_read": 90, "cache_creation": 5}))])
    assert usage == Usage(input_tokens=105, output_tokens=1, cache_read_tokens=90, cache_write_tokens=5)


def test_a_total_that_includes_the_cache_is_left_alone():
    assert usage_of([said(total(100, 1, input_token_details={"cache_read": 100}))]) == Usage(
        input_tokens=100, output_tokens=1, cache_read_tokens=100
    )


VENDORS = {
    "openai": (
        {"token_usage": {"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": None}},
        Usage(input_tokens=9, output_tokens=3, cache_read_tokens=4),
    ),
    "deepseek": (
        {"token_usage": {"prompt_tokens": 9, "completion_tokens": 3, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}},
        Usage(input_tokens=9, output_tokens=3, cache_read_tokens=4),
    ),
    "anthropic": (
        {"usage": {"input_tokens": 1, "output_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 5, "service_tier": "standard"}},
        Usage(input_tokens=10, output_tokens=3, cache_read_tokens=4, cache_write_tokens=5, service_tier="standard"),
    ),
    "responses": (
        {"usage": {"input_tokens": 9, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 4}, "output_tokens_details": {"reasoning_tokens": 2}}},
        Usage(input_tokens=9, output_tokens=3, cache_read_tokens=4, reasoning_tokens=2),
    ),
    "converse": (
        {"usage": {"inputTokens": 5, "outputTokens": 3, "cacheReadInputTokens": 4, "cacheWriteInputTokens": 0}},
        Usage(input_tokens=9, output_tokens=3, cache_read_tokens=4, cache_write_tokens=0),
    ),
    "bedrock": ({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 9, "outputTokenCount": 3}}, Usage(input_tokens=9, output_tokens=3)),
    "gemini": (
        {"usage_metadata": {"prompt_token_count": 9, "candidates_token_count": 3, "thoughts_token_count": 2}},
        Usage(input_tokens=9, output_tokens=5, reasoning_tokens=2),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("output", "expected"), VENDORS.values(), ids=VENDORS)
def test_without_usage_metadata_the_vendors_words_are_understood(output: dict[str, Any], expected: Usage):
    assert usage_of([said()], output=output) == expected
    assert usage_of([said(**output)]) == expected


def test_usage_metadata_goes_before_the_vendors_words():
    assert usage_of([said(total(1, 1))], output={"token_usage": {"prompt_tokens": 7, "completion_tokens": 7}}) == Usage(
        input_tokens=1, output_tokens=1
    )


def test_a_text_completion_keeps_its_counts_on_the_generation():
    generation = Generation(text="hello", generation_info={"prompt_eval_count": 9, "eval_count": 3, "done_reason": "stop"})
    found = answer(result([generation]))
    assert (found.usage, found.finish_reasons) == (Usage(input_tokens=9, output_tokens=3), ("stop",))


def test_what_the_provider_said_is_told_though_somebody_writes_into_it_before_it_is_read():
    message = said(total(9, 3, input_token_details={"cache_read": 2}))
    found = answer(result([message]))
    message.message.usage_metadata["input_tokens"] = 0
    message.message.usage_metadata["input_token_details"]["cache_read"] = 9
    assert found.usage == Usage(input_tokens=9, output_tokens=3, cache_read_tokens=2)


def test_merged_chunks_repeat_their_texts_and_the_repetition_is_undone():
    chunk = streamed(model_name="m-1m-1m-1", finish_reason="stopstop", service_tier="flexflex")
    assert answer(result([chunk])) == Answer(model="m-1", finish_reasons=("stop",))


def test_a_name_that_repeats_itself_is_left_alone_where_nothing_was_merged():
    assert answer(result([said(model_name="bobo")])).model == "bobo"


def test_model_and_id_come_from_the_message_then_from_the_result():
    output = {"model_name": "gpt-5.2", "id": "chatcmpl-1"}
    assert answer(result([said(model="gpt-5.2-2025-12-11")], output=output)) == Answer(
        model="gpt-5.2-2025-12-11", response_id="chatcmpl-1"
    )


@pytest.mark.parametrize("own", ["run-1-0", "lc_run--1"])
def test_langchains_own_message_id_is_no_response_id(own: str):
    one = said()
    one.message.id = own
    assert answer(result([one])).response_id is None
    one.message.id = "msg_1"
    assert answer(result([one])).response_id == "msg_1"


def test_every_choice_has_its_finish_reason():
    choices = [said(finish_reason="stop"), said(info={"finish_reason": "length"}), said()]
    assert answer(result(choices)).finish_reasons == ("stop", "length")


def test_an_error_carries_what_had_arrived():
    assert answer(result([streamed(model_name="m")], [])) == Answer(model="m")
    assert answer(result()) == answer(result([])) == answer(None) == Answer()


def test_an_errors_response_gives_nothing_away():
    told = {"status_code": 401, "headers": {"authorization": "Bearer s3cret"}, "body": {"error": "s3cret"}, "request_id": "req"}
    assert answer(result([said(**told)])) == Answer()


class Model(BaseChatModel):
    usage: dict[str, Any] | None = None

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        message = AIMessage(content="hello", usage_metadata=self.usage)
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output={"model_name": "m"})


class Seen(BaseCallbackHandler):
    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.answers.append(answer(response))


@pytest.mark.parametrize("usage", [total(10, 2), None])
def test_a_hit_in_langchains_cache_is_cached_and_a_miss_is_not(usage: dict[str, Any] | None):
    seen = Seen()
    model = Model(usage=usage, cache=InMemoryCache(), callbacks=[seen])
    model.invoke("hi")
    model.invoke("hi")
    assert [one.cached for one in seen.answers] == [False, True]
    assert seen.answers[1].usage == seen.answers[0].usage


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        ({"content": ""}, False),
        ({"content": []}, False),
        ({"content": "a"}, True),
        ({"content": [{"type": "text", "text": "a", "index": 0}]}, True),
        ({"content": "", "tool_call_chunks": [{"name": "f", "args": "", "id": "1", "index": 0}]}, True),
        ({"content": "", "additional_kwargs": {"reasoning_content": "hm"}}, True),
    ],
)
def test_a_piece_has_content_if_it_says_calls_or_thinks_something(chunk: dict[str, Any], expected: bool):
    assert has_content(ChatGenerationChunk(message=AIMessageChunk(**chunk))) is expected


def test_no_piece_has_no_content():
    assert not has_content(None)


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["input_tokens", "usage", "token_usage", "prompt_tokens", "input_token_details", "priority", "priority_cache_read", "id", "total_cost"]) | st.integers(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(usage=odd, about=odd, output=odd)
def test_odd_shapes_never_raise_and_counts_are_never_negative(usage: Any, about: Any, output: Any):
    message = AIMessage.model_construct(content="", usage_metadata=usage, response_metadata=about)
    found = answer(
        LLMResult.model_construct(generations=[[ChatGenerationChunk.model_construct(message=message)]], llm_output=output)
    ).usage
    assert found is None or (found.input_tokens or 0) >= (found.cache_read_tokens or 0) >= 0


@given(odd)
def test_odd_results_never_raise(generations: Any):
    assert isinstance(answer(LLMResult.model_construct(generations=generations)), Answer)
