"""The gen_ai metrics as a vocabulary: the instruments, and what the end of a run adds to which of them. Pure.

Names, units, buckets and attributes follow open-telemetry/semantic-conventions-genai (metrics at 066d4a7f), which renamed
the metrics of inference and split that of tokens: `released` is what v1.41 calls them and dashboards read, `latest` what
that repository does. What both call the same, or only the newer has, is measured either way. What the conventions do not
have is under `langgraph_observe.*`: under `langgraph.*`, a Prometheus exporter would give it the names of `prometheus.Metrics`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from langgraph_observe.records import Usage
from langgraph_observe.sinks import gen_ai

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langgraph_observe.records import Finished, Started
    from langgraph_observe.sinks.gen_ai import Attributes, Era

Measure: TypeAlias = tuple[str, float, "Attributes"]
"""Instrument, value, attributes."""

_SECONDS: Final = tuple(0.01 * 2**n for n in range(14))
_TOKENS: Final = tuple(4**n for n in range(14))
_WORKFLOW: Final = (1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200)
_AGENT: Final = tuple(0.1 * 2**n for n in range(13))
_CALLS: Final = tuple(2**n for n in range(8))

PREFIXES: Final[Mapping[Era, str]] = {"released": "gen_ai.client.operation", "latest": "gen_ai.client.inference"}
"""Of the metrics of inference whose name is all that has changed."""
CLIENT: Final = "gen_ai.client.operation.duration"
"""Of all that leaves the process; of inference under its released name only."""
ACTIVE: Final = "langgraph_observe.runs.active"
RETRIES: Final = "langgraph_observe.retries"
CALLS: Final = {"model": "gen_ai.invoke_agent.inference_calls", "tool": "gen_ai.invoke_agent.tool_calls"}
"""Kind of a run → how many of them one invocation of an agent made."""


class Instrument(NamedTuple):
    """What a meter makes. `buckets` are advice: a view of the application's wins."""

    kind: Literal["histogram", "counter", "up_down_counter"]
    unit: str
    description: str
    buckets: tuple[float, ...] = ()


def _histogram(unit: str, buckets: tuple[float, ...], description: str) -> Instrument:
    return Instrument("histogram", unit, description, buckets)


def _tokens(description: str) -> Instrument:
    return Instrument("counter", "{token}", description)


INSTRUMENTS: Final[Mapping[str, Instrument]] = {
    CLIENT: _histogram("s", _SECONDS, "Duration of operations that leave the process."),
    "gen_ai.client.operation.time_to_first_chunk": _histogram("s", _SECONDS, "From the call of a model to its first chunk."),
    "gen_ai.client.operation.time_per_output_chunk": _histogram("s", _SECONDS, "From one chunk of an answer to the next."),
    "gen_ai.client.token.usage": _histogram("{token}", _TOKENS, "Tokens in and out, of each call of a model."),
    "gen_ai.client.inference.duration": _histogram("s", _SECONDS, "Duration of calls of models."),
    "gen_ai.client.inference.time_to_first_chunk": _histogram("s", _SECONDS, "From the call of a model to its first chunk."),
    "gen_ai.client.inference.time_per_output_chunk": _histogram("s", _SECONDS, "From one chunk of an answer to the next."),
    "gen_ai.client.inference.operation.input_tokens": _histogram("{token}", _TOKENS, "Tokens into each call of a model."),
    "gen_ai.client.inference.operation.output_tokens": _histogram("{token}", _TOKENS, "Tokens out of each call of a model."),
    "gen_ai.client.inference.usage.input_tokens": _tokens("Tokens into models, those of the cache included."),
    "gen_ai.client.inference.usage.output_tokens": _tokens("Tokens out of models, those of reasoning included."),
    "gen_ai.client.inference.usage.cache_read.input_tokens": _tokens("Those of the input that the provider's cache had."),
    "gen_ai.client.inference.usage.cache_write.input_tokens": _tokens("Those of the input that went into the provider's cache."),
    "gen_ai.client.inference.usage.reasoning.output_tokens": _tokens("Those of the output that were reasoning."),
    "gen_ai.invoke_workflow.duration": _histogram("s", _WORKFLOW, "Duration of runs of graphs, sub-graphs too."),
    "gen_ai.invoke_agent.duration": _histogram("s", _AGENT, "Duration of invocations of agents in this process."),
    CALLS["model"]: _histogram("{inference_call}", _CALLS, "Calls of models that one invocation of an agent made itself."),
    CALLS["tool"]: _histogram("{tool_call}", _CALLS, "Calls of tools that one invocation of an agent made itself."),
    "gen_ai.execute_tool.duration": _histogram("s", _SECONDS, "Duration of calls of tools."),
    "langgraph_observe.node.duration": _histogram("s", _SECONDS, "Duration of nodes, each attempt of a retried one."),
    "langgraph_observe.interrupts": Instrument("counter", "{interrupt}", "Runs of a root that stopped for a human."),
    "langgraph_observe.cost": Instrument("counter", "USD", "Spent on models whose price is known."),
    RETRIES: Instrument("counter", "{retry}", "Attempts after the first."),
    ACTIVE: Instrument("up_down_counter", "{run}", "Runs of graphs and agents that have begun and not ended."),
}


