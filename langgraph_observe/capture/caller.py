"""Who calls the handler. What a callback is not told, the frame of its caller knows; its code object is exact.

An inline handler runs below the run that it is told of. Should LangChain move these functions, nothing is found, and the
records say what the callbacks alone tell.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Final

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.callbacks.manager import ahandle_event
from langchain_core.runnables import Runnable, RunnableWithFallbacks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType, FrameType

_DEPTH: Final = 8
_FAR: Final = 80


def codes_of(*functions: Any) -> dict[int, CodeType]:
    """By identity, for a code's own hash reads all of it. They are kept: an id must not be given to another one."""
    return {id(function.__code__): function.__code__ for function in functions}


def _inner(codes: Mapping[int, CodeType]) -> dict[int, CodeType]:
    """With what is inside of them: before Python 3.12, a comprehension has a code of its own."""
    return {**codes, **{id(one): one for code in codes.values() for one in code.co_consts if inspect.iscode(one)}}


_MANAGERS: Final = codes_of(CallbackManager.on_chain_start, AsyncCallbackManager.on_chain_start)
_TRIES: Final = _inner(
    codes_of(*(getattr(RunnableWithFallbacks, name) for name in ("invoke", "ainvoke", "batch", "abatch", "stream", "astream")))
)
_COMPLETIONS: Final = codes_of(AsyncCallbackManager.on_llm_start)
_TRANSFORM: Final = codes_of(Runnable._transform_stream_with_config)  # noqa: SLF001 - where every sync LCEL stream ends


def tell_the_rest(handler: object, *arguments: Any, **named: Any) -> None:
    """Have LangChain tell this start of a text model to those whom it leaves out because of us.

    `AsyncCallbackManager.on_llm_start` tells either inline handlers or, if there are none, the rest: an event stream would lose
    the call. Where all that are inline are ours, the first of them puts the rest among what will be awaited.
    """
    manager = _nearest(_COMPLETIONS)
    seen = manager.f_locals if manager is not None else {}
    inline, others = seen.get("inline_handlers"), seen.get("non_inline_handlers")
    if inline and others and inline[0] is handler and all(type(one) is type(handler) for one in inline):
        seen["non_inline_tasks"].append(ahandle_event(others, "on_llm_start", "ignore_llm", *arguments, **named))


def starter() -> FrameType | None:
    """The frame that starts the run whose start is being told."""
    manager = _nearest(_MANAGERS)
    return manager.f_back if manager is not None else None


def tries(starter: FrameType | None) -> bool:
    """Whether the run that is started is a `with_fallbacks`: its children are attempts, one after the other."""
    return starter is not None and id(starter.f_code) in _TRIES


def stands_in() -> bool:
    """Whether a `ModelFallbackMiddleware` is about to ask another model, since one has failed. It has no run of its own."""
    return "last_exception" in _around("model_fallback", "ModelFallbackMiddleware")


def attempt() -> int:
    """Which try of a `ModelRetryMiddleware` the model is that starts. It has no run of its own either."""
    return int(_around("model_retry", "ModelRetryMiddleware").get("attempt", 0)) + 1


def _around(module: str, name: str) -> Mapping[str, Any]:
    """What this middleware knows that is calling a model right now. LangChain's agents need not be installed."""
    middleware = getattr(sys.modules.get(f"langchain.agents.middleware.{module}"), name, None)
    if middleware is None:
        return {}
    frame = _nearest(_inner(codes_of(middleware.wrap_model_call, middleware.awrap_model_call)), _FAR)
    return frame.f_locals if frame is not None else {}


def broke_off() -> bool:
    """Whether the streamed chain whose end is being told was closed by its consumer: a sync one reports success (trap t52)."""
    ending = _nearest(_TRANSFORM)
    chunks = ending.f_locals.get("iterator") if ending is not None else None
    return inspect.isgenerator(chunks) and chunks.gi_frame is not None


def _nearest(codes: Mapping[int, CodeType], depth: int = _DEPTH) -> FrameType | None:
    frame: FrameType | None = sys._getframe(3)  # noqa: SLF001 - the documented way to the caller's frame; above are ours
    for _ in range(depth):
        if frame is None or id(frame.f_code) in codes:
            return frame
        frame = frame.f_back
    return None
