from __future__ import annotations

import logging
import subprocess
import sys
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import genai_prices
import pytest
from genai_prices import data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from langgraph_observe.process.overrides import SHIPPED, read
from langgraph_observe.process.price import price
from langgraph_observe.records import Finished, Lazy, Noted, Started, Usage

if TYPE_CHECKING:
    from pathlib import Path

LISTED = f"genai-prices {genai_prices.__version__}"


@pytest.fixture(autouse=True)
def no_file_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANGGRAPH_OBSERVE_PRICES", raising=False)


def finished(
    usage: Usage | None,
    *,
    at: str = "2026-11-20T12:00",
    kind: Any = "model",
    answered: str | None = None,
    cached: bool = False,
    **run: Any,
) -> Finished:
    begun = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()) * 10**9
    given = {"provider": "openai", "model": "gpt-5.2"} | run
    start = Started(id="1", root_id="1", trace_id="0" * 32, span_id="0" * 16, kind=kind, name="m", at_ns=begun, **given)
    return Finished(run=start, outcome="ok", seconds=0, measured=Lazy(usage), model=answered, cached=cached)


def priced(usage: Usage | None, *, overrides: Path | None = None, **over: Any) -> Usage | None:
    record = finished(usage, **over)
    assert price(overrides=overrides)(record) is record
    return record.usage


def cost(usage: Usage | None = None, **over: Any) -> Decimal | None:
    found = priced(usage or tokens(), **over)
    assert found is not None
    return found.cost


def tokens(read: int = 1000, write: int = 100, **details: Any) -> Usage:
    return Usage(input_tokens=read, output_tokens=write, **details)


def file(directory: Path, text: str) -> Path:
    path = directory / "prices.toml"
    path.write_text(text, "utf-8")
    return path


CLAUDE = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
GOLDEN = {
    # claude-sonnet-4-5, per million: 3 in, 15 out, 0.30 cache read, 3.75 five-minute write, 6 one-hour write
    "plain": (CLAUDE, tokens(), "0.0045"),  # 1000·3 + 100·15 = 4500
    "cache reads": (CLAUDE, tokens(cache_read_tokens=800), "0.00234"),  # 200·3 + 800·0.30 + 100·15 = 600 + 240 + 1500
    "cache writes": (  # 100·3 + 600·0.30 + 100·3.75 + 200·6 + 100·15 = 300 + 180 + 375 + 1200 + 1500
        CLAUDE,
        tokens(cache_read_tokens=600, cache_write_tokens=300, cache_write_5m_tokens=100, cache_write_1h_tokens=200),
        "0.003555",
    ),
    # gpt-5.2, per million: 1.75 in, 0.175 cached, 14 out; priority twice that, flex half
    "default": ({}, tokens(cache_read_tokens=400, service_tier="default"), "0.00252"),  # 600·1.75 + 400·0.175 + 100·14 = 1050 + 70 + 1400
    "priority": ({}, tokens(cache_read_tokens=400, service_tier="priority"), "0.00504"),
    "flex": ({}, tokens(cache_read_tokens=400, service_tier="flex"), "0.00126"),
    "reasoning is part of the output": ({}, tokens(reasoning_tokens=64), "0.00315"),  # 1000·1.75 + 100·14
    "nano-dollars": ({}, tokens(1, 0, cache_read_tokens=1), "0.000000175"),  # one cached token
}  # fmt: skip


