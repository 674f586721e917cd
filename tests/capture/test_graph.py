"""`observe(graph)` is the graph: its class, its attributes, its results; and it is observed however it is reached."""

import copy
import inspect
from typing import Annotated

import graphs
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import InvalidUpdateError
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command, interrupt
from pydantic import BaseModel

from langgraph_observe import CallbackHandler, Finished, Observer, Started, observe


def one(_):
    return {"x": [1]}


@pytest.fixture
def seen():
    return []


@pytest.fixture
def plain():
    graph = graphs.linear(one, compile_with={"checkpointer": InMemorySaver(), "name": "plain"})
    graph.team = "blue"
    return graph


THREAD = {"configurable": {"thread_id": "t"}}


def runs(seen):
    return [record.name for record in seen if isinstance(record, Started)]


def test_it_is_of_the_graph_s_class_and_has_its_attributes(plain, seen):
    graph = observe(plain, seen.append)

    assert isinstance(graph, CompiledStateGraph)
    assert isinstance(graph, Pregel)
    assert type(graph).__name__ == "CompiledStateGraph"
    assert graph.team == "blue"
    assert graph.checkpointer is plain.checkpointer
    assert not callable(graph)
    assert inspect.signature(graph.stream) == inspect.signature(plain.stream)
    assert inspect.signature(graph.astream) == inspect.signature(plain.astream)
    assert graph.get_graph().draw_mermaid() == plain.get_graph().draw_mermaid()


def test_what_is_no_compiled_graph_is_refused_with_advice(seen):
    from langchain_core.runnables import RunnableLambda

    for wrong in (StateGraph(graphs.State), RunnableLambda(one)):
        with pytest.raises(TypeError, match="compile it, or pass callbacks"):
            observe(wrong, seen.append)


def test_the_graph_given_is_left_alone(plain, seen):
    observe(plain, seen.append)
    plain.invoke({"x": []}, THREAD)

    assert seen == []
    assert type(plain) is CompiledStateGraph


@pytest.mark.parametrize(
    "derive",
    [
        lambda graph: graph,
        lambda graph: graph.with_config(tags=["t"]),
        lambda graph: graph.copy({"name": "plain", "checkpointer": InMemorySaver()}),
        lambda graph: graph.copy({"config": {}}),
        copy.copy,
    ],
    ids=["itself", "with_config", "copy", "copy without config", "copy.copy"],
)
def test_what_is_derived_from_it_is_observed_once(plain, seen, derive):
    graph = derive(observe(plain, seen.append))
    graph.invoke({"x": []}, THREAD)

    assert runs(seen) == ["plain", "one"]
    assert graph.team == "blue"


def test_a_deep_copy_shares_the_handler_and_works_as_well_as_without_us(plain, seen):
    """LangGraph compares a sentinel by identity, so a deep copy of any compiled graph fails when it is run."""
    with pytest.raises(InvalidUpdateError):
        copy.deepcopy(plain).invoke({"x": []}, THREAD)
    with pytest.raises(InvalidUpdateError):
        copy.deepcopy(observe(plain, seen.append)).invoke({"x": []}, THREAD)

    assert [record.outcome for record in seen if isinstance(record, Finished)] == ["error"]


def test_the_v2_result_keeps_its_class(seen):
    class State(BaseModel):
        x: Annotated[list, lambda a, b: a + b] = []

    builder = StateGraph(State)
    builder.add_node("one", one)
    builder.add_edge(START, "one")
    graph = observe(builder.compile(), seen.append)

    for derived in (graph, graph.with_config(tags=["t"]), graph.copy()):
        assert isinstance(derived.invoke({"x": []}, version="v2").value, State)


def test_a_setting_changed_on_it_takes_effect(plain, seen):
    graph = observe(plain, seen.append)
    graph.name = "renamed"
    graph.invoke({"x": []}, THREAD)

    assert runs(seen)[0] == "renamed"


