"""A stand-in for Langfuse: takes spans and scores as its server does, and reads of a span what its server reads.

Written from the mapping of `OtelIngestionProcessor`. Only what the tests look at, and no price list: a test compares usage
keys with those that Langfuse has prices for.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from otlp_server import Request, Server, attributes

PUBLIC, SECRET = "pk-lf-1", "sk-lf-secret"
KEYS = {"public_key": PUBLIC, "secret_key": SECRET}
ERROR = 2
OPERATIONS = {"chat": "GENERATION", "text_completion": "GENERATION", "invoke_agent": "AGENT", "execute_tool": "TOOL"}
MODEL_KEYS = ("langfuse.observation.model.name", "gen_ai.response.model", "gen_ai.request.model")


@dataclass(frozen=True)
class Observation:
    """A span as Langfuse reads it."""

    span: Any
    project: str

    def __repr__(self):
        return f"{self.type} {self.name}"

    @cached_property
    def held(self):
        return attributes(self.span)

    def first(self, *keys):
        return next((self.held[key] for key in keys if self.held.get(key) is not None), None)

    def data(self, key):
        """An attribute that is JSON; plain text stays."""
        value = self.held.get(f"langfuse.observation.{key}")
        try:
            return json.loads(value)
        except (TypeError, ValueError):
            return value

    @property
    def id(self):
        return self.span.span_id.hex()

    @property
    def parent_id(self):
        return self.span.parent_span_id.hex() or None

    @property
    def trace_id(self):
        return self.span.trace_id.hex()

    @property
    def name(self):
        return self.first("gen_ai.tool.name") or self.span.name

    @property
    def type(self):
        if told := self.first("langfuse.observation.type"):
            return told.upper()
        if (kind := self.first("openinference.span.kind")) is not None:
            return "GENERATION" if kind == "LLM" else kind
        by_operation = OPERATIONS.get(self.first("gen_ai.operation.name"))
        return by_operation or ("GENERATION" if self.first(*MODEL_KEYS) else "SPAN")

    @property
    def level(self):
        return self.first("langfuse.observation.level") or ("ERROR" if self.span.status.code == ERROR else "DEFAULT")

    @property
    def words(self):
        return self.first("langfuse.observation.status_message") or self.span.status.message

    @property
    def session(self):
        return self.first("session.id", "gen_ai.conversation.id", "langfuse.observation.metadata.langfuse_session_id")

    @property
    def user(self):
        return self.first("user.id", "langfuse.observation.metadata.langfuse_user_id")

    @property
    def tags(self):
        return self.first("langfuse.trace.tags", "langfuse.observation.metadata.langfuse_tags") or []

    @property
    def metadata(self):
        """The trace's own override the observation's. Read from JSON where the SDK has put it there."""
        return self._under("langfuse.observation.metadata.") | self._under("langfuse.trace.metadata.")

    def _under(self, prefix):
        return {key.removeprefix(prefix): _unquoted(value) for key, value in self.held.items() if key.startswith(prefix)}

    @property
    def usage(self):
        """Exclusive buckets. Without Langfuse's own, what the gen_ai totals leave when their parts are taken out."""
        if (details := self.data("usage_details")) is not None:
            return details
        read, written = (
            self.held.get("gen_ai.usage.cache_read.input_tokens", 0),
            self.held.get("gen_ai.usage.cache_creation.input_tokens", 0),
        )
        counts = {
            "input": self.held.get("gen_ai.usage.input_tokens", 0) - read - written,
            "input_cache_read": read,
            "input_cache_creation": written,
            "output": self.held.get("gen_ai.usage.output_tokens", 0),
        }
        return {key: count for key, count in counts.items() if count}

    @property
    def tokens(self):
        return self.usage.get("total") or sum(self.usage.values())


def _unquoted(value):
    if isinstance(value, str) and value[:1] == '"':
        return json.loads(value)
    return value


@dataclass
class Langfuse(Server):
    """`largest` is the most bytes of a request, as they come over the wire."""

    projects: dict[str, str] = field(default_factory=lambda: {PUBLIC: SECRET})
    largest: int | None = None
    scores: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """By project and id: the same id replaces."""
    taken: list[tuple[str, Request]] = field(default_factory=list)

    def answer(self, request):
        if self.status >= 400:
            return self.status, b""
        if (project := self._project(request)) is None:
            return 401, b""
        if self.largest is not None and int(request.headers["content-length"]) > self.largest:
            return 413, b""
        return self._scored(project, request.json) if request.path.endswith("/scores") else self._traced(project, request)

    def _project(self, request):
        public, _, secret = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode().partition(":")
        return public if self.projects.get(public) == secret else None

    def _traced(self, project, request):
        if int(request.headers["x-langfuse-ingestion-version"]) > 4:
            return 400, b""
        self.taken.append((project, request))
        return 200, b""

    def _scored(self, project, bodies):
        right = [body for body in bodies if body.get("name")]
        self.scores |= {(project, body["id"]): body for body in right}
        counts = {"accepted": len(right), "rejected": len(bodies) - len(right), "errors": []}
        return (202, b"{}") if len(right) == len(bodies) else (207, json.dumps(counts).encode())

    @property
    def observations(self):
        return [Observation(span, project) for project, request in self.taken for span in request.spans]

    def generations(self):
        return [one for one in self.observations if one.type == "GENERATION"]

    def named(self, name):
        """The one observation of this name."""
        (found,) = [one for one in self.observations if one.name == name]
        return found

    def tree(self):
        """Each observation's name with that of its parent; roots have None."""
        names = {one.id: one.name for one in self.observations}
        return {one.name: names.get(one.parent_id, one.parent_id) for one in self.observations}
