"""prometheus.Metrics over streams: of models, of graphs, of HTTP responses."""
# ruff: noqa: F811 - fixtures are imported

import pytest
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.testclient import TestClient
from langchain_core.messages import HumanMessage
from langgraph.graph import MessagesState, StateGraph
from metric_records import EVENTS, finished, give, metrics, model, registry, series, started, value  # noqa: F401

from langgraph_observe import Observer
from langgraph_observe.capture.http import StreamMiddleware
from langgraph_observe.records import Stream
from langgraph_observe.sinks.prometheus.catalog import OUTCOMES
from langgraph_observe.testing import ScriptedModel


def chat(**over):
    return finished(started("stream", "/chat"), **over)


@pytest.mark.parametrize(
    ("outcome", "reason", "shown"),
    [
        ("ok", None, "completed"),
        ("error", None, "error"),
        ("cancelled", "client_disconnect", "client_disconnect"),
        ("cancelled", "server_shutdown", "server_shutdown"),
        ("abandoned", "process_stopped", "server_shutdown"),
        ("cancelled", "task_cancelled", "cancelled"),
        ("cancelled", None, "cancelled"),
        ("abandoned", "forgotten", "cancelled"),
        ("interrupted", None, "cancelled"),
    ],
)
def test_a_response_ends_in_one_of_five_ways(registry, metrics, outcome, reason, shown):
    metrics(chat(outcome=outcome, reason=reason))
    counts = series(registry, "stream_duration_seconds_count")
    assert {labels: n for labels, n in counts.items() if n} == {("/chat", shown): 1}
    assert set(counts) == {("/chat", each) for each in OUTCOMES}


def test_a_request_for_a_stream_that_is_answered_with_something_else_is_none(registry, metrics):
    response = started("stream", "/chat")
    give(metrics, response, finished(response, outcome="ok", reason="not_streamed"))
    assert set(series(registry, "stream_duration_seconds_count").values()) == {0}
    assert value(registry, "stream_connections_active", route="/chat") == 0


def test_open_responses_are_counted_while_they_last(registry, metrics):
    runs = [started("stream", "/chat", serial=n) for n in (1, 2)]
    give(metrics, *runs)
    assert value(registry, "stream_connections_active", route="/chat") == 2
    give(metrics, *map(finished, runs), finished(runs[0]))
    assert value(registry, "stream_connections_active", route="/chat") == 0


def test_what_a_response_held_is_added_up_by_route(registry, metrics):
    give(metrics, chat(stream=EVENTS, first_token_seconds=0.1), chat(stream=EVENTS), chat())
    totals = {what: series(registry, f"stream_{what}_total") for what in ("bytes", "keepalives", "error_events", "reconnects")}
    assert totals == {
        "bytes": {("/chat",): 180},
        "keepalives": {("/chat",): 2},
        "error_events": {("/chat",): 2},
        "reconnects": {("/chat",): 2},
    }
    assert series(registry, "stream_events_total") == {("/chat", "message"): 4, ("/chat", "error"): 2}
    assert series(registry, "stream_first_event_seconds_sum") == {("/chat",): pytest.approx(0.1)}
    assert series(registry, "stream_longest_gap_seconds_count") == {("/chat",): 2}


def test_stalls_are_counted_for_each_sort_of_stream(registry, metrics):
    stalled = Stream(pieces=9, stalls=2)
    give(metrics, chat(stream=stalled), finished(stream=stalled), finished(model(), stream=stalled))
    found = {what: series(registry, f"{what}_stalls_total") for what in ("stream", "run", "llm")}
    assert found == {"stream": {("/chat",): 2}, "run": {("g",): 2}, "llm": {("p", "m"): 2}}


def test_the_counters_of_a_route_begin_at_zero_with_its_first_request(registry, metrics):
    metrics(started("stream", "/chat"))
    for what in ("stalls", "error_events", "keepalives", "bytes", "reconnects"):
        assert series(registry, f"stream_{what}_total") == {("/chat",): 0}
    assert set(series(registry, "stream_duration_seconds_count").values()) == {0}


