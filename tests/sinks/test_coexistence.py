"""Others in the same process: the application's provider, its samplers and switches, and whoever else traces the same calls."""

import json
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from capture.graphs import ASKED, agent, call
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.langchain import LangChainTracer
from langfuse import Langfuse
from langfuse._client.resource_manager import LangfuseResourceManager
from langfuse.langchain import CallbackHandler as LangfuseHandler
from langsmith import Client, traceable, tracing_context
from openai import OpenAI
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, TraceIdRatioBased
from prometheus_client import CollectorRegistry
from providers import Reply, ask, gpt, openai
from ways import WAYS, run

from langgraph_observe import Finished, Observer, testing
from langgraph_observe.explore import StoreFile, Traces
from langgraph_observe.sinks.otel import Spans
from langgraph_observe.sinks.prometheus import Metrics
from langgraph_observe.sinks.store import Store
from langgraph_observe.testing import tree

RUNS = 9
"""Of the calculator: the graph, three nodes, two models, a tool, two routes."""


@pytest.fixture(autouse=True)
def strict():
    with testing.strict():
        yield


class World:
    """Spans beside sinks of our own that count, as the default Observer has them."""

    def __init__(self, path, sampler=ALWAYS_ON, provider=None):
        self.memory, self.provider = InMemorySpanExporter(), provider or TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.registry, self.path, self.records = CollectorRegistry(), path / "traces.db", []
        spans = Spans(tracer_provider=self.provider)
        self.observer = Observer(spans, Metrics(registry=self.registry), Store(self.path), self.records.append)
        self.graph = self.observer.watch(agent(call("add", a=1, b=2)))
        self.mine = self.provider.get_tracer("mine")

    def spans(self):
        assert self.observer.flush()
        return list(self.memory.get_finished_spans())

    def counted(self):
        """Runs by the records, in the store, and by the metrics: graphs, models and tools."""
        assert self.observer.flush()
        stored = sum(len(found) for found in Traces(StoreFile(self.path)))
        samples = [sample for family in self.registry.collect() for sample in family.samples]
        calls = sum(sample.value for sample in samples if sample.name == "langgraph_run_duration_seconds_count")
        return sum(isinstance(one, Finished) for one in self.records), stored, calls


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.observer.close()


# -- the application's provider


def test_a_run_is_a_part_of_the_applications_trace_and_its_provider_outlives_us(world):
    with world.mine.start_as_current_span("request") as request:
        world.graph.invoke(ASKED)
        assert trace.get_current_span() is request
    world.observer.close()
    with world.mine.start_as_current_span("later"):
        pass
    spans = {span.name: span for span in world.memory.get_finished_spans()}
    assert spans["invoke_workflow calculator"].parent.span_id == request.get_span_context().span_id
    assert len({span.context.trace_id for span in spans.values() if span.name != "later"}) == 1
    assert "later" in spans


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_OFF)], ids=["off", "parent-based"])
@pytest.mark.parametrize("way", WAYS)
def test_what_a_sampler_drops_is_counted_and_stored_all_the_same(tmp_path, sampler, way):
    world = World(tmp_path, sampler)
    run(way, world.graph, ASKED)
    assert world.spans() == []
    records, stored, calls = world.counted()
    assert records == stored == RUNS
    assert calls > 0
    world.observer.close()


def test_a_ratio_keeps_traces_whole_and_the_counts_are_of_all(tmp_path):
    world = World(tmp_path, ParentBased(TraceIdRatioBased(0.5)))
    for _ in range(30):
        world.graph.invoke(ASKED)
    traces = {}
    for span in world.spans():
        traces.setdefault(span.context.trace_id, []).append(span)
    assert {len(spans) for spans in traces.values()} == {RUNS}
    assert 0 < len(traces) < 30  # none or all: once in 10^9 runs of this test
    assert world.counted()[:2] == (30 * RUNS, 30 * RUNS)
    world.observer.close()


@pytest.mark.parametrize("sampled", [True, False])
def test_the_callers_decision_is_the_graphs(tmp_path, sampled):
    world = World(tmp_path, ParentBased(ALWAYS_ON))
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if sampled else 0)
    with trace.use_span(trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=True, trace_flags=flags))):
        world.graph.invoke(ASKED)
    assert len(world.spans()) == (RUNS if sampled else 0)
    assert world.counted()[:2] == (RUNS, RUNS)
    world.observer.close()


@pytest.mark.parametrize("way", WAYS)
def test_suppressed_instrumentation_makes_no_spans_and_everything_is_counted(world, way):
    with suppress_instrumentation():
        run(way, world.graph, ASKED)
    assert world.spans() == []
    assert world.counted()[:2] == (RUNS, RUNS)


def test_suppressed_http_is_no_business_of_ours(world):
    with suppress_http_instrumentation():
        world.graph.invoke(ASKED)
    assert len(world.spans()) == RUNS


