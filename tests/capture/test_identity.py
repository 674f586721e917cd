"""Who a run belongs to: trace, parent span, thread, session, user, tags; and what user code finds as the current span."""

import asyncio
import contextvars
import logging
import threading

import graphs
import pytest
from langchain_core.runnables import RunnableLambda
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ways import WAYS, run

from langgraph_observe import CallbackHandler, Observer, Started, observe
from langgraph_observe.sinks.otel import Spans
from langgraph_observe.testing import ScriptedModel, tree

MODEL = ScriptedModel(respond=lambda _: "word")


def starts(seen):
    return [record for record in seen if isinstance(record, Started)]


def think(_):
    return {"x": [MODEL.invoke("q").text]}


async def athink(_):
    return {"x": [(await MODEL.ainvoke("q")).text]}


@pytest.mark.parametrize(("way", "node"), [*((way, think) for way in WAYS), ("ainvoke", athink), ("astream", athink)])
def test_session_user_and_tags_reach_every_run(way, node):
    seen = []
    config = {
        "configurable": {"thread_id": "t-1"},
        "tags": ["beta"],
        "metadata": {
            "langfuse_session_id": "s-1",
            "langfuse_user_id": "u-1",
            "langfuse_tags": ["gold"],
            "langfuse_trace_name": "checkout",
            "tenant": "acme",
        },
    }
    run(way, observe(graphs.linear(node), seen.append, tags=["mine"]), {"x": []}, config)

    assert len(starts(seen)) == 3
    for record in starts(seen):
        assert (record.thread_id, record.session_id, record.user_id, record.trace_name) == ("t-1", "s-1", "u-1", "checkout")
        assert set(record.tags) == {"beta", "gold", "mine"}
        assert record.metadata["tenant"] == "acme"
        assert not [key for key in record.metadata if key.startswith(("langgraph_", "langfuse_", "ls_"))]
        assert record.root_id == starts(seen)[0].id


def test_the_call_s_own_words_win_over_the_options():
    seen = []
    graph = observe(
        graphs.linear(think), seen.append, session_id="default", user_id="nobody", labels={"tier": "free"}, metadata={"a": 1}
    )
    graph.invoke({"x": []}, {"metadata": {"session_id": "s-2"}})

    assert {(record.session_id, record.user_id, record.labels["tier"], record.metadata["a"]) for record in starts(seen)} == {
        ("s-2", "nobody", "free", 1)
    }


def test_a_node_s_own_metadata_wins_in_it():
    from langgraph.graph import START, StateGraph

    builder = StateGraph(graphs.State)
    builder.add_node("cheap", think, metadata={"tier": "cheap"})
    builder.add_node("plain", think)
    builder.add_edge(START, "cheap")
    builder.add_edge("cheap", "plain")
    seen = []
    observe(builder.compile(), seen.append).invoke({"x": []}, {"metadata": {"tier": "usual"}})

    tiers = {(record.node, record.kind): record.metadata["tier"] for record in starts(seen)}
    assert tiers == {
        (None, "graph"): "usual",
        ("cheap", "node"): "cheap",
        ("cheap", "model"): "cheap",
        ("plain", "node"): "usual",
        ("plain", "model"): "usual",
    }


def test_a_user_id_among_the_configurables_is_found():
    seen = []
    graphs.linear(think).invoke({"x": []}, {"configurable": {"user_id": "u-9"}, "callbacks": [CallbackHandler(seen.append)]})

    assert {record.user_id for record in starts(seen)} == {"u-9"}


def test_ids_are_w3c_s_and_the_same_in_the_whole_tree():
    seen = []
    graph = observe(graphs.linear(think), seen.append)
    graph.invoke({"x": []})
    graph.invoke({"x": []})

    assert len({record.trace_id for record in starts(seen)}) == 2
    assert all(len(record.trace_id) == 32 and len(record.span_id) == 16 for record in starts(seen))
    assert len({record.span_id for record in starts(seen)}) == 6


def test_a_call_with_callbacks_of_its_own_still_belongs_to_its_node():
    seen = []
    handler = CallbackHandler(seen.append)

    def own(_):
        return {"x": [MODEL.invoke("q", {"callbacks": [handler]}).text]}

    graphs.linear(own).invoke({"x": []}, {"callbacks": [handler]})

    model = next(record for record in starts(seen) if record.kind == "model")
    node = next(record for record in starts(seen) if record.kind == "node")
    assert (model.parent_id, model.trace_id, model.node) == (node.id, node.trace_id, "own")


def test_a_reused_run_id_makes_two_runs():
    import uuid

    seen = []
    given = uuid.uuid4()
    graph = observe(graphs.linear(think), seen.append)
    for _ in range(2):
        graph.invoke({"x": []}, {"run_id": given})

    roots = [record for record in starts(seen) if record.parent_id is None]
    assert [record.id for record in roots] == [str(given)] * 2
    assert roots[0].span_id != roots[1].span_id


# -- the current span


