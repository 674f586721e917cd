"""The real langchain-openai and langchain-anthropic against loopback servers: tokens, and cost to the nano-dollar."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import genai_prices
import pytest
from langchain_core.caches import InMemoryCache
from providers import (
    STREAMS,
    WHOLES,
    Reply,
    anthropic,
    call,
    claude,
    gpt,
    one_certificate,  # noqa: F401 - a fixture, used by being here
    openai,
)
from ways import WAYS

from langgraph_observe import CallbackHandler
from langgraph_observe.process.price import price
from langgraph_observe.records import Finished, Usage, totals
from langgraph_observe.testing import strict

if TYPE_CHECKING:
    from pathlib import Path

    from langgraph_observe.records import Record

pytestmark = pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning")  # Anthropic's SDK, on its models' ends

LISTED = f"genai-prices {genai_prices.__version__}"


def said(**over: Any) -> dict[str, Any]:
    """OpenAI's words for 1000 tokens in, 400 of them cached, 100 out, 64 of them reasoning."""
    return {
        "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
        "prompt_tokens_details": {"cached_tokens": 400}, "completion_tokens_details": {"reasoning_tokens": 64},
    } | over  # fmt: skip


RESPONSES = {
    "input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100,
    "input_tokens_details": {"cached_tokens": 400}, "output_tokens_details": {"reasoning_tokens": 64},
}  # fmt: skip

# gpt-5.2, per million: 1.75 in, 0.175 cached, 14 out: 600·1.75 + 400·0.175 + 100·14 = 2520; priority twice, flex half
TIERS = {None: "0.00252", "default": "0.00252", "priority": "0.00504", "flex": "0.00126"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("protocol", ["completions", "responses"])
async def test_openai_cached_and_reasoning_tokens_in_every_tier(protocol: str, tier: str | None, way: str):
    responses = protocol == "responses"
    with openai(Reply(usage=RESPONSES if responses else said(), service_tier=tier)) as server:
        record = await call(gpt(server, use_responses_api=responses), way)
    assert server.requests[0]["path"] == ("/v1/responses" if responses else "/v1/chat/completions")
    assert record.usage == Usage(
        input_tokens=1000, output_tokens=100, cache_read_tokens=400, reasoning_tokens=64, service_tier=tier,
        cost=Decimal(TIERS[tier]), cost_source=LISTED,
    )  # fmt: skip
    assert record.model == "gpt-5.2"
    assert record.finish_reasons == (("completed",) if responses else ("stop",))


@pytest.mark.parametrize("way", WHOLES)
async def test_openai_n_choices_are_one_bill(way: str):
    with openai(Reply(usage=said())) as server:
        record = await call(gpt(server, n=3), way)
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.output_tokens, record.usage.cost) == (1000, 100, Decimal("0.00252"))
    assert record.finish_reasons == ("stop", "stop", "stop")
    assert record.response_id == "chatcmpl-test"


@pytest.mark.parametrize("way", WAYS)
async def test_openai_a_stream_that_was_not_asked_for_usage_is_estimated(way: str):
    with openai(Reply(usage=said())) as server:
        record = await call(gpt(server, stream_usage=None), way)
    assert record.usage is not None
    assert record.usage.estimated is (way in STREAMS)
    assert (record.usage.cost == Decimal("0.00252")) is (way not in STREAMS)
    assert (record.usage.cost or 0) > 0


@pytest.mark.parametrize("way", WAYS)
async def test_openai_a_server_without_usage_is_estimated(way: str):
    with openai(Reply()) as server:
        record = await call(gpt(server), way)
    assert record.usage is not None
    assert record.usage.estimated
    assert 5 < (record.usage.input_tokens or 0) < 15
    assert 1 < (record.usage.output_tokens or 0) < 6


@pytest.mark.parametrize("way", WAYS)
async def test_openai_a_tool_call(way: str):
    with openai(Reply(usage=said(), finish="tool_calls", tool_call=("look", '{"at":"it"}'))) as server:
        record = await call(gpt(server), way)
    assert record.finish_reasons == ("tool_calls",)
    assert record.usage is not None
    assert record.usage.cost == Decimal("0.00252")