def test_suppressed_in_a_node_the_tree_goes_on_as_it_began(world):
    """Whether a tree has spans is decided once, at its root."""

    def quiet(given):
        with suppress_instrumentation():
            return inner.invoke(given)

    inner = RunnableLambda(lambda given: given)
    RunnableLambda(quiet, name="outer").invoke("q", {"callbacks": [world.observer.handler]})
    assert len(world.spans()) == 2


def test_a_disabled_sdk_makes_no_spans_and_everything_is_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    world = World(tmp_path)
    world.graph.invoke(ASKED)
    assert world.spans() == []
    assert world.counted()[:2] == (RUNS, RUNS)
    world.observer.close()


def test_a_provider_replaced_while_a_graph_runs_gets_the_next_graph(monkeypatch):
    memories = [InMemorySpanExporter(), InMemorySpanExporter()]
    providers = [TracerProvider(shutdown_on_exit=False) for _ in memories]
    for provider, memory in zip(providers, memories, strict=True):
        provider.add_span_processor(SimpleSpanProcessor(memory))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", providers[0])
    observer = Observer(Spans())
    graph = observer.watch(agent(call("add", a=1, b=2)))
    chunks = graph.stream(ASKED)
    next(chunks)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", providers[1])
    list(chunks)
    graph.invoke(ASKED)
    assert observer.flush()
    assert [len(memory.get_finished_spans()) for memory in memories] == [RUNS, RUNS]
    assert [len({span.context.trace_id for span in memory.get_finished_spans()}) for memory in memories] == [1, 1]
    observer.close()


