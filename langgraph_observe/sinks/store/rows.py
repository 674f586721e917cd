"""Record -> the values of its row. Pure; the writer's thread pays for usage and prices here."""

from __future__ import annotations

from dataclasses import MISSING, Field, asdict, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from langgraph_observe.payloads import text
from langgraph_observe.records import Failure, Finished, Link, Prompt, Started, Stream, Usage
from langgraph_observe.sinks.encoding import encoded
from langgraph_observe.sinks.store.schema import DERIVED, FINISHED, STARTED, USAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from decimal import Decimal

    from langgraph_observe.payloads import Payload

_started: Final = attrgetter(*STARTED)
_finished: Final = attrgetter(*FINISHED)
_usage: Final = attrgetter(*USAGE)
_RUNNING: Final = (None,) * (len(FINISHED) + len(USAGE) + len(DERIVED))
_NO_USAGE: Final = (None,) * len(USAGE)
_ELSEWHERE: Final = frozenset({"input", "output", "tools", "run", "measured"})


def _fits(value: object) -> bool:
    """A column's affinity makes numbers again of what is turned into text for being of another class or too big."""
    if type(value) is str:
        return value.isascii()
    return isinstance(value, (bool, float)) or (isinstance(value, int) and -(2**63) <= value < 2**63)


def _without_column(record: type, columns: Iterable[str]) -> Callable[[object], dict[str, object]]:
    """A function of a record: its fields that have no column and are not at their default."""
    left = [field for field in fields(record) if field.name not in _ELSEWHERE.union(columns)]
    names, defaults = [field.name for field in left], [_default(field) for field in left]
    values = attrgetter(*names)
    return lambda one: {
        n: _data(v) for n, v, default in zip(names, values(one), defaults, strict=True) if v is not default and v != default
    }


def _default(field: Field[object]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _data(value: object) -> object:
    match value:
        case tuple():
            return [_data(item) for item in value]
        case Link() | Prompt() | Failure() | Stream():
            return asdict(value)
        case _:
            return value


_rest_of_started: Final = _without_column(Started, STARTED)
_rest_of_finished: Final = _without_column(Finished, (*FINISHED, "model"))
_rest_of_usage: Final = _without_column(Usage, (*USAGE, "cost"))


def columns(record: Started | Finished) -> tuple[object, ...]:
    """The columns of `schema.RUNS`."""
    match record:
        case Started():
            return (*fitting(_started(record)), *_RUNNING)
        case Finished(run=run, usage=usage, failure=failure, stream=stream):
            spent = _NO_USAGE if usage is None else _usage(usage)
            derived = (record.model, failure and failure.type, usage and nano_dollars(usage.cost), stream and stream.pieces)
            return tuple(fitting((*_started(run), *_finished(record), *spent, *derived)))


def fitting(values: Iterable[object]) -> list[object]:
    """What SQLite takes. Exact types go as they are: looking closer at each took a third of the time of a row."""
    return [value if value is None or _fits(value) else text(value) for value in values]


def rest(record: Started | Finished) -> str:
    """What has no column, as JSON: `{"started": {}, "finished": {}, "usage": {}, "omitted": {}}`, defaults left out."""
    run, finished = (record, None) if isinstance(record, Started) else (record.run, record)
    data: dict[str, object] = {"started": _rest_of_started(run)}
    if finished is not None:
        data["finished"] = _rest_of_finished(finished)
        if (usage := finished.usage) is not None:
            data["usage"] = _rest_of_usage(usage)
    if omitted := {part: left for part, payload in payloads(record).items() if payload and (left := payload.omitted)}:
        data["omitted"] = omitted
    return encoded(data)


def payloads(record: Started | Finished) -> Mapping[str, Payload | None]:
    """What goes in at the beginning, or what was known at the end."""
    if isinstance(record, Started):
        return {"input": record.input, "output": None, "tools": record.tools}
    return {"input": record.input or record.run.input, "output": record.output, "tools": record.run.tools}


def nano_dollars(cost: Decimal | None) -> int | None:
    """US dollars as the store keeps them."""
    return None if cost is None else round(cost.scaleb(9))
