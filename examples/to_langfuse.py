"""Traces to Langfuse: to the project of `LANGFUSE_PUBLIC_KEY` and `LANGFUSE_SECRET_KEY`; without keys, to a stand-in below."""

import gzip
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from langchain_core.messages import HumanMessage
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from langgraph_observe import Observer
from langgraph_observe.demo import travel_agent
from langgraph_observe.sinks.langfuse import Traces


class StandIn(BaseHTTPRequestHandler):
    """Takes what Langfuse would take, and says what it was."""

    def do_POST(self) -> None:
        """Spans come as OTLP, gzipped."""
        body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = [span.name for scope in resource.scope_spans for span in scope.spans]
            print(f"{len(names)} observations arrived at {self.path}: {', '.join(sorted(names))}")
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say no more than that."""


langfuse: dict[str, Any] = {}  # as the environment says
if "LANGFUSE_PUBLIC_KEY" not in os.environ:
    server = HTTPServer(("127.0.0.1", 0), StandIn)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    langfuse = {"public_key": "pk-lf-demo", "secret_key": "sk-lf-demo", "base_url": f"http://127.0.0.1:{server.server_port}"}

with Observer(Traces(**langfuse)) as observer:
    graph = observer.watch(travel_agent(), user_id="ada", session_id="holidays")  # its model is scripted: any chat model will do
    graph.invoke({"messages": [HumanMessage("Lisbon or Oslo this weekend?")]})
    print("flushed:", observer.flush(), observer.health())
