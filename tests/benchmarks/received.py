"""What reached a backend, counted alike for everybody: fast must not mean dropped."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MODEL = {"chat", "LLM", "generation", "model", "llm", "CHAT_MODEL", "text_completion"}
TOOL = {"execute_tool", "TOOL", "tool"}
KIND = (
    *("gen_ai.operation.name", "openinference.span.kind", "langfuse.observation.type", "traceloop.span.kind", "mlflow.spanType"),
    *("traceloop.entity.kind", "llm.request.type"),
)
"""Attributes in which a span says what it is."""
TOKENS = re.compile(
    r"^(gen_ai\.usage\.|llm\.token_count\.)(input_tokens|output_tokens|prompt|completion|prompt_tokens|completion_tokens)$"
)
"""Attributes that count tokens; where there are old and new names for the same, the new ones."""
USAGE = ("langfuse.observation.usage_details", "mlflow.chat.tokenUsage")
"""Attributes that are JSON with them."""


@dataclass
class Received:
    """Since the start of the process. `texts` are kept while `keeping` only."""

    spans: int = 0
    sent: int = 0
    """Bytes."""
    models: int = 0
    tools: int = 0
    tokens: int = 0
    names: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    keeping: bool = False

    def clear(self) -> None:
        self.spans = self.sent = self.models = self.tools = self.tokens = 0
        self.names.clear()
        self.bodies.clear()

    def body(self, body: bytes) -> None:
        """A request."""
        self.sent += len(body)
        if self.keeping:
            self.bodies.append(body)

    def span(self, name: str, attributes: Mapping[str, Any]) -> None:
        """In detail, while keeping."""
        kinds = {str(attributes[key]).strip('"') for key in KIND if key in attributes}
        model = bool(kinds & MODEL)
        self.models += model
        self.tools += bool(kinds & TOOL)
        self.tokens += tokens(attributes) if model else 0
        self.names.append(name)

    def told(self, nodes: Iterable[str], texts: Iterable[str]) -> dict[str, int]:
        """How much of what was to be seen. A node counts once for each of its spans."""
        pattern = re.compile(rf"(^|[\s.:])({'|'.join(map(re.escape, nodes))})(\.task)?$") if nodes else None
        everything = b"".join(self.bodies)
        return {
            "spans": self.spans,
            "nodes": sum(bool(pattern and pattern.search(name)) for name in self.names),
            "models": self.models,
            "tools": self.tools,
            "tokens": self.tokens,
            "texts": sum(text.encode() in everything for text in texts),
            "bytes": self.sent,
        }


def tokens(attributes: Mapping[str, Any]) -> int:
    counted = {key.rpartition(".")[2].replace("_tokens", ""): value for key, value in attributes.items() if TOKENS.match(key)}
    if counted:
        return sum(int(counted.get(new, counted.get(old, 0))) for new, old in (("input", "prompt"), ("output", "completion")))
    for key in USAGE:
        if key in attributes:
            usage = json.loads(attributes[key])
            return int(usage.get("total") or usage.get("total_tokens") or usage.get("input", 0) + usage.get("output", 0))
    return 0
