"""MLflow: what it makes of our spans, read by its REST.

It turns `gen_ai.*` and OpenInference's attributes into `mlflow.*` when a span comes in (`mlflow/tracing/otel/translation`), and
shows those.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from backends.servers import asked
from backends.shown import Span, Trace, spoken

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KINDS = {"CHAT_MODEL": "LLM", None: "UNKNOWN"}
TOKENS = {"input": "input_tokens", "output": "output_tokens", "cached": "cache_read_input_tokens"}


class Mlflow:
    """`mlflow server`."""

    program = "mlflow"
    ready = "/api/2.0/mlflow/experiments/get?experiment_id=0"
    """`/health` is there long before the store is."""
    headers: Mapping[str, str] = {"x-mlflow-experiment-id": "0"}

    def arguments(self, port: int, place: Path) -> list[str]:
        store = ["--backend-store-uri", f"sqlite:///{place}/mlflow.db", "--default-artifact-root", str(place / "artifacts")]
        return ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *store]

    def environment(self, port: int, place: Path) -> dict[str, str]:
        return {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def trace(self, url: str, trace_id: str) -> Trace | None:
        found = asked(f"{url}/api/3.0/mlflow/traces/batchGet?trace_ids=tr-{trace_id}").get("traces")
        if not found:
            return None
        told = found[0]["trace_info"].get("trace_metadata", {})
        return Trace(
            spans=[_span(row) for row in found[0]["spans"]],
            session=told.get("mlflow.trace.session"),
            user=told.get("mlflow.trace.user"),
            tokens=json.loads(told.get("mlflow.trace.tokenUsage", "{}")).get("total_tokens"),
            cost=json.loads(told.get("mlflow.trace.cost", "{}")).get("total_cost"),
        )


def _span(row: Mapping[str, Any]) -> Span:
    told, status = _attributes(row), row["status"]
    tokens = told.get("mlflow.chat.tokenUsage") or {}
    return Span(
        id=row["span_id"],
        parent=row.get("parent_span_id"),
        name=row["name"],
        kind=KINDS.get(kind := told.get("mlflow.spanType"), kind),
        at=row["start_time_unix_nano"],
        error=status["message"] if status.get("code") == "STATUS_CODE_ERROR" else None,
        events=[(event["name"], _attributes(event)) for event in row.get("events") or ()],
        tokens={name: tokens[key] for name, key in TOKENS.items() if key in tokens},
        input=told.get("mlflow.spanInputs"),
        output=told.get("mlflow.spanOutputs"),
        asked=_messages(told.get("mlflow.spanInputs")),
        answered=_messages(told.get("mlflow.spanOutputs")),
        tools=[tool["name"] for tool in told.get("mlflow.chat.tools") or ()],
        links=[base64.b64decode(link["span_id"]).hex() for link in row.get("links") or ()],
    )


def _attributes(row: Mapping[str, Any]) -> dict[str, Any]:
    return {one["key"]: _value(one.get("value")) for one in row.get("attributes") or ()}


def _value(held: Mapping[str, Any] | None) -> Any:
    """OTLP's value, as JSON has it, as Python's."""
    match held:
        case {"kvlist_value": inner}:
            return {one["key"]: _value(one.get("value")) for one in inner.get("values", ())}
        case {"array_value": inner}:
            return [_value(one) for one in inner.get("values", ())]
        case {**only} if only:
            return next(iter(only.values()))
    return None


def _messages(value: Any) -> list[str]:
    """The conventions' own shape, which its page draws as a chat."""
    if not (isinstance(value, list) and all(isinstance(one, dict) and "parts" in one for one in value)):
        return []
    return [_message(one["role"], one["parts"]) for one in value]


def _message(role: str, parts: list[Mapping[str, Any]]) -> str:
    texts = [str(part.get("content", part.get("response"))) for part in parts if part["type"] in ("text", "tool_call_response")]
    return spoken(role, "".join(texts), [(part["name"], part["arguments"]) for part in parts if part["type"] == "tool_call"])
