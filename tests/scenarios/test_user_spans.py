"""A span that user code opens in an agent is a child of the innermost run that is open there; around the agent, nothing changes."""

# ruff: noqa: F401, F811 - fixtures are imported, and are arguments

import asyncio
import contextlib
import contextvars
import gc

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import interrupt
from opentelemetry import baggage, trace
from opentelemetry import context as otel
from scenarios.user_places import ASYNC_ONLY, PLACES, a_span_of_the_users_own, middleware, nodes, sub_graphs
from scenarios.user_spans import (
    DONE,
    MEANS,
    MODEL,
    Actor,
    Called,
    Seen,
    bench,
    client,
    linear,
    port,
    quiet,
)

from langgraph_observe import Observer
from langgraph_observe.capture import context as ours

# -- in the agent


async def collected(chunks):
    return [chunk async for chunk in chunks]


WAYS = {
    "invoke": lambda graph, given, config=None: graph.invoke(given, config),
    "stream": lambda graph, given, config=None: list(graph.stream(given, config)),
    "stream, messages": lambda graph, given, config=None: list(graph.stream(given, config, stream_mode="messages")),
    "batch": lambda graph, given, config=None: graph.batch([given] * 3, config),
}
AWAYS = {
    "ainvoke": lambda graph, given, config=None: graph.ainvoke(given, config),
    "astream": lambda graph, given, config=None: collected(graph.astream(given, config)),
    "abatch": lambda graph, given, config=None: graph.abatch([given] * 3, config),
    "astream_events": lambda graph, given, config=None: collected(graph.astream_events(given, config, version="v2")),
}
CELLS = [
    *((place, way, "sync") for place in PLACES for way in (*WAYS, "ainvoke") if place not in ASYNC_ONLY),
    *((place, way, "async") for place in PLACES for way in AWAYS),
]


def call(way, *arguments):
    return WAYS[way](*arguments) if way in WAYS else asyncio.run(AWAYS[way](*arguments))


@pytest.mark.parametrize(("place", "way", "code"), CELLS, ids=lambda part: getattr(part, "__name__", part))
def test_a_span_is_a_child_of_the_innermost_open_run(bench, place, way, code):
    there = place(Actor(bench, asynchronous=code == "async"))
    with bench.tracer.start_as_current_span("request") as request:
        call(way, bench.observer.watch(there.graph), there.given)
        assert trace.get_current_span() is request
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert list(bench.children().values()) == [there.children()] * (3 if "batch" in way else 1)
    assert {root.parent_span_id for root in bench.roots()} == {f"{request.get_span_context().span_id:016x}"}


@pytest.mark.parametrize("place", [place for place in PLACES if place not in ASYNC_ONLY], ids=lambda place: place.__name__)
@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_a_handler_in_the_callbacks_does_the_same(bench, place, way):
    there = place(Actor(bench, asynchronous=way == "ainvoke"))
    call(way, there.graph, there.given, {"callbacks": [bench.observer.handler]})
    assert list(bench.children().values()) == [there.children()]


@pytest.mark.parametrize("place", [nodes, a_span_of_the_users_own, sub_graphs, middleware], ids=lambda place: place.__name__)
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])
def test_with_a_second_observer_it_is_a_child_of_the_same_run_in_one_of_the_two(bench, place, way):
    there = place(Actor(bench, asynchronous=way in AWAYS))
    other = Observer(again := Seen(context=True), process=())
    with bench.tracer.start_as_current_span("request") as request:
        call(way, other.watch(bench.observer.watch(there.graph)), there.given)
        assert trace.get_current_span() is request
    bench.seen.extend(again)
    assert bench.owners() == there.expected | {"request": "nobody"}


# -- around it


def two_nodes(actor):
    """Two nodes, so two chunks."""
    one = actor.body("in one", Called(MODEL, "q"), "after the model")
    return linear(("one", one), ("two", actor.body("in two")))


