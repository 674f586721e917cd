"""Records as JSON-able data, with nothing lost, and back."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.payloads import Lazy, Message, Payload, plain
from langgraph_observe.records import Failure, Finished, Link, Noted, Prompt, Scored, Started, Stream, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langgraph_observe.records import Record

NAMES: Final[dict[type, str]] = {Started: "started", Finished: "finished", Noted: "noted", Scored: "scored"}
TYPES: Final = {name: kind for kind, name in NAMES.items()}


def told(record: Record) -> dict[str, Any]:
    """The record's fields that are not at their default, under the name of its type: `{"finished": {"run": {…}, …}}`."""
    return {NAMES[type(record)]: _data(record)}


def record(data: Mapping[str, Any]) -> Record:
    """What `told` has told. Fields that this code does not know are left out. Raises ValueError for anything else."""
    try:
        ((name, body),) = data.items()
        made: Record = _made(TYPES[name], body)
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        msg = f"this is no record: {type(error).__name__}"
        raise ValueError(msg) from error
    return made


def _data(value: Any) -> Any:
    match value:
        case Payload():
            return {"value": value.value, **({"omitted": dict(value.omitted)} if value.omitted else {})}
        case Lazy():
            return None if value.value is None else _data(value.value)
        case Decimal():
            return str(value)
        case tuple():
            return [_data(item) for item in value]
        case Started() | Finished() | Noted() | Scored() | Usage() | Stream() | Failure() | Link() | Prompt():
            told = {one.name: getattr(value, one.name) for one in fields(value)}
            return {one.name: _data(told[one.name]) for one in fields(value) if told[one.name] != _default(one)}
        case _:
            return plain(value)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _made(kind: type, body: Mapping[str, Any]) -> Any:
    known = {one.name for one in fields(kind)}
    return kind(**{name: DECODED.get(name, _same)(value) for name, value in body.items() if name in known})


def _same(value: Any) -> Any:
    return value


def payload(value: Any, omitted: Mapping[str, int | None] | None = None) -> Payload:
    """A payload of plain data, in which what looks like a chat message is one: what draws messages asks for them."""
    return Payload(_with_messages(value), omitted=omitted)


def _with_messages(value: Any) -> Any:
    match value:
        case {"role": str(), "content": _}:
            return Message(value)
        case dict():
            return {key: _with_messages(item) for key, item in value.items()}
        case list():
            return [_with_messages(item) for item in value]
        case _:
            return value


def _payload(body: Mapping[str, Any]) -> Payload:
    return payload(body["value"], body.get("omitted"))


def _usage(body: Mapping[str, Any] | None) -> Lazy[Usage | None]:
    return Lazy(None if body is None else _made(Usage, body))


def _points(points: Sequence[Sequence[Any]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(map(tuple, points))


DECODED: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("tags", "triggers", "finish_reasons", "goto"), tuple),
    **dict.fromkeys(("input", "output", "tools", "payload"), _payload),
    "run": lambda body: _made(Started, body),
    "links": lambda links: tuple(_made(Link, link) for link in links),
    "prompt": lambda body: _made(Prompt, body),
    "failure": lambda body: _made(Failure, body),
    "stream": lambda body: _made(Stream, body),
    "timeline": _points,
    "measured": _usage,
    "cost": Decimal,
}
"""By the name of the field: what JSON does not give back as it was."""
