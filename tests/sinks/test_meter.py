"""meter.Meters: the GenAI conventions' metrics through OpenTelemetry's meter, from real graphs, the real SDK reading back."""

import asyncio
import json
import uuid
from decimal import Decimal

import pytest
from capture.graphs import linear
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from metric_bench import Bench, flaky, play, researcher
from metric_rules import TABLE
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_records import answered, chat, failed, finished, noted, started
from providers import Reply, gpt, one_certificate, openai  # noqa: F401 - a fixture
from ways import WAYS
from ways import run as call

from langgraph_observe import Observer, demo
from langgraph_observe.records import Stream, Usage
from langgraph_observe.sinks import otel
from langgraph_observe.sinks.measures import INSTRUMENTS
from langgraph_observe.sinks.meter import Meters
from langgraph_observe.testing import ScriptedModel, strict

DURATION = "gen_ai.client.operation.duration"
USAGE = "gen_ai.client.inference.usage"


@pytest.fixture
def bench():
    with strict():
        yield Bench(names="both")


# -- names


def test_everything_in_the_table_is_measured_and_is_as_the_table_says(bench):
    play(bench)
    run = chat(base_url="https://api.openai.com/v1")
    bench(run, answered(run))
    assert set(bench.read()) == set(TABLE)
    assert set(INSTRUMENTS) == set(TABLE)


@pytest.mark.parametrize(("names", "other"), [("released", "latest"), ("latest", "released")])
def test_a_name_of_the_other_choice_is_not_used(names, other):
    bench = Bench(names=names)
    play(bench)
    run = chat()
    bench(run, answered(run))
    assert set(bench.read()) == {name for name, row in TABLE.items() if row.era != other}
    operations = {"retrieval", "chat"} if names == "released" else {"retrieval"}
    assert {operation for (operation,) in bench.counts(DURATION, "gen_ai.operation.name")} == operations


@pytest.mark.parametrize(
    ("said", "names"),
    [
        (None, "released"),
        ("http/dup, database", "released"),
        ("http, gen_ai_latest_experimental", "latest"),
        ("gen_ai_latest_experimental/dup,gen_ai_latest_experimental", "both"),
    ],
)
def test_the_environment_chooses_the_names(monkeypatch, said, names):
    if said is not None:
        monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", said)
    bench, run = Bench(), chat()
    bench(run, answered(run))
    asked = {"released": {DURATION}, "latest": {"gen_ai.client.inference.duration"}}
    wanted = asked.get(names) or asked["released"] | asked["latest"]
    assert {name for name in bench.read() if name.endswith(".duration")} == wanted


def test_an_argument_wins_over_the_environment_and_no_other_names_are_taken(monkeypatch):
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "gen_ai_latest_experimental")
    bench, run = Bench(names="released"), chat()
    assert DURATION in bench(run, answered(run)).read()
    with pytest.raises(ValueError, match="released, latest, both, not newest"):
        Meters(names="newest")


# -- values


def test_a_value_is_the_spans_duration_and_its_exemplar_leads_to_the_span(bench):
    memory, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    with Observer(otel.Spans(tracer_provider=provider), bench.meters) as both:
        both.watch(demo.travel_agent()).invoke({"messages": [("user", "Lisbon or Oslo?")]})
        assert both.flush()
        spans = {span.context.span_id: span for span in memory.get_finished_spans()}
        points = [point for name, found in bench.read().items() if name.endswith(".duration") for point in found]
    exemplars = [exemplar for point in points for exemplar in point.exemplars]
    assert len(exemplars) >= 6
    for exemplar in exemplars:
        span = spans[exemplar.span_id]
        assert exemplar.trace_id == span.context.trace_id
        assert exemplar.value == pytest.approx((span.end_time - span.start_time) / 1e9, abs=1e-8)


