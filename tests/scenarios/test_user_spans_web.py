"""A request to a web service, the run in it, the tool's request to another service: one trace; and each request its own."""

# ruff: noqa: F401, F811 - fixtures are imported, and are arguments

import asyncio
import contextlib
import gc
import threading
import time

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from langgraph.graph import END, START, StateGraph
from opentelemetry import trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from scenarios.user_places import calling, in_tools, look_up
from scenarios.user_spans import DONE, MODEL, Actor, Called, State, bench, client, describe, linear, port, quiet

from langgraph_observe import Finished

CODES = ("sync", "async")


@contextlib.contextmanager
def served(app, bench=None):
    """The application on a real server, its requests traced if there is a bench. Gives its address."""
    if bench is not None:
        FastAPIInstrumentor.instrument_app(app, tracer_provider=bench.provider)
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def way_up(bench, span):
    """The names of a span and of all that it is in, innermost first."""
    runs, spans = bench.runs(), {span.context.span_id: span for span in bench.spans()}
    way, above = [span.name], span.parent.span_id
    while above is not None:
        if (run := runs.get(above)) is not None:
            above = run.parent_span_id and int(run.parent_span_id, 16)
        else:
            span = spans[above]
            above = span.parent and span.parent.span_id
        way.append(describe(run) if run else span.name)
    return way


def named(bench, name):
    return [span for span in bench.spans() if span.name == name]


# -- from a caller through the agent to another service


@pytest.fixture
def other(bench):
    """Another service. Its requests are traced by the same provider, so that the test sees them too."""
    app = FastAPI()
    app.get("/answer")(lambda: "42")
    with served(app, bench) as address:
        yield address


def asking(bench, address, code):
    """An agent whose tool asks the other service."""

    async def ask():
        async with httpx.AsyncClient(verify=False) as http:
            await http.get(f"{address}/answer")

    action = ask if code == "async" else lambda: bench.client.get(f"{address}/answer")
    return in_tools(look_up(Actor(bench, asynchronous=code == "async"), Called(MODEL, "q"), action))


@pytest.mark.parametrize("code", CODES)
def test_from_the_caller_to_the_other_service_it_is_one_trace(bench, other, code):
    graph = bench.observer.watch(asking(bench, other, code))
    app = FastAPI()

    @app.post("/chat")
    async def chat():
        await graph.ainvoke({"messages": [calling(1)]})

    @app.post("/plainly")
    def plainly():
        graph.invoke({"messages": [calling(1)]})

    path = "/chat" if code == "async" else "/plainly"
    with served(app, bench) as address, bench.tracer.start_as_current_span("caller"):
        bench.client.post(address + path).raise_for_status()
    up = way_up(bench, *named(bench, "GET /answer"))
    assert up == ["GET /answer", "GET", "tool look_up c1", "node tools", "graph LangGraph", f"POST {path}", "POST", "caller"]
    assert len({span.context.trace_id for span in bench.spans()} | {int(root.trace_id, 16) for root in bench.roots()}) == 1


# -- answers that are streamed


def two_nodes(bench, code):
    actor = Actor(bench, asynchronous=code == "async")
    return linear(("one", actor.body("in one", Called(MODEL, "q"), "after the model")), ("two", actor.body("in two")))


IN_NODES = {"in one": "node one", "after the model": "node one", "in two": "node two"}


def streaming(bench, code, graph):
    """An application that streams the graph's chunks, and opens spans of its own as it does."""
    graph, app = bench.observer.watch(graph), FastAPI()

    def told(number):
        with bench.tracer.start_as_current_span(f"chunk {number}"):
            return f"{number}\n"

    def chunks():
        for number, _ in enumerate(graph.stream(DONE)):
            yield told(number)

    async def achunks():
        number = 0
        async for _ in graph.astream(DONE):
            yield told(number)
            number += 1

    @app.get("/stream")
    async def stream():
        return StreamingResponse(achunks() if code == "async" else chunks())

    return app