def measures(end: Finished, eras: frozenset[Era]) -> Iterator[Measure]:
    """What the end of a run is measured by. Reads the usage of a model: not on the agent's thread.

    Nothing for what a cache answered: no model was called, the node did not run. Only `error` and a cancellation from
    outside carry an `error.type`, as on the span.
    """
    if end.cached:
        return
    run, failed = end.run, gen_ai.known({"error.type": gen_ai.error_type(end)})
    match run.kind:
        case "model":
            yield from _inference(end, failed, eras)
        case "retriever":
            yield CLIENT, end.seconds, _operation(run) | failed
        case "graph" | "agent" if run.remote:
            yield CLIENT, end.seconds, _operation(run) | failed
        case "graph":
            yield "gen_ai.invoke_workflow.duration", end.seconds, _named("gen_ai.workflow.name", run) | failed
        case "agent":
            yield "gen_ai.invoke_agent.duration", end.seconds, _named("gen_ai.agent.name", run) | failed
        case "tool":
            yield "gen_ai.execute_tool.duration", end.seconds, _tool(run) | failed
        case "node":
            yield "langgraph_observe.node.duration", end.seconds, _node(end) | failed
    if end.outcome == "interrupted" and run.kind in {"graph", "agent"} and not run.checkpoint_ns:  # those inside stop with it
        yield "langgraph_observe.interrupts", 1, active(run) | {"langgraph_observe.end_reason": end.reason or "interrupt"}


def calls(run: Started, made: Mapping[str, int]) -> Iterator[Measure]:
    """How many models and tools this invocation of an agent called, failed calls too; 0 where it was none."""
    for kind, name in CALLS.items():
        yield name, made.get(kind, 0), _named("gen_ai.agent.name", run)


def active(run: Started) -> Attributes:
    """What runs that are under way are told apart by."""
    return gen_ai.known({"langgraph.graph.name": run.name})


def retried(run: Started) -> Attributes:
    """What was tried again."""
    return gen_ai.known({"langgraph_observe.kind": run.kind, "langgraph_observe.name": gen_ai.subject(run) or run.name})


def _named(attribute: str, run: Started) -> Attributes:
    return gen_ai.known({attribute: gen_ai.subject(run)})


def _operation(run: Started, answered: str | None = None) -> Attributes:
    host, port = gen_ai.server(run.base_url)
    return gen_ai.known(
        {
            "gen_ai.operation.name": gen_ai.operation(run),
            "gen_ai.provider.name": gen_ai.provider(run),
            "gen_ai.request.model": run.model,
            "gen_ai.response.model": answered,
            "server.address": host,
            "server.port": port,
        }
    )