def test_tokens_are_the_providers_and_their_parts_are_counted_apart(bench):
    usage = {
        "prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 5},
    }  # fmt: skip
    with openai(Reply(usage=usage, model="gpt-5.2-2026")) as server:
        gpt(server).invoke("What?", bench.handler)
    assert bench.sums("gen_ai.client.token.usage", "gen_ai.token.type", "gen_ai.response.model") == {
        ("input", "gpt-5.2-2026"): 100,
        ("output", "gpt-5.2-2026"): 30,
    }
    assert bench.sums("gen_ai.client.inference.operation.input_tokens", "gen_ai.request.model") == {("gpt-5.2",): 100}
    assert bench.sums(f"{USAGE}.input_tokens", "gen_ai.token.modality") == {("audio",): 40, ("unknown",): 60}
    assert bench.sums(f"{USAGE}.output_tokens", "gen_ai.token.modality", "server.address") == {("unknown", "127.0.0.1"): 30}
    assert bench.sums(f"{USAGE}.cache_read.input_tokens") == {(): 60}
    assert bench.sums(f"{USAGE}.reasoning.output_tokens") == {(): 5}
    assert f"{USAGE}.cache_write.input_tokens" not in bench.read()


def test_a_refused_call_is_an_error_of_no_tokens_and_no_cost(bench):
    with openai(Reply(status=500)) as server, pytest.raises(Exception, match="refused by the test server"):
        gpt(server).invoke("What?", bench.handler)
    assert bench.counts(DURATION, "error.type") == {("langchain_openai.chat_models.base.OpenAIAPIError",): 1}
    assert bench.sums(f"{USAGE}.input_tokens", "gen_ai.token.modality", "error.type") == {("unknown", None): 0}
    assert not {"gen_ai.client.token.usage", "gen_ai.client.inference.operation.input_tokens", "langgraph_observe.cost"} & set(
        bench.read()
    )


def test_tokens_of_a_call_that_failed_are_those_that_it_told(bench):
    run = chat()
    bench(run, answered(run, **failed()))
    assert bench.sums("gen_ai.client.inference.operation.output_tokens", "error.type") == {("openai.RateLimitError",): 20}
    assert bench.sums("gen_ai.client.token.usage", "gen_ai.token.type", "error.type") == {
        ("input", None): 100,
        ("output", None): 20,
    }


def test_an_estimate_is_not_reported_as_tokens_and_marked_where_it_costs(bench):
    run, usage = chat(), Usage(input_tokens=10, output_tokens=2, cost=Decimal("0.25"), estimated=True)
    bench(run, answered(run, usage=usage))
    assert bench.sums(f"{USAGE}.output_tokens", "gen_ai.token.modality") == {("unknown",): 0}
    assert bench.sums("langgraph_observe.cost", "langgraph_observe.usage.estimated") == {(True,): 0.25}
    assert not {"gen_ai.client.token.usage", "gen_ai.client.inference.operation.input_tokens"} & set(bench.read())


def test_a_streamed_answer_has_a_first_chunk_and_a_time_for_each_later_one(bench):
    with openai(Reply(words=("a", "b", "c", "d"))) as server:
        chunks = list(gpt(server).stream("What?", bench.handler))
        gpt(server).invoke("What?", bench.handler)
    (end,) = bench.read()["gen_ai.client.operation.time_to_first_chunk"]
    assert end.count == 1
    later = bench.counts("gen_ai.client.inference.time_per_output_chunk")
    assert later == bench.counts("gen_ai.client.operation.time_per_output_chunk")
    assert 3 <= later[()] <= len(chunks)


def test_the_times_of_the_later_chunks_add_up_to_the_call(bench):
    run = chat(streaming=True)
    bench(run, answered(run, seconds=1.5, first_token_seconds=0.5, stream=Stream(pieces=5, last_seconds=1.5)))
    (point,) = bench.read()["gen_ai.client.operation.time_per_output_chunk"]
    assert (point.count, point.sum, point.min, point.max) == (4, 1.0, 0.25, 0.25)