@pytest.mark.parametrize(("run", "usage", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_golden_costs_to_the_nano_dollar(run: dict[str, str], usage: Usage, expected: str):
    found = priced(usage, **run)
    assert found is not None
    assert found.cost == Decimal(expected)
    assert found.cost.as_tuple().exponent == -9
    assert found.cost_source == LISTED


def test_the_price_is_that_of_the_day_when_the_call_ended():
    # o3 went from 10 in and 40 out per million to 2 and 8 on 2025-06-10
    assert cost(model="o3", at="2025-06-09T23:59:59") == Decimal("0.014")
    assert cost(model="o3", at="2025-06-10T00:00:00") == Decimal("0.0028")


def test_a_hit_in_langchains_cache_costs_nothing():
    assert priced(tokens(), cached=True) == tokens(cost=Decimal(0), cost_source="cache")
    assert priced(None, cached=True) == Usage(cost=Decimal(0), cost_source="cache")


def test_no_usage_has_no_cost_and_half_a_usage_neither():
    assert priced(None) is None
    assert priced(Usage(input_tokens=5)) == Usage(input_tokens=5)
    assert priced(Usage(output_tokens=5)) == Usage(output_tokens=5)


def test_an_estimate_is_priced_and_stays_one():
    assert priced(tokens(estimated=True, method="characters×1")) == tokens(
        estimated=True, method="characters×1", cost=Decimal("0.00315"), cost_source=LISTED
    )


def test_a_cost_that_is_known_already_stays():
    assert cost(tokens(cost=Decimal(7))) == 7


def test_only_model_calls_are_priced():
    assert cost(kind="node") is None
    note = Noted(run=finished(None).run, kind="custom", at_ns=0)
    assert price()(note) is note


def test_nothing_is_priced_before_a_sink_reads_it():
    code = """
import sys
from langgraph_observe.process.price import price
from langgraph_observe.records import Finished, Lazy, Started, Usage
run = Started(id="", root_id="", trace_id="", span_id="", kind="model", name="", at_ns=0, model="gpt-5.2")
record = Finished(run=run, outcome="ok", seconds=0, measured=Lazy(Usage(input_tokens=1, output_tokens=1)))
price()(record)
assert "genai_prices" not in sys.modules
assert record.usage.cost > 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_model_that_answered_goes_before_the_one_asked_for():
    assert cost(model="my-deployment", answered="gpt-5.2-2025-12-11", provider="azure") == Decimal("0.00315")
    assert cost(model="gpt-5.2", answered="gpt-4o-2024-08-06") == Decimal("0.0035")  # 1000·2.50 + 100·10
    assert cost(model="gpt-5.2", answered="no-such-model") == Decimal("0.00315")


def test_the_host_goes_before_the_provider():
    # every compatible server says it is openai; 1000·0.59 + 100·0.79
    assert cost(model="llama-3.3-70b-versatile", base_url="https://api.groq.com/openai/v1") == Decimal("0.000669")
    assert cost(model="llama-3.3-70b-versatile") is None
    assert cost(model="gpt-5.2", base_url="https://gateway.example.com/v1") == Decimal("0.00315")


def test_a_name_alone_is_enough_where_the_provider_is_not_known():
    assert cost(provider="naver", model="gpt-5.2") == Decimal("0.00315")
    assert cost(provider=None, model="models/gpt-5.2") == Decimal("0.00315")


@pytest.mark.parametrize(
    "run",
    [
        {"provider": "ollama", "model": "deepseek-r1:8b"},
        {"model": "deepseek-r1:8b", "base_url": "http://127.0.0.1:8000/v1"},
        {"model": "deepseek-r1:8b", "base_url": "http://10.1.2.3/v1"},
        {"model": "deepseek-r1:8b", "base_url": "http://gpu-box:8000/v1"},
    ],
)
def test_weights_on_the_users_own_hardware_have_no_vendors_price(run: dict[str, str]):
    assert cost(**run) is None
    assert cost(provider=None, model="deepseek-r1:8b") is not None


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("google_genai", "gemini-2.5-flash"),
        ("google_vertexai", "gemini-2.5-flash"),
        ("amazon_bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("mistralai", "mistral-large-latest"),
        ("xai", "grok-4"),
        ("moonshot", "kimi-k2-0905-preview"),
        ("zhipuai", "glm-4-plus"),
        ("openai-codex", "gpt-5.2"),
        ("openai-mantle", "openai.gpt-oss-120b-1:0"),
        ("anthropic-bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("azure_ai", "DeepSeek-R1"),
        ("cohere", "command-r-plus"),
    ],
)
def test_langchains_names_of_providers_are_understood(provider: str, model: str):
    assert (cost(provider=provider, model=model) or 0) > 0


def test_what_is_in_no_list_has_no_cost_and_is_said_once(caplog: pytest.LogCaptureFixture):
    process = price()
    with caplog.at_level(logging.INFO, "langgraph_observe"):
        for model in ("no-such-model", "no-such-model", "other"):
            record = finished(tokens(), model=model)
            process(record)
            assert record.usage == tokens()
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert "'no-such-model'" in caplog.text


def test_counts_that_contradict_each_other_have_no_cost():
    assert cost(tokens(10, 1, cache_read_tokens=90)) is None


def test_absurd_records_never_raise():
    assert cost(tokens(10**40, 0)) is None
    assert cost(base_url="http://[") == Decimal("0.00315")
    assert cost(model="", provider="") is None


def test_the_prices_shipped_here_go_before_a_stale_list_from_the_day_they_were_checked():
    deepseek = {"provider": "deepseek", "model": "deepseek-chat"}
    usage = tokens(cache_read_tokens=400)
    # per million: 0.28 in, 0.028 cached, 0.42 out: 600·0.28 + 400·0.028 + 100·0.42 = 168 + 11.2 + 42
    expected = tokens(cache_read_tokens=400, cost=Decimal("0.0002212"), cost_source="langgraph_observe 2026-11-20")
    assert priced(usage, **deepseek) == expected
    assert priced(usage, provider="openai", model="deepseek-chat", base_url="https://api.deepseek.com/v1") == expected
    before = priced(usage, **deepseek, at="2026-11-19T12:00")
    assert before is not None
    assert before.cost_source == LISTED


def test_every_shipped_price_says_where_and_when_it_was_seen():
    assert len(read(SHIPPED)) > 0
    assert all({"checked", "source", "start"} <= entry.keys() for entry in tomllib.loads(SHIPPED.read_text("utf-8"))["price"])


OWN = """
# my prices
[[price]]
provider = "openai"
model = "gpt-5.2"
input = 1
output = 2.5
cache_read = 0.1

[[price]]
provider = ["dashscope", "dashscope.aliyuncs.com"]
model = "qwen3-*"
input = 8.4
output = 33.6
per_usd = 7
start = 2026-01-01

[[price]]
provider = "dashscope.aliyuncs.com"
model = "qwen3-*"
input = 70
output = 70
per_usd = 7

[[price]]
provider = "gpu-box"
model = "*"
input = 0
output = 0
"""


def test_the_users_prices_go_before_all_others(tmp_path: Path):
    own = file(tmp_path, OWN)
    # 600·1 + 400·0.1 + 100·2.5 = 890
    assert priced(tokens(cache_read_tokens=400), overrides=own) == tokens(
        cache_read_tokens=400, cost=Decimal("0.00089"), cost_source="override"
    )
    # a price that is not given is that of plain input: 1000·1 + 100·2.5
    assert cost(tokens(cache_write_tokens=400), overrides=own) == Decimal("0.00125")


def test_a_users_price_may_be_in_another_currency_by_host_by_pattern_and_from_a_day_on(tmp_path: Path):
    own = file(tmp_path, OWN)
    qwen = {"model": "Qwen3-Max", "base_url": "https://dashscope.aliyuncs.com/compatible-mode/v1", "overrides": own}
    assert cost(**qwen) == Decimal("0.00168")  # 8.4/7 = 1.2 in, 33.6/7 = 4.8 out: 1200 + 480
    assert cost(**qwen, at="2025-12-31T23:59") == Decimal("0.011")  # 70/7 = 10: 11,000
    assert cost(provider="dashscope", model="qwen3-max", overrides=own, at="2025-12-31T23:59") is None
    assert cost(provider="dashscope", model="qwen2", overrides=own) is None


def test_a_model_of_ones_own_may_cost_nothing(tmp_path: Path):
    assert cost(model="llama", base_url="http://gpu-box:8000/v1", overrides=file(tmp_path, OWN)) == 0


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LANGGRAPH_OBSERVE_PRICES", str(file(tmp_path, OWN)))
    assert cost() == Decimal("0.00125")


WRONG = {
    "not TOML": ("[[price]]\nprovider = = 1", "line 2"),
    "unknown key": ("\n[[price]]\nprovider = 'a'\nmodel = 'b'\ninput = 1\noutput = 1\noutptu = 1", "line 2: the keys of a price are"),
    "the second": ("[[price]]\nprovider='a'\nmodel='b'\ninput=1\noutput=1\n\n[[price]]\nprovider='a'", "line 7: model is a text"),
    "no output": ("[[price]]\nprovider='a'\nmodel='b'\ninput=1", "line 1: input and output are required"),
    "negative": ("[[price]]\nprovider='a'\nmodel='b'\ninput=-1\noutput=1", "line 1: a price is a number, 0 or more"),
    "nan": ("[[price]]\nprovider='a'\nmodel='b'\ninput=nan\noutput=1", "line 1: a price is a number, 0 or more"),
    "text": ("[[price]]\nprovider='a'\nmodel='b'\ninput='1'\noutput=1", "line 1: a price is a number, 0 or more"),
    "rate": ("[[price]]\nprovider='a'\nmodel='b'\ninput=1\noutput=1\nper_usd=0", "line 1: per_usd is a number above 0"),
    "start": ("[[price]]\nprovider='a'\nmodel='b'\ninput=1\noutput=1\nstart='2026-01-01'", "line 1: start is a date"),
    "provider": ("[[price]]\nprovider=[1]\nmodel='b'\ninput=1\noutput=1", "line 1: provider is a text or a list of texts"),
    "one table": ("[price]\nprovider='a'", "prices are written as [[price]]"),
    "another name": ("[[prices]]\nprovider='a'", "prices are written as [[price]]"),
    "numbers": ("price = [1]", "prices are written as [[price]]"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_one_error_with_its_line_and_prices_go_on(
    text: str, problem: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    own = file(tmp_path, text)
    assert cost(overrides=own) == Decimal("0.00315")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert str(own) in caplog.text
    assert problem in caplog.text


def test_a_missing_file_is_one_error_and_prices_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert cost(overrides=tmp_path / "none.toml") == Decimal("0.00315")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_the_applications_own_price_snapshot_is_neither_used_nor_changed():
    mine = data_snapshot.DataSnapshot(providers=[], from_auto_update=False)
    data_snapshot.set_custom_snapshot(mine)
    try:
        assert cost() == Decimal("0.00315")
        assert data_snapshot.get_snapshot() is mine
    finally:
        data_snapshot.set_custom_snapshot(None)


MODELS = st.sampled_from(
    [("openai", "gpt-5.2"), ("anthropic", "claude-sonnet-4-5"), ("google_genai", "gemini-2.5-pro"), ("deepseek", "deepseek-chat")]
)
COUNT = st.integers(0, 2_000_000)


@given(model=MODELS, read=COUNT, write=COUNT, hits=COUNT, more=COUNT)
def test_cost_is_never_negative_and_cache_reads_never_raise_it(model: tuple[str, str], read: int, write: int, hits: int, more: int):
    provider, name = model
    few, many = sorted((min(hits, read), min(more, read)))
    dear, cheap = (cost(tokens(read, write, cache_read_tokens=n), provider=provider, model=name) for n in (few, many))
    assert dear is not None
    assert cheap is not None
    assert dear >= cheap >= 0


@given(model=MODELS, read=COUNT, write=COUNT, estimated=st.booleans())
def test_pricing_changes_nothing_but_the_cost(model: tuple[str, str], read: int, write: int, estimated: bool):
    usage = tokens(read, write, estimated=estimated)
    found = priced(usage, provider=model[0], model=model[1])
    assert found is not None
    assert replace(found, cost=None, cost_source=None) == usage
