"""`watched`: a compiled graph observed, and what only its caller's side can see.

A copy with its class swapped for a subclass of one base that overrides `stream`, `astream`, `copy` and, for cache hits,
`_defaults`: every way of calling goes through these. `with_config` drops output mappers and user attributes, a proxy is not
accepted as a sub-graph, and a mixin is refused by the interpreter (traps t16, t17, t36, t37, t57).
"""

from __future__ import annotations

import copy
import functools
import sys
from typing import TYPE_CHECKING, Any, Final

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.cache.base import BaseCache
from langgraph.pregel import Pregel
from langgraph.pregel.protocol import PregelProtocol

from langgraph_observe.capture import context, graph, remote, taken
from langgraph_observe.capture.hook import everyone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import FrameType

    from langgraph_observe.capture.handler import CallbackHandler

    Handlers = Callable[[Any], tuple[CallbackHandler, ...]]

_ATTRIBUTE: Final = "_langgraph_observe_handler"
_dressed: Final[dict[Any, tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
"""Classes of which every graph is watched: the methods that they were given, and those that they had."""


def watched(compiled: Any, handler: CallbackHandler) -> Any:
    """A copy of the compiled graph, of the same class, whose runs the handler sees. Raises TypeError for anything else."""
    if not isinstance(compiled, PregelProtocol):
        message = (
            f"observe() takes a compiled graph, not a {type(compiled).__name__}: compile it, or pass callbacks=[CallbackHandler()]"
        )
        raise TypeError(message)
    seen = copy.copy(compiled)
    kind: Any = type(compiled)
    seen.__class__ = _class(kind.__base__ if _ATTRIBUTE in compiled.__dict__ else kind)
    seen.__dict__[_ATTRIBUTE] = (*(h for h in compiled.__dict__.get(_ATTRIBUTE, ()) if h.observer is not handler.observer), handler)
    return seen


def dress(base: Any) -> None:
    """Give every graph of this class, made before or after, what `watched` gives one: the process's handler sees its runs."""
    if base not in _dressed:
        body = _methods(base, _everyones)
        _dressed[base] = body, {name: base.__dict__[name] for name in body}
        for name, method in body.items():
            setattr(base, name, method)


def undress() -> None:
    """Give the classes their own methods back. Where somebody has wrapped ours since, they stay and pass each call on."""
    for base, (body, own) in list(_dressed.items()):
        if all(base.__dict__[name] is method for name, method in body.items()):
            del _dressed[base]
            for name, method in own.items():
                setattr(base, name, method)


def _everyones(seen: Any) -> tuple[CallbackHandler, ...]:
    return () if _ATTRIBUTE in seen.__dict__ else everyone.handlers()  # the graph's own layer, above, has told them


def _own(seen: Any) -> tuple[CallbackHandler, ...]:
    own: tuple[CallbackHandler, ...] = seen.__dict__[_ATTRIBUTE]
    others = everyone.handlers()
    return (*own, *(handler for handler in others if handler not in own)) if others else own


@functools.cache
def _class(base: Any) -> Any:
    body = _methods(base, _own) | {"copy": functools.update_wrapper(_copy(base), base.copy)}
    named = {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    return type(base.__name__, (base,), body | named)


def _methods(base: Any, handlers: Handlers) -> dict[str, Any]:
    body = (_local if issubclass(base, Pregel) else _remote)(base, handlers)
    return {name: functools.update_wrapper(method, getattr(base, name)) for name, method in body.items()}


def _local(base: Any, handlers: Handlers) -> dict[str, Any]:
    defaults = base._defaults  # noqa: SLF001 - where a call's cache is chosen, and nothing else is touched

    inside = taken.calls(base)

    def start(stream: Any, self: Any, input: Any, config: Any, *more: Any, **options: Any) -> Any:  # noqa: A002 - LangGraph's name
        told = handlers(self)
        chunks = stream(self, input, _observed(told, config), *more, **options)
        count = taken.counter(self, options, inside, lambda: [(handler, taken.running(chunks)) for handler in told])
        return chunks, count, functools.partial(_refused, told, self, input, config), _in_context(told)

    def _defaults(self: Any, config: Any, **options: Any) -> Any:
        found, told = defaults(self, config, **options), handlers(self)
        return tuple(_Cache(one, told) if told and isinstance(one, BaseCache) else one for one in found)

    return {
        "stream": context.between(functools.partial(start, base.stream)),
        "astream": context.abetween(functools.partial(start, base.astream)),
        "_defaults": _defaults,
    }


def _remote(base: Any, handlers: Handlers) -> dict[str, Any]:
    stream, astream, inside = base.stream, base.astream, taken.calls(base)

    def call(self: Any, input: Any, config: Any, headers: Any) -> tuple[remote.Call, Any, bool]:  # noqa: A002 - as above
        told = handlers(self)
        return remote.Call(self, told, input, config, headers), graph.forgotten(config), _in_context(told)

    def start(self: Any, input: Any, config: Any, headers: Any = None, **options: Any) -> Any:  # noqa: A002 - as above
        made, own, swap = call(self, input, config, headers)
        chunks = made.stream(lambda headers: stream(self, input, own, headers=headers, **options))
        return chunks, taken.counter(self, options, inside, lambda: made.runs), made.fail, swap

    def astart(self: Any, input: Any, config: Any, headers: Any = None, **options: Any) -> Any:  # noqa: A002 - as above
        made, own, swap = call(self, input, config, headers)
        chunks = made.astream(lambda headers: astream(self, input, own, headers=headers, **options))
        return chunks, taken.counter(self, options, inside, lambda: made.runs), made.fail, swap

    return {"stream": context.between(start), "astream": context.abetween(astart)}


def _copy(base: Any) -> Any:
    def copied(self: Any, *update: Any, **named: Any) -> Any:
        """What `copy` makes of the graph without us, observed. It loses things (trap t16), and a program may count on that."""
        bare = copy.copy(self)
        handlers = bare.__dict__.pop(_ATTRIBUTE)  # `RemoteGraph.copy` gives every attribute to the constructor
        new = base.copy(bare, *update, **named)
        new.__dict__[_ATTRIBUTE] = handlers
        return new

    return copied


def _in_context(told: Iterable[CallbackHandler]) -> bool:
    return any(handler.observer.in_context for handler in told)


def _observed(told: Sequence[CallbackHandler], config: Any) -> Any:
    """The config with our handlers in it, but for those that are there, or around us, already.

    Whatever is odd about it is for LangGraph to say, in its own words.
    """
    try:
        return _joined(told, config) if told else config
    except Exception as error:
        told[-1].observer.failed("capture", error)
        return config


def _joined(told: Iterable[CallbackHandler], config: Any) -> Any:
    given = (config or {}).get("callbacks")
    if given is not None and not isinstance(given, (list, BaseCallbackManager)):
        return config  # LangChain refuses it
    present = [*_handlers(given), *_handlers((var_child_runnable_config.get() or {}).get("callbacks"))]
    known = {id(getattr(handler, "observer", None)) for handler in present}
    new = [handler for handler in told if id(handler.observer) not in known]
    if not new:
        return config
    if isinstance(given, BaseCallbackManager):
        callbacks: Any = given.copy()
        for handler in new:
            callbacks.add_handler(handler, inherit=True)
    else:
        callbacks = [*(given or ()), *new]
    return {**(config or {}), "callbacks": callbacks}


def _handlers(callbacks: Any) -> Iterable[Any]:
    return callbacks.inheritable_handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or ()


def _refused(told: Iterable[CallbackHandler], seen: Any, inputs: Any, config: Any, error: BaseException) -> None:
    """A call that failed before LangGraph told any handler of it: no thread_id, no steps, a config that is none (trap t41)."""
    if graph.began(seen, error):
        return
    given = config if isinstance(config, dict) else {}
    for handler in told:
        handler.refused(seen, inputs, given, remote.caller_of(given), error)


class _Cache(BaseCache[Any]):
    """LangGraph's cache for one call. No handler is told of a node or task that is answered from there (trap t14)."""

    def __init__(self, cache: BaseCache[Any], handlers: Iterable[CallbackHandler]) -> None:
        super().__init__(serde=cache.serde)
        self._cache = cache
        self._seen_by = handlers

    def get(self, keys: Sequence[Any]) -> dict[Any, Any]:
        found = self._cache.get(keys)
        self._hit(found, sys._getframe(1))  # noqa: SLF001 - who asks, knows the tasks
        return found

    async def aget(self, keys: Sequence[Any]) -> dict[Any, Any]:
        found = await self._cache.aget(keys)
        self._hit(found, sys._getframe(1))  # noqa: SLF001 - as above
        return found

    def set(self, pairs: Mapping[Any, tuple[Any, int | None]]) -> None:
        self._cache.set(pairs)

    async def aset(self, pairs: Mapping[Any, tuple[Any, int | None]]) -> None:
        await self._cache.aset(pairs)

    def clear(self, namespaces: Sequence[Any] | None = None) -> None:
        self._cache.clear(namespaces)

    async def aclear(self, namespaces: Sequence[Any] | None = None) -> None:
        await self._cache.aclear(namespaces)

    def _hit(self, found: Mapping[Any, Any], asker: FrameType) -> None:
        tasks: Mapping[Any, Any] = asker.f_locals.get("cached") or {}
        for key in found.keys() & tasks.keys():
            for handler in self._seen_by:
                handler.answered_from_cache(tasks[key], found[key])