def test_the_name_of_a_subgraph_is_no_type_of_event(registry, metrics):
    kinds = {f"values|sub:{n:032x}": 1 for n in range(40)} | {"values": 2}
    metrics(chat(stream=Stream(pieces=42, kinds=kinds)))
    assert series(registry, "stream_events_total") == {("/chat", "values"): 42}


def test_unknown_numbers_are_absent(registry, metrics):
    metrics(chat(stream=Stream(pieces=0)))
    for name in ("bytes_total", "keepalives_total", "longest_gap_seconds_count", "first_event_seconds_count"):
        assert series(registry, f"stream_{name}") == {}


def test_what_the_caller_of_a_graph_took_is_counted_by_mode(registry, metrics):
    taken = Stream(pieces=5, kinds={"updates": 2, "messages": 3})
    give(metrics, finished(stream=taken, first_token_seconds=0.3), finished())
    assert series(registry, "run_chunks_total") == {("g", "updates"): 2, ("g", "messages"): 3}
    assert series(registry, "run_time_to_first_chunk_seconds_sum") == {("g",): pytest.approx(0.3)}
    assert series(registry, "run_time_to_first_chunk_seconds_count") == {("g",): 1}


def test_a_models_chunks_are_timed_from_the_first_to_the_last(registry, metrics):
    give(
        metrics,
        finished(model(), first_token_seconds=0.5, stream=Stream(pieces=11, last_seconds=2.5)),
        finished(model(), first_token_seconds=0.5, stream=Stream(pieces=1, last_seconds=0.5)),
        finished(model(), stream=Stream(pieces=3)),
    )
    assert series(registry, "llm_time_per_output_chunk_seconds_sum") == {("p", "m"): pytest.approx(0.2)}
    assert series(registry, "llm_time_per_output_chunk_seconds_count") == {("p", "m"): 1}
    assert metrics.health()["errors"] == 0


def test_a_chain_that_a_response_calls_is_a_run_and_what_it_calls_is_not(registry, metrics):
    response = started("stream", "/chat", serial=1)
    chain = started("chain", "rag", serial=2, parent_id="1", parent_span_id=response.span_id)
    inner = started("chain", "inner", serial=3, parent_id="2", parent_span_id=chain.span_id)
    give(metrics, response, chain, inner, finished(inner), finished(response), finished(chain))
    assert {labels: n for labels, n in series(registry, "run_duration_seconds_count").items() if n} == {("rag", "ok"): 1}
    assert series(registry, "runs_active") == {("rag",): 0}


def writer(observer):
    """A real FastAPI application that streams a graph's words."""
    writes = ScriptedModel(respond=lambda _: "one two three")

    async def write(state: MessagesState):
        return {"messages": [await writes.ainvoke(state["messages"])]}

    graph = observer.watch(StateGraph(MessagesState).add_node(write).set_entry_point("write").compile(name="writer"))
    app = FastAPI()
    app.add_middleware(StreamMiddleware, observer=observer)

    @app.get("/chat/{number}", response_class=EventSourceResponse)
    async def chat(number: int):
        async for chunk, _ in graph.astream({"messages": [HumanMessage("?")]}, stream_mode="messages"):
            yield ServerSentEvent(data=chunk.text, event="word")

    return app


def test_a_real_event_stream_is_counted_by_the_template_of_its_route(registry, metrics):
    """The path is anybody's to choose: a label of it would be a series for each."""
    with TestClient(writer(Observer(metrics))) as client:
        for number in range(5):
            words = client.get(f"/chat/{number}", headers={"last-event-id": "3"} if number else {}).text.count("event: word")
        client.get("/nowhere/1")
    assert series(registry, "stream_events_total") == {("/chat/{number}", "word"): 5 * words}
    assert series(registry, "stream_reconnects_total")[("/chat/{number}",)] == 4
    assert value(registry, "stream_duration_seconds_count", route="/chat/{number}", outcome="completed") == 5
    assert sum(series(registry, "stream_connections_active").values()) == 0
    assert value(registry, "run_duration_seconds_count", graph="writer", status="ok") == 5
    assert series(registry, "run_chunks_total") == {("writer", "messages"): 5 * words}
    assert series(registry, "llm_time_to_first_token_seconds_count") == {("scripted", "scripted-1"): 5}
