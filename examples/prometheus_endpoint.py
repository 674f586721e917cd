"""Metrics for Prometheus. `prometheus_endpoint.py 9464` serves them until Ctrl-C; without a port, one scrape and done."""

import sys
import threading

import httpx
from langchain_core.messages import HumanMessage

from langgraph_observe import observe
from langgraph_observe.demo import travel_agent
from langgraph_observe.sinks import prometheus

port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
server = prometheus.serve(port)
url = f"http://127.0.0.1:{server.port}/metrics"

# its model is scripted: any chat model will do
graph = observe(travel_agent(), prometheus.Metrics(labels=["team"]), labels={"team": "travel"})
graph.invoke({"messages": [HumanMessage("Lisbon or Oslo this weekend?")]})

wanted = ("langgraph_run_duration_seconds_count", "langgraph_llm_tokens_total", "langgraph_llm_cost_usd_total")
lines = httpx.get(url).text.splitlines()
print(f"{url} says:", *(line for line in lines if line.startswith(wanted) and not line.endswith(" 0.0")), sep="\n  ")

if port:
    threading.Event().wait()
server.close()
