"""PromQL, right by construction: what rules, alerts and boards are written with.

Both sides of a ratio are summed by the same labels (or one-to-one matching makes it 1 or nothing), a quantile keeps `le` and
rates its buckets (or it is empty), and a division by no traffic is no sample instead of NaN, which would poison every average.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from langgraph_observe.sinks.prometheus.catalog import CATALOG

if TYPE_CHECKING:
    from collections.abc import Collection

NAMESPACE: Final = "langgraph"
"""What queries are written with; `renamed` puts another in its place."""
SCREEN: Final = "$__rate_interval"
"""Grafana's window: never shorter than four scrapes, never shorter than a pixel."""

_SERIES: Final = re.compile(
    r"(?<![\w:])(?P<series>(?:(?P<level>[a-z_]+):)?langgraph_(?P<name>[a-z_]+)(?::\w+)?)(?![\w:])(?:\{(?P<matchers>[^{}]*)\})?"
)
"""A metric, or what a rule recorded from it: `level:metric:operation`, the level being its labels."""
_NAMESPACE: Final = re.compile(r"\blanggraph_(?!observe)")
_SUFFIX: Final = re.compile(r"_(?:bucket|count|sum)$")


def rate(series: str, by: str = "", window: str = SCREEN) -> str:
    """Per second, summed. Of `by`, labels separated by commas, there may be none."""
    return f"sum{_by(by)}(rate({series}[{window}]))"


def increase(series: str, by: str = "", window: str = SCREEN) -> str:
    """How many in the window, summed."""
    return f"sum{_by(by)}(increase({series}[{window}]))"


def ratio(part: str, whole: str, by: str = "", window: str = SCREEN) -> str:
    """The share of `part` in `whole`, 0 where there is no such part, and no sample where there is no whole."""
    of = rate(whole, by, window)
    return f"({rate(part, by, window)} or 0 * {of}) / ({of} > 0)"


def ended(durations: str, by: str = "", window: str = SCREEN) -> str:
    """How many a histogram of durations has counted in the window."""
    return increase(f"{durations}_count", by, window)


def failing(durations: str, by: str = "", window: str = SCREEN) -> str:
    """The share that failed of what was not cancelled, of a histogram of durations with a status."""
    return ratio(f'{durations}_count{{status="error"}}', f'{durations}_count{{status!="cancelled"}}', by, window)


def mean(histogram: str, by: str = "", window: str = SCREEN, where: str = "") -> str:
    """The mean of what a histogram was given."""
    return f"{rate(f'{histogram}_sum{where}', by, window)} / ({rate(f'{histogram}_count{where}', by, window)} > 0)"


def quantile(of: float, histogram: str, by: str = "", window: str = SCREEN, where: str = "") -> str:
    """A quantile over all instances."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({of}, {rate(f'{histogram}_bucket{where}', labels, window)})"


def chosen(query: str, variables: Collection[str]) -> str:
    """The query with a matcher for each of a board's variables that its series have a label for."""
    return _SERIES.sub(lambda match: _chosen(match, variables), query)


def renamed(text: str, namespace: str) -> str:
    """The text with its metrics under another namespace. Raises ValueError for one that no metric can have."""
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", namespace):
        message = f"{namespace!r} is no namespace of metrics"
        raise ValueError(message)
    return _NAMESPACE.sub(f"{namespace}_", text)


def family(series: str) -> str:
    """The catalogue's name for a series' name, without its namespace; as it is if there is none."""
    name = series.removeprefix(f"{NAMESPACE}_")
    return name if name in CATALOG else _SUFFIX.sub("", name)


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else " "


def _chosen(match: re.Match[str], variables: Collection[str]) -> str:
    if not match["level"] and family(match["name"]) not in CATALOG:
        return match[0]
    labels = match["level"].split("_") if match["level"] else ("job", *CATALOG[family(match["name"])].labels)
    own = [match["matchers"]] if match["matchers"] else []
    asked = [f'{label}=~"${label}"' for label in labels if label in variables]
    return f"{match['series']}{{{', '.join([*own, *asked])}}}"