@pytest.fixture
def otel():
    """A private provider, its tracer, and what it exported."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, provider.get_tracer("user"), exporter


def parents(exporter):
    """Name of each span and of its parent, by the order of their ends."""
    spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
    return {span.name: spans[span.parent.span_id].name if span.parent else None for span in spans.values()}


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_user_spans_are_children_of_the_run_they_are_made_in(way, otel, caplog):
    provider, tracer, exporter = otel

    def spanned(name):
        with tracer.start_as_current_span(name):
            pass

    def first(_):
        spanned("in first")
        RunnableLambda(lambda _: spanned("in lambda"), name="lambda").invoke(1)
        spanned("after lambda")
        return {"x": [MODEL.invoke("q").text]}

    def second(_):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(spanned, "in thread"))
        thread.start()
        thread.join()
        return {"x": [2]}

    sink = Spans(tracer_provider=provider)
    graph = observe(graphs.linear(first, second, compile_with={"name": "flow"}), sink)
    with caplog.at_level(logging.DEBUG), tracer.start_as_current_span("request"):
        run(way, graph, {"x": []})
        spanned("after the graph")
        assert trace.get_current_span().name == "request"
    assert not trace.get_current_span().get_span_context().is_valid
    sink.flush()

    assert parents(exporter) | {"chat scripted-1": "invoke_node first"} == {
        "request": None,
        "invoke_workflow flow": "request",
        "invoke_node first": "invoke_workflow flow",
        "invoke_node second": "invoke_workflow flow",
        "in first": "invoke_node first",
        "lambda": "invoke_node first",
        "in lambda": "lambda",
        "after lambda": "invoke_node first",
        "chat scripted-1": "invoke_node first",
        "in thread": "invoke_node second",
        "after the graph": "request",
    }
    assert not [record for record in caplog.records if "detach" in record.getMessage().lower()]


def test_user_code_can_write_on_the_run_s_span(otel):
    provider, _, exporter = otel

    def mark(_):
        span = trace.get_current_span()
        assert span.is_recording()
        span.set_attribute("app.order", 42)
        span.add_event("looked up")
        return {"x": [1]}

    sink = Spans(tracer_provider=provider)
    observe(graphs.linear(mark), sink).invoke({"x": []})
    sink.flush()

    node = next(span for span in exporter.get_finished_spans() if span.name == "invoke_node mark")
    assert node.attributes["app.order"] == 42
    assert [event.name for event in node.events] == ["looked up"]


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_between_two_chunks_the_consumer_has_its_own_span(way, otel):
    provider, tracer, _ = otel
    graph = observe(graphs.linear(think, ("more", lambda _: {"x": [2]})), Spans(tracer_provider=provider))
    current = []

    async def aconsume():
        async for _ in graph.astream({"x": []}):
            current.append(trace.get_current_span().get_span_context())  # noqa: PERF401 - the point is where it is read

    with tracer.start_as_current_span("request") as request:
        if way == "stream":
            for _ in graph.stream({"x": []}):
                current.append(trace.get_current_span().get_span_context())  # noqa: PERF401 - the same
        else:
            asyncio.run(aconsume())

    assert current == [request.get_span_context()] * 2


def test_two_requests_of_one_task_are_two_traces(otel):
    provider, _, _ = otel
    seen = []
    graph = observe(graphs.linear(athink), seen.append, Spans(tracer_provider=provider))

    async def main():
        await graph.ainvoke({"x": []})
        await graph.ainvoke({"x": []})

    asyncio.run(main())
    roots = [record for record in starts(seen) if record.parent_id is None]
    assert len({root.trace_id for root in roots}) == 2
    assert [root.parent_span_id for root in roots] == [None, None]


def test_record_span_and_exported_span_have_the_same_ids(otel):
    provider, tracer, exporter = otel
    seen = []
    sink = Spans(tracer_provider=provider)
    with tracer.start_as_current_span("request") as request:
        observe(graphs.linear(think), seen.append, sink).invoke({"x": []})
    sink.flush()

    exported = {(f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") for span in exporter.get_finished_spans()}
    assert {(record.trace_id, record.span_id) for record in starts(seen)} < exported
    assert starts(seen)[0].parent_span_id == f"{request.get_span_context().span_id:016x}"


def test_with_no_sink_that_makes_spans_nothing_is_put_into_the_context():
    seen = []

    def look(_):
        seen.append(trace.get_current_span())
        return {"x": [1]}

    with Observer(lambda _: None) as observer:
        observer.watch(graphs.linear(look)).invoke({"x": []})

    assert seen == [trace.INVALID_SPAN]


def test_a_model_called_between_two_chunks_is_a_trace_of_its_own():
    seen = []
    handler = CallbackHandler(seen.append)
    for _ in graphs.linear(think).stream({"x": []}, {"callbacks": [handler]}):
        MODEL.invoke("q", {"callbacks": [handler]})

    roots = [record for record in starts(seen) if record.parent_id is None]
    assert [root.kind for root in roots] == ["graph", "model"]
    assert roots[0].trace_id != roots[1].trace_id


@pytest.mark.parametrize("run_id", ["0b8e1d3c-8a43-4d4e-9d5c-6a1d1f0a7b11", "order-4711"])
def test_a_run_id_may_be_a_text(run_id):
    seen = []
    observe(graphs.linear(think), seen.append).invoke({"x": []}, {"run_id": run_id})

    assert tree(seen) == "graph LangGraph ok\n  node think ok\n    model ScriptedModel ok 1+1 tokens"
    assert len(starts(seen)[0].id) == 36