@pytest.mark.parametrize("way", [*WAYS, *AWAYS])
@pytest.mark.parametrize("watching", ["observe", "callbacks"])
def test_without_a_callers_span_each_call_is_a_trace_of_its_own(bench, way, watching):
    actor = Actor(bench, asynchronous=way in AWAYS)
    graph, config = watched(bench, two_nodes(actor), watching)

    async def twice():
        for number in range(2):
            WAYS[way](graph, DONE, config) if way in WAYS else await AWAYS[way](graph, DONE, config)
            actor.mark(f"between {number}")

    asyncio.run(twice())
    roots = bench.roots()
    assert len({root.trace_id for root in roots}) == len(roots) == (6 if "batch" in way else 2)
    assert {root.parent_span_id for root in roots} == {None}
    assert [bench.owners()[f"between {number}"] for number in range(2)] == ["nobody"] * 2


def watched(bench, graph, how):
    """The graph that is to be called, and the config with which."""
    if how == "observe":
        return bench.observer.watch(graph), None
    return graph, {"callbacks": [bench.observer.handler]}


hung: contextvars.ContextVar[asyncio.Timeout] = contextvars.ContextVar("hung")


async def ends_badly(state):
    """As it is told: fail, ask a human, or hang and let the caller give up."""
    match state.get("n"):
        case 1:
            raise RuntimeError("failed")
        case 2:
            interrupt("?")
        case 3:
            hung.get().reschedule(0)
            await asyncio.Event().wait()
    return DONE


async def failed(graph, config):
    with pytest.raises(RuntimeError):
        await graph.ainvoke({"n": 1}, config)


async def interrupted(graph, config):
    await graph.ainvoke({"n": 2}, config)


async def timed_out(graph, config):
    with pytest.raises(TimeoutError):
        await limited(graph, config)


async def limited(graph, config):
    async with asyncio.timeout(None) as limit:
        hung.set(limit)
        await graph.ainvoke({"n": 3}, config)


async def closed(graph, config):
    stream = graph.astream(DONE, config)
    await anext(stream)
    await stream.aclose()


async def forgotten(graph, config):
    """The loop closes it, in a task of its own."""
    stream = graph.astream(DONE, config)
    await anext(stream)


async def forgotten_in_a_cycle(graph, config):
    cycle = [graph.astream(DONE, config)]
    cycle.append(cycle)
    await anext(cycle[0])


ENDINGS = (failed, interrupted, timed_out, closed, forgotten, forgotten_in_a_cycle)


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
@pytest.mark.parametrize("watching", ["observe", "callbacks"])
async def test_after_a_run_that_ended_badly_the_next_one_is_a_trace_of_its_own(bench, ending, watching):
    actor = Actor(bench, asynchronous=True)
    compiled = linear(("one", actor.body(Called(MODEL, "q"))), ("two", ends_badly), checkpointer=InMemorySaver())
    graph, config = watched(bench, compiled, watching)
    config = {**(config or {}), "configurable": {"thread_id": "t"}}
    await ending(graph, config)
    if watching == "observe":  # a stream that is still open, and that only a handler sees, is current (a known limit)
        actor.mark("at once")
    await graph.ainvoke(DONE, {**config, "configurable": {"thread_id": "u"}})
    await until_nothing_is_open(bench)
    actor.mark("at last")
    bad, good = bench.roots()
    assert bad.trace_id != good.trace_id
    assert good.parent_span_id is None
    assert set(bench.owners().values()) == {"nobody"}


async def until_nothing_is_open(bench):
    async with asyncio.timeout(30):
        while bench.observer.health()["capture"]["open"]:
            gc.collect()
            await asyncio.sleep(0.001)


def forget(streams):
    streams.append(streams)  # a cycle


DROPS = {"closed": lambda streams: streams[0].close(), "dropped": list.clear, "forgotten": forget, "kept": lambda _: None}


@pytest.mark.parametrize("watching", ["observe", "callbacks"])
@pytest.mark.parametrize("drop", DROPS)
def test_after_a_plain_stream_that_was_not_read_to_its_end(bench, watching, drop):
    graph, config = watched(bench, two_nodes(Actor(bench, asynchronous=False)), watching)
    streams = [graph.stream(DONE, config)]
    next(streams[0])
    DROPS[drop](streams)
    if watching == "observe" or drop in ("closed", "dropped"):
        Actor(bench, asynchronous=False).mark("at once")
    graph.invoke(DONE, config)
    bad, good = bench.roots()
    assert bad.trace_id != good.trace_id
    assert good.parent_span_id is None
    assert bench.owners().get("at once", "nobody") == "nobody"


# -- between two chunks


