"""Who called, and who is called: W3C trace context, baggage, links and log records, end to end through real graphs."""

import asyncio
import contextlib
import json
import logging
from types import SimpleNamespace

import pytest
from capture.graphs import linear
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command, interrupt
from opentelemetry import baggage, propagate, trace
from opentelemetry import context as otel
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from ways import WAYS, run

from langgraph_observe import Observer, Started, observe, testing
from langgraph_observe.sinks.log import Lines
from langgraph_observe.sinks.otel import Spans

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
IN = {"x": []}


@pytest.fixture(autouse=True)
def strict():
    with testing.strict():
        yield


class Bench:
    """A provider, our spans on it, and the records."""

    def __init__(self, *sinks):
        self.memory, self.provider = InMemorySpanExporter(), TracerProvider(sampler=ParentBased(ALWAYS_ON), shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.records = []
        self.observer = Observer(Spans(tracer_provider=self.provider), self.records.append, *sinks)

    def spans(self):
        assert self.observer.flush()
        return {span.name: span for span in self.memory.get_finished_spans()}

    def runs(self):
        return [record for record in self.records if isinstance(record, Started)]


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.observer.close()
    assert not trace.get_current_span().get_span_context().is_valid
    assert baggage.get_all() == {}


def metadata(**values):
    return {"metadata": values}


# -- trace context in


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("runnable", [linear(("n", lambda _: None)), RunnableLambda(lambda given: given)], ids=["graph", "chain"])
def test_a_traceparent_in_the_config_is_whose_child_the_run_is(bench, runnable, way):
    """A queue's message or a job has it, where no server's span is there to be the parent."""
    run(way, runnable, IN, {"callbacks": [bench.observer.handler], **metadata(**SENT, tracestate="vendor=1", job="j-1")})
    root, *others = bench.runs()
    assert (root.trace_id, root.parent_span_id, root.parent_id) == (TRACE, SPAN, None)
    assert {other.trace_id for other in others} <= {TRACE}
    assert all(one.metadata == {"job": "j-1"} for one in bench.runs())  # it has a place of its own
    span = next(span for span in bench.spans().values() if f"{span.context.span_id:016x}" == root.span_id)
    assert (f"{span.parent.span_id:016x}", span.parent.is_remote) == (SPAN, True)
    assert span.context.trace_state == {"vendor": "1"}


def test_it_is_nearer_than_the_span_of_whoever_works_the_message_off(bench):
    with bench.provider.get_tracer("mine").start_as_current_span("poll") as poll:
        bench.observer.watch(linear(("n", lambda _: None))).invoke(IN, metadata(**SENT))
        assert trace.get_current_span() is poll
        bench.observer.watch(linear(("n", lambda _: None))).invoke(IN)
    roots = [one for one in bench.runs() if one.parent_id is None]
    assert [root.parent_span_id for root in roots] == [SPAN, f"{poll.get_span_context().span_id:016x}"]


def test_what_its_sender_has_not_sampled_has_no_spans_and_all_records(bench):
    bench.observer.watch(linear(("n", lambda _: None))).invoke(IN, metadata(traceparent=f"00-{TRACE}-{SPAN}-00"))
    assert bench.spans() == {}
    assert [one.trace_id for one in bench.runs()] == [TRACE, TRACE]


@pytest.mark.parametrize("odd", ["", "00-0-0-00", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01", 7, None, ["x"], "\ud800"])
def test_one_that_is_none_is_nobody(bench, odd):
    bench.observer.watch(linear(("n", lambda _: None))).invoke(IN, metadata(traceparent=odd))
    root = bench.runs()[0]
    assert root.parent_span_id is None
    assert bench.spans()["invoke_workflow"].parent is None


def test_a_graph_in_a_graph_stays_there_and_a_remote_one_is_a_child_of_its_call(bench):
    sent = []

    def stream(**call):
        sent.append(call)
        yield SimpleNamespace(event="values", data={"x": ["far"]})

    far = RemoteGraph("assistant", sync_client=SimpleNamespace(runs=SimpleNamespace(stream=stream)), name="far")
    inner = linear(("deep", lambda _, config: bench.observer.watch(far).invoke(IN, config) and None))
    bench.observer.watch(linear(("n", inner))).invoke(IN, metadata(**SENT))
    call = bench.runs()[-1]
    assert (call.name, call.trace_id, call.parent_span_id != SPAN) == ("far", TRACE, True)
    assert sent[0]["headers"]["traceparent"] == f"00-{TRACE}-{call.span_id}-01"
    assert "traceparent" not in sent[0]["config"].get("metadata", {})


# -- baggage


def carried():
    """The headers of a request that is made here."""
    headers = {}
    propagate.inject(headers)
    return headers.get("baggage")


@contextlib.contextmanager
def calling(**values):
    """As a server does with the baggage of its request."""
    context = otel.get_current()
    for name, value in values.items():
        context = baggage.set_baggage(name.replace("_", "."), value, context)
    token = otel.attach(context)
    yield
    otel.detach(token)


def who(run):
    return run.session_id, run.user_id


def nodes(requests):
    """Two nodes that ask somebody else, one of them with baggage of its own besides."""

    def ask(_):
        requests.append(carried())

    def ask_more(_):
        with calling(more="m"):
            requests.append(carried())

    return ("ask", ask), ("ask_more", ask_more)


@pytest.mark.parametrize("option", [{}, {"baggage": "none"}, {"baggage": "write"}])
def test_the_callers_baggage_is_not_believed_unasked(bench, option):
    with calling(session_id="s", user_id="u"):
        bench.observer.watch(linear(("n", lambda _: None)), **option).invoke(IN)
    assert {who(one) for one in bench.runs()} == {(None, None)}


@pytest.mark.parametrize("way", WAYS)
def test_session_and_user_are_read_from_the_callers_baggage_by_option(bench, way):
    with calling(session_id="s ö", user_id="u"):
        run(way, bench.observer.watch(linear(("n", lambda _: None)), baggage="read", user_id="nobody"), IN)
    assert {who(one) for one in bench.runs()} == {("s ö", "u")}


def test_the_config_wins_over_the_baggage(bench):
    with calling(session_id="s", user_id="u"):
        bench.observer.watch(linear(("n", lambda _: None)), baggage="both").invoke(IN, metadata(session_id="mine"))
    assert {who(one) for one in bench.runs()} == {("mine", "u")}


@pytest.mark.parametrize("option", [{}, {"baggage": "none"}, {"baggage": "read"}])
def test_nobody_is_told_of_session_and_user_unasked(bench, option):
    requests = []
    with calling(theirs="t"):
        bench.observer.watch(linear(*nodes(requests)), session_id="s", **option).invoke(IN)
    assert requests == ["theirs=t", "theirs=t,more=m"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["observe", "handler"])
def test_session_and_user_are_on_every_request_of_the_run_by_option_and_on_none_after_it(bench, way, how):
    requests = []
    graph = linear(*nodes(requests))
    handler = bench.observer.handle(session_id="s ö", user_id="u", baggage="write")
    with calling(theirs="t"):
        if how == "observe":
            run(way, bench.observer.watch(graph, session_id="s ö", user_id="u", baggage="write"), IN)
        else:
            run(way, graph, IN, {"callbacks": [handler]})
        assert carried() == "theirs=t"
    said = "theirs=t,session.id=s+%C3%B6,user.id=u"
    assert requests == [said, f"{said},more=m"]


async def test_a_context_that_outlives_the_run_tells_nobody_of_it(bench):
    """A task that user code starts and does not wait for keeps a copy of the context it was started in."""
    over, tasks = asyncio.Event(), []

    async def later():
        before = carried()
        await over.wait()
        return before, carried()

    async def node(_):
        tasks.append(asyncio.create_task(later()))
        await asyncio.sleep(0)

    await bench.observer.watch(linear(("node", node)), session_id="s", baggage="write").ainvoke(IN)
    over.set()
    assert await tasks[0] == ("session.id=s", None)


def test_between_two_chunks_the_consumer_has_its_own_baggage(bench):
    graph = bench.observer.watch(linear(*nodes([])), session_id="s", baggage="write")
    assert [carried() for _ in graph.stream(IN)] == [None, None]


def test_what_is_read_is_a_copy_that_stays(bench):
    found = []
    node = ("n", lambda _: found.append((dict(baggage.get_all()), baggage.get_baggage("user.id"))))
    bench.observer.watch(linear(node), session_id="s", baggage="write").invoke(IN)
    assert found == [({"session.id": "s"}, None)]


def test_an_option_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="baggage is one of"):
        observe(linear(("n", lambda _: None)), [].append, baggage="in")


# -- links


def test_a_resumed_run_is_linked_to_the_one_it_goes_on_with_in_another_trace(bench):
    thread = {"configurable": {"thread_id": "t"}}
    graph = bench.observer.watch(linear(("ask", lambda _: interrupt("?") and None), compile_with={"checkpointer": InMemorySaver()}))
    graph.invoke(IN, thread | metadata(**SENT))
    graph.invoke(Command(resume="yes"), thread)
    first, second = (span for span in _finished(bench) if span.name == "invoke_workflow")
    assert [(link.context.trace_id, link.context.span_id) for link in second.links] == [(int(TRACE, 16), first.context.span_id)]
    assert second.context.trace_id != int(TRACE, 16)


def _finished(bench):
    assert bench.observer.flush()
    return bench.memory.get_finished_spans()


# -- log records


@pytest.fixture
def logged():
    """What OpenTelemetry's own handler of the standard library's logging exports."""
    memory, provider = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    handler = LoggingHandler(logger_provider=provider)
    logger = logging.getLogger("test_propagation")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield logger, lambda: [one.log_record for one in memory.get_finished_logs()]
    logger.removeHandler(handler)


@pytest.mark.parametrize("way", WAYS)
def test_what_user_code_logs_has_the_ids_of_the_run_it_is_in(bench, logged, way):
    logger, records = logged
    run(way, bench.observer.watch(linear(("n", lambda _: logger.info("in the node")))), IN)
    logger.info("after it")
    node = next(one for one in bench.runs() if one.kind == "node")
    assert [(f"{one.trace_id:032x}", f"{one.span_id:016x}") for one in records()] == [
        (node.trace_id, node.span_id),
        ("0" * 32, "0" * 16),
    ]


def test_our_lines_have_the_ids_of_the_run_that_they_are_about(logged):
    logger, records = logged
    bench = Bench(Lines(logger=logger))
    bench.observer.watch(linear(("n", lambda _: None))).invoke(IN)
    assert bench.observer.flush()
    said = [json.loads(one.body) for one in records()]
    assert [one["kind"] for one in said] == ["node", "graph"]
    assert [(f"{one.trace_id:032x}", f"{one.span_id:016x}") for one in records()] == [
        (one["trace_id"], one["span_id"]) for one in said
    ]
    bench.observer.close()
