"""A table: columns and rows as plain values, as text, as HTML, and as a data frame where a library for that is installed."""

from __future__ import annotations

import csv
import importlib
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.explore import html, listing, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SHOWN: Final = 40
"""Rows that a screen is given; the table has them all."""
WIDE: Final = 48
"""Characters of a cell on a screen."""
ENGINES: Final[dict[str, Callable[[Any, dict[str, list[Any]]], Any]]] = {
    "pandas": lambda library, columns: library.DataFrame(columns),
    "polars": lambda library, columns: library.DataFrame(columns, strict=False),
    "pyarrow": lambda library, columns: library.table(columns),
}
"""A frame from columns, by the library's name; the order is that of preference."""
IDS: Final = frozenset({"trace", "slowest", "latest", "span", "parent_span"})
"""Columns of ids, of which the beginning is shown."""
EPOCH_SECONDS: Final = 1e9
CONVERTED: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "_ns": ("", lambda at_ns: datetime.fromtimestamp(at_ns / EPOCH_SECONDS, UTC)),
    "_s": ("_ms", lambda seconds: seconds * 1e3),
    "_nusd": ("_usd", lambda cost: cost / 1e9),
    "_json": ("", json.loads),
    "_flag": ("", bool),
}
"""How a column of `questions` ends → how it is called in the table, and what becomes of a value."""


class Table:
    """Rows under the names of their columns. Units are in the names: `p95_ms`, `cost_usd`; what is unknown is None.

    Iterating gives each row as a dict; `table["cost_usd"]` is a column, `table[0]` a row.
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.columns = tuple(_apart(columns))
        self._values: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [() for _ in self.columns]

    @classmethod
    def converted(cls, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
        """From the answer to one of `questions`."""
        raw = cls(columns, rows)
        made = dict(pair for name, values in zip(columns, raw._values, strict=True) for pair in _converted(name, values))
        table = cls(tuple(made), ())
        table._values = list(made.values())
        return table

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The values, in the order of `columns`."""
        return list(zip(*self._values, strict=True))

    def select(self, *columns: str) -> Table:
        """The same rows with these columns only. Raises KeyError for one that it has not."""
        table = Table(columns, ())
        table._values = [self[column] for column in columns]
        return table

    def head(self, count: int) -> Table:
        """The first rows."""
        table = Table(self.columns, ())
        table._values = [values[:count] for values in self._values]
        return table

    def df(self, engine: str | None = None) -> Any:
        """A frame of pandas, polars or pyarrow: the one that `engine` names, or the first installed.

        Raises ImportError, which says what to install.
        """
        name, library = framing(engine)
        return ENGINES[name](library, {column: list(values) for column, values in zip(self.columns, self._values, strict=True)})

    def csv(self) -> str:
        """As comma-separated values with a head; what is unknown is empty."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows([self.columns, *self.rows])
        return out.getvalue()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(zip(self.columns, row, strict=True)) for row in zip(*self._values, strict=True))

    def __len__(self) -> int:
        return len(self._values[0]) if self._values else 0

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, int):
            return {column: values[key] for column, values in zip(self.columns, self._values, strict=True)}
        if key not in self.columns:
            raise KeyError(key)
        return list(self._values[self.columns.index(key)])

    def __repr__(self) -> str:
        if not len(self):
            return f"no rows of {', '.join(self.columns)}" if self.columns else "nothing"
        return f"{listing.text(self._heads(), self._cells(), self._right())}\n{self._rest()}".rstrip("\n")

    def _repr_html_(self) -> str:
        if not len(self):
            return html.tag("pre", repr(self))
        below = html.tag("div", html.faint(self._rest()), style="margin-top:4px;font-size:12px") if self._rest() else None
        return html.either(repr(self), html.joined(listing.table(self._heads(), self._cells(), self._right()), below))

    def _rest(self) -> str:
        return f"{SHOWN:,} of {len(self):,} rows" if len(self) > SHOWN else ""

    def _seen(self) -> list[str]:
        """The columns of which something is known."""
        known = (any(value is not None for value in values) for values in self._values)
        return [column for column, known in zip(self.columns, known, strict=True) if known]

    def _heads(self) -> list[str]:
        return [words.clean(column.removesuffix("_ms").removesuffix("_usd"), WIDE) for column in self._seen()]

    def _cells(self) -> list[list[str]]:
        return [[_cell(name, row[name], row) for name in self._seen()] for row in islice(self, SHOWN)]

    def _right(self) -> frozenset[str]:
        """The heads over numbers."""
        firsts = (next(value for value in self[name] if value is not None) for name in self._seen())
        return frozenset(head for head, first in zip(self._heads(), firsts, strict=True) if isinstance(first, (int, float)))


def _apart(columns: Sequence[str]) -> list[str]:
    """SQLite lets two columns have one name; here each has its own: `name`, `name_2`."""
    names: list[str] = []
    for column in columns:
        again = next(name for n in count(1) if (name := column if n == 1 else f"{column}_{n}") not in names)
        names.append(again)
    return names


def framing(engine: str | None) -> tuple[str, Any]:
    """The library that makes frames, and its name. Raises ImportError and ValueError."""
    if engine is not None and (engine := {"arrow": "pyarrow"}.get(engine, engine)) not in ENGINES:
        msg = f"engine is one of {', '.join(ENGINES)}, not {engine}"
        raise ValueError(msg)
    for name in ENGINES if engine is None else [engine]:
        try:
            return name, importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    wanted = engine or "pandas, polars or pyarrow"
    msg = f"a data frame needs {wanted}: pip install {engine or 'pandas'} (the table itself needs none: iterate it)"
    raise ImportError(msg)


def _converted(name: str, column: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    if name == "spread":
        told = [(None, None, None) if one is None else [float(part) * 1e3 for part in one.split()] for one in column]
        yield from ((f"p{share}_ms", [one[place] for one in told]) for place, share in enumerate((50, 95, 99)))
        return
    for ending, (instead, convert) in CONVERTED.items():
        if name.endswith(ending):
            bare = name.removesuffix(ending)
            yield bare + instead, [None if value is None else convert(value) for value in column]
            return
    yield name, column


def _cell(name: str, value: Any, row: dict[str, Any]) -> str:
    match value:
        case None:
            shown = words.UNKNOWN
        case datetime():
            shown = words.moment(round(value.timestamp() * 1e9))
        case float():
            shown = _amount(name, value, row)
        case int() if not isinstance(value, bool):
            shown = words.number(value)
        case _:
            shown = words.clean(str(value)[:8] if name in IDS else str(value), WIDE)
    return shown


def _amount(name: str, value: float, row: dict[str, Any]) -> str:
    if name.endswith("_ms"):
        return words.duration(value / 1e3)
    if name.endswith("_usd"):
        return words.money(Decimal(value), estimated=bool(row.get("estimated")), incomplete=bool(row.get("unpriced")))
    return f"{value:.6g}"