@pytest.mark.parametrize("code", CODES)
def test_what_is_done_between_the_chunks_of_a_streamed_answer_is_the_requests(bench, code):
    with served(streaming(bench, code, two_nodes(bench, code)), bench) as address:
        assert bench.client.get(f"{address}/stream").text == "0\n1\n"
    (root,) = bench.roots()
    (request,) = named(bench, "GET /stream")
    assert int(root.parent_span_id, 16) == request.context.span_id
    owners = bench.owners()
    assert {name: owners.pop(name) for name in IN_NODES} == IN_NODES
    assert owners == {"chunk 0": "span GET /stream", "chunk 1": "span GET /stream"}
    sent = named(bench, "GET /stream http send")
    assert {span.parent.span_id for span in sent} == {request.context.span_id}
    assert len(sent) > 2


def cycling(code, gone):
    """A graph that goes on until it is told that its client is gone."""
    builder = StateGraph(State)
    builder.add_node("n", asleep if code == "async" else sleep)
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", lambda _: END if gone.is_set() else "n", ["n", END])
    return builder.compile().with_config(recursion_limit=1_000_000)


def sleep(_):
    time.sleep(0.001)


async def asleep(_):
    await asyncio.sleep(0.001)


@pytest.mark.parametrize("code", CODES)
def test_when_the_client_goes_away_the_run_ends_and_the_next_request_is_its_own(bench, code):
    gone = threading.Event()
    with served(streaming(bench, code, cycling(code, gone)), bench) as address:
        with bench.client.stream("GET", f"{address}/stream") as answer:
            assert next(answer.iter_lines()) == "0"
        until(lambda: (gc.collect(), outcomes(bench))[1])  # a plain generator is left to the garbage collector by Starlette
        gone.set()
        assert bench.client.get(f"{address}/stream").text == "0\n"
    assert outcomes(bench) == ["cancelled", "ok"]
    first, second = bench.roots()
    assert first.trace_id != second.trace_id
    assert [int(run.parent_span_id, 16) for run in (first, second)] == [
        span.context.span_id for span in named(bench, "GET /stream")
    ]


def outcomes(bench):
    return [record.outcome for record in bench.seen if isinstance(record, Finished) and record.run.parent_id is None]


# -- each request for itself


def chatting(bench):
    """An application that tells where its requests come from, and which span is current when they are done."""
    actor = Actor(bench, asynchronous=True)
    graph = bench.observer.watch(linear(("one", actor.body(Called(MODEL, "q"), "in {n}"))))
    app = FastAPI()

    @app.get("/chat/{number}")
    async def chat(number: int, request: Request):
        await graph.ainvoke({"n": number})
        return request.client.port, f"{trace.get_current_span().get_span_context().span_id:016x}"

    return app


@pytest.mark.parametrize("traced", [True, False], ids=["traced", "not traced"])
def test_two_requests_on_one_connection_are_two_traces(bench, traced):
    with served(chatting(bench), bench if traced else None) as address, httpx.Client(verify=False) as http:
        (port, one), (same, two) = (http.get(f"{address}/chat/{number}").json() for number in range(2))
    first, second = bench.roots()
    assert port == same
    assert first.trace_id != second.trace_id
    assert [first.parent_span_id, second.parent_span_id] == ([one, two] if traced else [None, None])


async def test_requests_at_the_same_time_do_not_mix(bench):
    async def ask(number):
        async with httpx.AsyncClient(verify=False) as http:
            return (await http.get(f"{address}/chat/{number}")).json()[1]

    with served(chatting(bench), bench) as address:
        current = await asyncio.gather(*(ask(number) for number in range(20)))
    assert {root.parent_span_id for root in bench.roots()} == set(current)
    assert len({root.trace_id for root in bench.roots()}) == 20
    assert bench.owners() == {f"in {number}": f"node one {number}" for number in range(20)}
