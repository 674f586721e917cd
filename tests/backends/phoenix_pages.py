"""Arize Phoenix: what it makes of our spans, read by its REST and its GraphQL.

It turns `gen_ai.*` into OpenInference's attributes when a span comes in (`phoenix/trace/gen_ai/conversion.py`), and shows those.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from backends.servers import asked, free_port
from backends.shown import Span, Trace, spoken

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROJECT = "/v1/projects/default"
TOKENS = {
    "input": "llm.token_count.prompt",
    "output": "llm.token_count.completion",
    "cached": "llm.token_count.prompt_details.cache_read",
}
QUERY = """query ($project: ID!, $trace: ID!) { node(id: $project) { ... on Project { trace(traceId: $trace) {
  userId session { sessionId } costSummary { total { cost tokens } }
} } } }"""


class Phoenix:
    """`phoenix serve`."""

    program = "phoenix"
    ready = "/healthz"
    headers: Mapping[str, str] = {}

    def arguments(self, port: int, place: Path) -> list[str]:
        return ["serve"]

    def environment(self, port: int, place: Path) -> dict[str, str]:
        return {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_WORKING_DIR": str(place),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
            "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
        }

    def trace(self, url: str, trace_id: str) -> Trace | None:
        rows = asked(f"{url}{PROJECT}/spans?limit=1000&trace_id={trace_id}")["data"]
        return _trace(url, trace_id, [_span(row) for row in rows]) if rows else None


def _trace(url: str, trace_id: str, spans: list[Span]) -> Trace:
    """What the rows do not tell, the page asks by GraphQL."""
    variables = {"project": asked(url + PROJECT)["data"]["id"], "trace": trace_id}
    told = asked(f"{url}/graphql", {"query": QUERY, "variables": variables})["data"]["node"]["trace"]
    session, total = told["session"], told["costSummary"]["total"]
    return Trace(
        spans=spans,
        session=session["sessionId"] if session else None,
        user=told["userId"],
        tokens=total["tokens"],
        cost=total["cost"],
    )


def _span(row: Mapping[str, Any]) -> Span:
    told = row["attributes"]
    return Span(
        id=row["context"]["span_id"],
        parent=row["parent_id"],
        name=row["name"],
        kind=row["span_kind"],
        at=row["start_time"],
        error=row["status_message"] if row["status_code"] == "ERROR" else None,
        events=[(event["name"], event["attributes"]) for event in row["events"]],
        tokens={name: told[key] for name, key in TOKENS.items() if key in told},
        input=_value(told.get("input.value")) or _parameters(told),
        output=_value(told.get("output.value")),
        asked=_messages(told, "input"),
        answered=_messages(told, "output"),
        tools=[json.loads(schema)["function"]["name"] for key, schema in sorted(told.items()) if key.startswith("llm.tools.")],
    )


def _parameters(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix("tool.parameters."): value for key, value in told.items() if key.startswith("tool.parameters.")}


def _value(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return text


def _messages(told: Mapping[str, Any], side: str) -> list[str]:
    rows: dict[int, dict[str, Any]] = defaultdict(dict)
    for key, value in told.items():
        if found := re.fullmatch(rf"llm\.{side}_messages\.(\d+)\.message\.(.+)", key):
            rows[int(found[1])][found[2]] = value
    return [_message(row) for _, row in sorted(rows.items())]


def _message(row: Mapping[str, Any]) -> str:
    calls = [
        (value, json.loads(row[key.replace("name", "arguments")]))
        for key, value in sorted(row.items())
        if key.endswith("function.name")
    ]
    return spoken(row["role"], row.get("content", ""), calls)