async def plain(chunks):
    """A plain stream, so that one test can read both sorts."""
    for chunk in chunks:
        yield chunk


async def third(graph):
    async with await graph.astream_events(DONE, version="v3") as chunks:
        async for chunk in chunks:
            yield chunk


STREAMS = {
    "stream": lambda graph: plain(graph.stream(DONE)),
    "stream, messages": lambda graph: plain(graph.stream(DONE, stream_mode="messages")),
    "stream_events v3": lambda graph: plain(graph.stream_events(DONE, version="v3")),
    "astream": lambda graph: graph.astream(DONE),
    "astream, messages": lambda graph: graph.astream(DONE, stream_mode="messages"),
    "astream_events v2": lambda graph: graph.astream_events(DONE, version="v2"),
    "astream_events v3": third,
}
IN_NODES = {"in one": "node one", "after the model": "node one", "in two": "node two"}


def streaming(bench, way):
    graph = two_nodes(Actor(bench, asynchronous=way.startswith("astream")))
    return STREAMS[way](bench.observer.watch(graph))


@pytest.mark.parametrize("way", STREAMS)
async def test_between_two_chunks_the_callers_span_is_current(bench, way):
    """And a run that the consumer starts there is the consumer's."""
    mine, handler = {"request": "nobody"}, bench.observer.handler
    with bench.tracer.start_as_current_span("request") as request:
        async for _ in streaming(bench, way):
            assert trace.get_current_span() is request
            chunk, later = f"chunk {len(mine)}", f"in chunk {len(mine)}"
            mine |= {chunk: "span request", later: f"span {chunk}"}
            with bench.tracer.start_as_current_span(chunk):
                await MODEL.ainvoke("q", {"callbacks": [handler]})
                with bench.tracer.start_as_current_span(later):
                    pass
        assert trace.get_current_span() is request
    assert len(mine) > 4
    assert bench.owners() == {**mine, **IN_NODES}
    parents = {span.name: f"{span.context.span_id:016x}" for span in bench.mine()}
    chunks = [(name, "model") for name, to in mine.items() if to == "span request"]
    assert {(root.parent_span_id, root.kind) for root in bench.roots()} == {
        (parents[n], kind) for n, kind in [("request", "graph"), *chunks]
    }


@pytest.mark.parametrize("way", STREAMS)
async def test_a_stream_that_is_read_in_a_span_of_the_consumers_leaves_that_current(bench, way):
    stream, count, more = streaming(bench, way), 0, True
    while more:
        with bench.tracer.start_as_current_span(f"turn {count}") as turn:
            more = await anext(stream, None) is not None
            assert trace.get_current_span() is turn
            with bench.tracer.start_as_current_span(f"after {count}"):
                count += 1
    assert count > 2
    mine = {name: to for n in range(count) for name, to in ((f"turn {n}", "nobody"), (f"after {n}", f"span turn {n}"))}
    assert bench.owners() == {**mine, **IN_NODES}


@pytest.mark.parametrize("way", STREAMS)
async def test_two_streams_that_are_read_in_turn_do_not_mix(bench, way):
    first, second = streaming(bench, way), streaming(bench, way)
    with bench.tracer.start_as_current_span("request") as request:
        for _ in range(100):
            more = [await anext(stream, None) for stream in (first, second)]
            assert trace.get_current_span() is request
            if more == [None, None]:
                break
    expected = {(means, mark): to for mark, to in IN_NODES.items() for means in MEANS}
    assert list(bench.children().values()) == [expected] * 2
    assert {root.parent_span_id for root in bench.roots()} == {f"{request.get_span_context().span_id:016x}"}


async def test_a_plain_stream_may_be_read_in_a_thread_of_a_pool_each_time(bench):
    """As Starlette does: each chunk in another copy of the context."""
    stream = bench.observer.watch(two_nodes(Actor(bench, asynchronous=False))).stream(DONE)
    with bench.tracer.start_as_current_span("request") as request:
        while await asyncio.to_thread(next, stream, None) is not None:
            assert trace.get_current_span() is request
    assert bench.owners() == {**IN_NODES, "request": "nobody"}


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_closed_in_a_span_of_the_consumers_leaves_that_current(bench, way):
    stream = streaming(bench, way)
    await anext(stream)
    with bench.tracer.start_as_current_span("handling") as handling:
        await stream.aclose()
        assert trace.get_current_span() is handling


