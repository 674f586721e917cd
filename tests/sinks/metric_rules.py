"""OpenTelemetry's GenAI metrics as a table of our own, and what a metric breaks of it. Our extensions are named."""

from __future__ import annotations

from typing import NamedTuple

from opentelemetry.sdk.metrics.export import Histogram, Sum

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
WORKFLOW = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
AGENT = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6)
CALLS = (1, 2, 4, 8, 16, 32, 64, 128)

TYPES = {"server.port": int, "langgraph_observe.usage.estimated": bool}
"""Of an attribute's value; text otherwise."""
COMMON = {"gen_ai.operation.name", "gen_ai.provider.name"}
CALL = {"gen_ai.request.model", "gen_ai.response.model", "server.address", "server.port"}
ERROR = {"error.type"}


class Row(NamedTuple):
    buckets: tuple[float, ...] | None
    """None is a counter."""
    unit: str
    required: set[str]
    allowed: set[str]
    """Besides the required."""
    era: str | None = None
    """Under which choice of names alone it is measured."""
    monotonic: bool = True


TABLE = {
    # in every choice, but of inference under its released name only
    "gen_ai.client.operation.duration": Row(SECONDS, "s", {"gen_ai.operation.name"}, {"gen_ai.provider.name"} | CALL | ERROR),
    "gen_ai.client.operation.time_to_first_chunk": Row(SECONDS, "s", COMMON, CALL, "released"),
    "gen_ai.client.operation.time_per_output_chunk": Row(SECONDS, "s", COMMON, CALL, "released"),
    "gen_ai.client.token.usage": Row(TOKENS, "{token}", COMMON | {"gen_ai.token.type"}, CALL, "released"),
    "gen_ai.client.inference.duration": Row(SECONDS, "s", COMMON, CALL | ERROR, "latest"),
    "gen_ai.client.inference.time_to_first_chunk": Row(SECONDS, "s", COMMON, CALL, "latest"),
    "gen_ai.client.inference.time_per_output_chunk": Row(SECONDS, "s", COMMON, CALL, "latest"),
    **{
        f"gen_ai.client.inference.operation.{direction}_tokens": Row(TOKENS, "{token}", COMMON, CALL | ERROR, "latest")
        for direction in ("input", "output")
    },
    **{
        f"gen_ai.client.inference.usage.{part}_tokens": Row(None, "{token}", COMMON | {"gen_ai.token.modality"}, CALL, "latest")
        for part in ("input", "output", "cache_read.input", "cache_write.input", "reasoning.output")
    },
    "gen_ai.invoke_workflow.duration": Row(WORKFLOW, "s", set(), {"gen_ai.workflow.name"} | ERROR),
    "gen_ai.invoke_agent.duration": Row(AGENT, "s", set(), {"gen_ai.agent.name", "gen_ai.request.model"} | ERROR),
    "gen_ai.invoke_agent.inference_calls": Row(CALLS, "{inference_call}", set(), {"gen_ai.agent.name"}),
    "gen_ai.invoke_agent.tool_calls": Row(CALLS, "{tool_call}", set(), {"gen_ai.agent.name"}),
    "gen_ai.execute_tool.duration": Row(SECONDS, "s", {"gen_ai.tool.name", "gen_ai.tool.type"}, {"gen_ai.agent.name"} | ERROR),
    # ours
    "langgraph_observe.node.duration": Row(
        SECONDS, "s", {"langgraph.node.name", "langgraph_observe.outcome"}, {"langgraph.graph.name"} | ERROR
    ),
    "langgraph_observe.interrupts": Row(None, "{interrupt}", {"langgraph.graph.name", "langgraph_observe.end_reason"}, set()),
    "langgraph_observe.retries": Row(None, "{retry}", {"langgraph_observe.kind", "langgraph_observe.name"}, set()),
    "langgraph_observe.runs.active": Row(None, "{run}", {"langgraph.graph.name"}, set(), monotonic=False),
    "langgraph_observe.cost": Row(None, "USD", COMMON, CALL | {"langgraph_observe.usage.estimated"}),
}
VALUES = {
    "gen_ai.operation.name": {"chat", "retrieval", "invoke_agent", "invoke_workflow"},
    "gen_ai.token.type": {"input", "output"},
    "gen_ai.token.modality": {"text", "image", "audio", "unknown"},
}


def violations(metric) -> list[str]:
    """What this metric of the SDK breaks."""
    if (row := TABLE.get(metric.name)) is None:
        return [f"{metric.name}: not in the table"]
    found = [problem for point in metric.data.data_points for problem in _of_point(row, point)]
    if metric.unit != row.unit:
        found.append(f"unit {metric.unit}")
    if not metric.description:
        found.append("no description")
    if isinstance(metric.data, Histogram) is (row.buckets is None):
        found.append(f"a {type(metric.data).__name__}")
    if isinstance(metric.data, Sum) and metric.data.is_monotonic is not row.monotonic:
        found.append(f"monotonic is {metric.data.is_monotonic}")
    return [f"{metric.name}: {problem}" for problem in found]


def _of_point(row: Row, point) -> list[str]:
    keys = set(point.attributes)
    found = [f"no {key}" for key in row.required - keys] + [f"{key}?" for key in keys - row.required - row.allowed]
    found += [f"{key} = {value!r}" for key, value in point.attributes.items() if type(value) is not TYPES.get(key, str)]
    found += [f"{key} = {point.attributes[key]}" for key in VALUES.keys() & keys if point.attributes[key] not in VALUES[key]]
    if ("server.port" in keys) is not ("server.address" in keys):
        found.append("an address and no port, or a port and no address")
    if row.buckets is not None and tuple(point.explicit_bounds) != row.buckets:
        found.append(f"buckets {point.explicit_bounds}")
    return found
