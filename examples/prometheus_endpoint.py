"""Metrics for Prometheus. `prometheus_endpoint.py 9464` serves them until Ctrl-C; without a port, one scrape and done."""

import sys

import httpx
from langchain_core.messages import HumanMessage
from prometheus_client import start_http_server

from langgraph_observe import observe
from langgraph_observe.demo import travel_agent
from langgraph_observe.sinks.prometheus import Metrics

port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
server, thread = start_http_server(port, addr="127.0.0.1")
url = f"http://127.0.0.1:{server.server_port}/metrics"

graph = observe(
    travel_agent(), Metrics(labels=["team"]), labels={"team": "travel"}
)  # its model is scripted: any chat model will do
graph.invoke({"messages": [HumanMessage("Lisbon or Oslo this weekend?")]})

wanted = ("langgraph_run_duration_seconds_count", "langgraph_llm_tokens_total", "langgraph_llm_cost_usd_total")
lines = httpx.get(url).text.splitlines()
print(f"{url} says:", *(line for line in lines if line.startswith(wanted) and not line.endswith(" 0.0")), sep="\n  ")

if port:
    thread.join()
server.shutdown()
server.server_close()
