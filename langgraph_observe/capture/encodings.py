"""tiktoken's encodings from files that are already here: never a download, never a wait.

`tiktoken.get_encoding` fetches a missing file without a timeout, while it holds one lock for the whole process (measured:
a silent server hangs every thread that asks for any encoding). So it is never called: the file is found, its SHA-256 is
checked, and the encoding is built on a thread of its own from tiktoken's own recipe, with our reader in place of its loader.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import logging
import os
import tempfile
import threading
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiktoken import Encoding

log: Final = logging.getLogger("langgraph_observe")

PACKAGES: Final = {"llama_index": "core/_static/tiktoken_cache", "litellm": "litellm_core_utils/tokenizers"}
"""Packages that carry the original files, and where."""


def encoding(name: str) -> Encoding | None:
    """The encoding if it is loaded. The first call starts loading it, on a daemon thread; None until then and without a file."""
    if (load := _loads.get(name)) is None:
        fresh = _Load(name)
        load = _loads.setdefault(name, fresh)
        if load is fresh:  # setdefault is atomic: one thread wins
            load.begin()
    return load.encoding


class _Load:
    """One attempt, kept for the life of the process: a missing file is looked for once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.encoding: Encoding | None = None
        self.done = False

    def begin(self) -> None:
        try:
            threading.Thread(target=self._run, name=f"langgraph-observe-{self.name}", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter is going down
            self.done = True

    def _run(self) -> None:
        try:
            self.encoding = _build(self.name)
        except Exception as error:
            log.info("tiktoken's %s is not at hand (%s): tokens are estimated from characters", self.name, type(error).__name__)
        self.done = True


_loads: Final[dict[str, _Load]] = {}


def _forget_unfinished() -> None:
    """A fork takes no threads along: what was loading starts again in the child."""
    for name, load in list(_loads.items()):
        if not load.done:
            del _loads[name]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_unfinished)


def _build(name: str) -> Encoding:
    """The encoding by tiktoken's own recipe (its pattern, its special tokens, its expected hash), reading local files only.

    The recipe runs with nothing in reach but its module's constants and our reader: a recipe that came to load in another
    way would fail by NameError instead of opening a connection. Loading holds the GIL in parts (o200k_base: 0.36 s, 74 MB).

    Raises KeyError for an unknown name and FileNotFoundError if there is no such file or it is not the right one.
    """
    import tiktoken
    from tiktoken import registry
    from tiktoken_ext import openai_public  # type: ignore[import-untyped]  # ships no types

    if name in registry.ENCODINGS:  # the application has it already: 74 MB that need not be twice; a dict needs no lock
        return registry.ENCODINGS[name]
    constants = {key: value for key, value in vars(openai_public).items() if isinstance(value, str)}
    recipe = openai_public.ENCODING_CONSTRUCTORS[name]
    return tiktoken.Encoding(**FunctionType(recipe.__code__, {**constants, "load_tiktoken_bpe": _ranks})())


def _ranks(url: str, expected_hash: str) -> dict[bytes, int]:
    """Merge ranks, one `base64 rank` a line. The files in a cache are named by the SHA-1 of their address."""
    file_name = hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    for directory in _directories():
        try:
            content = (directory / file_name).read_bytes()
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() == expected_hash:
            return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, content.splitlines())}
    raise FileNotFoundError(file_name)


def _directories() -> Iterator[Path]:
    """Where tiktoken would look (an empty name switches its cache off), then packages, found without importing them."""
    configured = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if configured is None:
        yield Path(tempfile.gettempdir(), "data-gym-cache")
    elif configured:
        yield Path(configured)
    for package, inside in PACKAGES.items():
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):  # a package that is half there
            continue
        for root in (spec and spec.submodule_search_locations) or ():
            yield Path(root, inside)