@pytest.mark.parametrize("end", [{"stream": Stream(pieces=5), **failed()}, {"stream": Stream(pieces=1)}, {"stream": None}])
def test_the_wait_after_a_stream_broke_off_is_no_chunks(bench, end):
    run = chat(streaming=True)
    bench(run, answered(run, seconds=60, first_token_seconds=0.5, **end))
    assert "gen_ai.client.operation.time_to_first_chunk" in bench.read()
    assert "gen_ai.client.operation.time_per_output_chunk" not in bench.read()


def test_what_a_cache_answered_was_no_call_and_no_work(bench):
    model = ScriptedModel(respond=lambda _: "done now", cache=InMemoryCache())
    agent = create_agent(model, [], name="helper")
    for _ in range(3):
        agent.invoke({"messages": [HumanMessage("well?", id="1")]}, bench.handler)
    bench(node := started("node", node="n"), finished(node, cached=True))
    assert bench.counts(DURATION) == {(): 1}
    (made,) = bench.read()["gen_ai.invoke_agent.inference_calls"]
    assert (made.count, made.sum, made.min, made.max) == (3, 1, 0, 1)
    assert bench.sums("gen_ai.client.token.usage", "gen_ai.token.type") == {("input",): 1, ("output",): 2}
    assert "n" not in {name for (name,) in bench.counts("langgraph_observe.node.duration", "langgraph.node.name")}


# -- what is whose


def test_an_agents_calls_are_its_own_with_those_that_failed(bench):
    researcher().invoke({"messages": [("user", "well?")]}, bench.handler)
    assert bench.sums("gen_ai.invoke_agent.inference_calls", "gen_ai.agent.name") == {("researcher",): 2, ("helper",): 1}
    assert bench.sums("gen_ai.invoke_agent.tool_calls", "gen_ai.agent.name") == {("researcher",): 1, ("helper",): 2}
    assert bench.counts("gen_ai.invoke_agent.duration", "gen_ai.agent.name", "error.type") == {
        ("researcher", None): 1,
        ("helper", "ValueError"): 1,
    }
    assert bench.counts("gen_ai.execute_tool.duration", "gen_ai.tool.name", "gen_ai.agent.name", "error.type") == {
        ("ask", "researcher", None): 1,
        ("add", "helper", None): 1,
        ("fail", "helper", "ValueError"): 1,
    }


@pytest.mark.parametrize("way", WAYS)
def test_calls_are_those_of_their_agent_in_every_way_of_calling(bench, way):
    call(way, researcher(), {"messages": [("user", "well?")]}, bench.handler)
    assert bench.sums("gen_ai.invoke_agent.inference_calls", "gen_ai.agent.name") == {("researcher",): 2, ("helper",): 1}


async def test_agents_side_by_side_have_calls_of_their_own_and_a_cancelled_one_is_told(bench):
    agent, asked = researcher(), {"messages": [("user", "well?")]}
    await asyncio.gather(*(agent.ainvoke(asked, bench.handler) for _ in range(8)))
    (made,) = (p for p in bench.read()["gen_ai.invoke_agent.tool_calls"] if p.attributes["gen_ai.agent.name"] == "helper")
    assert (made.count, made.min, made.max) == (8, 2, 2)
    begun = asyncio.Event()

    async def wait(state):
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(linear(wait, compile_with={"name": "waiting"}).ainvoke({"n": 1}, bench.handler))
    await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bench.counts("gen_ai.invoke_workflow.duration", "gen_ai.workflow.name", "error.type") == {
        ("waiting", "asyncio.exceptions.CancelledError"): 1
    }
    assert set(bench.sums("langgraph_observe.runs.active", "langgraph.graph.name").values()) == {0}


