"""`langgraph-observe doctor`: what is installed, what is configured, whether it works, what is missing."""

from __future__ import annotations

import logging
import os
import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from langgraph_observe.explore import words
from langgraph_observe.explore.server import shown
from langgraph_observe.sinks.store.schema import StoreError, configured_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langgraph_observe.explore import Traces

Mark: TypeAlias = Literal["✓", "!", "✖"]
PACKAGES: Final = (
    *("langgraph-observe", "langchain-core", "langgraph", "langfuse", "opentelemetry-sdk", "prometheus-client"),
    *("tiktoken", "genai-prices", "pandas", "polars", "pyarrow"),
)
WAL_RESET: Final = ((3, 7, 0), (3, 51, 3))
"""From, and before: SQLite's WAL-reset bug, https://sqlite.org/wal.html: two connections that write and checkpoint in one instant."""
FORMAT: Final = 18
WAL: Final = b"\x02"
"""SQLite's file format: at this place this byte for a file with a write-ahead log."""
SECONDS: Final = 3.0
"""For a server to answer."""
WELL: Final = 300
"""Status codes from here on are no consent."""


class Finding(NamedTuple):
    """`✓` is well, `!` is to be known, `✖` is broken."""

    mark: Mark
    what: str
    words: str

    def __str__(self) -> str:
        return f"{self.mark} {self.what:18} {words.clean(self.words, 300)}"


def findings() -> Iterator[Finding]:
    """All of them, in an order to be read."""
    for look in LOOKS:
        try:
            yield from look()
        except Exception as error:  # one thing that cannot be looked at hides no other
            yield Finding("✖", look.__name__.strip("_"), f"{type(error).__name__}: {error}")


def _versions() -> Iterator[Finding]:
    yield Finding("✓", "python", f"{platform.python_version()} on {platform.system()}")
    found = {name: _version(name) for name in PACKAGES}
    yield Finding("✓", "packages", ", ".join(f"{name} {one}" for name, one in found.items() if one))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _sqlite() -> Iterator[Finding]:
    found, (first, mended) = sqlite3.sqlite_version_info, WAL_RESET
    if not first <= found < mended:
        yield Finding("✓", "sqlite", sqlite3.sqlite_version)
    elif sys.platform == "win32":
        yield Finding(
            "!", "sqlite", f"{sqlite3.sqlite_version} has the WAL-reset bug (mended in 3.51.3): one process a store, here"
        )
    else:
        yield Finding(
            "✓", "sqlite", f"{sqlite3.sqlite_version} has the WAL-reset bug (mended in 3.51.3); our lock file keeps it away"
        )


def _store() -> Iterator[Finding]:
    from langgraph_observe.explore import StoreFile, Traces

    if (path := configured_path()) is None:
        yield Finding("!", "store", "off, by LANGGRAPH_OBSERVE_STORE")
    elif not path.exists():
        yield Finding("✓" if _can_be_made(path) else "✖", "store", f"{path}: nothing recorded yet" + _unless_writable(path))
    else:
        try:
            yield from _of_store(path, Traces(StoreFile(path)))
        except StoreError as error:
            yield Finding("✖", "store", str(error))


def _of_store(path: Path, traces: Traces) -> Iterator[Finding]:
    size = f"{path}: {len(traces):,} traces, {path.stat().st_size / 1e6:.1f} MB"
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        yield Finding("✓", "store", size)
    else:
        yield Finding("✖", "store", f"{size}; it cannot be written: check owner and mode")
    with path.open("rb") as file:
        log = file.read(FORMAT + 1)[-1:]
    if log != WAL:
        yield Finding("!", "store", "on a disk without WAL (of the network?): writing is slower, and readers may wait for it")
    yield from _of_models(traces.filter(since="7d"))


def _of_models(traces: Traces) -> Iterator[Finding]:
    for row in traces.models():
        name = row["model"] or "a model without a name"
        silent = row["calls"] - row["errors"] - row["cached"] if row["input_tokens"] is None else row["estimated"]
        if silent > 0:
            hint = "it streams without usage? stream_usage=True on the model makes it tell"
            yield Finding("!", "tokens", f"{name}: {silent} of {row['calls']} calls in 7 days told no tokens; {hint}")
        if row["unpriced"] - row["errors"] > 0:
            yield Finding("!", "prices", f"{name}: no price is known; LANGGRAPH_OBSERVE_PRICES can name it")