@pytest.mark.parametrize("way", WAYS)
async def test_a_compatible_server_is_not_openai(way: str, tmp_path: Path):
    own = tmp_path / "prices.toml"
    own.write_text('[[price]]\nprovider = "127.0.0.1"\nmodel = "glm-*"\ninput = 1\noutput = 2\ncache_read = 0.5\n', "utf-8")
    with openai(Reply(usage=said(), model="glm-4.6")) as server:
        model = gpt(server, model="glm-4.6")
        unknown, known = await call(model, way), await call(model, way, overrides=own)
    assert unknown.usage is not None
    assert (unknown.usage.input_tokens, unknown.usage.cost) == (1000, None)
    assert known.usage is not None
    assert known.usage.cost == Decimal("0.001")  # 600·1 + 400·0.5 + 100·2


# claude-sonnet-4-5, per million: 3 in, 15 out, 0.30 cache read, 3.75 five-minute write, 6 one-hour write
ANTHROPIC = {
    "plain": ({"input_tokens": 1000, "output_tokens": 100}, Usage(input_tokens=1000, output_tokens=100, cost=Decimal("0.0045"))),
    "reads": (  # 200·3 + 800·0.30 + 100·15
        {"input_tokens": 200, "output_tokens": 100, "cache_read_input_tokens": 800, "cache_creation_input_tokens": 0},
        Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=800, cache_write_tokens=0, cost=Decimal("0.00234")),
    ),
    "writes": (  # 100·3 + 600·0.30 + 100·3.75 + 200·6 + 100·15
        {
            "input_tokens": 100, "output_tokens": 100, "cache_read_input_tokens": 600, "cache_creation_input_tokens": 300,
            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        },
        Usage(
            input_tokens=1000, output_tokens=100, cache_read_tokens=600, cache_write_tokens=300,
            cache_write_5m_tokens=100, cache_write_1h_tokens=200, cost=Decimal("0.003555"),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("usage", "expected"), ANTHROPIC.values(), ids=ANTHROPIC)
async def test_anthropic_cache_reads_and_writes_of_both_ages(usage: dict[str, Any], expected: Usage, way: str):
    with anthropic(Reply(usage=usage, model="claude-sonnet-4-5-20250929", finish="end_turn")) as server:
        record = await call(claude(server), way)
    assert record.usage == replace(expected, cost_source=LISTED)
    assert record.model == "claude-sonnet-4-5-20250929"
    assert record.finish_reasons == ("end_turn",)


@pytest.mark.parametrize("way", STREAMS)
async def test_anthropic_a_stream_without_usage_is_estimated(way: str):
    with anthropic(Reply(usage=ANTHROPIC["plain"][0])) as server:
        record = await call(claude(server, stream_usage=False), way)
    assert record.usage is not None
    assert record.usage.estimated
    assert (record.usage.method or "").endswith("×1.18")


@pytest.mark.parametrize("way", WHOLES)
async def test_a_hit_in_langchains_cache_costs_nothing(way: str):
    with openai(Reply(usage=said())) as server:
        model = gpt(server, cache=InMemoryCache())
        first, second = await call(model, way), await call(model, way)
    assert len(server.requests) == 1
    assert first.usage is not None
    assert (first.cached, first.usage.cost, first.usage.cost_source) == (False, Decimal("0.00252"), LISTED)
    assert second.cached
    assert second.usage == replace(first.usage, cost=Decimal(0), cost_source="cache")
    assert totals([first, second]).cost == Decimal("0.00252")
    assert totals([first, second]).input_tokens == 1000


def test_each_call_of_a_batch_is_billed():
    seen: list[Record] = []
    with openai(Reply(usage=said())) as server, strict():
        gpt(server).batch(["one", "two", "three"], {"callbacks": [CallbackHandler(seen.append, process=[price()])]})
    assert totals(record for record in seen if isinstance(record, Finished)) == Usage(
        input_tokens=3000, output_tokens=300, cache_read_tokens=1200, reasoning_tokens=192, cost=Decimal("0.00756")
    )
