"""The completion hook of OpenTelemetry's GenAI utilities: it is given what was said in full, to upload it, and marks the span.

A hook is an entry point of the group `opentelemetry_genai_completion_hook`, made for the types of opentelemetry-util-genai;
that package is imported only where OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK names one.
"""

from __future__ import annotations

import logging
import os
from dataclasses import fields
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.sinks import content

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

    from langgraph_observe.records import Finished

log: Final = logging.getLogger("langgraph_observe")
SWITCH: Final = "OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK"
_PACKAGE: Final = "opentelemetry.util.genai"


def hook() -> Completions | None:
    """The hook that the environment asks for; None where it asks for none, or has no package to make one."""
    if not os.environ.get(SWITCH):
        return None
    if find_spec(_PACKAGE) is None:
        log.warning("%s is set, but opentelemetry-util-genai is not installed: the hook is left out", SWITCH)
        return None
    return Completions()


class Completions:
    """Gives the hook each model call, whatever the switch for content says: who sets a hook wants the content there."""

    def __init__(self) -> None:
        self._hook: Any = None

    def __call__(self, record: Finished, span: Span) -> None:
        """Not on the agent's thread: the first call loads the hook, and a hook may try its connection then."""
        if record.run.kind != "model":
            return
        if self._hook is None:
            self._hook = import_module(f"{_PACKAGE}.completion_hook").load_completion_hook()
        self._hook.on_completion(**_told(record), span=span)


def _told(record: Finished) -> dict[str, object]:
    """Messages in full, system messages among them; media by their hashes. What has no type of its own is left out."""
    types = _types()
    taken, given = content.said(record)
    tools = content.definitions(record.run.tools.value) if record.run.tools else []
    return {
        "inputs": [_message(types.InputMessage, one) for one in taken],
        "outputs": [_message(types.OutputMessage, one) for one in given],
        "system_instruction": [],
        "tool_definitions": [_tool(one) for one in tools] or None,
    }


def _types() -> Any:
    return import_module(f"{_PACKAGE}.types")  # by name: it need not be there


@cache
def _parts() -> Mapping[str, Any]:
    """`type` of a part → the class for it."""
    types = _types()
    names = {
        "text": "TextPart",
        "reasoning": "ReasoningPart",
        "tool_call": "ToolCallRequestPart",
        "tool_call_response": "ToolCallResponsePart",
        "server_tool_call": "ServerToolCallPart",
        "uri": "UriPart",
        "file": "FilePart",
    }
    return {kind: found for kind, name in names.items() if (found := getattr(types, name, None))}


def _message(made: Any, plain: content.Part) -> Any:
    parts = [_named(part) for part in plain["parts"]]
    return _made(made, plain | {"parts": [_made(_parts()[part["type"]], part) for part in parts if part["type"] in _parts()]})


def _named(part: content.Part) -> content.Part:
    """A blob's class is for its bytes, and all that is left of it is its hash."""
    return part | {"type": "uri", "uri": part["content"]} if part["type"] == "blob" else part


def _tool(plain: content.Part) -> Any:
    types = _types()
    return _made(types.FunctionToolDefinition if plain["type"] == "function" else types.GenericToolDefinition, plain)


def _made(kind: Any, plain: content.Part) -> Any:
    return kind(**{field.name: plain.get(field.name) for field in fields(kind)})
