"""A graph that runs for a stream is that stream's child, whatever task or thread it runs in; and the stream is the request's."""

import asyncio

import httpx
import pytest
from asgi import Visit
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse as NativeResponse
from langgraph.graph import START, MessagesState, StateGraph
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sse_starlette.sse import EventSourceResponse
from web import SSE, observing, served, streams, until

from langgraph_observe import Finished, Observer, testing
from langgraph_observe.capture.http import StreamMiddleware
from langgraph_observe.sinks.otel import Spans
from langgraph_observe.testing import ScriptedModel, tree

IN = {"messages": [("user", "hi")]}
THREAD = {"configurable": {"thread_id": "t-1"}}
TREE = """\
stream {} ok
  graph greeter ok
    node greet ok
      model ScriptedModel ok 1+2 tokens"""


def greeter(observer):
    model = ScriptedModel(respond=lambda _: "Hello you")

    def greet(state):
        return {"messages": [model.invoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("greet", greet)
    builder.add_edge(START, "greet")
    return observer.watch(builder.compile(name="greeter"))


async def frames(graph, tracer):
    async for _ in graph.astream(IN, THREAD, stream_mode="messages"):
        with tracer.start_as_current_span("between"):
            yield "data: x\n\n"
    with tracer.start_as_current_span("after"):
        yield "data: end\n\n"


async def fill(queue, pieces):
    async for piece in pieces:
        queue.put_nowait(piece)
    queue.put_nowait(None)


async def drained(queue, filling):
    while (piece := await queue.get()) is not None:
        yield piece
    await filling


def application(observer, tracer):
    graph = greeter(observer)
    app = FastAPI()
    app.add_middleware(StreamMiddleware, observer=observer)

    @app.get("/sync")
    def threads():
        """Each step is made in some thread of a pool."""
        return StreamingResponse(("data: x\n\n" for _ in graph.stream(IN, THREAD)), media_type="text/event-stream")

    @app.get("/async")
    async def plain():
        return StreamingResponse(frames(graph, tracer), media_type="text/event-stream")

    @app.get("/starlette")
    async def starlette():
        return EventSourceResponse({"data": 1} async for _ in frames(graph, tracer))

    @app.get("/native", response_class=NativeResponse)
    async def native():
        async for _ in frames(graph, tracer):
            yield {"data": 1}

    @app.get("/task")
    async def task():
        """A task of its own fills a queue, and is under way before the response is."""
        queue = asyncio.Queue()
        filling = asyncio.create_task(fill(queue, frames(graph, tracer)))
        await asyncio.sleep(0)
        return StreamingResponse(drained(queue, filling), media_type="text/event-stream")

    @app.get("/called")
    async def called():
        """Told by a handler alone: at the end, the graph cannot give the context back."""

        async def body():
            await greeter(Observer()).ainvoke(IN, {"callbacks": [observer.handler]})
            with tracer.start_as_current_span("after"):
                yield "data: x\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    @app.get("/json")
    async def answer():
        return len((await graph.ainvoke(IN))["messages"])

    return app


@pytest.fixture(scope="module")
def site():
    """One that is traced, as applications are: by OpenTelemetry's instrumentation of FastAPI."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    records = []
    observer = Observer(records.append, Spans(tracer_provider=provider))
    app = application(observer, provider.get_tracer("app"))
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=["send", "receive"])
    with testing.strict(), served(app) as url:
        yield url, observer, records, exporter


def ask(site, path, **headers):
    url, observer, records, exporter = site
    records.clear()
    exporter.clear()
    assert httpx.get(url + path, headers=headers, timeout=20).status_code == 200
    until(lambda: records and not observer.tracker)
    observer.flush()
    until(lambda: any(span.kind is trace.SpanKind.SERVER for span in exporter.get_finished_spans()))
    spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
    return records, {span.name: spans[span.parent.span_id].name if span.parent else None for span in spans.values()}


@pytest.mark.parametrize("path", ["/async", "/sync", "/starlette", "/native"])
def test_the_graph_is_the_streams_and_the_stream_the_requests(site, path):
    records, parents = ask(site, path)
    assert tree(records) == TREE.format(path)
    assert parents[path] == f"GET {path}"
    assert parents["invoke_workflow greeter"] == path


def test_what_is_done_for_the_stream_beside_the_graph_is_in_the_streams_span(site):
    _, parents = ask(site, "/async")
    assert (parents["between"], parents["after"]) == ("/async", "/async")


def test_after_a_graph_that_was_called_the_streams_span_is_current_again(site):
    _, parents = ask(site, "/called")
    assert (parents["invoke_workflow greeter"], parents["after"]) == ("/called", "/called")


def test_the_stream_says_of_which_conversation_it_was(site):
    records, _ = ask(site, "/async")
    [end] = streams(records)
    assert end.run.thread_id == "t-1"
    assert {record.run.trace_id for record in records if isinstance(record, Finished)} == {end.run.trace_id}
    assert {record.run.root_id for record in records if isinstance(record, Finished)} == {end.run.id}


def test_a_graph_that_begins_before_the_response_is_the_streams_if_the_client_wants_one(site):
    records, _ = ask(site, "/task", accept="text/event-stream")
    assert tree(records) == TREE.format("/task")


def test_nobody_could_know_that_this_would_be_a_stream(site):
    """Then it is a tree of its own, under the same request."""
    records, parents = ask(site, "/task")
    assert tree(records).startswith("graph greeter ok")
    assert parents["invoke_workflow greeter"] == parents["/task"] == "GET /task"


def test_a_client_that_wanted_a_stream_and_is_answered_otherwise(site):
    records, _ = ask(site, "/json", accept="text/event-stream")
    assert tree(records) == TREE.format("/json").replace("ok", "ok (not_streamed)", 1)
    [end] = streams(records)
    assert (end.stream, end.run.metadata["http.response.status_code"]) == (None, 200)


def test_a_request_that_is_no_stream_is_as_it_was(site):
    records, parents = ask(site, "/json")
    assert tree(records).startswith("graph greeter ok")
    assert parents["invoke_workflow greeter"] == "GET /json"


def test_the_streams_span_says_what_was_streamed(site):
    ask(site, "/async")
    [span] = [span for span in site[3].get_finished_spans() if span.name == "/async"]
    told = dict(span.attributes)
    assert told["http.route"] == "/async"
    assert (told["http.request.method"], told["http.response.status_code"]) == ("GET", 200)
    assert told["langgraph_observe.stream.pieces"] >= 3
    assert told["langgraph_observe.stream.kinds"] == ("message",)
    assert 0 < told["langgraph_observe.stream.time_to_first_piece"] <= told["langgraph_observe.stream.time_to_last_piece"]
    assert span.kind is trace.SpanKind.INTERNAL


async def test_a_graph_of_another_observer_is_a_tree_of_its_own():
    (mine, records), (other, others) = observing(), observing()
    graph = greeter(other)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        await graph.ainvoke(IN)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    await Visit().of(StreamMiddleware(app, observer=mine))
    assert tree(records) == "stream unmatched ok"
    assert tree(others).startswith("graph greeter ok")


async def test_what_begins_when_the_request_is_over_is_a_tree_of_its_own():
    observer, records = observing()
    graph, over = greeter(observer), asyncio.Event()

    async def later():
        await over.wait()
        await graph.ainvoke(IN)

    async def app(scope, receive, send):
        tasks.append(asyncio.create_task(later()))
        raise RuntimeError("before the response")

    tasks = []
    with pytest.raises(RuntimeError):
        await Visit(headers=[("accept", "text/event-stream")]).of(StreamMiddleware(app, observer=observer))
    over.set()
    await asyncio.gather(*tasks)
    assert tree(records).startswith("graph greeter ok")
