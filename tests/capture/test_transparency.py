"""With `observe` and without, a caller is told the same: values and their types, chunks and their order, exceptions and words."""

import asyncio
import contextvars
import gc
import logging
import operator
from types import SimpleNamespace

import graphs
import pytest
from alike import IN, KINDS, THREAD, Model, refused, speak, stored, told
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models import FakeListLLM
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableBranch, RunnableLambda, RunnableParallel, RunnablePassthrough
from langgraph.cache.memory import InMemoryCache
from langgraph.config import get_config
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import CachePolicy, Command, StateUpdate

from langgraph_observe import CallbackHandler, Started, observe, observer
from langgraph_observe.testing import ScriptedModel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what is old and still there must be the same, too
OTHER = {"configurable": {"thread_id": "u"}}
MODES = ("values", "updates", "messages", "custom", "tasks", "checkpoints", "debug", ["values", "messages", "custom"])


class Sink(list):
    """Keeps the records, and has user code find the run that it is in as the current span."""

    context = True
    __call__ = list.append


def watch(graph):
    return observe(graph, Sink())


def everyhow(make):
    """The graph without us; and with us, without and with the current span to look after."""
    return make(), observe(make(), [].append), watch(make())


async def listed(chunks):
    return [chunk async for chunk in chunks]


# -- the graph called


def streams(mode):
    """All streams of this mode: sync and async, with and without sub-graphs, in both formats."""

    def stream(graph, given):
        for subgraphs in (False, True):
            for version in ("v1", "v2"):
                options = {"stream_mode": mode, "subgraphs": subgraphs, "version": version}
                yield list(graph.stream(given, THREAD, **options))
                yield asyncio.run(listed(graph.astream(given, OTHER, **options)))

    return lambda graph, given: list(stream(graph, given))


def talk(graph, given):
    """Ask, look, answer, look; and what is kept of it."""
    yield graph.invoke(given, THREAD)
    yield graph.get_state(THREAD, subgraphs=True)
    yield graph.invoke(Command(resume="yes"), THREAD)
    yield list(graph.get_state_history(THREAD))
    yield list(graph.checkpointer.list(THREAD))


def edit(graph, given):
    """A human changes the state."""
    graph.invoke(given, THREAD)
    last, values = list(graph.nodes)[-1], graph.get_state(THREAD).values
    yield graph.update_state(THREAD, values, as_node=last)
    yield graph.bulk_update_state(OTHER, [[StateUpdate(values, last)], [StateUpdate(values, last)]])
    yield [graph.get_state(config) for config in (THREAD, OTHER)]


async def aedit(graph, given):
    await graph.ainvoke(given, THREAD)
    last, values = list(graph.nodes)[-1], (await graph.aget_state(THREAD, subgraphs=True)).values
    await graph.aupdate_state(THREAD, values, as_node=last)
    await graph.abulk_update_state(OTHER, [[StateUpdate(values, last)]])
    return await listed(graph.aget_state_history(THREAD)), await listed(graph.aget_state_history(OTHER))


async def events(graph, given, version):
    found = graph.astream_events(given, THREAD, version=version)
    return await listed(await found if version == "v3" else found)


async def later(given):
    yield given


def in_order(pairs):
    return sorted(pairs, key=operator.itemgetter(0))