def _tool(run: Started) -> Attributes:
    return gen_ai.known({"gen_ai.tool.name": run.name, "gen_ai.tool.type": "function", "gen_ai.agent.name": gen_ai.agent(run)})


def _node(end: Finished) -> Attributes:
    run = end.run
    return gen_ai.known(
        {
            "langgraph.graph.name": run.graph,
            "langgraph.node.name": gen_ai.subject(run),
            "langgraph_observe.outcome": end.outcome,
        }
    )


def _inference(end: Finished, failed: Attributes, eras: frozenset[Era]) -> Iterator[Measure]:
    call, usage = _operation(end.run, end.model), end.usage or Usage()
    told = Usage() if usage.estimated else usage  # the conventions: what is counted here must not be reported unasked
    for era in eras:
        yield f"{PREFIXES[era]}.duration", end.seconds, call | failed
        if end.first_token_seconds is not None:
            yield f"{PREFIXES[era]}.time_to_first_chunk", end.first_token_seconds, call
            yield from _chunks(f"{PREFIXES[era]}.time_per_output_chunk", end, end.first_token_seconds, call)
    if "released" in eras:
        yield from _usage(told, call)
    if "latest" in eras:
        yield from _operations(told, call | failed)
        yield from _totals(told, call)
        yield from _parts(told, call | {"gen_ai.token.modality": "unknown"})
    if usage.cost is not None:
        estimated = gen_ai.known({"langgraph_observe.usage.estimated": usage.estimated or None})
        yield "langgraph_observe.cost", float(usage.cost), call | estimated


def _chunks(name: str, end: Finished, first: float, call: Attributes) -> Iterator[Measure]:
    """One for each chunk after the first, as the conventions ask, so that counts, sums and means are theirs.

    When each chunk came is on the record in a few points only: all of one call have its mean. A call that broke off has none, for the wait
    after its last chunk was no chunk's.
    """
    if end.outcome == "ok" and end.stream is not None and (later := end.stream.pieces - 1) > 0:
        mean = max(0.0, (end.stream.last_seconds or first) - first) / later
        yield from itertools.repeat((name, mean, call), later)


def _usage(told: Usage, call: Attributes) -> Iterator[Measure]:
    for direction, count in (("input", told.input_tokens), ("output", told.output_tokens)):
        if count is not None:
            yield "gen_ai.client.token.usage", count, call | {"gen_ai.token.type": direction}


def _operations(told: Usage, call: Attributes) -> Iterator[Measure]:
    """Distributions. A call without usage is none of 0 tokens, whatever the conventions say: the percentiles would be false."""
    for direction, count in (("input", told.input_tokens), ("output", told.output_tokens)):
        if count is not None:
            yield f"gen_ai.client.inference.operation.{direction}_tokens", count, call


def _totals(told: Usage, call: Attributes) -> Iterator[Measure]:
    """Counters. What a provider does not break down is of an unknown modality, and so is the 0 of a call without usage."""
    totals = (("input", told.input_tokens, told.input_audio_tokens), ("output", told.output_tokens, told.output_audio_tokens))
    for direction, total, audio in totals:
        name, heard = f"gen_ai.client.inference.usage.{direction}_tokens", min(audio or 0, total or 0)
        if heard:
            yield name, heard, call | {"gen_ai.token.modality": "audio"}
        yield name, (total or 0) - heard, call | {"gen_ai.token.modality": "unknown"}


def _parts(told: Usage, call: Attributes) -> Iterator[Measure]:
    parts = (
        ("cache_read.input", told.cache_read_tokens),
        ("cache_write.input", told.cache_write_tokens),
        ("reasoning.output", told.reasoning_tokens),
    )
    for part, count in parts:
        if count is not None:
            yield f"gen_ai.client.inference.usage.{part}_tokens", count, call
