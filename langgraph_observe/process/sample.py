"""sample(rate): keep or drop whole traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from langgraph_observe.records import Scored, Started

if TYPE_CHECKING:
    from langgraph_observe.records import Processor, Record

RANDOM_DIGITS: Final = 14
"""The last 56 bits of a trace id are random (W3C Trace Context level 2, "random-trace-id flag")."""


def sample(rate: float) -> Processor:
    """Keep this share of all traces, 0 to 1, with everything in them; drop the others.

    Decided by the trace id, by OpenTelemetry's rule (kept if its 56 random bits reach `(1 - rate) · 2⁵⁶`; "TraceState:
    Probability Sampling"), so every process of a distributed trace decides alike, and what a lower rate keeps a higher one
    keeps too. Decided at the start, so errors get no better chance: to keep what failed, keep everything and let the
    collector's tail sampler choose. Metrics in the same chain count what was kept only.

    Raises ValueError for a rate outside 0 to 1.
    """
    if not 0 <= rate <= 1:
        message = f"a sampling rate is between 0 and 1, not {rate}"
        raise ValueError(message)
    threshold = round((1 - rate) * 16**RANDOM_DIGITS)

    def process(record: Record) -> Record | None:
        return record if int(trace_id(record)[-RANDOM_DIGITS:], 16) >= threshold else None

    return process


def trace_id(record: Record) -> str:
    """Of the trace that the record belongs to."""
    return record.trace_id if isinstance(record, (Started, Scored)) else record.run.trace_id
