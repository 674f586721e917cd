"""The commands that read what was recorded: `traces`, `show`, `tail`, `top`, `export`, `prune`."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from langgraph_observe.sinks.store.schema import configured_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph_observe.explore import Trace, Traces
    from langgraph_observe.explore.table import Table

FILTERS: Final = {
    "graph": "a graph in it",
    "node": "a node in it",
    "outcome": "how it ended",
    "tool": "a tool it called",
    "model": "a model it asked",
    "thread": "its thread",
    "session": "its session",
    "user": "its user",
    "tag": "a tag",
    "text": "words in an error, or in the JSON of an input or an output",
    "since": "90s, 30m, 2h, 7d, 1w, or a day: 2026-11-21",
    "min-cost": "US dollars at least",
}
"""Options of every command that reads many traces."""
FORMS: Final[dict[str, dict[str, Any]]] = {
    "outcome": {"choices": ("ok", "error", "interrupted", "cancelled", "abandoned", "running")},
    "min-cost": {"type": float},
}
"""Of these options: what they take."""
SIZES: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
DAYS: Final = {"h": 1 / 24, "d": 1, "w": 7}
TOP: Final[dict[str, tuple[str, ...]]] = {
    "nodes": ("graph", "node", "runs", "errors", "p50_ms", "p95_ms", "cost_usd", "unpriced"),
    "models": ("model", "calls", "errors", "input_tokens", "output_tokens", "cost_usd", "unpriced", "p95_ms"),
    "tools": ("tool", "calls", "errors", "p50_ms", "p95_ms"),
    "errors": ("error", "node", "message", "runs", "latest"),
}
"""Tables of `top`, and their columns."""
HIGH: Final = 8
"""Rows of each."""
BUSY: Final = 5.0
"""Seconds that `prune` waits for whoever else writes."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser of the command line."""
    listing = _reading(commands, "traces", "list the last traces", _traces)
    listing.add_argument("-n", "--limit", type=int, default=20, help="how many (20)")
    show = commands.add_parser("show", help="show one trace as a tree")
    show.add_argument("id", help="the trace id, or how it begins; `last` for the last one")
    show.set_defaults(command=_show)
    _from(show)
    tail = _reading(commands, "tail", "show each trace as it ends, until Ctrl-C", _tail)
    tail.add_argument("-n", "--last", type=int, default=10, help="of those that have ended (10)")
    tail.add_argument("--tree", action="store_true", help="as trees, not as lines")
    top = _reading(commands, "top", "nodes, models, tools and errors of the last 15 minutes, live, until Ctrl-C", _top)
    top.add_argument("--every", type=_seconds, default=2.0, metavar="SECONDS", help="between two looks (2)")
    export = _reading(commands, "export", "write traces to a file", _export)
    export.add_argument(
        "format", choices=EXPORTS, help="jsonl: our records; otlp: OTLP JSON; csv: a row a run; html: a page of one trace"
    )
    export.add_argument("id", nargs="?", help="of one trace; `last`")
    export.add_argument("-o", "--output", metavar="PATH", help="instead of stdout")
    export.add_argument("-n", "--limit", type=int, help="the latest so many")
    prune = commands.add_parser("prune", help="forget old traces of the store")
    prune.add_argument("--older-than", type=_days, metavar="AGE", help="12h, 30d, 8w")
    prune.add_argument("--keep", type=_bytes, metavar="SIZE", help="the newest that fill so much: 500M, 2G")
    prune.add_argument("--store", metavar="PATH", help="this file")
    prune.set_defaults(command=_prune)


def _reading(commands: Any, name: str, said: str, command: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=said)
    parser.set_defaults(command=command)
    _from(parser)
    wanted = parser.add_argument_group("which traces")
    for option, about in FILTERS.items():
        wanted.add_argument(f"--{option}", help=about, **FORMS.get(option, {}))
    return parser


def _from(parser: argparse.ArgumentParser) -> None:
    places = (
        "a store's file, a directory of them, a file of OTLP JSON, langfuse, phoenix://HOST:PORT/PROJECT, mlflow://HOST:PORT/ID"
    )
    parser.add_argument("--store", "--from", dest="store", metavar="PLACE", help=f"read there: {places}")


def opened(place: str | None) -> Traces:
    """The traces there, or those of this machine's own store."""
    from langgraph_observe import traces

    return traces.open(place) if place else traces


def _wanted(options: argparse.Namespace, **instead: str) -> Traces:
    given = {name: getattr(options, name) for name in (option.replace("-", "_") for option in FILTERS)}
    return opened(options.store).filter(**{**instead, **{name: value for name, value in given.items() if value is not None}})


def _traces(options: argparse.Namespace) -> None:
    _say(_wanted(options).table(options.limit))


def _show(options: argparse.Namespace) -> None:
    _draw(_one(opened(options.store), options.id))


def _one(found: Traces, name: str) -> Trace:
    return found.last() if name == "last" else found[name]


def _tail(options: argparse.Namespace) -> None:
    from langgraph_observe.explore import listing

    try:
        for trace in _wanted(options).follow(last=options.last):
            if options.tree:
                _draw(trace)
            else:
                _say("  ".join(listing.row(trace)))
            sys.stdout.flush()
    except KeyboardInterrupt:
        return


