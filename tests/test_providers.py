"""The real langchain-openai and langchain-anthropic against loopback servers: tokens, and cost to the nano-dollar."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
import genai_prices
import pytest
from anthropic import AnthropicError
from langchain_anthropic import ChatAnthropic
from langchain_core.callbacks import BaseCallbackHandler
from langchain_openai import ChatOpenAI
from openai import OpenAIError
from providers import Reply, Server, anthropic, openai

from langgraph_observe.capture.tokens import estimate
from langgraph_observe.capture.usage import answer
from langgraph_observe.process.price import price
from langgraph_observe.records import Finished, Lazy, Message, Payload, Started, Usage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.outputs import LLMResult

pytestmark = pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning")  # Anthropic's SDK, on its models' ends

WAYS = ("invoke", "stream", "ainvoke", "astream")
STREAMS = ("stream", "astream")
LISTED = f"genai-prices {genai_prices.__version__}"


@pytest.fixture(autouse=True)
def one_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each client reads all of certifi's authorities, twice, 40 ms; nobody here speaks TLS."""
    first, end, _ = Path(certifi.where()).read_text("utf-8").partition("-----END CERTIFICATE-----")
    file = tmp_path_factory.mktemp("tls") / "one.pem"
    file.write_text(first + end, "utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


class Recorder(BaseCallbackHandler):
    """What capture's handler does with a model call, and no more."""

    run_inline = True

    def __init__(self, **options: Any) -> None:
        self.process = price(**options)
        self.finished: list[Finished] = []

    def on_chat_model_start(self, serialized: dict[str, Any], messages: Any, *, metadata: dict[str, Any], **kwargs: Any) -> None:
        self.started = Started(
            id="1", root_id="1", trace_id="0" * 32, span_id="0" * 16, kind="model", name="m", at_ns=time.time_ns(),
            model=metadata["ls_model_name"], provider=metadata["ls_provider"], base_url=serialized["kwargs"].get("openai_api_base"),
            input=Payload([Message({"role": "user", "content": message.text}) for message in messages[0]]),
        )  # fmt: skip

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        found, text = answer(response), response.generations[0][0].text
        output = Payload(Message({"role": "assistant", "content": text}))
        guess = () if found.usage else (lambda _: estimate(self.started, output),)
        measured: Lazy[Usage | None] = Lazy(found.usage, *guess)
        self._record(
            outcome="ok", measured=measured, model=found.model, response_id=found.response_id, finish_reasons=found.finish_reasons
        )

    def on_llm_error(self, error: BaseException, *, response: LLMResult | None = None, **kwargs: Any) -> None:
        found = answer(response)
        self._record(outcome="error", measured=Lazy(found.usage), model=found.model, finish_reasons=found.finish_reasons)

    def _record(self, **about: Any) -> None:
        record = Finished(run=self.started, seconds=0, **about)
        self.process(record)
        self.finished.append(record)


async def call(model: BaseChatModel, way: str, **options: Any) -> Finished:
    """Ask once; the one record of it."""
    recorder = Recorder(**options)
    await ask(model, way, recorder)
    (record,) = recorder.finished
    return record


async def ask(model: BaseChatModel, way: str, recorder: Recorder) -> None:
    config: Any = {"callbacks": [recorder]}
    match way:
        case "invoke":
            model.invoke("What is it?", config)
        case "stream":
            list(model.stream("What is it?", config))
        case "ainvoke":
            await model.ainvoke("What is it?", config)
        case "astream":
            [_ async for _ in model.astream("What is it?", config)]


async def failure(model: BaseChatModel, way: str) -> Finished:
    """Ask once, in vain."""
    recorder = Recorder()
    with pytest.raises((OpenAIError, AnthropicError)):
        await ask(model, way, recorder)
    (record,) = recorder.finished
    return record


def gpt(server: Server, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        **{"model": "gpt-5.2", "base_url": server.url, "api_key": "none", "max_retries": 0, "stream_usage": True} | more
    )


def claude(server: Server, **more: Any) -> ChatAnthropic:
    return ChatAnthropic(**{"model": "claude-sonnet-4-5", "base_url": server.url, "api_key": "none", "max_retries": 0} | more)


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


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [401, 429, 500])
@pytest.mark.parametrize(("serve", "model"), [(openai, gpt), (anthropic, claude)], ids=["openai", "anthropic"])
async def test_a_refused_call_has_used_nothing_that_we_know_of(serve: Any, model: Any, status: int, way: str):
    with serve(Reply(status=status)) as server:
        record = await failure(model(server), way)
    assert (record.outcome, record.usage, record.model, record.finish_reasons) == ("error", None, None, ())


@pytest.mark.parametrize("way", STREAMS)
@pytest.mark.parametrize(("serve", "model"), [(openai, gpt), (anthropic, claude)], ids=["openai", "anthropic"])
async def test_a_stream_that_breaks_off_has_no_usage(serve: Any, model: Any, way: str):
    with serve(Reply(usage=said(input_tokens=1, output_tokens=1), breaks_after=2)) as server:
        record = await failure(model(server), way)
    assert (record.outcome, record.usage) == ("error", None)
