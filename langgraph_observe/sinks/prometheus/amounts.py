"""What the end of a run adds to which metric, as rows: pure, and without a word of prometheus_client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langgraph_observe.records import Finished, Outcome, Stream, Usage

Labels: TypeAlias = tuple[str, ...]
Row: TypeAlias = tuple[str, Labels, float]
"""Metric, labels after those of the run, amount."""
Rows: TypeAlias = "Iterator[tuple[str, Labels, float | None]]"
"""With what is unknown still among them."""

STATUS: Final[Mapping[Outcome, str]] = {
    "ok": "ok",
    "error": "error",
    "interrupted": "interrupted",
    "cancelled": "cancelled",
    "abandoned": "cancelled",
}
OUTCOME: Final[Mapping[str, str]] = {
    "ok": "completed",
    "error": "error",
    "client_disconnect": "client_disconnect",
    "server_shutdown": "server_shutdown",
    "process_stopped": "server_shutdown",
}
"""Of a stream over HTTP, by reason, else by outcome; whatever else ended it has cancelled it."""
NOT_STREAMED: Final = "not_streamed"
"""The reason of a request for a stream that was answered with something else, and properly: no stream, and not counted as one."""
FIRST: Final = {
    "run": "run_time_to_first_chunk_seconds",
    "llm": "llm_time_to_first_token_seconds",
    "stream": "stream_first_event_seconds",
}


def rows(kind: str, end: Finished) -> list[Row]:
    """All that a run which did run adds. Its errors are counted apart: they go by other labels."""
    return [(name, more, amount) for name, more, amount in _rows(kind, end) if amount is not None]


def _rows(kind: str, end: Finished) -> Rows:
    if end.reason == NOT_STREAMED:
        return
    yield f"{kind}_duration_seconds", (_ending(kind, end),), end.seconds
    if kind in FIRST:
        yield FIRST[kind], (), end.first_token_seconds
    if kind == "run" and not end.run.checkpoint_ns:  # the outermost graph; those inside stop with it
        yield from _stopped(end)
    if kind == "llm":
        yield from _used(end.usage, failed=end.outcome != "ok")
    if end.stream is not None and kind in _STREAMED:
        yield from _STREAMED[kind](end, end.stream)


def _ending(kind: str, end: Finished) -> str:
    if kind == "stream":
        return OUTCOME.get(end.reason or "", OUTCOME.get(end.outcome, "cancelled"))
    return STATUS[end.outcome]


def _stopped(end: Finished) -> Rows:
    if end.outcome == "interrupted":
        yield "interrupts_total", (end.reason or "interrupt",), 1
    elif STATUS[end.outcome] == "cancelled":
        yield "run_cancellations_total", (end.reason or end.outcome,), 1


def _used(usage: Usage | None, *, failed: bool) -> Rows:
    if usage is None:
        yield "llm_unpriced_calls_total", (), None if failed else 1  # failed without a word on usage: most likely not billed
        return
    source = "estimated" if usage.estimated else "reported"
    yield "llm_tokens_total", ("input", source), usage.input_tokens
    yield "llm_tokens_total", ("output", source), usage.output_tokens
    yield "llm_token_details_total", ("cache_read",), usage.cache_read_tokens
    yield "llm_token_details_total", ("cache_write",), usage.cache_write_tokens
    yield "llm_token_details_total", ("reasoning",), usage.reasoning_tokens
    yield "llm_token_details_total", ("input_audio",), usage.input_audio_tokens
    yield "llm_token_details_total", ("output_audio",), usage.output_audio_tokens
    yield "llm_cost_usd_total", (source,), None if usage.cost is None else float(usage.cost)
    yield "llm_unpriced_calls_total", (), 1 if usage.cost is None else None


def _of_graph(_: Finished, stream: Stream) -> Rows:
    for mode, count in stream.kinds.items():
        yield "run_chunks_total", (mode,), count
    yield "run_stalls_total", (), stream.stalls


def _of_model(end: Finished, stream: Stream) -> Rows:
    first, last = end.first_token_seconds, stream.last_seconds
    if stream.pieces > 1 and first is not None and last is not None:
        yield "llm_time_per_output_chunk_seconds", (), (last - first) / (stream.pieces - 1)
    yield "llm_stalls_total", (), stream.stalls


def _of_response(_: Finished, stream: Stream) -> Rows:
    for event, count in stream.kinds.items():
        yield "stream_events_total", (event.partition("|")[0],), count  # LangGraph's server: `values|sub:<uuid>`
    yield "stream_longest_gap_seconds", (), stream.longest_gap_seconds
    yield "stream_stalls_total", (), stream.stalls
    yield "stream_error_events_total", (), stream.errors
    yield "stream_keepalives_total", (), stream.keepalives
    yield "stream_bytes_total", (), stream.bytes
    yield "stream_reconnects_total", (), int(stream.resumed)


_STREAMED: Final = {"run": _of_graph, "llm": _of_model, "stream": _of_response}