def _top(options: argparse.Namespace) -> None:
    from langgraph_observe.explore.live import watch

    watch(Top(options), every=options.every)


class Top:
    """The tables of `top`, as text."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options

    def __repr__(self) -> str:
        try:
            found = _wanted(self._options, since="15m")
            tables = {name: getattr(found, name)() for name in TOP}
        except Exception as error:  # a store that is busy now may be read at the next look
            return f"{type(error).__name__}: {error}"
        shown = [f"{name}\n{_short(table, TOP[name])}" for name, table in tables.items() if len(table)]
        return "\n\n".join(shown) or f"no traces since {self._options.since or '15m'} in {found.source}"


def _short(table: Table, columns: tuple[str, ...]) -> str:
    return repr(table.head(HIGH).select(*columns))


def _export(options: argparse.Namespace) -> None:
    if options.output is None:
        _write(options, sys.stdout)
        return
    path = Path(options.output).expanduser()
    if path.exists() and not path.is_file():  # a pipe, a terminal
        with path.open("w", encoding="utf-8", newline="\n") as file:
            _write(options, file)
        return
    _replace(path.resolve(), options)  # where a link leads to


def _replace(path: Path, options: argparse.Namespace) -> None:
    """By a whole one: what is there stays as it is until all has been written."""
    if path.exists() and any(map(path.samefile, _sources(options))):
        msg = f"{path} is where the traces are read from: export to another file"
        raise ValueError(msg)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            if path.exists():  # what its owner alone may read stays so
                shutil.copymode(path, part)
            _write(options, file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _sources(options: argparse.Namespace) -> Iterator[Path]:
    source = opened(options.store).source
    held = (getattr(one, "path", None) for one in (source, *getattr(source, "files", ())))
    return (path for path in held if path is not None and path.exists())


def _write(options: argparse.Namespace, file: TextIO) -> None:
    file.writelines(f"{piece}\n" for piece in EXPORTS[options.format](options))


def _chosen(options: argparse.Namespace) -> Iterator[Trace]:
    found = _wanted(options)
    if options.id:
        yield _one(found, options.id)
    else:
        yield from found if options.limit is None else found.last(options.limit)


def _jsonl(options: argparse.Namespace) -> Iterator[str]:
    from langgraph_observe.explore.data import told

    for trace in _chosen(options):
        for run in trace:
            yield from (_line(told(record)) for record in (run.finished or run.started, *run.events))
        yield from (_line(told(score)) for score in trace.scores)


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _otlp(options: argparse.Namespace) -> Iterator[str]:
    """A document a trace, a line each, as a collector's file exporter writes them."""
    return (trace.to_otlp() for trace in _chosen(options))


def _csv(options: argparse.Namespace) -> Iterator[str]:
    found = _wanted(options)
    if options.id or options.limit is not None:
        msg = "csv is of all the traces wanted: choose them by --since, --graph and so on"
        raise ValueError(msg)
    yield found.runs().csv().rstrip("\n")


def _html(options: argparse.Namespace) -> Iterator[str]:
    if options.limit is not None:
        msg = "html is of one trace: name it, or the last is taken"
        raise ValueError(msg)
    yield _one(_wanted(options), options.id or "last").to_html()


EXPORTS: Final = {"jsonl": _jsonl, "otlp": _otlp, "csv": _csv, "html": _html}


def _prune(options: argparse.Namespace) -> None:
    """By the store's own retention, a few traces at a time, so that an app that writes waits for milliseconds only."""
    from langgraph_observe.explore import Filter, StoreFile
    from langgraph_observe.sinks.store.writer import Writer

    path = Path(options.store).expanduser() if options.store else configured_path()
    if (options.older_than, options.keep) == (None, None):
        msg = "how much? --older-than 30d, --keep 500M"
        raise ValueError(msg)
    if path is None or not path.exists():
        msg = f"there is no store at {path}"
        raise ValueError(msg)
    store = StoreFile(path)
    before = left = len(store.ids(Filter()))
    writer = Writer(path, keep_days=options.older_than, keep_bytes=options.keep, busy_seconds=BUSY)
    while True:
        writer.write(())
        if writer.trouble is not None:
            msg = f"{path}: {writer.trouble}"
            raise OSError(msg)
        if (now := len(store.ids(Filter()))) == left:
            break
        left = now
    writer.close()
    _say(f"{before - left:,} of {before:,} traces forgotten. {path} keeps its size; the room is used again.")


def _seconds(text: str) -> float:
    if (seconds := float(text)) > 0:
        return seconds
    msg = f"{text!r} is no time to wait"
    raise argparse.ArgumentTypeError(msg)


def _days(text: str) -> float:
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([hdw])", text):
        return float(found[1]) * DAYS[found[2]]
    msg = f"{text!r} is no age: 12h, 30d, 8w"
    raise argparse.ArgumentTypeError(msg)


def _bytes(text: str) -> int:
    if found := re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)B?", text.upper()):
        return round(float(found[1]) * SIZES[found[2]])
    msg = f"{text!r} is no size: 500M, 2G"
    raise argparse.ArgumentTypeError(msg)


def _draw(trace: Trace) -> None:
    from rich.console import Console

    from langgraph_observe.explore.tree import rich

    Console().print(rich(trace), soft_wrap=True)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