CALLS = {
    "invoke": lambda graph, given: graph.invoke(given, THREAD),
    "invoke, v2": lambda graph, given: graph.invoke(given, THREAD, version="v2"),
    "ainvoke": lambda graph, given: asyncio.run(graph.ainvoke(given, THREAD)),
    "batch": lambda graph, given: graph.batch([given, given], [THREAD, OTHER]),
    "abatch": lambda graph, given: asyncio.run(graph.abatch([given, given], [THREAD, OTHER])),
    "batch_as_completed": lambda graph, given: in_order(graph.batch_as_completed([given, given], [THREAD, OTHER])),
    "abatch_as_completed": lambda graph, given: in_order(
        asyncio.run(listed(graph.abatch_as_completed([given, given], [THREAD, OTHER])))
    ),
    "transform": lambda graph, given: list(graph.transform(iter([given]), THREAD)),
    "atransform": lambda graph, given: asyncio.run(listed(graph.atransform(later(given), THREAD))),
    **{f"stream, {mode}": streams(mode) for mode in MODES},
    **{f"astream_events, {v}": lambda graph, given, v=v: asyncio.run(events(graph, given, v)) for v in ("v1", "v2", "v3")},
    "stream_events, v3": lambda graph, given: list(graph.stream_events(given, THREAD, version="v3")),
    "astream_log": lambda graph, given: asyncio.run(listed(graph.astream_log(given, THREAD))),
    "talk": lambda graph, given: list(talk(graph, given)),
    "edit": lambda graph, given: list(edit(graph, given)),
    "aedit": lambda graph, given: asyncio.run(aedit(graph, given)),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_is_answered_as_without_us(kind, call):
    make, given = KINDS[kind]
    without, *with_us = [told(CALLS[call](graph, given)) for graph in everyhow(make)]

    assert with_us == [without, without]


def test_a_node_is_told_of_its_call_what_it_is_told_without_us():
    """In its config nothing is of ours but the handler among the callbacks, and the word that the checkpoint is to keep."""

    def tell(state, config):
        public = [
            {key: value for key, value in each["configurable"].items() if not key.startswith("__pregel")}
            for each in (config, get_config())
        ]
        return {"x": [sorted(config), config["tags"], config["metadata"], public]}

    without, *with_us = [
        told(graph.invoke(IN, {**THREAD, "tags": ["t"]})) for graph in everyhow(lambda: stored(tell, ("sub", graphs.linear(tell))))
    ]
    assert with_us == [without, without]


# -- a part of something else


def node(graph):
    builder = StateGraph(graphs.State)
    builder.add_node(graph)
    builder.add_edge(START, "plain")
    return builder.compile().invoke(IN)


def tool(graph):
    """An agent's, and called as one."""
    look_up = graph.as_tool(Model, name="look_up", description="Look it up.")
    wants = AIMessage("", id="m2", tool_calls=[graphs.call("look_up", x=[])])
    model = ScriptedModel(respond=lambda messages: "so" if isinstance(messages[-1], ToolMessage) else wants)
    return look_up.args, look_up.invoke(IN), create_agent(model, [look_up]).invoke(graphs.ASKED)


def in_a_task(graph):
    @task
    def run(given):
        return graph.invoke(given)

    @entrypoint()
    def flow(given):
        return run(given).result()

    return flow.invoke(IN)


async def gathered(graph):
    return await asyncio.gather(graph.ainvoke(IN), asyncio.to_thread(graph.invoke, IN), graph.ainvoke(IN))


def listening(graph):
    heard = []
    graph.with_listeners(on_start=lambda run: heard.append(run.name), on_end=lambda run: heard.append(run.outputs)).invoke(IN)
    return heard


def broken(_):
    raise ValueError("down")


PARTS = {
    "with_config": lambda graph: graph.with_config(tags=["t"], run_name="other").invoke(IN),
    "with_retry": lambda graph: graph.with_retry(stop_after_attempt=2).invoke(IN),
    "with_fallbacks": lambda graph: graph.with_fallbacks([RunnableLambda(broken)]).invoke(IN),
    "a fallback": lambda graph: RunnableLambda(broken).with_fallbacks([graph]).invoke(IN),
    "with_types": lambda graph: graph.with_types(output_type=dict).invoke(IN),
    "with_listeners": listening,
    "bind": lambda graph: graph.bind(stream_mode="updates").invoke(IN),
    "|": lambda graph: (graph | operator.itemgetter("x")).invoke(IN),
    "| it": lambda graph: (RunnablePassthrough() | graph).invoke(IN),
    "pipe, streamed": lambda graph: list(graph.pipe(RunnablePassthrough(), RunnablePassthrough()).stream(IN)),
    "map": lambda graph: graph.map().invoke([IN, IN]),
    "assign": lambda graph: graph.assign(n=lambda state: len(state["x"])).invoke(IN),
    "pick": lambda graph: graph.pick("x").invoke(IN),
    "RunnableParallel": lambda graph: RunnableParallel(a=graph, b=graph).invoke(IN),
    "RunnablePassthrough.assign": lambda graph: RunnablePassthrough.assign(y=graph).invoke(IN),
    "RunnableBranch": lambda graph: RunnableBranch((bool, graph), graph).invoke(IN),
    "RunnableLambda that calls it": lambda graph: RunnableLambda(lambda given: graph.invoke(given)["x"]).invoke(IN),
    "RunnableLambda that returns it": lambda graph: RunnableLambda(lambda _: graph).invoke(IN),
    "RunnableLambda of its invoke": lambda graph: RunnableLambda(graph.invoke, graph.ainvoke).invoke(IN),
    "RunnableLambda of its astream": lambda graph: asyncio.run(RunnableLambda(graph.astream).ainvoke(IN)),
    "a node": node,
    "a tool": tool,
    "a task": in_a_task,
    "tasks and threads": lambda graph: asyncio.run(gathered(graph)),
}


@pytest.mark.parametrize("part", PARTS)
def test_as_a_part_of_something_it_does_what_it_does_without_us_and_is_recorded_once(part):
    seen, executed = [], []

    def say(state):
        executed.append(state)
        return speak(state)

    graph = graphs.linear(say, compile_with={"name": "plain"})
    without = told(PARTS[part](graph))
    executed.clear()

    assert told(PARTS[part](observe(graph, seen.append))) == without
    assert [record.name for record in seen if isinstance(record, Started)].count("say") == len(executed) > 0


# -- refusals


async def sleep(_):
    return {}


REFUSED = {
    "no thread": lambda graph: graph.invoke(IN),
    "no steps": lambda graph: graph.invoke(IN, {**THREAD, "recursion_limit": 0}),
    "too many steps": lambda graph: graph.invoke(IN, {**THREAD, "recursion_limit": 1}),
    "input of another type": lambda graph: graph.invoke(7, THREAD),
    "sync events": lambda graph: list(graph.stream_events(IN, THREAD, version="v2")),
    "nothing to resume": lambda graph: graph.invoke(None, THREAD),
    "no arguments": lambda graph: graph.stream(),
    "unknown node": lambda graph: graph.update_state(THREAD, IN, as_node="nobody"),
    "no state": lambda graph: graph.copy({"checkpointer": None}).get_state(THREAD),
    "async only": lambda graph: graph.copy({"nodes": stored(speak, ("two", sleep)).nodes}).invoke(IN, THREAD),
    "a node that fails": lambda graph: graph.copy({"nodes": stored(speak, ("two", broken)).nodes}).invoke(IN, THREAD),
}


@pytest.mark.parametrize("call", REFUSED)
def test_a_call_is_refused_in_the_same_words(call):
    without, *with_us = [refused(REFUSED[call], graph) for graph in everyhow(lambda: stored(speak, ("two", speak)))]

    assert with_us == [without, without]


@pytest.mark.parametrize(
    "config",
    ["nonsense", 7, {"callbacks": 7}, {"callbacks": "nonsense"}, {"callbacks": (BaseCallbackHandler(),)}],
)
def test_a_config_that_is_none_is_refused_in_langgraph_s_own_words(monkeypatch, config):
    monkeypatch.setattr(observer, "strict", False)  # what is odd is not ours to raise
    without, *with_us = [refused(graph.invoke, IN, config) for graph in everyhow(lambda: graphs.linear(speak))]

    assert with_us == [without, without]


# -- what its consumer does with a stream


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_the_consumer_throws_into_the_stream_arrives_as_without_us(version):
    thrown = []
    for graph in everyhow(lambda: graphs.linear(speak, ("two", speak))):
        stream = graph.stream(IN, version=version)
        next(stream)
        thrown.append(refused(stream.throw, KeyError("mine")))

    assert thrown == [(KeyError, "\"'mine'\"")] * 3


async def _one(graph, end):
    stream = graph.astream(IN)
    await anext(stream)
    return await end(stream)


async def _kept(stream):
    return stream  # alive when the event loop ends, which closes it


async def _dropped(stream):
    del stream
    gc.collect()
    await asyncio.sleep(0)


ENDS = {"kept": _kept, "dropped": _dropped, "closed": lambda stream: stream.aclose()}


@pytest.mark.parametrize("end", ENDS)
def test_nobody_hears_of_a_stream_that_is_not_read_to_its_end(caplog, end):
    caplog.set_level(logging.WARNING)
    for graph in everyhow(lambda: graphs.linear(speak, ("two", speak))):
        asyncio.run(_one(graph, ENDS[end]))

    assert caplog.messages == []


def test_what_consumer_and_nodes_set_in_the_context_they_see_as_without_us():
    variable = contextvars.ContextVar("variable", default=0)

    def look(_):
        variable.set(variable.get() + 1)
        return {"x": [variable.get()]}

    def consume(graph):
        for chunk in graph.stream(IN):
            variable.set(variable.get() + 10)
            yield chunk, variable.get()

    without, *with_us = [
        contextvars.copy_context().run(lambda graph=graph: told(list(consume(graph))))
        for graph in everyhow(lambda: graphs.linear(look, ("two", look)))
    ]
    assert with_us == [without, without]


def test_a_cache_answers_and_is_cleared_as_without_us():
    def run(graph, calls):
        yield [list(graph.stream(IN, stream_mode=["updates", "tasks"])) for _ in range(2)]
        graph.clear_cache()
        yield graph.invoke(IN)
        asyncio.run(graph.aclear_cache(["work"]))
        yield asyncio.run(graph.ainvoke(IN)), asyncio.run(graph.ainvoke(IN)), len(calls)

    def make(calls):
        return graphs.linear(
            ("work", lambda _: calls.append(1)), cache_policy=CachePolicy(), compile_with={"cache": InMemoryCache()}
        )

    without, with_us = (told(list(run(graph(make(calls)), calls))) for graph, calls in ((lambda it: it, []), (watch, [])))
    assert with_us == without
    assert with_us.endswith("3)]")


def test_of_a_remote_graph_its_caller_is_told_what_it_is_told_without_us():
    def stream(**asked):
        yield SimpleNamespace(event="values", data={"x": [str(asked["config"])]})

    remote = RemoteGraph("far", sync_client=SimpleNamespace(runs=SimpleNamespace(stream=stream)))
    calls = (
        lambda graph: graph.invoke(IN, THREAD),
        lambda graph: list(graph.stream(IN, THREAD, stream_mode=["values"], version="v2")),
        lambda graph: graph.with_config(tags=["t"]).invoke(IN),
        lambda graph: graph.copy({"name": "other"}).name,
        lambda graph: (graph | operator.itemgetter("x")).invoke(IN),
        lambda graph: graphs.linear(("far", graph)).invoke(IN),
    )

    assert [told(call(watch(remote))) for call in calls] == [told(call(remote)) for call in calls]


class Heard(AsyncCallbackHandler):
    """Not inline: LangChain's default, and what event streams are made of."""

    def __init__(self, *, inline=False):
        self.told, self.run_inline = [], inline

    async def on_llm_start(self, serialized, prompts, **kwargs):
        self.told.append((prompts, kwargs["parent_run_id"], kwargs["metadata"]["who"]))

    async def on_llm_end(self, response, **kwargs):
        self.told.append(response.generations[0][0].text)


@pytest.mark.parametrize("with_inline", [False, True], ids=["", "another inline handler"])
@pytest.mark.parametrize("ours", [0, 1, 2])
async def test_who_is_not_inline_is_told_the_start_of_a_text_model_as_without_us(ours, with_inline):
    others = [Heard(), Heard(), *([Heard(inline=True)] if with_inline else [])]
    records = [[] for _ in range(ours)]
    config = {"callbacks": [*(CallbackHandler(one.append) for one in records), *others], "metadata": {"who": "me"}}
    await FakeListLLM(responses=["one", "two"]).abatch(["a", "b"], config)
    starts = [[one for one in other.told if isinstance(one, tuple)] for other in others]
    expected = [(["a"], None, "me"), (["b"], None, "me")]
    assert starts == ([[], [], expected] if with_inline else [expected, expected])
    assert [[type(one).__name__ for one in seen] for seen in records] == [["Started", "Started", "Finished", "Finished"]] * ours


async def test_a_handler_with_nobody_to_tell_leaves_nobody_out():
    other = Heard()
    await FakeListLLM(responses=["one"]).ainvoke(
        "a", {"callbacks": [CallbackHandler(observer=observer.Observer()), other], "metadata": {"who": "me"}}
    )
    assert other.told == [(["a"], None, "me"), "one"]
