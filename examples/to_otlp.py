"""Spans to any OpenTelemetry backend: to `OTEL_EXPORTER_OTLP_ENDPOINT`; without one, to a stand-in below.

An application that has a tracer provider already needs none of this: `observe(graph)` uses the one it has.
"""

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from langchain_core.messages import HumanMessage
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from langgraph_observe import Observer
from langgraph_observe.demo import travel_agent
from langgraph_observe.sinks import otel


class StandIn(BaseHTTPRequestHandler):
    """Takes what a collector would take, and says what it was."""

    def do_POST(self) -> None:
        """One request of spans."""
        body = self.rfile.read(int(self.headers["content-length"]))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = [span.name for scope in resource.scope_spans for span in scope.spans]
            print(f"{len(names)} spans arrived at {self.path}: {', '.join(sorted(names))}")
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say no more than that."""


endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
if endpoint is None:
    server = HTTPServer(("127.0.0.1", 0), StandIn)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"

with Observer(otel.exporting(endpoint, content="SPAN_ONLY")) as observer:  # no prompt is on a span unless you say so
    graph = observer.watch(travel_agent())  # its model is scripted: any chat model will do
    graph.invoke({"messages": [HumanMessage("Lisbon or Oslo this weekend?")]})
    print("flushed:", observer.flush(), observer.health())
