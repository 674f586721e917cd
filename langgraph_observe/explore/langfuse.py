"""Langfuse 5 as a source, by its read API: observations, paged, and the scores of each trace."""

from __future__ import annotations

import json
import os
import weakref
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.explore.server import LATEST, PAGE, SECONDS, refused, shown, silent
from langgraph_observe.explore.source import sifted
from langgraph_observe.explore.vocabulary import NOTED, Span, records
from langgraph_observe.records import Scored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from langfuse.api.client import LangfuseAPI
    from langfuse.api.commons.types.observation_v2 import ObservationV2

    from langgraph_observe.explore.source import Filter
    from langgraph_observe.records import Record

NAME: Final = "Langfuse"
CLOUD: Final = "https://cloud.langfuse.com"
KEYS: Final = ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY")
FIELDS: Final = "core,basic,time,io,metadata,model,usage,prompt,metrics,trace_context"
WHOLE: Final = "attributes,resumed_from,goto"
"""Metadata that is not to be cut at 200 characters."""
ATTRIBUTES: Final = "attributes"
"""Under this key of the metadata the server keeps a span's attributes that it has no field for."""
CACHE_READ: Final = ("input_cache_read", "input_cached_tokens", "cache_read_input_tokens")
CACHE_WRITE: Final = ("input_cache_creation", "input_cache_creation_5m", "input_cache_creation_1h", "cache_creation_input_tokens")
REASONING: Final = ("output_reasoning", "output_reasoning_tokens")


class Langfuse:
    """The latest traces of a project. What is not given is as the `LANGFUSE_*` variables say.

    Raises ValueError naming the keys that are missing, ConnectionError and PermissionError, which say what to do. What was sent a
    moment ago may take half a minute to be readable.
    """

    def __init__(self, *, public_key: str | None = None, secret_key: str | None = None, base_url: str | None = None,
                 latest: int = LATEST, timeout: float | None = None) -> None:  # fmt: skip
        self._keys = tuple(given or os.environ.get(name) or "" for given, name in zip((public_key, secret_key), KEYS, strict=True))
        if missing := [name for name, key in zip(KEYS, self._keys, strict=True) if not key]:
            msg = f"Langfuse needs {' and '.join(missing)}"
            raise ValueError(msg)
        self.base_url = base_url or os.environ.get("LANGFUSE_BASE_URL") or os.environ.get("LANGFUSE_HOST") or CLOUD
        self._latest = latest
        self._timeout = timeout or float(os.environ.get("LANGFUSE_TIMEOUT") or SECONDS)
        self._made: LangfuseAPI | None = None

    def ids(self, wanted: Filter, /, limit: int | None = None) -> list[str]:
        """See Source."""
        return sifted(self._traces(wanted), self.records, replace(wanted, since_ns=None, user=None, session=None), limit)

    def records(self, trace_id: str, /) -> list[Record]:
        """See Source."""
        found = list(self._observations(trace_id=trace_id, fields=FIELDS, expand_metadata=WHOLE, limit=PAGE))
        return [*records(_spans(found)), *self._scores(trace_id)] if found else []

    def __str__(self) -> str:
        return f"Langfuse at {shown(self.base_url)}"

    @property
    def _api(self) -> LangfuseAPI:
        """Not `Langfuse()`: that one installs a tracer provider."""
        if self._made is None:
            import httpx
            from langfuse.api.client import LangfuseAPI

            public, secret = self._keys
            client = httpx.Client(timeout=self._timeout, follow_redirects=True)
            weakref.finalize(self, client.close)
            self._made = LangfuseAPI(base_url=self.base_url, username=public, password=secret, httpx_client=client)
        return self._made

    def _traces(self, wanted: Filter) -> Iterator[str]:
        since = None if wanted.since_ns is None else datetime.fromtimestamp(wanted.since_ns / 1e9, UTC)
        asked = {"is_root_observation": True, "from_start_time": since, "user_id": wanted.user, "session_id": wanted.session}
        roots = self._observations(**asked, limit=min(PAGE, self._latest))
        latest = sorted(islice(roots, self._latest), key=lambda root: root.start_time, reverse=True)
        yield from dict.fromkeys(root.trace_id for root in latest if root.trace_id)

    def _observations(self, **asked: Any) -> Iterator[ObservationV2]:
        return self._paged(lambda cursor: self._api.observations.get_many(**asked, cursor=cursor))

    def _scores(self, trace_id: str) -> Iterator[Scored]:
        found = self._paged(
            lambda cursor: self._api.scores.get_many(trace_id=trace_id, fields="details,subject", limit=100, cursor=cursor)
        )
        return (_score(one, trace_id) for one in found)

    def _paged(self, ask: Callable[[str | None], Any]) -> Iterator[Any]:
        cursor = None
        while True:
            page = self._answer(ask, cursor)
            yield from page.data
            if (cursor := page.meta.cursor) is None:
                return

    def _answer(self, ask: Callable[[str | None], Any], cursor: str | None) -> Any:
        import httpx
        from langfuse.api.core.api_error import ApiError

        try:
            return ask(cursor)
        except ApiError as error:
            raise refused(NAME, self.base_url, error.status_code, " and ".join(KEYS)) from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise silent(NAME, self.base_url, error) from error


