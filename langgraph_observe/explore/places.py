"""Where traces can be: what `traces.open` makes of a path or an address."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from langgraph_observe.explore.storefile import StoreFile

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from langgraph_observe.explore.source import Source

TEXTS: Final = frozenset({".json", ".jsonl", ".ndjson"})
"""How the names of files end that hold OTLP as text."""


def opened(place: str | os.PathLike[str]) -> Source:
    """A source for it.

    A store's file (also as `sqlite:///…`), a directory of such files, a file of OTLP JSON or JSONL, `langfuse` (address and keys
    from the environment; or `langfuse://host`), `phoenix://host:port/project`, `mlflow://host:port/experiment`, and
    `phoenix+https://…` and the like for a server behind TLS.

    Raises ValueError for no place and for a scheme that nobody knows. What is there is looked at when it is asked.
    """
    if place == "":
        msg = "traces are opened at a path or an address, not at ''"
        raise ValueError(msg)
    if place == "langfuse":
        return _langfuse("")
    if isinstance(place, str) and "://" in place:
        scheme = place.partition("://")[0].lower()
        if scheme not in SCHEMES:
            msg = f"{scheme}:// is no place for traces: there are {', '.join(SCHEMES)}, and paths"
            raise ValueError(msg)
        return SCHEMES[scheme](place)
    return _path(Path(place).expanduser())


def _path(path: Path) -> Source:
    if path.is_dir():
        from langgraph_observe.explore.storefiles import StoreFiles

        return StoreFiles(path)
    if path.suffix.lower() in TEXTS:
        from langgraph_observe.explore.otlp import OtlpFile

        return OtlpFile(path)
    return StoreFile(path)


def _sqlite(place: str) -> Source:
    return StoreFile(place.partition(":///")[2] or place.partition("://")[2])


def _langfuse(place: str) -> Source:
    from langgraph_observe.explore.langfuse import Langfuse

    return Langfuse(base_url=_address(place) if place else None)


def _phoenix(place: str) -> Source:
    from langgraph_observe.explore.phoenix import Phoenix

    return Phoenix(_address(place), project=_last(place) or "default")


def _mlflow(place: str) -> Source:
    from langgraph_observe.explore.mlflow import Mlflow

    return Mlflow(_address(place), experiment=_last(place) or "0")


def _address(place: str) -> str:
    """`phoenix+https://host:6006/project` → `https://host:6006`."""
    url = urlsplit(place)
    secure = url.scheme.endswith("+https") or (url.scheme == "langfuse" and url.hostname not in {"localhost", "127.0.0.1"})
    return f"{'https' if secure else 'http'}://{url.netloc}"


def _last(place: str) -> str:
    return urlsplit(place).path.strip("/")


SCHEMES: Final[dict[str, Callable[[str], Source]]] = {
    "sqlite": _sqlite,
    **dict.fromkeys(("langfuse", "langfuse+http", "langfuse+https"), _langfuse),
    **dict.fromkeys(("phoenix", "phoenix+https"), _phoenix),
    **dict.fromkeys(("mlflow", "mlflow+https"), _mlflow),
}
"""By the address's scheme."""
