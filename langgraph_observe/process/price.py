"""price(): what a model call cost, by genai-prices, at the prices of the moment when it ended.

A price comes from the first that knows one: the user's overrides (`overrides.py` describes the file), then the host of the
`base_url`, the provider, and the model's name alone. Every server that speaks OpenAI's protocol says it is "openai", and an Azure
deployment may be named anything; so the host goes before the provider, and the model that answered before the one asked for.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from langgraph_observe.process.overrides import SHIPPED, find, read
from langgraph_observe.records import Finished, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from genai_prices import Usage as Counts
    from genai_prices.data_snapshot import DataSnapshot

    from langgraph_observe.process.overrides import Override
    from langgraph_observe.records import Processor, Record, Started

log: Final = logging.getLogger("langgraph_observe")

NANO: Final = Decimal("1e-9")
VARIABLE: Final = "LANGGRAPH_OBSERVE_PRICES"
PROVIDERS: Final = {"openai-mantle": "aws", "anthropic-mantle": "aws", "anthropic-bedrock": "aws", "azure_ai": "azure"}
"""`ls_provider` to genai-prices' id, where genai-prices, which matches by parts of a name, would not find the right one."""
LOCAL: Final = frozenset({"ollama", "vllm", "llamacpp", "huggingface"})
"""Who runs a model on hardware of their own: a vendor's price for the same weights is not theirs."""
COUNTS: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_5m_tokens": "cache_write_5m_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "input_audio_tokens": "input_audio_tokens",
    "output_audio_tokens": "output_audio_tokens",
}
"""Our counts in genai-prices' words."""
LOGGED_MOST: Final = 1_000


def price(*, overrides: str | os.PathLike[str] | None = None) -> Processor:
    """Add the cost to the usage of model calls: US dollars, rounded to the nano-dollar.

    `overrides` is a TOML file; by default the one that the environment's LANGGRAPH_OBSERVE_PRICES names. A file that cannot
    be read is one error in the log, with its line, and prices go on without it. What has no price keeps `cost` None, said
    once per model. A hit in LangChain's own LLM cache costs 0. Nothing is fetched: the prices are those of the installed
    release. The record is returned as it is: the work is done when a sink first reads the usage.
    """
    prices = _Prices(_overrides(overrides or os.environ.get(VARIABLE)))

    def process(record: Record) -> Record:
        if isinstance(record, Finished) and record.run.kind == "model" and record.measured is not None:
            # not the record: it would hold itself, through its own `measured`
            record.measured.then(functools.partial(prices.add, record.run, record.model, record.at_ns, cached=record.cached))
        return record

    return process


def _overrides(path: str | os.PathLike[str] | None) -> tuple[Override, ...]:
    if path is None or not os.fspath(path):
        return ()
    try:
        return read(Path(path))
    except (OSError, ValueError) as error:
        log.error("the price file is ignored: %s", error)  # noqa: TRY400 - what is wrong is the file, not this line
        return ()


class _Prices:
    """Price lists in their order, and what has been said about gaps in them."""

    def __init__(self, overrides: Sequence[Override]) -> None:
        self._overrides = overrides
        self._said: set[tuple[str | None, str]] = set()

    def add(self, run: Started, answered: str | None, at_ns: int, usage: Usage | None, *, cached: bool) -> Usage | None:
        """The usage with its cost. Never raises: what genai-prices refuses has no price."""
        if cached:
            return replace(usage or Usage(), cost=Decimal(0), cost_source="cache")
        if usage is None or usage.cost is not None or usage.input_tokens is None or usage.output_tokens is None:
            return usage
        models = tuple(dict.fromkeys(name.removeprefix("models/").lower() for name in (answered, run.model) if name))
        if not models:
            return usage
        try:
            quote = next(self._quotes(run, _Call(models, usage, datetime.fromtimestamp(at_ns / 1e9, UTC))), None)
            if quote is not None:
                return replace(usage, cost=quote[0].quantize(NANO), cost_source=quote[1])
        except Exception as error:
            return self._unknown(run, models[0], usage, type(error).__name__)
        return self._unknown(run, models[0], usage, "in no price list")

    def _quotes(self, run: Started, call: _Call) -> Iterator[tuple[Decimal, str]]:
        """Cost and its source from every list that knows a price, the best first."""
        host, provider = _host(run.base_url), (run.provider or "").lower()
        for name in (host, provider):
            yield from call.overridden(self._overrides, name)
        if host:
            yield from call.overridden(_shipped(), host)
            yield from call.listed(url=run.base_url)
        if provider:
            yield from call.overridden(_shipped(), provider)
            yield from call.listed(provider=PROVIDERS.get(provider, provider))
        if provider not in LOCAL and not _private(host):
            yield from call.listed()

    def _unknown(self, run: Started, model: str, usage: Usage, why: str) -> Usage:
        gap = (run.provider, model)
        if gap not in self._said and len(self._said) < LOGGED_MOST:
            self._said.add(gap)
            log.info(
                "no price for %.100r of %.100r (%s): its cost is unknown; %s may name a file that knows it",
                model,
                run.provider,
                why,
                VARIABLE,
            )
        return usage


@dataclass(frozen=True, slots=True)
class _Call:
    """What is to be priced."""

    models: Sequence[str]
    """Names of the model, the best first."""
    usage: Usage
    at: datetime

    def overridden(self, overrides: Sequence[Override], provider: str) -> Iterator[tuple[Decimal, str]]:
        """By an override, if there is one."""
        from genai_prices.types import ModelPrice

        if override := find(overrides, provider, self.models, self.at.date()):
            yield ModelPrice(**override.prices).calc_price(self._counts())["total_price"], override.source

    def listed(self, *, provider: str | None = None, url: str | None = None) -> Iterator[tuple[Decimal, str]]:
        """By genai-prices: of this provider, of the one at this address, or of the one that such names belong to."""
        tier = {"service_tier": self.usage.service_tier} if self.usage.service_tier else None
        snapshot, source = _snapshot()
        for model in self.models:
            try:
                yield snapshot.calc(self._counts(), model, provider, url, self.at, tier).total_price, source
            except LookupError:
                continue

    def _counts(self) -> Counts:
        from genai_prices import Usage as Counts

        return Counts(**{theirs: count for ours, theirs in COUNTS.items() if (count := getattr(self.usage, ours)) is not None})


@functools.cache
def _snapshot() -> tuple[DataSnapshot, str]:
    """genai-prices' list and its revision. A snapshot of our own: the process-wide one belongs to the application."""
    import genai_prices
    from genai_prices.data import providers
    from genai_prices.data_snapshot import DataSnapshot

    return DataSnapshot(providers=providers, from_auto_update=False), f"genai-prices {genai_prices.__version__}"


@functools.cache
def _shipped() -> tuple[Override, ...]:
    return read(SHIPPED, "langgraph_observe")


def _host(url: str | None) -> str:
    try:
        return urlsplit(url or "").hostname or ""
    except ValueError:
        return ""


def _private(host: str) -> bool:
    """Whether the host is a machine of the user's own network."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return bool(host) and "." not in host
