"""A graph that runs elsewhere: its call is a run of ours, and the other side's spans become its children."""

from types import SimpleNamespace

import graphs
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import ParentCommand
from langgraph.pregel.remote import RemoteException, RemoteGraph
from langgraph.types import Command
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ways import run

from langgraph_observe import Finished, Noted, Observer, Started, observe
from langgraph_observe.sinks.otel import Spans
from langgraph_observe.testing import tree

THREAD = {"configurable": {"thread_id": "t"}}
VALUES = ("values", {"x": ["far"]})
WAYS = ("invoke", "stream", "ainvoke", "astream")
ways = pytest.mark.parametrize("way", WAYS)


def answering(*told, sent=None, error=None):
    """A RemoteGraph whose server says this; what it was sent is put into `sent`."""

    def stream(**call):
        (sent if sent is not None else []).append(call)
        yield from (SimpleNamespace(event=event, data=data) for event, data in told)
        if error is not None:
            raise error

    async def astream(**call):
        for chunk in stream(**call):
            yield chunk

    http = SimpleNamespace(client=SimpleNamespace(base_url="http://far.example:8123"))
    clients = [SimpleNamespace(runs=SimpleNamespace(stream=one), http=http) for one in (stream, astream)]
    return RemoteGraph("assistant", sync_client=clients[0], client=clients[1], name="far")


@ways
def test_the_call_is_a_run_and_its_caller_gets_what_it_gets_without_us(way):
    seen, sent, bare = [], [], []
    graph = observe(answering(VALUES, VALUES, sent=sent), seen.append, tags=["beta"])
    given = {**THREAD, "metadata": {"user_id": "ada"}}

    assert repr(run(way, graph, {"x": []}, given)) == repr(run(way, answering(VALUES, VALUES, sent=bare), {"x": []}, given))
    assert tree(seen) == "graph far ok"
    begun, ended = seen
    assert (begun.thread_id, begun.user_id, begun.tags, begun.remote) == ("t", "ada", ("beta",), True)
    assert (begun.base_url, begun.input.value) == ("http://far.example:8123", {"x": []})
    if way.endswith("invoke"):
        assert ended.output.value == {"x": ["far"]}
    headers = sent[0].pop("headers")
    assert headers == {"traceparent": f"00-{begun.trace_id}-{begun.span_id}-01"}
    assert bare[0].pop("headers") is None
    assert sent == bare


@ways
def test_in_a_graph_it_is_under_its_node(way):
    seen, sent = [], []
    observer = Observer(seen.append)
    outer = observer.watch(graphs.linear(("call", observer.watch(answering(VALUES, sent=sent))), compile_with={"name": "near"}))
    run(way, outer, {"x": []})

    assert tree(seen) == "graph near ok\n  node call ok\n    graph far ok"
    far = next(record for record in seen if isinstance(record, Started) and record.name == "far")
    assert sent[0]["headers"]["traceparent"].split("-")[1:3] == [seen[0].trace_id, far.span_id]


@ways
@pytest.mark.parametrize(
    ("graph", "raised", "told"),
    [
        (lambda: answering(VALUES, error=ConnectionError("gone")), ConnectionError, "graph far error ConnectionError"),
        (
            lambda: answering(("error", {"message": "no"})),
            RemoteException,
            "graph far error langgraph.pregel.remote.RemoteException",
        ),
        (lambda: RemoteGraph("assistant", name="far"), ValueError, "graph far error ValueError"),
        (
            lambda: answering(("command", {"graph": Command.PARENT, "goto": "desk"})),
            ParentCommand,
            "graph far error langgraph.errors.ParentCommand → desk",
        ),
    ],
    ids=["connection", "remote failure", "no client", "handoff to nobody"],
)
def test_a_failure_is_the_caller_s_as_without_us_and_the_run_s(way, graph, raised, told):
    seen = []
    with pytest.raises(raised) as without_us:
        run(way, graph(), {"x": []})
    with pytest.raises(raised) as with_us:
        run(way, observe(graph(), seen.append), {"x": []})

    assert str(with_us.value) == str(without_us.value)
    assert tree(seen) == told


