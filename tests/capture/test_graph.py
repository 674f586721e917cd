"""`observe(graph)` is the graph: its class, its attributes, whatever is made of it; and it is observed however it is reached, once."""

import asyncio
import copy
import inspect
import pickle
import weakref

import graphs
import pytest
from alike import IN, KINDS, THREAD, Data, Model, Shop, ask, outcome, refused, speak, stored, told, typed
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph._internal import _serde
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config, get_store
from langgraph.errors import InvalidUpdateError
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.store.memory import InMemoryStore
from langgraph.types import CachePolicy, Command, RetryPolicy

from langgraph_observe import CallbackHandler, Finished, Observer, Started, observe

OURS = "_langgraph_observe_handler"
every_kind = pytest.mark.parametrize("kind", KINDS)


def one(_):
    return {"x": [1]}


@pytest.fixture
def seen():
    return []


@pytest.fixture
def plain():
    graph = stored(one, name="plain")
    graph.team = "blue"
    return graph


def runs(seen):
    return [record.name for record in seen if isinstance(record, Started)]


def own(graph):
    """What is in its `__dict__`, but for what is there of ours."""
    return {name: value for name, value in vars(graph).items() if name != OURS}


# -- it is the graph


@every_kind
def test_it_is_of_the_graph_s_class(kind):
    graph = KINDS[kind][0]()
    with_us = observe(graph, print)
    named = ("__name__", "__qualname__", "__module__", "__doc__")

    assert type(with_us).__bases__ == (type(graph),)
    assert isinstance(with_us, (CompiledStateGraph, Pregel, Runnable))
    assert [getattr(type(with_us), name) for name in named] == [getattr(type(graph), name) for name in named]
    assert inspect.signature(type(with_us)) == inspect.signature(type(graph))


@every_kind
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_has_the_graph_s_attributes_and_methods(kind):
    graph = KINDS[kind][0]()
    with_us = observe(graph, print)

    assert own(with_us) == vars(graph)
    assert [name for name in dir(with_us) if name not in dir(graph)] == [OURS]
    for name in dir(graph):
        if name.startswith("_"):
            continue
        assert _facet(with_us, name) == _facet(graph, name), name


def _facet(graph, name):
    """A value; of a method, how it is called and described."""
    try:
        value = getattr(graph, name)
    except Exception as error:
        return told(error)
    if not inspect.isroutine(value):
        return told(value)
    return inspect.signature(value), value.__name__, value.__qualname__, value.__module__, value.__doc__


@pytest.mark.parametrize("question", [inspect.isgeneratorfunction, inspect.isasyncgenfunction, inspect.iscoroutinefunction])
def test_who_asks_what_a_method_is_hears_what_it_is_without_us(plain, question):
    """LangChain asks whether a function is a generator, and treats it so."""
    with_us = observe(plain, print)
    routines = [name for name, _ in inspect.getmembers(Pregel, inspect.isroutine)]

    assert [name for name in routines if question(getattr(with_us, name))] == [
        name for name in routines if question(getattr(plain, name))
    ]


@every_kind
def test_it_is_one_object_as_the_graph_is(kind):
    graph = KINDS[kind][0]()
    with_us = observe(graph, print)

    assert told(with_us) == told(graph)
    assert with_us == with_us  # noqa: PLR0124 - by identity
    assert with_us != graph
    assert len({with_us, graph, weakref.ref(with_us)()}) == 2
    assert (bool(with_us), callable(with_us), inspect.unwrap(with_us)) == (True, False, with_us)
    for each in (graph, with_us):  # LangGraph's closures cannot be pickled
        with pytest.raises((AttributeError, pickle.PicklingError)):
            pickle.dumps(each)


SHOWN = (
    lambda graph: graph.get_graph().draw_mermaid(),
    lambda graph: graph.get_graph(xray=True).to_json(),
    lambda graph: asyncio.run(graph.aget_graph(xray=1)).draw_mermaid(),
    lambda graph: list(graph.get_subgraphs(recurse=True)),
    lambda graph: graph.get_input_jsonschema(),
    lambda graph: graph.get_output_jsonschema(),
    lambda graph: graph.get_context_jsonschema(),
    lambda graph: graph.get_config_jsonschema(include=["tags"]),
    lambda graph: graph.get_name("Input"),
    lambda graph: graph.get_prompts(),
)


@every_kind
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_is_drawn_and_described_as_the_graph_is(kind):
    graph = KINDS[kind][0]()

    for show in SHOWN:
        assert outcome(show, observe(graph, print)) == outcome(show, graph)


