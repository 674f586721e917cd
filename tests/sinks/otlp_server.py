"""A stand-in for the servers that take OTLP and Langfuse's scores: on the loopback, it answers as told."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes
    peer: int
    """The client's port: one a connection."""

    @property
    def spans(self):
        """Of an OTLP request: the protobuf spans."""
        decoded = ExportTraceServiceRequest.FromString(self.body)
        return [span for resource in decoded.resource_spans for scope in resource.scope_spans for span in scope.spans]

    @property
    def log_records(self):
        """Of an OTLP request: the protobuf log records."""
        decoded = ExportLogsServiceRequest.FromString(self.body)
        return [record for resource in decoded.resource_logs for scope in resource.scope_logs for record in scope.log_records]

    @property
    def resource(self):
        decoded = ExportTraceServiceRequest.FromString(self.body)
        return {a.key: a.value.string_value for a in decoded.resource_spans[0].resource.attributes}

    @property
    def json(self):
        return json.loads(self.body)


def attributes(span):
    """A protobuf span's attributes as Python values."""
    return {one.key: _value(one.value) for one in span.attributes}


def _value(value):
    if value.HasField("array_value"):
        return [_value(item) for item in value.array_value.values]
    return getattr(value, value.WhichOneof("value"))


@dataclass
class Server:
    """`status` for every request, or `statuses` one after the other first; `silent` requests hang until the end."""

    status: int = 200
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    silent: bool = False
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    def __enter__(self):
        self._over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # or head and body of an answer are 40 ms apart

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                request = Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body, self.client_address[1])
                server.requests.append(request)
                if server.silent:
                    server._over.wait()
                    self.close_connection = True
                    return
                status, answer = (server.statuses.pop(0), b"") if server.statuses else server.answer(request)
                self.send_response(status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST  # noqa: N815 - its own name for it

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, request):
        """Status and body for a request."""
        return self.status, b""

    @property
    def spans(self):
        return [span for request in self.requests if "traces" in request.path for span in request.spans]


@dataclass
class Collector(Server):
    """Takes 20 MiB a request, as OpenTelemetry's does, after `seconds`."""

    seconds: float = 0.0
    taken: list = field(default_factory=list)

    def answer(self, request):
        time.sleep(self.seconds)
        if len(request.body) > 20 * 1024 * 1024:
            return 413, b""
        self.taken += request.log_records if request.path.endswith("/logs") else request.spans
        return 200, b""

    def once(self, number):
        """So many spans, each of which has arrived once."""
        assert max(Counter(span.span_id for span in self.taken).values()) == 1
        assert len(self.taken) == number
