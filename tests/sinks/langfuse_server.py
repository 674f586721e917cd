"""A stand-in for Langfuse: takes spans and scores as its server does, and reads of a span what its server reads.

Written from the mapping of `OtelIngestionProcessor`. Only what the tests look at, and no price list: a test compares usage
keys with those that Langfuse has prices for.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs, urlsplit

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
    def start(self):
        return datetime.fromtimestamp(self.span.start_time_unix_nano // 10**6 / 1000, UTC)

    @property
    def is_root(self):
        return self.parent_id is None or bool(self.held.get("langfuse.internal.is_app_root"))

    def row(self, fields, expanded):
        """As the read API gives it: groups of fields that were asked for, metadata as texts, cut unless they are `expanded`."""
        groups = fields.split(",")
        row = {"id": self.id, "traceId": self.trace_id, "startTime": self.start.isoformat(), "projectId": self.project}
        row |= {"endTime": self._end(), "parentObservationId": self.parent_id, "type": self.type, "isRootObservation": self.is_root}
        return row | {key: value for group in groups for key, value in self._group(group, expanded).items()}

    def _end(self):
        ends = self.span.end_time_unix_nano // 10**6 / 1000
        return None if self.type == "EVENT" else datetime.fromtimestamp(ends, UTC).isoformat()

    def _group(self, group, expanded):
        cost = self.data("cost_details") or {}
        groups = {
            "basic": {
                "name": self.name,
                "level": self.level,
                "statusMessage": self.words,
                "userId": self.user,
                "sessionId": self.session,
            },
            "io": {side: self.held.get(f"langfuse.observation.{side}") for side in ("input", "output")},
            "metadata": {"metadata": {key: text if key in expanded else text[:200] for key, text in self._texts()}},
            "model": {"model": self.first(*MODEL_KEYS) if self.type == "GENERATION" else None},
            "usage": {"usageDetails": self.usage, "costDetails": cost, "totalCost": cost.get("total")},
            "metrics": {"timeToFirstToken": self._first_token()},
            "trace_context": {"tags": self.tags, "traceName": self.held.get("langfuse.trace.name")},
        }
        return groups.get(group, {})

    def _first_token(self):
        first = self.data("completion_start_time")
        return first and (datetime.fromisoformat(first) - self.start).total_seconds()

    def _texts(self):
        """What the server has no field for it keeps under `attributes.`; of another's key it makes a text."""
        others = {f"attributes.{key}": value for key, value in self.held.items() if not key.startswith("langfuse.")}
        both = self.metadata | others
        return [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in both.items()]

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


def _score_row(body):
    of_run = body.get("observationId")
    subject = (
        {"kind": "observation", "id": of_run, "traceId": body["traceId"]} if of_run else {"kind": "trace", "id": body["traceId"]}
    )
    when = body["timestamp"]
    kept = {key: body.get(key) for key in ("id", "name", "value", "dataType", "comment", "metadata")}
    about = {"projectId": "p", "source": "API", "environment": "default", "timestamp": when, "createdAt": when, "updatedAt": when}
    return kept | about | {"subject": subject}


@dataclass
class Langfuse(Server):
    """`largest` is the most bytes of a request, as they come over the wire."""

    projects: dict[str, str] = field(default_factory=lambda: {PUBLIC: SECRET})
    largest: int | None = None
    page: int = 1000
    """The most rows of an answer."""
    scores: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """By project and id: the same id replaces."""
    taken: list[tuple[str, Request]] = field(default_factory=list)

    def answer(self, request):
        if self.status >= 400:
            return self.status, b""
        if (project := self._project(request)) is None:
            return 401, b""
        if self.largest is not None and int(request.headers.get("content-length", 0)) > self.largest:
            return 413, b""
        if not request.body:
            return self._read(project, request)
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

    def _read(self, project, request):
        """The read API: `observations.get_many` and `scores.get_many`, `page` at a time."""
        url = urlsplit(request.path)
        asked = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path.endswith("/v2/observations"):
            rows = [
                one.row(asked.get("fields", "core,basic"), asked.get("expandMetadata", "")) for one in self._wanted(project, asked)
            ]
        elif url.path.endswith("/v3/scores"):
            rows = [
                _score_row(body) for (of, _), body in self.scores.items() if of == project and body["traceId"] == asked["traceId"]
            ]
        else:
            return 404, b"{}"
        first = int(base64.b64decode(asked.get("cursor", "")) or 0)
        last = first + min(int(asked.get("limit", 50)), self.page)
        more = {"cursor": base64.b64encode(b"%d" % last).decode()} if last < len(rows) else {}
        return 200, json.dumps({"data": rows[first:last], "meta": {"limit": last - first, **more}}).encode()

    def _wanted(self, project, asked):
        """Latest first."""
        told = [one for one in self.observations if one.project == project]
        rules = {
            "traceId": lambda one, value: one.trace_id == value,
            "userId": lambda one, value: one.user == value,
            "sessionId": lambda one, value: one.session == value,
            "isRootObservation": lambda one, value: one.is_root == (value == "true"),
            "fromStartTime": lambda one, value: one.start >= datetime.fromisoformat(value),
        }
        found = [one for one in told if all(rules[key](one, value) for key, value in asked.items() if key in rules)]
        return sorted(found, key=lambda one: one.start, reverse=True)

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
