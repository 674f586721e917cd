"""Messages, documents and states, as bounded snapshots: containers are copied, immutable leaves are shared.

Live objects change under us (a node appends to the list it was given), so the copy is made at event time; redaction and
JSON wait for a reader. No user code runs here: an object that is not plain data is named, never asked for its `repr`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import itertools
import operator
import pathlib
import types
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langgraph.types import Send
from pydantic import BaseModel

from langgraph_observe.payloads import UNREADABLE, Lazy, Message, Payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from langchain_core.outputs import Generation

LEAF_CHARS: Final = 131_072
"""Longest string kept whole. A prompt fits; a file that somebody put into a state does not."""
TOTAL_CHARS: Final = 1_048_576
"""Text kept of one payload."""
ITEMS: Final = 5_000
"""Values kept of one payload."""
DEPTH: Final = 24
MANY: Final = 64
"""Messages in a list for which a reference and a copy of the fields of each is the cheaper."""

_SCALARS: Final = frozenset({int, float, bool, type(None), complex, dt.datetime, dt.date, dt.time})
_SHOWN: Final = (dt.timedelta, decimal.Decimal, uuid.UUID, pathlib.PurePath, enum.Enum)
_SMALL: Final = (int, float, type(None))
_TINY: Final = frozenset({int, float, bool, type(None)})
_ROLES: Final = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "HumanMessageChunk": "user"}
_MESSAGE_FIELDS: Final = ("name", "id", "tool_calls", "invalid_tool_calls", "tool_call_id")
_MESSAGES: Final = frozenset({AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage})
_NOISE: Final = frozenset({"tool_calls", "function_call"})  # OpenAI's raw form of what `tool_calls` already says


def encode(value: object) -> bytes:
    """UTF-8 JSON. A message brings its own, made once."""
    return orjson.dumps(value, default=lambda m: orjson.Fragment(m.json))


class Memory:
    """What one root has shown already: its messages, by identity, and the last view of every state.

    It makes a node's share of the work O(new): a history of 1,000 messages is compared at C speed, not copied.
    """

    __slots__ = ("_messages",)

    def __init__(self) -> None:
        self._messages: dict[int, tuple[BaseMessage, tuple[object, ...], Message]] = {}

    def messages(self, raws: Sequence[Any]) -> list[Message] | Lazy[Any] | None:
        """All of them as they are now: if there are many, known to each other by the first reader. None if not all are LangChain's."""
        if not _MESSAGES.issuperset(map(type, raws)):
            return None
        if len(raws) <= MANY:
            return list(map(self.message, raws))
        held = [told.copy() if _settled(told := raw.__dict__) else self.message(raw) for raw in raws]
        return Lazy((tuple(raws), held), self._made)

    def _made(self, held: Any) -> list[Message]:
        return [one if type(one) is Message else self._of(raw, one) for raw, one in zip(*held, strict=True)]

    def message(self, raw: BaseMessage) -> Message:
        """The one `Message` of this object, for as long as its parts are the same."""
        return self._of(raw, raw.__dict__)

    def _of(self, raw: BaseMessage, fields: dict[str, Any]) -> Message:
        content = fields.get("content")
        size = len(content) if type(content) is list else 0
        parts = (content, size, fields.get("tool_calls"), fields.get("name"), fields.get("additional_kwargs"))
        known = self._messages.get(id(raw))
        if known is not None and known[0] is raw and all(map(operator.is_, known[1], parts)):
            return known[2]
        made = message(raw, fields)
        self._messages[id(raw)] = (raw, parts, made)  # raw is kept: its id must not be given to another object
        return made


def _settled(fields: Mapping[str, Any]) -> bool:
    """Whether nothing in it can change but by being replaced, so that a copy of its fields is all that is to be kept.

    Of a message whose content is a text, code may write into three fields. In the fewest steps: a history has thousands.
    """
    return type(fields.get("content")) is str and not (
        fields.get("additional_kwargs") or fields.get("tool_calls") or fields.get("invalid_tool_calls")
    )


def message(raw: BaseMessage, fields: dict[str, Any]) -> Message:
    """A message with these fields, described by the first reader where they cannot change any more."""
    described = partial(describe, type(raw).__name__)
    return Message(Lazy(fields.copy(), described) if _settled(fields) else described(fields), encode=encode)


def common(before: Sequence[Any], now: Sequence[Any]) -> int:
    """How many leading items are shared: all of `before`, or none.

    The first and the last must be the same objects, so that comparing the rest costs an identity check each.
    """
    count = len(before)
    if count == 0 or len(now) < count or now[0] is not before[0] or now[count - 1] is not before[-1]:
        return 0
    try:
        return count if now[:count] == before else 0
    except Exception:  # an item's own `==`: numpy's is no truth value
        return 0