def _spans(found: Sequence[ObservationV2]) -> list[Span]:
    """Events go to the observation that they are in; what has nodes in it is a graph."""
    events: dict[str | None, list[ObservationV2]] = {}
    for one in found:
        if one.type == "EVENT":
            events.setdefault(one.parent_observation_id, []).append(one)
    graphs = {one.parent_observation_id for one in found if _is_node(one)}
    return [_span(one, events.get(one.id, ()), graph=one.id in graphs) for one in found if one.type != "EVENT"]


def _span(one: ObservationV2, events: Sequence[ObservationV2], *, graph: bool) -> Span:
    told = _attributes(one, graph=graph)
    return Span(
        trace_id=one.trace_id or "",
        span_id=one.id,
        parent_id=one.parent_observation_id,
        name=one.name or one.type,
        start_ns=_ns(one.start_time),
        end_ns=_ns(one.end_time) if one.end_time else 0,
        attributes={key: value for key, value in told.items() if value is not None},
        events=[_event(event) for event in events],
        links=[(trace, "", {"langgraph.link.kind": "resumed_from"}) for trace in _resumed(one)],
        error=_words(one, told) if one.level == "ERROR" else None,
    )


def _attributes(one: ObservationV2, *, graph: bool) -> dict[str, Any]:
    """As a span of ours would have them."""
    metadata = one.metadata or {}
    kept = {key.removeprefix(f"{ATTRIBUTES}."): value for key, value in metadata.items() if key.startswith(f"{ATTRIBUTES}.")}
    inside = metadata.get(ATTRIBUTES)
    operation = "invoke_node" if _is_node(one) else "invoke_workflow" if graph and one.type == "CHAIN" else None
    return {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": metadata.get("ls_provider"),
        "gen_ai.request.model": one.model,
        **(inside if isinstance(inside, dict) else {}),
        **kept,
        "langgraph.node.step": metadata.get("langgraph_step"),
        "langgraph.attempt": metadata.get("attempt"),
        "langfuse.observation.type": one.type.lower(),
        "langfuse.observation.input": one.input,
        "langfuse.observation.output": one.output,
        "langfuse.observation.model.name": one.model,
        "gen_ai.response.time_to_first_chunk": one.time_to_first_token,
        "langfuse.trace.name": one.trace_name,
        "langfuse.trace.tags": one.tags,
        "session.id": one.session_id,
        "user.id": one.user_id,
        "langgraph.cost": one.total_cost,
        **_tokens(one.usage_details or {}),
    }


def _tokens(buckets: Mapping[str, int]) -> dict[str, int | None]:
    """Langfuse's exclusive buckets as totals with parts."""

    def total(side: str) -> int | None:
        counts = [count for name, count in buckets.items() if name.startswith(side)]
        return sum(counts) if counts else None

    def part(names: Sequence[str]) -> int | None:
        return sum(buckets.get(name, 0) for name in names) or None

    return {
        "gen_ai.usage.input_tokens": total("input"),
        "gen_ai.usage.output_tokens": total("output"),
        "gen_ai.usage.cache_read.input_tokens": part(CACHE_READ),
        "gen_ai.usage.cache_creation.input_tokens": part(CACHE_WRITE),
        "gen_ai.usage.reasoning.output_tokens": part(REASONING),
    }


def _event(one: ObservationV2) -> tuple[str, int, Mapping[str, Any]]:
    name = f"{NOTED}{(one.metadata or {}).get('event') or 'custom'}"
    told = {f"{name}.name": one.name, f"{name}.payload": one.input}
    return name, _ns(one.start_time), {key: value for key, value in told.items() if value is not None}


def _score(one: Any, trace_id: str) -> Scored:
    subject = getattr(one, "subject", None)
    return Scored(
        trace_id=trace_id,
        span_id=getattr(subject, "id", None) if getattr(subject, "kind", None) == "observation" else None,
        name=one.name,
        value=one.value,
        comment=getattr(one, "comment", None),
        source=str(getattr(one.source, "value", one.source)).lower(),
        at_ns=_ns(one.timestamp),
        id=one.id,
    )


def _resumed(one: ObservationV2) -> list[str]:
    """Trace ids; Langfuse has no links between spans."""
    told = (one.metadata or {}).get("resumed_from")
    found = json.loads(told) if isinstance(told, str) and told.startswith("[") else told
    return [str(trace) for trace in found] if isinstance(found, list) else []


def _is_node(one: ObservationV2) -> bool:
    return one.type in {"CHAIN", "SPAN"} and bool(one.name) and (one.metadata or {}).get("langgraph_node") == one.name


def _words(one: ObservationV2, told: Mapping[str, Any]) -> str:
    """The message without the type before it, which is told by itself."""
    return (one.status_message or "").removeprefix(f"{told.get('error.type')}: ")


def _ns(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000) * 10**6  # Langfuse keeps milliseconds
