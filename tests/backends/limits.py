"""What a backend shows wrongly, or not at all, through no fault of ours. One of its versions that mends that fails a test."""

from __future__ import annotations

from typing import Any, NamedTuple


class Limit(NamedTuple):
    """What is shown instead, and why."""

    shown: Any
    reason: str


LIMITS = {
    ("Phoenix", "output of a chat"): Limit(False, "it puts id and model of the response there; the answer is among its messages"),
    ("Phoenix", "link to the question"): Limit(0, "it keeps no links"),
    ("Phoenix", "cost of an unknown model"): Limit(0, "it adds up what it does not know to $0"),
}
