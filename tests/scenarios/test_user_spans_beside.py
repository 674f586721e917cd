"""Spans of user code where others trace beside us: Langfuse's own SDK, the instrumentations of threads, asyncio and databases."""

# ruff: noqa: F401, F811 - fixtures are imported, and are arguments

import asyncio
import contextlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from langfuse import Langfuse, get_client, observe
from langfuse._client.resource_manager import LangfuseResourceManager
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scenarios.user_places import ASYNC_ONLY, PLACES, calling, in_tools, look_up
from scenarios.user_spans import DONE, MODEL, SQLITE, Actor, Bench, Called, bench, client, linear, port, quiet

from langgraph_observe import Observer, Started
from langgraph_observe.sinks.langfuse import Traces
from langgraph_observe.sinks.store import Store

# -- Langfuse's SDK


@pytest.fixture
def langfuse(bench, monkeypatch):
    """The real SDK, the only one in the process, on the provider whose spans we read."""
    monkeypatch.setattr(LangfuseResourceManager, "_instances", {})
    keys = {"public_key": "pk", "secret_key": "sk", "base_url": "http://127.0.0.1:9"}
    client = Langfuse(**keys, tracer_provider=bench.provider, span_exporter=InMemorySpanExporter())
    yield client
    client.shutdown()


OBSERVED = {
    "request": "nobody",
    "in the node": "node n",
    "deeper": "span in the node",
    "after the model": "span in the node",
    "in the tool": "tool look_up c1",
    "after the graph": "span in the node",
    "last": "node n",
}


def touch(name):
    observe(name=name)(lambda: None)()


def test_functions_that_langfuse_observes_nest_in_the_runs_and_around_them(bench, langfuse):
    work = look_up(Actor(bench, asynchronous=False), lambda: touch("in the tool"))

    @observe(name="in the node")
    def observed():
        touch("deeper")
        MODEL.invoke("q")
        touch("after the model")
        in_tools(work).invoke({"messages": [calling(1)]})
        touch("after the graph")

    def node(_):
        observed()
        touch("last")
        return DONE

    graph = bench.observer.watch(linear(("n", node)))
    observe(name="request")(lambda: graph.invoke(DONE))()
    assert bench.owners() == OBSERVED
    (root,) = bench.roots()
    assert root.parent_span_id == next(f"{span.context.span_id:016x}" for span in bench.mine() if span.name == "request")


async def test_coroutine_functions_that_langfuse_observes_nest_the_same_way(bench, langfuse):
    async def nothing():
        await asyncio.sleep(0)

    async def atouch(name):
        await observe(name=name)(nothing)()

    work = look_up(Actor(bench, asynchronous=True), lambda: atouch("in the tool"))

    @observe(name="in the node")
    async def observed():
        await atouch("deeper")
        await MODEL.ainvoke("q")
        await atouch("after the model")
        await in_tools(work).ainvoke({"messages": [calling(1)]})
        await atouch("after the graph")

    async def node(_):
        await observed()
        await atouch("last")
        return DONE

    graph = bench.observer.watch(linear(("n", node)))

    @observe(name="request")
    async def request():
        return await graph.ainvoke(DONE)

    await request()
    assert bench.owners() == OBSERVED


def test_langfuse_finds_the_run_as_its_current_observation(bench, langfuse):
    found = []

    def look(_):
        found.append((get_client().get_current_trace_id(), get_client().get_current_observation_id()))
        return DONE

    bench.observer.watch(linear(("n", look))).invoke(DONE)
    assert found == [(run.trace_id, run.span_id) for run in bench.seen if isinstance(run, Started) and run.name == "n"]


def test_our_traces_and_langfuses_sdk_make_one_tree(bench, langfuse):
    """The sink of ours sends by itself: only the ids are shared."""
    ours = InMemorySpanExporter()
    with Observer(Traces(public_key="pk", secret_key="sk", span_exporter=ours)) as observer:
        graph = observer.watch(linear(("n", lambda _: touch("in the node") or DONE), name="flow"))
        observe(name="request")(lambda: graph.invoke(DONE))()
        assert observer.flush()
        sent = [*ours.get_finished_spans(), *bench.exporter.get_finished_spans()]
    names = {span.context.span_id: span.name for span in sent}
    assert {span.name: names[span.parent.span_id] if span.parent else None for span in sent} == {
        "request": None,
        "flow": "request",
        "n": "flow",
        "in the node": "n",
    }
    assert len({span.context.trace_id for span in sent}) == 1