class View:
    """The state of one graph run as its nodes have shown it: what the next node's input repeats is left out."""

    __slots__ = ("_base", "_began", "_step", "shown")

    def __init__(self, around: View | None = None) -> None:
        """A sub-graph begins with what the graph around it has shown."""
        self._step: int | None = None
        self._began: dict[str, tuple[object, list[Any] | None, int]] | None = None
        """What was shown when the second step began: all that the graph had been given."""
        self.shown: dict[str, tuple[object, list[Any] | None, int]] = dict(around.shown) if around else {}
        self._base = self.shown

    def delta(self, state: Mapping[str, object], step: int | None, memory: Memory, *, ends: bool = False) -> Payload:
        """What is new in `state`. Tasks of one step are compared with the step before, not with each other.

        With no step, `state` is an output: compared with all that was shown, and not remembered, being no whole state. That
        of the graph itself, which `ends`, with what it began with: its answer may be older than its last node.
        """
        if step is None:
            base = self._began if ends and self._began is not None else self.shown
        else:
            if step != self._step:
                if self._began is None and self._step not in (None, -1):
                    self._began = self.shown
                self._step, self._base = step, self.shown
                self.shown = dict(self._base)
            base = self._base
        snapshot: Snapshot | None = None
        new: dict[str, object] = {}
        omitted: dict[str, int | None] = {}
        for key, value in state.items():
            if type(value) in _TINY:  # never left out
                new[key] = value
                if step is not None:
                    self.shown.pop(key, None)
                continue
            shared = _repeats(base.get(key), value)
            if shared is None:
                omitted[key] = None
            else:
                snapshot = snapshot or Snapshot(memory)
                if shared:
                    omitted[key] = shared
                new[key] = snapshot.of(value[shared:] if shared else value)  # type: ignore[index]  # _repeats saw a list
            if shared is not None and step is not None:
                self.shown[key] = (value, list(value) if type(value) is list else None, _size(value))
        return Payload(new, omitted=omitted, encode=encode)


def _repeats(seen: tuple[object, list[Any] | None, int] | None, value: object) -> int | None:
    """None: the same as before. A count: the leading items of a list. 0: all is new, or too small to be left out."""
    if seen is None or issubclass(type(value), _SMALL):  # not isinstance: an object may lie about its class, or raise
        return 0
    before, items, size = seen
    if items is not None and type(value) is list:  # by its items, one of which may have taken another's place
        shared = common(items, value)
        return None if shared == len(items) == len(value) else shared
    return None if value is before and _size(value) == size else 0


def _size(value: Any) -> int:
    try:
        return len(value) if issubclass(type(value), (list, dict, set, deque)) else -1
    except Exception:  # a subclass's own `__len__`
        return -1


class Snapshot:
    """One walk over one value, within one budget."""

    __slots__ = ("_chars", "_depth", "_items", "_memory")

    def __init__(self, memory: Memory | None = None, *, chars: int = TOTAL_CHARS) -> None:
        self._memory = memory
        self._chars = chars
        self._items = ITEMS
        self._depth = DEPTH

    def of(self, value: object) -> object:
        """Plain containers, shared leaves, `Message`s."""
        kind = type(value)
        if kind is str:
            return self._text(value)  # type: ignore[arg-type]  # a str by its type
        if kind in _SCALARS:
            return value
        if self._depth == 0:
            return f"<deeper: {kind.__name__}>"
        self._depth -= 1
        try:
            return self._container(kind, value)
        except Exception as error:  # a subclass's own `__iter__`, a field that is a property: it costs its own place only
            return UNREADABLE.format(type(error).__name__)
        finally:
            self._depth += 1

    def _container(self, kind: type, value: Any) -> object:
        if kind is dict:
            return self._mapping(value)
        if kind is list or kind is tuple:
            return self._sequence(value)
        for accepted, convert in _CONVERSIONS:
            if isinstance(value, accepted):
                return convert(self, value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._mapping({f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)})
        return opaque(value)

    def _text(self, value: str) -> str:
        length = len(value)
        if length <= LEAF_CHARS and length <= self._chars:
            self._chars -= length
            return value
        kept = min(LEAF_CHARS, self._chars)
        self._chars -= kept
        return f"{value[:kept]}… <{length - kept} characters more>"

    def _mapping(self, value: Mapping[Any, Any]) -> dict[object, object]:
        out: dict[object, object] = {}
        for key, item in list(itertools.islice(value.items(), self._items + 1)):  # a copy: another thread may write to it
            if self._items <= 0:
                out["…"] = f"<{len(value) - len(out)} entries more>"
                break
            self._items -= 1
            out[key if isinstance(key, str) else str(self.of(key))] = self.of(item)
        return out

    def _sequence(self, value: Sequence[Any]) -> object:
        if self._memory is not None and value and type(value[0]) in _MESSAGES and len(value) <= self._items:
            later = self._memory.messages(list(value))
            if later is not None:
                self._items -= len(value)
                return later
        return self._each(value)

    def _each(self, value: Sequence[Any]) -> list[object]:
        out: list[object] = []
        for item in value[: self._items + 1]:
            if self._items <= 0:
                out.append(f"<{len(value) - len(out)} items more>")
                break
            self._items -= 1
            out.append(self.of(item))
        return out

    def _iterable(self, value: Iterable[Any]) -> object:
        return self._sequence(list(itertools.islice(value, self._items + 1)))

    def _set(self, value: Iterable[Any]) -> list[object]:
        return sorted(
            self._each(list(itertools.islice(value, self._items + 1))), key=repr
        )  # plain data: the same set, the same JSON

    def _send(self, value: Send) -> object:
        return self._mapping({"node": value.node, "arg": value.arg})

    def _message(self, value: BaseMessage) -> Message:
        return self._memory.message(value) if self._memory is not None else message(value, value.__dict__)

    def _model(self, value: BaseModel) -> object:
        return self._mapping({**value.__dict__, **(getattr(value, "__pydantic_extra__", None) or {})})

    def _string(self, value: str) -> object:
        return self._text(str.__str__(value))

    def _number(self, value: float) -> object:
        return int.__int__(value) if isinstance(value, int) else float.__float__(value)  # not int(): a subclass may say anything

    def _same(self, value: object) -> object:
        return value

    def _exception(self, value: BaseException) -> object:
        return {"type": qualified(type(value)), "arguments": self.of(list(value.args))}

    def _binary(self, value: bytes) -> str:
        return f"<{type(value).__name__}: {len(value)} bytes>"