def test_a_remote_agent_is_an_operation_of_a_client_and_its_calls_are_not_known(bench):
    run = started("agent", name="far", agent="far", remote=True, base_url="http://far.example:8123")
    inside = started("tool", run)
    bench(run, inside, finished(inside), finished(run, seconds=2.0))
    assert bench.sums(DURATION, "gen_ai.operation.name", "server.address", "server.port") == {
        ("invoke_agent", "far.example", 8123): 2.0
    }
    assert not {name for name in bench.read() if name.startswith("gen_ai.invoke_agent")}


def test_an_agent_that_was_not_seen_to_begin_has_a_duration_and_no_calls(bench):
    run = started("agent", name="late", agent="late")
    bench(finished(run))
    assert bench.counts("gen_ai.invoke_agent.duration", "gen_ai.agent.name") == {("late",): 1}
    assert "gen_ai.invoke_agent.tool_calls" not in bench.read()
    assert "langgraph_observe.runs.active" not in bench.read()


def test_a_human_a_handoff_and_a_closed_stream_are_no_errors(bench):
    desk, thread = bench.observer.watch(demo.refund_desk()), {"configurable": {"thread_id": "t"}}
    desk.invoke({"to": "Grace", "text": "", "sent": False}, thread)
    for outcome, reason in (("ok", "handoff"), ("cancelled", "stream_closed"), ("abandoned", "closed")):
        node = started("node", graph="refund_desk", node=reason)
        bench(node, finished(node, outcome, reason=reason))
    inside = started("graph", name="inside", graph="inside", checkpoint_ns="approve:1")  # stops with the desk
    bench(inside, finished(inside, "interrupted", reason="interrupt"))
    assert bench.counts("gen_ai.invoke_workflow.duration", "gen_ai.workflow.name", "error.type") == {
        ("refund_desk", None): 1,
        ("inside", None): 1,
    }
    assert bench.sums("langgraph_observe.interrupts", "langgraph.graph.name", "langgraph_observe.end_reason") == {
        ("refund_desk", "interrupt"): 1
    }
    nodes = bench.counts("langgraph_observe.node.duration", "langgraph.node.name", "langgraph_observe.outcome", "error.type")
    assert {error for *_, error in nodes} == {None}
    assert nodes["approve", "interrupted", None] == 1


def test_runs_are_active_until_they_end(bench):
    outer = started(name="outer")
    inner, step = started("agent", outer, name="inner"), started("node", outer, node="n")
    bench(outer, inner, step, finished(inner), finished(step))
    assert bench.meters.flush(5)
    (point,) = bench.reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[:1]
    assert (dict(point.attributes), point.value) == ({"langgraph.graph.name": "outer"}, 1)
    bench(finished(outer))
    assert bench.sums("langgraph_observe.runs.active", "langgraph.graph.name") == {("outer",): 0, ("inner",): 0}


def test_attempts_after_the_first_are_retries(bench):
    flaky().invoke({"n": 1}, bench.handler)
    node, model = started("node", node="other"), chat()
    bench(node, noted(node, "retry"), finished(node), model, noted(model, "custom"), noted(model, "retry"), finished(model))
    assert bench.sums("langgraph_observe.retries", "langgraph_observe.kind", "langgraph_observe.name") == {
        ("node", "stumble"): 1,
        ("model", "gpt-4o"): 1,
    }


def test_no_attribute_tells_of_a_conversation_a_run_a_user_or_a_message(bench):
    config = {"configurable": {"thread_id": "marker-thread"}, "metadata": {"session_id": "marker-session", "x": "marker-meta"}}
    config |= {"tags": ["marker-tag"], "run_id": (run_id := uuid.uuid4())}
    graph = bench.observer.watch(demo.travel_agent(), user_id="marker-user")
    graph.invoke({"messages": [("user", "marker-prompt")]}, config)
    points = [point for found in bench.read().values() for point in found]
    text = json.dumps([dict(point.attributes) for point in points])
    assert len(points) > 10
    assert "marker" not in text
    assert str(run_id) not in text