# -- other instrumentations


@pytest.fixture(params=["threading", "asyncio"])
def instrumented(request, bench, monkeypatch):
    """These two are no requirement of the tests: there may be none for the SDK that is installed."""
    monkeypatch.setenv("OTEL_PYTHON_ASYNCIO_COROUTINE_NAMES_TO_TRACE", "aact")
    module = pytest.importorskip(f"opentelemetry.instrumentation.{request.param}")
    instrumentor = getattr(module, f"{request.param.title()}Instrumentor")()
    instrumentor.instrument(tracer_provider=bench.provider)
    yield request.param
    instrumentor.uninstrument()


CELLS = [(place, code) for place in PLACES for code in ("sync", "async") if code == "async" or place not in ASYNC_ONLY]


def test_with_threads_or_asyncio_instrumented_a_span_is_where_it_was(bench, instrumented):
    for place, code in CELLS:
        bench.forget()
        there = place(Actor(bench, asynchronous=code == "async"))
        graph = bench.observer.watch(there.graph)
        with bench.tracer.start_as_current_span("request") as request:
            graph.invoke(there.given) if code == "sync" else asyncio.run(graph.ainvoke(there.given))
            assert trace.get_current_span() is request
        assert (place, list(bench.children().values())) == (place, [there.children()])


def test_where_threads_are_instrumented_one_without_a_copied_context_is_in_its_node(bench):
    threads = pytest.importorskip("opentelemetry.instrumentation.threading").ThreadingInstrumentor()
    actor = Actor(bench, asynchronous=False)

    def work():
        actor.act(["first", Called(MODEL, "q"), "after the model"], {})

    def node(_):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(actor.mark, "in a pool").result()
            pool.submit(actor.mark, "in the pool again").result()
        actor.mark("after")
        return DONE

    threads.instrument()
    try:
        bench.observer.watch(linear(("n", node))).invoke(DONE)
    finally:
        threads.uninstrument()
    assert set(bench.owners()) == {"first", "after the model", "in a pool", "in the pool again", "after"}
    assert set(bench.owners().values()) == {"node n"}


def test_our_own_store_works_and_makes_no_spans_where_databases_are_instrumented(tmp_path):
    file = tmp_path / "traces.db"
    bench = Bench("spans", Store(file))
    with bench.instrumented():
        bench.observer.watch(linear(("n", lambda _: DONE))).invoke(DONE)
        bench.observer.close()
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (2,)
    assert [span.name for span in bench.exporter.get_finished_spans() if span.instrumentation_scope.name == SQLITE] == []


# -- runs without a span


def leaving_out(record):
    """A processor, as a sampler is one."""


def marked(bench):
    actor = Actor(bench, asynchronous=False)
    return bench.observer.watch(linear(("n", actor.body("first", Called(MODEL, "q"), "after the model"))))


@pytest.mark.parametrize("sink", ["spans", "ids"])
def test_in_a_run_that_is_left_out_a_span_is_the_callers_child(sink, port, client):
    bench = Bench(sink, port=port, client=client, process=[leaving_out])
    with bench.tracer.start_as_current_span("request") as request:
        marked(bench).invoke(DONE)
        assert trace.get_current_span() is request
    bench.observer.close()
    assert bench.owners() == {"first": "span request", "after the model": "span request", "request": "nobody"}


def test_where_the_caller_suppresses_instrumentation_a_span_is_the_callers_child(port, client):
    bench = Bench("spans", port=port, client=client)
    with bench.tracer.start_as_current_span("request") as request, suppress_instrumentation():
        marked(bench).invoke(DONE)
        assert trace.get_current_span() is request
    bench.observer.close()
    assert bench.owners() == {"first": "span request", "after the model": "span request", "request": "nobody"}
