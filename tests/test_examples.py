"""Every file in examples/ runs for a stranger: no network, no keys, no server, nothing written outside the temporary directory."""

from pathlib import Path

import pytest
from offline import run

EXAMPLES = Path(__file__).parents[1] / "examples"
TREE = ("✓ model ScriptedModel",)
SAYS = {
    "chain_callbacks.py": ("air scatters blue light", "✓ chain RunnableSequence", "✓ chain ChatPromptTemplate", *TREE, "9→7"),
    "custom_sink.py": (
        "cfe00dde46ef spent 12 + 6 tokens of gpt-4.1-mini for $0.0000144",
        "graph travel_agent ok\n",
        "    tool weather ok\n",
    ),
    "fastapi_instrumentator.py": (
        'http_request_duration_seconds_count{handler="/trips/{traveller}",method="GET"} 2.0\n',
        'langgraph_run_duration_seconds_count{graph="travel_agent",status="ok"} 2.0\n',
    ),
    "fastapi_metrics.py": (
        'http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/trips/{traveller}"',
        'langgraph_run_duration_seconds_count{graph="travel_agent",status="ok"} 2.0\n',
    ),
    "fastapi_streaming.py": ('data: "Take"\ndata: " the"\n', "ada asked:\n", "✓ agent assistant", *TREE, "first token"),
    "prometheus_endpoint.py": (
        'langgraph_run_duration_seconds_count{graph="travel_agent",status="ok",team="travel"} 1.0\n',
        'langgraph_llm_tokens_total{model="gpt-4.1-mini",provider="openai",source="reported",team="travel",type="input"} 30.0\n',
        'langgraph_llm_cost_usd_total{model="gpt-4.1-mini",provider="openai",source="reported",team="travel"} 4.56e-05\n',
    ),
    "to_langfuse.py": ("10 observations arrived at /api/public/otel/v1/traces", "travel_agent, weather, weather\n", "'lost': 0"),
    "to_otlp.py": ("10 spans arrived at /v1/traces", "invoke_workflow travel_agent", "execute_tool weather", "'lost': 0"),
    "wrapped_graph.py": ("thread order-4711", "✓ node look_up", *TREE, "assistant: It arrives on Friday."),
}
"""What each must print, besides running: what it is there to show."""
NEEDS = {
    "fastapi_instrumentator.py": "prometheus_fastapi_instrumentator",
    "fastapi_metrics.py": "opentelemetry.exporter.prometheus",
}
"""Of others, what the development extra brings for one example."""


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_runs_offline_quietly_and_shows_what_it_is_there_for(name, tmp_path):
    pytest.importorskip(NEEDS.get(name, "langgraph_observe"))
    ran = run(EXAMPLES / name, tmp_path)
    assert (ran.code, ran.stderr, ran.attempts, ran.written) == (0, "", "", [])
    assert [text for text in SAYS[name] if text not in ran.stdout] == [], ran.stdout


def test_every_example_has_something_to_show():
    assert sorted(SAYS) == sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.create_connection(('93.184.215.14', 80))",
        "import socket; socket.getaddrinfo('example.org', 443)",
        "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('1.1.1.1', 53))",
        "import asyncio; asyncio.run(asyncio.open_connection('93.184.215.14', 80))",
        "import httpx; httpx.get('https://example.org')",
    ],
)
def test_the_seal_holds(attempt, tmp_path):
    script = tmp_path / "leak.py"
    script.write_text(f"try:\n    {attempt}\nexcept Exception:\n    pass\n")
    (tmp_path / "place").mkdir()
    ran = run(script, tmp_path / "place")
    assert ran.code == 0
    assert ran.attempts.startswith("socket."), "an attempt that is swallowed must be seen all the same"
