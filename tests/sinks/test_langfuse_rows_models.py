"""The rows that are about model calls, by the real clients of OpenAI and Anthropic; and about large states."""

# ruff: noqa: F401, F811 - fixtures are imported, and are arguments

import threading
from typing import TypedDict

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from langfuse_bench import bench
from langgraph.graph import START, StateGraph
from openai import OpenAIError
from providers import Reply, anthropic, claude, gpt, one_certificate, openai
from test_langfuse_rows import looping

pytestmark = pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning")  # Anthropic's SDK, on its models' ends

PRICED_OPENAI = {"input", "input_cache_read", "output", "output_reasoning", "total"}
PRICED_CLAUDE = {
    "input",
    "input_cache_read",
    "input_cache_creation",
    "input_cache_creation_5m",
    "input_cache_creation_1h",
    "output",
    "total",
}
"""Keys that Langfuse's price list has for their models: any other costs nothing there."""
OPENAI = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "total_tokens": 1200,
    "prompt_tokens_details": {"cached_tokens": 600},
    "completion_tokens_details": {"reasoning_tokens": 150},
}
CLAUDE = {
    "input_tokens": 500,
    "output_tokens": 80,
    "cache_read_input_tokens": 500,
    "cache_creation_input_tokens": 2048,
    "cache_creation": {"ephemeral_5m_input_tokens": 2048, "ephemeral_1h_input_tokens": 0},
}
WAYS = {"whole": lambda model, config: model.invoke("q", config), "streamed": lambda model, config: list(model.stream("q", config))}
CLAUDE_REPLY = Reply(usage=CLAUDE, model="claude-sonnet-4-5-20250929", finish="end_turn")


@pytest.mark.parametrize("way", WAYS)
def test_row_05_a_call_that_the_providers_client_traces_too_is_one_generation(bench, way):
    bench.beside_the_sdk()
    with anthropic(CLAUDE_REPLY) as server:
        WAYS[way](claude(server), bench.config())
    (generation,) = [one for one in bench.seen() if one.type == "GENERATION"]
    assert generation.tokens == 3128


@pytest.mark.parametrize("tier", ["flex", "priority"])
@pytest.mark.parametrize("way", WAYS)
def test_row_06_a_service_tier_leaves_the_buckets_priced_and_names_the_tier(bench, way, tier):
    with openai(Reply(usage=OPENAI, service_tier=tier)) as server:
        WAYS[way](gpt(server), bench.config())
    (one,) = bench.seen()
    assert one.usage == {"input": 400, "input_cache_read": 600, "output": 50, "output_reasoning": 150, "total": 1200}
    assert one.usage.keys() <= PRICED_OPENAI
    assert one.data("model.parameters")["service_tier"] == tier


@pytest.mark.parametrize("way", WAYS)
def test_row_07_cache_writes_are_counted_once_and_under_a_name_that_has_a_price(bench, way):
    with anthropic(CLAUDE_REPLY) as server:
        WAYS[way](claude(server), bench.config())
    bench.seen()
    one = bench.server.named("ChatAnthropic")
    assert one.usage == {"input": 500, "input_cache_read": 500, "input_cache_creation_5m": 2048, "output": 80, "total": 3128}
    assert one.usage.keys() <= PRICED_CLAUDE


def test_row_08_an_answer_from_the_cache_costs_nothing(bench):
    with openai(Reply(usage=OPENAI)) as server:
        model = gpt(server, cache=InMemoryCache())
        for _ in range(2):
            model.invoke("q", bench.config())
        assert len(server.requests) == 1
    first, second = sorted(bench.seen(), key=lambda one: one.span.start_time_unix_nano)
    assert first.data("cost_details") != {"total": 0}
    assert second.data("cost_details") == {"total": 0}
    assert second.usage.keys() <= PRICED_OPENAI


def test_row_11_every_one_of_n_choices_is_kept(bench):
    with openai(Reply(usage=OPENAI)) as server:
        gpt(server).generate([[HumanMessage("q")]], callbacks=[bench.handler], n=2)
    (one,) = bench.seen()
    assert [choice["content"] for choice in one.data("output")] == ["Hello big world"] * 2
    assert one.tokens == 1200


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_row_13_what_a_broken_stream_had_said_is_kept(bench, provider):
    serve, model = {"openai": (openai, gpt), "anthropic": (anthropic, claude)}[provider]
    with (
        serve(Reply(usage=OPENAI if provider == "openai" else CLAUDE, breaks_after=2)) as server,
        pytest.raises(Exception, match="refused"),
    ):
        list(model(server).stream("q", bench.config()))
    bench.seen()
    one = bench.server.named({"openai": "ChatOpenAI", "anthropic": "ChatAnthropic"}[provider])
    assert one.level == "ERROR"
    assert one.data("output")["content"] == "Hello big"
    assert one.data("cost_details") != {"total": 0}


class State(TypedDict):
    text: str


def test_row_18_three_hundred_visits_with_200_kb_states_all_arrive(bench):
    class Texts(TypedDict):
        texts: list
        visits: int

    bench.unmasked()

    builder = StateGraph(Texts).add_edge(START, "visit")
    builder.add_node(
        "visit", lambda state: {"texts": [*state["texts"][1:], f"{state['visits']:04}" * 500], "visits": state["visits"] + 1}
    )
    builder.add_conditional_edges("visit", lambda state: "visit" if state["visits"] < 300 else "__end__", ["visit", "__end__"])
    builder.compile().invoke({"texts": ["x" * 2_000] * 100, "visits": 0}, bench.config(recursion_limit=400))
    seen = bench.seen()
    assert len([one for one in seen if one.name == "visit"]) == 300
    assert {one.parent_id for one in seen} - {one.id for one in seen} == {None}


def test_row_19_nothing_is_masked_or_encoded_on_the_agents_thread(bench):
    where = set()

    def mask(*, data, **_):
        if "very large state" in str(data):
            where.add(threading.get_ident())
        return data

    bench.masked(mask)
    StateGraph(State).add_node("n", lambda _: {}).add_edge(START, "n").compile().invoke(
        {"text": "very large state"}, bench.config()
    )
    assert bench.seen()
    assert where
    assert threading.get_ident() not in where