# -- two Observers


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("graph", ["one", "each"])
def test_two_observers_on_one_provider_make_one_span_of_a_run_and_each_has_all_records(world, way, graph):
    """The ids of both are those of the span: whoever reads either's records or log lines finds it."""
    records = []
    second = Observer(Spans(tracer_provider=world.provider), records.append)
    if graph == "one":
        run(way, second.watch(world.graph), ASKED)
    else:
        run(way, agent(call("add", a=1, b=2)), ASKED, {"callbacks": [world.observer.handler, second.handler]})
    assert second.flush()
    spans = {(f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"): span.name for span in world.spans()}
    assert tree(records) == tree(world.records)
    assert len(world.memory.get_finished_spans()) == len(spans) == RUNS
    for told in (records, world.records):
        assert {(one.run.trace_id, one.run.span_id) for one in told if isinstance(one, Finished)} == spans.keys()
    second.close()


def test_two_observers_on_two_providers_make_a_span_each_with_the_same_ids(world, tmp_path):
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    other.observer.watch(world.graph).invoke(ASKED)
    first, second = ({(span.context.trace_id, span.context.span_id) for span in one.spans()} for one in (world, other))
    assert first == second
    assert len(first) == RUNS
    other.observer.close()


def test_a_run_that_the_second_sees_alone_hangs_under_the_span_of_the_first(world):
    """Its root is a trace of its own in its records, but no second span of what has one."""
    second = Observer(Spans(tracer_provider=world.provider), (records := []).append)
    inner = second.watch(agent(call("add", a=1, b=2)))
    RunnableLambda(inner.invoke, name="outer").invoke(ASKED, {"callbacks": [world.observer.handler]})
    assert second.flush()
    assert tree(records).splitlines()[0] == "graph calculator ok"
    assert len(world.spans()) == RUNS + 1
    second.close()


def test_the_same_run_id_again_is_another_run(world):
    second = Observer(Spans(tracer_provider=world.provider), (records := []).append)
    graph = second.watch(world.graph)
    for _ in range(2):
        graph.invoke(ASKED, {"run_id": uuid.UUID(int=7)})
    assert second.flush()
    assert len({one.run.trace_id for one in records if isinstance(one, Finished)}) == 2
    assert len({span.context.span_id for span in world.spans()}) == 2 * RUNS
    second.close()


def test_an_id_used_again_while_another_observer_has_it_open_is_another_run_for_all():
    """As of a stream that is forgotten: the other Observer has seen it begin, and not yet end."""
    first, second, third = ([], [], [])
    _, *others = observers = [Observer(told.append) for told in (first, second, third)]
    key = uuid.UUID(int=7)
    for observer in observers:
        observer.handler.on_chain_start({"name": "one"}, {}, run_id=key)
    for _ in range(2):
        for observer in others:
            observer.handler.on_chain_end({}, run_id=key)
        for observer in others:
            observer.handler.on_chain_start({"name": "one"}, {}, run_id=key)
    for observer in observers:
        observer.close()
    spans = [[record.run.span_id for record in told if isinstance(record, Finished)] for told in (first, second, third)]
    assert spans[1] == spans[2]
    assert len(set(spans[1])) == 3
    assert spans[0] == spans[1][:1]


# -- another instrumentation of the same call


def genai():
    """OpenTelemetry's own, on opentelemetry-util-genai."""
    return pytest.importorskip("opentelemetry.instrumentation.genai.openai").OpenAIInstrumentor()


def openllmetry():
    return pytest.importorskip("opentelemetry.instrumentation.openai").OpenAIInstrumentor()


@pytest.fixture(params=[genai, openllmetry])
def company(request, world):
    """The provider's own client is instrumented as well, into the same provider."""
    instrumentor = request.param()
    instrumentor.instrument(tracer_provider=world.provider)
    yield world
    instrumentor.uninstrument()


def models(world):
    """Who made the spans of model calls."""
    return sorted(span.instrumentation_scope.name.partition(".")[0] for span in world.spans() if "chat" in span.name)


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream", "batch"])
async def test_one_model_call_is_one_span(company, way):
    with openai(Reply(usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})) as server:
        await ask(gpt(server), way, {"callbacks": [company.observer.handler]})
    assert models(company) == ["langgraph_observe"]


@pytest.mark.parametrize("status", [500, 200])
def test_a_call_beside_ours_keeps_the_span_of_its_client(company, status):
    """Of LangChain nobody is told: before a call of ours, after it in the same function, and after all of it."""
    with openai(Reply(status=200)) as server, openai(Reply(status=status)) as odd:
        client, model = OpenAI(base_url=server.url, api_key="none"), gpt(odd)

        def asks():
            client.chat.completions.create(model="raw", messages=[{"role": "user", "content": "q"}])

        def node(_):
            asks()
            try:
                model.invoke("q")
            except Exception:
                assert status == 500
            asks()

        RunnableLambda(node).invoke("q", {"callbacks": [company.observer.handler]})
        asks()
    assert models(company) == ["langgraph_observe", "opentelemetry", "opentelemetry", "opentelemetry"]


def test_where_we_make_no_span_its_client_does(company):
    """Our records go on; but a run without a span must not silence the one that there would be."""
    quiet = Observer([].append)
    with openai(Reply()) as server:
        gpt(server).invoke("q", {"callbacks": [quiet.handler]})
    assert models(company) == ["opentelemetry"]


# -- LangSmith


class _LangSmith(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.told.append((self.command, self.path, json.loads(self.rfile.read(int(self.headers["content-length"])) or "{}")))
        self.send_response(202)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_PATCH = do_POST  # noqa: N815 - the standard library's name

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def langsmith():
    """The real tracer and client, and a server that takes everything. Gives the client, and what the server was told."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _LangSmith)
    server.told = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    client = Client(f"http://127.0.0.1:{server.server_address[1]}", api_key="none", auto_batch_tracing=False, info={})
    yield client, server.told
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("first", [True, False], ids=["before us", "after us"])
def test_langsmith_and_we_each_see_everything_once(world, langsmith, way, first):
    client, told = langsmith
    tracer = LangChainTracer(client=client)
    handlers = [tracer, world.observer.handler] if first else [world.observer.handler, tracer]
    answer = run(way, agent(call("add", a=1, b=2)), ASKED, {"callbacks": handlers})
    tracer.wait_for_futures()
    alone = []
    run(way, Observer(alone.append).watch(agent(call("add", a=1, b=2))), ASKED)

    assert answer
    assert tree(world.records) == tree(alone)
    assert len({body["id"] for command, _, body in told if command == "POST"}) >= RUNS  # it also shows LangGraph's hidden runs
    assert len(world.spans()) == RUNS


def test_in_langsmiths_own_trace_our_root_is_a_root(world, langsmith):
    """What it calls the parent is a run of its own, of which we know nothing."""
    client, _ = langsmith

    @traceable(client=client)
    def pipeline():
        return world.graph.invoke(ASKED)

    with tracing_context(enabled=True, client=client):
        pipeline()
    client.flush()
    assert tree(world.records).splitlines()[0] == "graph calculator ok"
    assert [span.parent for span in world.spans() if span.name.startswith("invoke_workflow")] == [None]
    assert len(world.spans()) == RUNS


# -- Langfuse's own handler


@pytest.fixture
def langfuse(world, monkeypatch):
    """The real handler, of the only client of the real SDK, on the provider whose spans we read."""
    monkeypatch.setattr(LangfuseResourceManager, "_instances", {})
    keys = {"public_key": "pk", "secret_key": "sk", "base_url": "http://127.0.0.1:9"}
    client = Langfuse(**keys, tracer_provider=world.provider, span_exporter=InMemorySpanExporter())
    yield LangfuseHandler(public_key="pk")
    client.shutdown()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("first", [True, False], ids=["before us", "after us"])
def test_langfuses_handler_and_ours_are_two_trees_in_one_trace(world, langfuse, way, first):
    handlers = [langfuse, world.observer.handler] if first else [world.observer.handler, langfuse]
    run(way, agent(call("add", a=1, b=2)), ASKED, {"callbacks": handlers})
    ours = {span.context.span_id: span for span in world.spans() if span.instrumentation_scope.name == "langgraph_observe"}
    theirs = [span for span in world.spans() if span.context.span_id not in ours]

    assert len(ours) == len(theirs) == RUNS
    assert len({span.context.trace_id for span in [*ours.values(), *theirs]}) == 1
    assert [span.name for span in ours.values() if not span.parent or span.parent.span_id not in ours] == [
        "invoke_workflow calculator"
    ]
    assert not trace.get_current_span().get_span_context().is_valid