def test_a_stream_that_the_garbage_collector_closes_changes_nothing_where_it_happens(bench):
    cycle = [bench.observer.watch(two_nodes(Actor(bench, asynchronous=False))).stream(DONE)]
    cycle.append(cycle)
    with bench.tracer.start_as_current_span("its own request"):
        next(cycle[0])
    del cycle
    with bench.tracer.start_as_current_span("somebody else's") as current:
        gc.collect()
        assert trace.get_current_span() is current


# -- whatever else is in the context


whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")


@pytest.fixture(params=[{}, dict.fromkeys(ours._INFERENCE, "sys")], ids=["alone", "beside others"])
def _company(request, monkeypatch):
    """Whether modules are there that look into the context for a model's run: else that is as other tests have left it."""
    monkeypatch.setattr(ours, "_INFERENCE", request.param)


def noting(seen):
    """User code that notes what it finds in the context, and puts baggage of its own there.

    Not the span, nor of a model's run what says to who looks for it that it is over.
    """

    def mine(key, value):
        return not (key.startswith("current-span") or (type(value) is ours.Inference and not value))

    def note(place):
        values = {key: value for key, value in otel.get_current().items() if mine(key, value)}
        seen.append((place, values, whose.get()))

    def one(_):
        note("one")
        token = otel.attach(baggage.set_baggage("mine", "of one"))
        RunnableLambda(lambda _: note("below one")).invoke(1)
        MODEL.invoke("q")
        note("one, later")
        otel.detach(token)
        note("one, at last")
        return DONE

    return note, linear(("one", one), ("two", lambda _: note("two") or DONE))


async def noted(way, observing):
    """What user code in and around the agent finds."""
    seen = []
    note, graph = noting(seen)
    graph = observing(graph)
    tokens = [otel.attach(baggage.set_baggage("caller", "ada", otel.set_value("other", 1)))]
    whose.set("the caller's")
    if way in STREAMS:
        async for _ in STREAMS[way](graph):
            note("between two chunks")
            tokens.append(otel.attach(baggage.set_baggage("chunk", len(tokens))))
            whose.set(f"of chunk {len(tokens)}")
    else:
        WAYS[way](graph, DONE) if way in WAYS else await AWAYS[way](graph, DONE)
    note("after")
    for token in reversed(tokens):
        otel.detach(token)
    note("at the end")
    return seen if way in ("stream", "astream") else sorted(seen, key=repr)  # at the same time, in no order


@pytest.mark.usefixtures("_company")
@pytest.mark.parametrize("way", ["stream", "astream", "astream_events v2", "invoke", "batch", "ainvoke", "abatch"])
async def test_baggage_and_other_values_are_seen_as_without_us(bench, way):
    without = await asyncio.create_task(noted(way, lambda graph: graph))
    assert await asyncio.create_task(noted(way, bench.observer.watch)) == without
    assert {place for place, _, _ in without} >= {"one", "below one", "one, later", "one, at last", "two", "after", "at the end"}


# -- many, and none


async def test_two_hundred_tasks_each_with_a_span_of_its_own(bench):
    async def body(state):
        with bench.tracer.start_as_current_span(f"in {state['n']}"):
            await asyncio.sleep(0)
        await MODEL.ainvoke("q")
        with bench.tracer.start_as_current_span(f"later in {state['n']}"):
            await asyncio.sleep(0)
        return DONE

    graph = bench.observer.watch(linear(("one", body)))

    async def request(n):
        with bench.tracer.start_as_current_span(f"request {n}") as span:
            await graph.ainvoke({"n": n})
            assert trace.get_current_span() is span
            return span.get_span_context()

    requests = await asyncio.gather(*(asyncio.create_task(request(n)) for n in range(200)))
    assert {(int(root.trace_id, 16), int(root.parent_span_id, 16)) for root in bench.roots()} == {
        (span.trace_id, span.span_id) for span in requests
    }
    inside = {name: f"node one {n}" for n in range(200) for name in (f"in {n}", f"later in {n}")}
    assert bench.owners() == inside | {f"request {n}": "nobody" for n in range(200)}
    assert [span.context.trace_id == requests[int(span.name.split()[-1])].trace_id for span in bench.mine()] == [True] * 600