def test_the_graph_given_is_left_alone(plain, seen):
    before = dict(vars(plain))
    with_us = observe(plain, seen.append)
    with_us.name = "renamed"
    plain.invoke(IN, THREAD)

    assert seen == []
    assert type(plain) is CompiledStateGraph
    assert vars(plain) == before

    with_us.invoke(IN, THREAD)
    assert runs(seen) == ["renamed", "one"]


def test_what_is_no_compiled_graph_is_refused_with_advice(seen):
    for wrong in (StateGraph(graphs.State), RunnableLambda(one)):
        with pytest.raises(TypeError, match="compile it, or pass callbacks"):
            observe(wrong, seen.append)


# -- its settings


def tells():
    """A graph whose node tells what it was given to work with."""

    def tell(_):
        return {"x": [get_config().get("tags"), get_store() is not None]}

    return graphs.linear(tell, cache_policy=CachePolicy(key_func=lambda *_: "same"))


def fails_once():
    tries = []

    def work(_):
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("not yet")
        return {"x": tries}

    return graphs.linear(work)


def hangs():
    async def hang(_):
        await asyncio.Event().wait()

    return graphs.linear(hang)


def invoke(graph):
    return graph.invoke(IN, THREAD)


def twice(graph):
    return [list(graph.stream(IN, THREAD)) for _ in range(2)]


