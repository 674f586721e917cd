"""What LangGraph's own objects tell: the graph behind a run, its policies and routes; and `watched`, the graph observed.

`watched` is a copy with its class swapped for a subclass of one base that overrides `stream`, `astream` and `copy` only:
every way of calling goes through these. `with_config` drops output mappers and user attributes, a proxy is not accepted as
a sub-graph, and a mixin is refused by the interpreter (traps t16, t17, t36, t37, t57).
"""

from __future__ import annotations

import contextlib
import copy
import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import ParentCommand
from langgraph.pregel import Pregel
from langgraph.pregel.protocol import PregelProtocol
from langgraph.types import Command, Send

from langgraph_observe.capture import context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
    from types import FrameType

    from langgraph_observe.capture.handler import CallbackHandler
    from langgraph_observe.capture.run import Run
    from langgraph_observe.records import Link

DEFAULT_NAME: Final = "LangGraph"
PUSH: Final = "__pregel_push"
_AGENT: Final = "langchain_create_agent"
_ATTRIBUTE: Final = "_langgraph_observe_handler"
_STREAMS: Final = frozenset({Pregel.stream.__code__, Pregel.astream.__code__})
_UNSEEN: Final = SimpleNamespace(nodes={}, config=None, builder=None)


def starting(starter: FrameType | None, told: Mapping[str, Any], *, root: bool) -> tuple[Any, Mapping[str, Any]] | None:
    """The graph whose `stream` is starting this very run, and its `configurable`; None if no graph is.

    Nothing that a callback is told says whether a run is a graph's: metadata is inherited, the name is free. The frame of
    the starter says it. Should LangGraph move it, a root's metadata still tells.
    """
    if starter is not None and starter.f_code in _STREAMS:
        seen = starter.f_locals
        return seen["self"], (seen.get("config") or {}).get("configurable") or {}
    return (_UNSEEN, {}) if root and told.get("ls_integration") in ("langgraph", _AGENT) else None


def agent_name(pregel: Any, told: Mapping[str, Any], name: str) -> str | None:
    """The agent's name if the graph is one of `create_agent`'s: by its own config, since metadata is inherited."""
    own = (pregel.config or {}).get("metadata") or ({} if pregel is not _UNSEEN else told)
    if own.get("ls_integration") != _AGENT and not own.get("lc_agent_name"):
        return None
    return str(own.get("lc_agent_name") or name)


def continues(inputs: Any) -> bool:
    """Whether this input may resume an interrupted run: `Command(resume=…)`, or None after a static interrupt."""
    return inputs is None or (isinstance(inputs, Command) and inputs.resume is not None)


def policy(run: Run, name: str, part: str) -> Callable[[Any], Any] | None:
    """The node's `TracePolicy` for `process_inputs` or `process_outputs`. LangGraph applies it to its own tracers only."""
    graph = run.home.pregel if run.home else None
    node = graph.nodes.get(name) if graph is not None else None
    return getattr(getattr(node, "trace_policy", None), part, None)


def route(run: Run, outputs: Any) -> None:
    """Remember where this run sends the graph: a node by its `Command`, a branch function by what it returns.

    An odd destination is LangGraph's to refuse; the run has been taken from the table and must end all the same.
    """
    with contextlib.suppress(Exception):
        _route(run, outputs)


def _route(run: Run, outputs: Any) -> None:
    if run.kind in ("node", "tool"):
        _sent(run, [to for item in _each(outputs) if isinstance(item, Command) for to in _each(item.goto)])
    elif run.parent is not None and run.parent.kind == "node" and run.record is not None:
        builder = getattr(run.home.pregel, "builder", None) if run.home else None
        branch = getattr(builder, "branches", {}).get(run.parent.node, {}).get(run.record.name)
        if branch is not None:
            ends = branch.ends or {}
            _sent(run.parent, [to if isinstance(to, Send) else ends.get(to, to) for to in _each(outputs)])


def handed_over(run: Run, error: BaseException) -> None:
    """A handoff to the parent graph travels as an exception (trap t06)."""
    if isinstance(error, ParentCommand):
        _sent(run, list(_each(error.args[0].goto)))


def _each(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _sent(run: Run, targets: list[Any]) -> None:
    names = [to.node if isinstance(to, Send) else to for to in targets]
    if names:
        run.goto = (*run.goto, *(name for name in names if isinstance(name, str)))
        run.sends |= {to.node for to in targets if isinstance(to, Send)}


def senders(run: Run, name: str) -> list[Link]:
    """The nodes of the step before that sent this task; where they did not tell, the only one there was."""
    graph = run.home
    if graph is None or run.step is None:
        return []
    before = graph.senders.get(run.step - 1, [])
    told = [link for sends, link in before if name in sends]
    return told or ([before[0][1]] if len(before) == 1 else [])


def watched(graph: Any, handler: CallbackHandler) -> Any:
    """A copy of the compiled graph, of the same class, whose runs the handler sees. Raises TypeError for anything else."""
    if not isinstance(graph, PregelProtocol):
        message = (
            f"observe() takes a compiled graph, not a {type(graph).__name__}: compile it, or pass callbacks=[CallbackHandler()]"
        )
        raise TypeError(message)
    seen = copy.copy(graph)
    kind: Any = type(graph)
    seen.__class__ = _class(getattr(kind, "__wrapped__", kind))
    seen.__dict__[_ATTRIBUTE] = (*(h for h in graph.__dict__.get(_ATTRIBUTE, ()) if h.observer is not handler.observer), handler)
    return seen


@functools.cache
def _class(base: Any) -> Any:
    @functools.wraps(base.stream)
    def stream(self: Any, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002 - LangGraph's name
        chunks: Generator[Any, Any, Any] = base.stream(self, input, _observed(self, config), **kwargs)
        return context.between(chunks) if _in_context(self) else chunks

    @functools.wraps(base.astream)
    def astream(self: Any, input: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:  # noqa: A002 - LangGraph's name
        chunks: AsyncGenerator[Any, Any] = base.astream(self, input, _observed(self, config), **kwargs)
        return context.abetween(chunks) if _in_context(self) else chunks

    @functools.wraps(base.copy)
    def copied(self: Any, update: dict[str, Any] | None = None) -> Any:
        new = base.copy(self, update)
        for key, value in self.__dict__.items():  # what `Pregel.copy` loses: mappers, allowlist, user attributes, our handler
            if key not in (update or {}) and new.__dict__.get(key) is None:
                new.__dict__[key] = value
        return new

    body = {"stream": stream, "astream": astream, "copy": copied, "__wrapped__": base}
    return type(
        base.__name__, (base,), body | {"__module__": base.__module__, "__qualname__": base.__qualname__, "__doc__": base.__doc__}
    )


def _in_context(graph: Any) -> bool:
    return any(handler.observer.in_context for handler in graph.__dict__[_ATTRIBUTE])


def _observed(graph: Any, config: Any) -> Any:
    """The config with our handlers in it, but for those that are there, or around us, already.

    Whatever is odd about it is for LangGraph to say, in its own words.
    """
    try:
        return _joined(graph, config)
    except Exception as error:
        graph.__dict__[_ATTRIBUTE][-1].observer.failed("capture", error)
        return config


def _joined(graph: Any, config: Any) -> Any:
    given = (config or {}).get("callbacks")
    present = [*_handlers(given), *_handlers((var_child_runnable_config.get() or {}).get("callbacks"))]
    seen = {id(getattr(handler, "observer", None)) for handler in present}
    new = [handler for handler in graph.__dict__[_ATTRIBUTE] if id(handler.observer) not in seen]
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
