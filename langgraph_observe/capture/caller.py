"""Who calls the handler. What a callback is not told, the frame of its caller knows; its code object is exact.

An inline handler runs below the run that it is told of. Should LangChain move these functions, nothing is found, and the
records say what the callbacks alone tell.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Final

from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.runnables import Runnable, RunnableWithFallbacks

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from types import CodeType, FrameType

_DEPTH: Final = 8
_MANAGERS: Final = frozenset({CallbackManager.on_chain_start.__code__, AsyncCallbackManager.on_chain_start.__code__})
_FALLBACKS: Final = frozenset({RunnableWithFallbacks.invoke.__code__, RunnableWithFallbacks.ainvoke.__code__})
_TRANSFORM: Final = frozenset({Runnable._transform_stream_with_config.__code__})  # noqa: SLF001 - where every sync LCEL stream ends


def starter() -> FrameType | None:
    """The frame that starts the run whose start is being told."""
    manager = _nearest(_MANAGERS)
    return manager.f_back if manager is not None else None


def falls_back(starter: FrameType | None) -> bool:
    """Whether `with_fallbacks` starts the run: its attempts will be told its own parent as theirs (trap t27)."""
    return starter is not None and starter.f_code in _FALLBACKS


def broke_off() -> bool:
    """Whether the streamed chain whose end is being told was closed by its consumer: a sync one reports success (trap t52)."""
    ending = _nearest(_TRANSFORM)
    chunks = ending.f_locals.get("iterator") if ending is not None else None
    return inspect.isgenerator(chunks) and chunks.gi_frame is not None


def _nearest(codes: AbstractSet[CodeType]) -> FrameType | None:
    frame: FrameType | None = sys._getframe(3)  # noqa: SLF001 - the documented way to the caller's frame; above are ours
    for _ in range(_DEPTH):
        if frame is None or frame.f_code in codes:
            return frame
        frame = frame.f_back
    return None