def _can_be_made(path: Path) -> bool:
    there = next(above for above in path.absolute().parents if above.exists())
    return there.is_dir() and os.access(there, os.W_OK)


def _unless_writable(path: Path) -> str:
    return "" if _can_be_made(path) else "; nor can it be made: check the directory's owner and mode"


def _langfuse() -> Iterator[Finding]:
    keys = [name for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY") if os.environ.get(name)]
    if not keys:
        yield Finding("✓", "langfuse", "not configured")
        return
    if os.environ.get("LANGFUSE_TRACING_ENABLED", "").strip().lower() == "false":
        yield Finding("!", "langfuse", "off, by LANGFUSE_TRACING_ENABLED")
        return
    from langgraph_observe.explore import Filter
    from langgraph_observe.explore.langfuse import Langfuse

    source = Langfuse(latest=1, timeout=SECONDS)
    source.ids(Filter(), limit=1)
    yield Finding("✓", "langfuse", f"{shown(source.base_url)} answers, and takes the keys")


def _otlp() -> Iterator[Finding]:
    """An empty request, which every collector takes."""
    import httpx

    named = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not (named or base):
        yield Finding("✓", "otlp", "not configured")
        return
    if (off := _otel_off()) is not None:
        yield Finding("!", "otlp", f"off, by {off}")
        return
    url = named or f"{str(base).rstrip('/')}/v1/traces"
    given = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or os.environ.get("OTEL_EXPORTER_OTLP_HEADERS") or ""
    if (headers := _headers(given)) is None:
        yield Finding("✖", "otlp", "OTEL_EXPORTER_OTLP_HEADERS has a part that is not NAME=VALUE")
        return
    try:
        status = httpx.post(
            url, content=b"", headers={**headers, "content-type": "application/x-protobuf"}, timeout=SECONDS
        ).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield Finding("✖", "otlp", f"{shown(url)} does not answer ({type(error).__name__})")
        return
    well = status < WELL
    yield Finding("✓" if well else "✖", "otlp", f"{shown(url)} {'takes spans' if well else f'answers with status {status}'}")


def _otel_off() -> str | None:
    """The variable by which OpenTelemetry's SDK sends no spans."""
    off = {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "none"}
    return next((name for name, word in off.items() if os.environ.get(name, "").strip().lower() == word), None)


def _headers(given: str) -> dict[str, str] | None:
    """As OpenTelemetry reads them; None where it leaves a part out. Of that it logs the value, which is a secret: not here."""
    from opentelemetry.util import re

    log = logging.getLogger(re.__name__)
    log.addFilter(_no)
    try:
        parts = [re.parse_env_headers(part, liberal=True) for part in given.split(",") if part.strip()]
    finally:
        log.removeFilter(_no)
    return {name: value for part in parts for name, value in part.items()} if all(parts) else None


def _no(_: logging.LogRecord) -> bool:
    return False


def _prices() -> Iterator[Finding]:
    from langgraph_observe.process.overrides import read

    if place := os.environ.get("LANGGRAPH_OBSERVE_PRICES"):
        try:
            read(Path(place))
        except (OSError, ValueError) as error:
            yield Finding("✖", "prices", f"LANGGRAPH_OBSERVE_PRICES: {error}")


def _prometheus() -> Iterator[Finding]:
    if (place := os.environ.get("PROMETHEUS_MULTIPROC_DIR")) is None:
        return
    if Path(place).is_dir() and os.access(place, os.W_OK):
        yield Finding("✓", "prometheus", f"several processes, by way of {place}")
    else:
        yield Finding("✖", "prometheus", f"PROMETHEUS_MULTIPROC_DIR is {place}, which is no directory that we may write to")


def _switches() -> Iterator[Finding]:
    if os.environ.get("LANGGRAPH_OBSERVE_ENABLED", "").strip().lower() in {"off", "false", "0", "no"}:
        yield Finding("!", "observing", "off, by LANGGRAPH_OBSERVE_ENABLED")


LOOKS: Final[tuple[Callable[[], Iterator[Finding]], ...]] = (
    *(_versions, _sqlite, _switches, _store, _prices),
    *(_langfuse, _otlp, _prometheus),
)
