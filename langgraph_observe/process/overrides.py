"""Prices from a TOML file, for what genai-prices does not know: local models, Azure deployments, negotiated prices.

```toml
[[price]]
provider = "dashscope"    # `ls_provider`, or the host of the base_url; or a list of them
model = "qwen3-*"         # as the response or the request names it; * and ? as in file names
input = 8.4               # per million tokens; 0 for a model of your own
output = 33.6
cache_read = 1.68         # absent: as input
cache_write = 10.5        # absent: as input
start = 2026-01-01        # from this day on, UTC; absent: always. The latest start that has come wins
per_usd = 7.0             # how much of the currency is one dollar; absent: dollars
checked = 2026-11-20      # for the reader: when and where the figures were seen
source = "https://…"
```
"""

from __future__ import annotations

import fnmatch
import tomllib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

SHIPPED: Final = Path(__file__).with_name("prices.toml")
TOKENS: Final = ("input", "output", "cache_read", "cache_write")
KEYS: Final = frozenset({"provider", "model", "start", "per_usd", "checked", "source", *TOKENS})


@dataclass(frozen=True, slots=True)
class Override:
    """What a model of a provider costs from a day on."""

    providers: tuple[str, ...]
    model: str
    prices: Mapping[str, Decimal]
    """US dollars per million tokens, by genai-prices' names: `input_mtok` and so on."""
    start: date
    source: str
    """What `Usage.cost_source` says."""

    def covers(self, provider: str, models: Iterable[str], day: date) -> bool:
        """Whether this is a price for one of these names of a model, on that day."""
        return provider in self.providers and self.start <= day and any(fnmatch.fnmatchcase(name, self.model) for name in models)


def find(overrides: Sequence[Override], provider: str, models: Iterable[str], day: date) -> Override | None:
    """The price with the latest start; of several, the first in the file."""
    return max((one for one in overrides if one.covers(provider, models, day)), key=lambda one: one.start, default=None)


def read(path: Path, name: str = "override") -> tuple[Override, ...]:
    """The overrides of a file, in order. Their `source` is this name, with the day when they were checked.

    Raises OSError, or ValueError with the file and the line of the first entry that is not understood.
    """
    try:
        content = path.read_text("utf-8")
        document = tomllib.loads(content, parse_float=Decimal)
    except ValueError as error:  # a TOMLDecodeError names the line
        message = f"{path}: {error}"
        raise ValueError(message) from error
    entries = document.get("price", [])
    if document.keys() - {"price"} or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        message = f"{path}: prices are written as [[price]]"
        raise ValueError(message)
    lines = (number for number, line in enumerate(content.splitlines(), 1) if line.replace(" ", "").startswith("[[price]]"))
    return tuple(_override(entry, name, f"{path}, line {next(lines, 1)}") for entry in entries)


def _override(entry: Mapping[str, Any], name: str, where: str) -> Override:
    for problem, right in CHECKS.items():
        if not right(entry):
            message = f"{where}: {problem}"
            raise ValueError(message)
    rate = Decimal(entry.get("per_usd", 1))
    return Override(
        providers=tuple(one.lower() for one in _providers(entry)),
        model=entry["model"].lower(),
        prices={f"{kind}_mtok": Decimal(entry[kind]) / rate for kind in TOKENS if kind in entry},
        start=entry.get("start", date.min),
        source=f"{name} {entry['checked']}" if "checked" in entry else name,
    )


def _providers(entry: Mapping[str, Any]) -> list[Any]:
    given = entry.get("provider")
    return given if isinstance(given, list) else [given]


def _amount(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool) and Decimal(value).is_finite() and value >= 0


CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any]], bool]]] = {
    f"the keys of a price are {', '.join(sorted(KEYS))}": lambda entry: entry.keys() <= KEYS,
    "provider is a text or a list of texts": lambda entry: all(isinstance(one, str) for one in _providers(entry)),
    "model is a text": lambda entry: isinstance(entry.get("model"), str),
    "input and output are required": lambda entry: entry.keys() >= {"input", "output"},
    "a price is a number, 0 or more": lambda entry: all(_amount(entry[name]) for name in TOKENS if name in entry),
    "per_usd is a number above 0": lambda entry: _amount(entry.get("per_usd", 1)) and entry.get("per_usd", 1) > 0,
    "start is a date": lambda entry: type(entry.get("start", date.min)) is date,
}
"""What an entry must be, in order."""
