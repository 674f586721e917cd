"""What events survive on their way to a server, by the application's provider with the SDK's processor and exporter."""

from typing import TypedDict

import pytest
from langgraph.graph import START, StateGraph
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from otel_records import chat, failed, finished, quoting

from langgraph_observe import Observer
from langgraph_observe.sinks.events import Events
from langgraph_observe.testing import ScriptedModel

VISITS = 300


@pytest.fixture
def events(collector):
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(f"{collector.url}/v1/logs")))
    yield Events(logger_provider=provider, content="EVENT_ONLY", all_exceptions=True)
    provider.shutdown()


def test_three_hundred_visits_whose_model_is_told_200_kb_all_arrive(collector, events):
    model = ScriptedModel(respond=lambda messages: "w" * 100)
    builder = StateGraph(TypedDict("State", {"visits": int})).add_edge(START, "visit")

    def visit(state):
        model.invoke([("user", f"{state['visits']:04}" * 500) for _ in range(100)])
        return {"visits": state["visits"] + 1}

    builder.add_node("visit", visit)
    builder.add_conditional_edges("visit", lambda state: "visit" if state["visits"] < VISITS else "__end__", ["visit", "__end__"])
    with Observer(events, process=[]) as observer:
        observer.watch(builder.compile()).invoke({"visits": 0}, {"recursion_limit": VISITS + 100})
        assert observer.flush(60)
    assert len(collector.taken) == VISITS


def test_three_hundred_failures_that_quote_their_prompts_all_arrive(collector, events):
    for _ in range(VISITS):
        run = chat()
        events(run)
        events(finished(run, **failed(failure=quoting("x" * 100_000))))
    assert events.flush(60)
    assert sum(record.event_name == "gen_ai.client.operation.exception" for record in collector.taken) == VISITS


def test_a_burst_that_the_sdks_queue_has_no_room_for_arrives_whole(collector, events):
    collector.seconds = 0.05
    for _ in range(5_000):
        run = chat()
        events(run)
        events(finished(run))
    assert events.flush(60)
    assert len(collector.taken) == 5_000