_CONVERSIONS: Final[tuple[tuple[Any, Callable[[Snapshot, Any], object]], ...]] = (
    (BaseMessage, Snapshot._message),  # noqa: SLF001 - a table of this class's own methods
    (BaseModel, Snapshot._model),  # noqa: SLF001 - the same
    (_SHOWN, Snapshot._same),  # noqa: SLF001 - the same
    (str, Snapshot._string),  # noqa: SLF001 - the same
    ((int, float), Snapshot._number),  # noqa: SLF001 - the same
    ((bytes, bytearray, memoryview), Snapshot._binary),  # noqa: SLF001 - the same
    (Mapping, Snapshot._mapping),  # noqa: SLF001 - the same
    (deque, Snapshot._iterable),  # noqa: SLF001 - the same
    ((set, frozenset), Snapshot._set),  # noqa: SLF001 - the same
    (Send, Snapshot._send),  # noqa: SLF001 - the same
    ((list, tuple), Snapshot._sequence),  # noqa: SLF001 - the same
    (BaseException, Snapshot._exception),  # noqa: SLF001 - the same
)


def describe(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A LangChain message of the class of this name, in the form that `Message` promises. Unknown classes are described by their fields."""
    kind = fields.get("type") or name
    snapshot = Snapshot()
    out: dict[str, Any] = {
        "role": fields.get("role") or _ROLES.get(kind, kind),
        "content": snapshot.of(fields.get("content")),
    }
    out |= {name: snapshot.of(value) for name in _MESSAGE_FIELDS if (value := fields.get(name))}
    if fields.get("status") == "error":
        out["status"] = "error"
    if extra := {k: v for k, v in (fields.get("additional_kwargs") or {}).items() if k not in _NOISE and v is not None}:
        out["additional_kwargs"] = snapshot.of(extra)
    for call in out.get("tool_calls", ()):  # a list of dicts by langchain_core's own type
        call.pop("type", None)
    return out


def user(prompt: str) -> HumanMessage:
    """A text completion's prompt, as the message it stands for."""
    return HumanMessage(prompt)


def generated(one: Generation, memory: Memory) -> Message:
    """One choice of a model's answer: a chat message, or a text completion's text."""
    message = getattr(one, "message", None)
    return memory.message(message) if isinstance(message, BaseMessage) else memory.message(AIMessage(one.text))


def opaque(value: object) -> str:
    """The name of what is not data. Its `repr` may be slow, large, secret, or a database query."""
    if isinstance(value, type):
        return f"<class {qualified(value)}>"
    name = f" {value.__qualname__}" if isinstance(value, (types.FunctionType, types.BuiltinFunctionType)) else ""
    return f"<{qualified(type(value))}{name}>"


def qualified(kind: type) -> str:
    """`module.Class`, `builtins` left out: OpenTelemetry's `error.type`."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def full(value: object, memory: Memory) -> Payload:
    """The whole value, within the budget."""
    return Payload(Snapshot(memory).of(value), encode=encode)


def fields(state: object) -> Mapping[str, object] | None:
    """A state as a mapping of its channels: a dict, a pydantic model or a dataclass; else None."""
    if type(state) is dict:
        return state
    if isinstance(state, BaseModel):
        return state.__dict__
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return {f.name: getattr(state, f.name, None) for f in dataclasses.fields(state)}
    return None
