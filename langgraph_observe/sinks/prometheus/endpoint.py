"""How a scrape comes by the metrics: a port of its own, a route of a web application, a push at the end of a batch job.

All three expose a whole registry, that of prometheus_client by default, whoever's metrics are on it; with
PROMETHEUS_MULTIPROC_DIR, what all processes have counted, those that died left out of the gauges of what lives.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qs

from prometheus_client import REGISTRY, CollectorRegistry, multiprocess, push_to_gateway, start_http_server
from prometheus_client.exposition import choose_encoder, default_handler

from langgraph_observe.sinks.prometheus.families import SCRAPE_WAITS, all_on, printable, shared

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import Metric

log: Final = logging.getLogger("langgraph_observe")
PORT: Final = 9464
"""OpenTelemetry's for a Prometheus exporter; 9090 is that of the Prometheus server."""
_LIVE: Final = re.compile(r"gauge_live\w*_(\d+)\.db")
_served: Final[dict[tuple[str, int], Server]] = {}
_serving = threading.Lock()


@dataclass(frozen=True)
class Scraped:
    """A registry as one scrape is to see it: prometheus_client's functions take it for a registry."""

    registry: CollectorRegistry

    def collect(self) -> Iterable[Metric]:
        """All metrics."""
        return self._whole().collect()

    def restricted_registry(self, names: Iterable[str]) -> Any:
        """Some metrics (`?name[]=`)."""
        return self._whole().restricted_registry(names)

    def _whole(self) -> CollectorRegistry:
        directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        if not directory or not shared():
            return self.registry
        _settle(self.registry, SCRAPE_WAITS)
        _bury(Path(directory))
        everyone = CollectorRegistry(support_collectors_without_names=True)
        multiprocess.MultiProcessCollector(everyone, directory)  # type: ignore[no-untyped-call]
        return everyone


def _settle(registry: CollectorRegistry, timeout: float) -> None:
    for families in all_on(registry):
        families.settle(timeout)


def _bury(directory: Path) -> None:
    """Take dead processes out of the gauges. gunicorn has a hook for it; uvicorn's workers, when killed, have not."""
    found = (_LIVE.fullmatch(path.name) for path in directory.glob("gauge_live*.db"))
    for pid in {int(match[1]) for match in found if match}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
        except OSError:  # it lives, and is another user's
            continue


class Exposition:
    """An ASGI application. The metrics are written on a thread: 40,000 series would stop an event loop for 300 ms."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = Scraped(registry)

    async def __call__(
        self,
        scope: Mapping[str, Any],
        _: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Answer GET and HEAD."""
        if scope["type"] != "http":
            message = f"a page of metrics does not speak {scope['type']}"
            raise NotImplementedError(message)
        status, headers, body = 405, {"allow": "GET, HEAD"}, b""
        if scope["method"] in {"GET", "HEAD"}:
            status, (headers, body) = 200, await asyncio.to_thread(self._written, scope)
        fields = [(name.encode(), value.encode()) for name, value in {**headers, "content-length": str(len(body))}.items()]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _written(self, scope: Mapping[str, Any]) -> tuple[dict[str, str], bytes]:
        encode, content_type = _encoder(_header(scope, b"accept"))
        names = parse_qs(scope["query_string"].decode("latin-1")).get("name[]")
        body = encode(self._registry.restricted_registry(names) if names else self._registry)
        headers = {"content-type": content_type, "vary": "Accept, Accept-Encoding"}
        if not _accepts_gzip(_header(scope, b"accept-encoding")):
            return headers, body
        return {**headers, "content-encoding": "gzip"}, gzip.compress(body, compresslevel=6)


def _header(scope: Mapping[str, Any], name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name)


def _encoder(accepted: str) -> tuple[Callable[[Any], bytes], str]:
    try:
        return choose_encoder(accepted)
    except (TypeError, ValueError):  # a version that is none
        return choose_encoder("")


def _accepts_gzip(accepted: str) -> bool:
    for coding, _, weight in (one.partition(";") for one in accepted.split(",")):
        if coding.strip().lower() == "gzip":
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", weight)
    return False


def asgi_app(*, registry: CollectorRegistry = REGISTRY) -> Exposition:
    """Make the metrics a route of a web application.

    In FastAPI and Starlette `app.add_route("/metrics", asgi_app())`; not `mount`, which redirects `/metrics` to `/metrics/`.
    Speaks Prometheus' text formats and OpenMetrics, as the client accepts, the latter with exemplars; gzip; `?name[]=`.
    """
    return Exposition(registry)


class Server:
    """A port that answers scrapes. A context manager; it ends with the process at the latest."""

    def __init__(self, port: int, addr: str, registry: CollectorRegistry) -> None:
        made: tuple[WSGIServer, threading.Thread] = start_http_server(port, addr, Scraped(registry))
        self._server, self._thread = made
        self.registry = registry
        self.addr = addr
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Answer no more. A second call does nothing."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self.leave()

    def leave(self) -> None:
        """Close the socket alone: of two processes that have it after a fork, the parent answers."""
        if _served.get((self.addr, self.port)) is self:
            del _served[self.addr, self.port]
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve(port: int = PORT, addr: str = "127.0.0.1", *, registry: CollectorRegistry = REGISTRY) -> Server:
    """Serve the metrics on a port of their own, to this machine unless `addr` says otherwise. Port 0 takes any that is free.

    The same port again is the same server: a cell or a module may run twice. Raises OSError for a port that others have
    (of several workers one can have it: give those `asgi_app`), and ValueError for one that serves another registry.
    """
    with _serving:
        there = _served.get((addr, port))
        if there is None:
            there = Server(port, addr, registry)
            _served[addr, there.port] = there
        elif there.registry is not registry:
            message = f"port {port} serves another registry"
            raise ValueError(message)
        return there


def _leave_to_parent() -> None:
    """A thread that held the lock is not there to give it back."""
    global _serving  # noqa: PLW0603 - a lock cannot be put back into its first state
    _serving = threading.Lock()
    for server in list(_served.values()):
        server.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def push(
    gateway: str,
    job: str,
    *,
    grouping_key: Mapping[str, str] | None = None,
    registry: CollectorRegistry = REGISTRY,
    timeout: float = 5.0,
    handler: Callable[..., Any] = default_handler,
) -> bool:
    """Push the metrics of a batch job to a Pushgateway, all of them, in place of those of its last run.

    `grouping_key` tells this job's series from those of others of its name. It becomes labels and a part of a URL: no secret
    belongs there. `handler` is one of prometheus_client's, as for a password. Waits at most `timeout` seconds for what is still
    to be counted, and as long for each step of the transport. Never raises: False, and a warning without the address, if the
    gateway did not take them.
    """
    group = {name: printable(value) for name, value in (grouping_key or {}).items()}
    try:
        _settle(registry, timeout)
        push_to_gateway(gateway, printable(job), Scraped(registry), group, timeout, handler)
    except Exception as error:  # its text may hold the address, and that a password
        log.warning("the metrics of the job were not pushed: %s %s", type(error).__name__, getattr(error, "code", ""))
        return False
    return True