@ways
def test_a_question_from_far_is_an_interrupt_and_its_answer_a_resume(way):
    asked = [{"value": "sure?", "id": "1"}]
    seen = []
    observer = Observer(seen.append)
    run(
        way,
        observer.watch(answering(("updates", {"__interrupt__": asked}), ("values", {"x": [], "__interrupt__": asked}))),
        {"x": []},
        THREAD,
    )
    run(way, observer.watch(answering(VALUES)), Command(resume="yes"), THREAD)
    run(way, observer.watch(answering(VALUES)), Command(resume="again"), THREAD)

    assert tree(seen) == "graph far interrupted (interrupt)\ngraph far ok resumed_from\ngraph far ok"
    assert [record.kind for record in seen if isinstance(record, Noted)] == ["interrupt", "resume"]
    assert next(record for record in seen if isinstance(record, Noted)).payload.value == asked


def test_a_stream_that_its_consumer_closes_is_cancelled_and_the_connection_is_let_go():
    seen, closed = [], []

    def stream(**_):
        try:
            yield SimpleNamespace(event="updates", data={"a": 1})
            yield SimpleNamespace(event="updates", data={"a": 2})
        finally:
            closed.append(True)

    graph = RemoteGraph("assistant", sync_client=SimpleNamespace(runs=SimpleNamespace(stream=stream)), name="far")
    chunks = observe(graph, seen.append).stream({"x": []})
    next(chunks)
    chunks.close()

    assert tree(seen) == "graph far cancelled (stream_closed)"
    assert closed == [True]


@pytest.mark.parametrize(
    "derive", [lambda graph: graph.with_config(tags=["t"]), lambda graph: graph.copy({})], ids=["with_config", "copy"]
)
def test_what_is_derived_from_it_is_observed_too(derive):
    seen = []
    graph = derive(observe(answering(VALUES), seen.append))

    assert isinstance(graph, RemoteGraph)
    assert graph.invoke({"x": []}) == {"x": ["far"]}
    assert tree(seen) == "graph far ok"


@ways
def test_its_span_is_a_client_s_and_carried_as_its_sampler_has_decided(way):
    exporter, sent = InMemorySpanExporter(), []
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with Observer(Spans(tracer_provider=provider)) as observer:
        graph = observer.watch(answering(VALUES, sent=sent))
        run(way, graph, {"x": []})
        assert trace.get_current_span() is trace.INVALID_SPAN
        assert observer.flush()
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.attributes["gen_ai.agent.name"]) == ("invoke_agent far", "far")

    assert (span.kind, span.attributes["server.address"]) == (trace.SpanKind.CLIENT, "far.example")
    assert sent[0]["headers"]["traceparent"] == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"


def test_a_header_of_the_caller_s_own_wins():
    sent = []
    observe(answering(VALUES, sent=sent), lambda _: None).invoke({"x": []}, headers={"traceparent": "mine", "x": "y"})

    assert sent[0]["headers"] == {"traceparent": "mine", "x": "y"}


def test_two_observers_see_it_once_each():
    first, second = [], []
    observe(observe(answering(VALUES), first.append), second.append).invoke({"x": []})

    assert [tree(seen) for seen in (first, second)] == ["graph far ok"] * 2
    assert all(isinstance(seen[-1], Finished) for seen in (first, second))


def test_what_a_checkpoint_here_remembers_is_not_sent_there():
    sent = []
    observer = Observer(lambda _: None)
    far = observer.watch(answering(VALUES, sent=sent))

    def call(state, config: RunnableConfig):
        return far.invoke(state, config)

    observer.watch(graphs.linear(call, compile_with={"checkpointer": InMemorySaver()})).invoke({"x": []}, THREAD)

    assert "langgraph_observe" not in repr(sent[0]["config"])
