"""The same with prometheus-fastapi-instrumentator: HTTP metrics by it, the agent's by us, one page. Works with several workers."""

from fastapi import FastAPI
from fastapi.testclient import TestClient
from langchain_core.messages import HumanMessage
from prometheus_fastapi_instrumentator import Instrumentator

from langgraph_observe import observe
from langgraph_observe.demo import travel_agent
from langgraph_observe.sinks import prometheus

graph = observe(travel_agent(), prometheus.Metrics())  # its model is scripted: any chat model will do

app = FastAPI()
# How long an event stream lasts is no latency: our own middleware measures it. Their expose() knows no OpenMetrics, so no exemplars.
Instrumentator(excluded_handlers=["/metrics"], should_exclude_streaming_duration=True).instrument(app)
app.add_route("/metrics", prometheus.asgi_app())


@app.get("/trips/{traveller}")
def trip(traveller: str, question: str) -> str:
    """Ask the agent."""
    return str(graph.invoke({"messages": [HumanMessage(f"{traveller} asks: {question}")]})["messages"][-1].content)


with TestClient(app) as client:  # in production: uvicorn
    for traveller in ("ada", "grace"):
        client.get(f"/trips/{traveller}", params={"question": "Lisbon or Oslo?"}).raise_for_status()
    page = client.get("/metrics").text

wanted = ("http_request_duration_seconds_count", "langgraph_run_duration_seconds_count", "langgraph_tool_duration_seconds_count")
print(*(line for line in page.splitlines() if line.startswith(wanted) and not line.endswith(" 0.0")), sep="\n")