SETTINGS = {
    "name": (lambda: "renamed", tells, lambda graph: graph.get_name(), "renamed"),
    "config": (lambda: {"tags": ["green"]}, tells, invoke, "green"),
    "store": (InMemoryStore, tells, invoke, "True"),
    "checkpointer": (InMemorySaver, tells, lambda graph: (invoke(graph), graph.get_state(THREAD)), "StateSnapshot"),
    "cache": (InMemoryCache, tells, lambda graph: list(graph.stream(IN, stream_mode="updates")) + twice(graph), "x"),
    "stream_mode": (lambda: "updates", tells, twice, "'tell'"),
    "debug": (lambda: True, tells, invoke, "[values]"),
    "interrupt_before_nodes": (lambda: ["tell"], tells, twice, "__interrupt__"),
    "retry_policy": (lambda: [RetryPolicy(0, jitter=False, retry_on=ValueError)], fails_once, invoke, "[1, 1]"),
    "step_timeout": (lambda: 0.001, hangs, lambda graph: refused(asyncio.run, graph.ainvoke(IN)), "TimeoutError"),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_changed_on_it_takes_effect(capsys, setting):
    value, make, use, effect = SETTINGS[setting]
    heard = []
    for graph in (make(), observe(make(), [].append)):
        setattr(graph, setting, value())
        heard.append(told(use(graph)) + told(capsys.readouterr().out))

    assert heard[1] == heard[0]
    assert effect in heard[0]


# -- what is made of it

DERIVED = {
    "itself": lambda graph: graph,
    "with_config": lambda graph: graph.with_config(tags=["t"]),
    "copy": lambda graph: graph.copy(),
    "copy with changes": lambda graph: graph.copy({"name": "other", "checkpointer": InMemorySaver()}),
    "copy without config": lambda graph: graph.copy({"config": {}}),
    "copy.copy": copy.copy,
    "copy of a copy": lambda graph: copy.copy(graph.with_config(tags=["t"]).copy()),
}
derived = pytest.mark.parametrize("derive", DERIVED.values(), ids=DERIVED)


@derived
@every_kind
def test_what_is_derived_from_it_is_what_is_derived_from_the_graph(monkeypatch, kind, derive):
    """What LangGraph loses on the way is lost with us, too: a program may count on it."""
    monkeypatch.setattr(_serde, "STRICT_MSGPACK_ENABLED", True)
    graph = KINDS[kind][0]()
    graph.team = "blue"
    without, with_us = derive(graph), derive(observe(graph, print))

    assert isinstance(with_us, type(without))
    assert told(own(with_us)) == told(vars(without))


@derived
@pytest.mark.parametrize("schema", [Model, Data, graphs.State])
def test_a_result_is_of_the_class_that_it_is_of_without_us(schema, derive):
    without, with_us = (
        derive(each).invoke(IN, THREAD, version="v2").value for each in (typed(schema), observe(typed(schema), [].append))
    )

    assert type(with_us) is type(without)
    assert told(with_us) == told(without)


@derived
def test_what_is_derived_from_it_is_observed_once(plain, seen, derive):
    derive(observe(plain, seen.append)).invoke(IN, THREAD)

    assert runs(seen)[1:] == ["one"]


def test_a_deep_copy_shares_the_handler_and_works_as_well_as_without_us(plain, seen):
    """LangGraph compares a sentinel by identity, so a deep copy of any compiled graph fails when it is run."""
    with pytest.raises(InvalidUpdateError):
        copy.deepcopy(plain).invoke(IN, THREAD)
    with_us = observe(plain, seen.append)
    deep = copy.deepcopy(with_us)
    with pytest.raises(InvalidUpdateError):
        deep.invoke(IN, THREAD)

    assert vars(deep)[OURS][0] is vars(with_us)[OURS][0]
    assert [record.outcome for record in seen if isinstance(record, Finished)] == ["error"]


# -- it is observed, once


def test_as_a_sub_graph_it_interrupts_resumes_and_shows_its_state(seen):
    observer = Observer(seen.append)
    inner = observer.watch(graphs.linear(ask, compile_with={"name": "inner"}))
    outer = observer.watch(stored(("sub", inner), name="outer"))
    outer.invoke(IN, THREAD)

    assert outer.get_state(THREAD, subgraphs=True).tasks[0].state is not None
    assert "ask" in outer.get_graph(xray=True).draw_mermaid()
    assert [name for name, _ in outer.get_subgraphs()] == ["sub"]
    assert outer.invoke(Command(resume="R"), THREAD) == {"x": ["R"]}
    assert runs(seen) == ["outer", "sub", "inner", "ask"] * 2
    assert [record.outcome for record in seen if isinstance(record, Finished)] == ["interrupted"] * 4 + ["ok"] * 4


@pytest.mark.parametrize(
    "call",
    [
        lambda graph, handler: graph.invoke(IN, {**THREAD, "callbacks": [handler, handler]}),
        lambda graph, handler: graph.with_config(callbacks=[handler]).invoke(IN, {**THREAD, "callbacks": [handler]}),
        lambda graph, handler: handler.observer.watch(graph).invoke(IN, {**THREAD, "callbacks": [handler]}),
        lambda graph, handler: handler.observer.watch(graph).with_config(callbacks=[handler]).invoke(IN, THREAD),
        lambda graph, handler: handler.observer.watch(handler.observer.watch(graph)).invoke(IN, THREAD),
        lambda graph, handler: graph.invoke(IN, {**THREAD, "callbacks": [handler, CallbackHandler(observer=handler.observer)]}),
    ],
    ids=["twice", "at two levels", "to an observed graph", "to its config", "observed twice", "two handlers of one observer"],
)
def test_a_run_is_recorded_once_however_often_we_are_told(plain, seen, call):
    call(plain, CallbackHandler(seen.append))

    assert runs(seen) == ["plain", "one"]
    assert len(seen) == 4


def test_two_observers_each_see_everything_once(plain):
    first, second = [], []
    observe(observe(plain, first.append), second.append).invoke(IN, THREAD)

    assert runs(first) == runs(second) == ["plain", "one"]


@pytest.mark.parametrize("placed", [lambda inner: inner, lambda inner: lambda _: inner.invoke(IN)], ids=["a node", "called"])
def test_an_observed_graph_inside_an_observed_graph_is_in_its_trace(seen, placed):
    """With one observer, once; with one each, the inner graph's has it as a part of that trace, too."""
    observer, of_inner = Observer(seen.append), []
    inner = observe(observer.watch(graphs.linear(one, compile_with={"name": "inner"})), of_inner.append)
    outer = observer.watch(graphs.linear(("sub", placed(inner)), compile_with={"name": "outer"}))
    outer.invoke(IN)

    assert runs(seen) == ["outer", "sub", "inner", "one"]
    assert len({record.trace_id for record in seen if isinstance(record, Started)}) == 1
    assert runs(of_inner) == ["inner", "one"]


def test_what_its_consumer_throws_into_it_is_its_failure(seen):
    stream = observe(graphs.linear(one, ("two", one)), seen.append).stream(IN)
    next(stream)
    with pytest.raises(KeyError):
        stream.throw(KeyError("mine"))

    assert [record.failure.type for record in seen if isinstance(record, Finished) and record.run.kind == "graph"] == ["KeyError"]


def test_a_class_of_the_user_s_keeps_its_methods_and_its_copy(seen):
    graph = observe(Shop(**vars(stored(speak, name="shop"))), seen.append)

    assert graph.sign() == "shop shop"
    assert graph.with_config(tags=["t"]).sign() == "shop a copy"
    assert graph.copy({"name": "mine"}).invoke(IN, THREAD) == ["hello", {"speak": {"x": ["well said indeed"]}}]
    assert runs(seen) == ["mine", "speak", "ScriptedModel"]