def test_as_a_sub_graph_it_interrupts_resumes_and_shows_its_state(seen):
    def ask(_):
        return {"x": [interrupt("?")]}

    observer = Observer(seen.append)
    inner = observer.watch(graphs.linear(ask, compile_with={"name": "inner"}))
    outer = observer.watch(graphs.linear(("sub", inner), compile_with={"checkpointer": InMemorySaver(), "name": "outer"}))
    outer.invoke({"x": []}, THREAD)

    assert outer.get_state(THREAD, subgraphs=True).tasks[0].state is not None
    assert "ask" in outer.get_graph(xray=True).draw_mermaid()
    assert [name for name, _ in outer.get_subgraphs()] == ["sub"]
    assert outer.invoke(Command(resume="R"), THREAD) == {"x": ["R"]}
    assert runs(seen) == ["outer", "sub", "inner", "ask"] * 2
    assert [record.outcome for record in seen if isinstance(record, Finished)] == ["interrupted"] * 4 + ["ok"] * 4


@pytest.mark.parametrize(
    "call",
    [
        lambda graph, handler: graph.invoke({"x": []}, {**THREAD, "callbacks": [handler, handler]}),
        lambda graph, handler: graph.with_config(callbacks=[handler]).invoke({"x": []}, {**THREAD, "callbacks": [handler]}),
        lambda graph, handler: handler.observer.watch(graph).invoke({"x": []}, {**THREAD, "callbacks": [handler]}),
        lambda graph, handler: handler.observer.watch(handler.observer.watch(graph)).invoke({"x": []}, THREAD),
        lambda graph, handler: graph.invoke(
            {"x": []}, {**THREAD, "callbacks": [handler, CallbackHandler(observer=handler.observer)]}
        ),
    ],
    ids=["twice", "at two levels", "to an observed graph", "observed twice", "two handlers of one observer"],
)
def test_a_run_is_recorded_once_however_often_we_are_told(plain, seen, call):
    call(plain, CallbackHandler(seen.append))

    assert runs(seen) == ["plain", "one"]
    assert len(seen) == 4


@pytest.mark.parametrize("config", ["nonsense", {"callbacks": 7}, 7, {"callbacks": "nonsense"}])
def test_a_config_that_is_none_fails_in_langgraph_s_own_words(plain, seen, config):
    from langgraph_observe import observer

    def failure(graph):
        with pytest.raises(Exception) as caught:
            graph.invoke({"x": []}, config)
        return type(caught.value), str(caught.value)

    observer.strict = False
    assert failure(observe(plain, seen.append)) == failure(plain)


def test_two_observers_each_see_everything_once(plain):
    first, second = [], []
    observe(observe(plain, first.append), second.append).invoke({"x": []}, THREAD)

    assert runs(first) == runs(second) == ["plain", "one"]


def test_an_observed_graph_inside_an_observed_graph_is_in_its_trace(seen):
    observer = Observer(seen.append)
    inner = observer.watch(graphs.linear(one, compile_with={"name": "inner"}))
    outer = observer.watch(graphs.linear(("call", lambda _: inner.invoke({"x": []})), compile_with={"name": "outer"}))
    outer.invoke({"x": []})

    assert runs(seen) == ["outer", "call", "inner", "one"]
    assert len({record.trace_id for record in seen if isinstance(record, Started)}) == 1


def test_what_the_consumer_throws_into_the_stream_arrives_as_without_us(seen):
    class Sink:
        """One that asks for the current span."""

        context = True

        def __call__(self, record):
            seen.append(record)

    graph = graphs.linear(one, ("two", one))
    thrown = []
    for stream in (graph.stream({"x": []}), observe(graph, Sink()).stream({"x": []})):
        next(stream)
        with pytest.raises(KeyError, match="mine") as caught:
            stream.throw(KeyError("mine"))
        thrown.append(caught.type)

    assert thrown == [KeyError, KeyError]
    assert [record.failure.type for record in seen if isinstance(record, Finished) and record.run.kind == "graph"] == ["KeyError"]
