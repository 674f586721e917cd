"""A FastAPI service with its own HTTP metrics and those of its agent on one page. Needs opentelemetry-exporter-prometheus."""

from fastapi import FastAPI
from fastapi.testclient import TestClient
from langchain_core.messages import HumanMessage
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider

from langgraph_observe import observe
from langgraph_observe.demo import travel_agent
from langgraph_observe.sinks import prometheus

graph = observe(travel_agent(), prometheus.Metrics())  # its model is scripted: any chat model will do

# FastAPI measures its own requests. The reader puts that on prometheus_client's registry, where Metrics puts the agent's.
# It knows one process only: with several workers, send FastAPI's by OTLP, or see fastapi_instrumentator.py.
reader = PrometheusMetricReader(scope_info_enabled=False, disable_target_info=True)
app = FastAPI(telemetry={"meter_provider": MeterProvider([reader])})
app.add_route("/metrics", prometheus.asgi_app())


@app.get("/trips/{traveller}")
def trip(traveller: str, question: str) -> str:
    """Ask the agent."""
    return str(graph.invoke({"messages": [HumanMessage(f"{traveller} asks: {question}")]})["messages"][-1].content)


with TestClient(app) as client:  # in production: uvicorn
    for traveller in ("ada", "grace"):
        client.get(f"/trips/{traveller}", params={"question": "Lisbon or Oslo?"}).raise_for_status()
    page = client.get("/metrics").text

print(*(line for line in page.splitlines() if "_duration_seconds_count" in line and not line.endswith(" 0.0")), sep="\n")
