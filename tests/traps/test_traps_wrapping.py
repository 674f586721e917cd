"""What our handler and our graph are, so that LangChain's and LangGraph's machinery treats them as it should."""

import asyncio
import contextvars
import copy
import threading
from types import SimpleNamespace

import pytest
from capture.graphs import linear
from langchain_core.callbacks import AsyncCallbackHandler, CallbackManager
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.tracers import context as hooks
from langgraph._internal import _serde
from langgraph.callbacks import GraphCallbackHandler
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import interrupt
from pydantic import BaseModel
from stage import IN, MODEL, THREAD, ends, handling, invoked, notes, one, stored

from langgraph_observe import CallbackHandler, Observer, observe, observer
from langgraph_observe.sinks.deferred import Deferred
from langgraph_observe.testing import tree

DERIVED = [lambda graph: graph, copy.copy]  # `copy` and `with_config` lose it without us, too: see test_graph.py
derived = pytest.mark.parametrize("derive", DERIVED, ids=["itself", "copy.copy"])


def ask(_):
    return {"x": [interrupt("?")]}


def speak(_):
    return {"x": [MODEL.invoke("q").text]}


async def aspeak(_):
    return {"x": [(await MODEL.ainvoke("q")).text]}


def hook(monkeypatch, *added):
    """Register a configure hook, for this test only."""
    monkeypatch.setattr(hooks, "_configure_hooks", [*hooks._configure_hooks])
    hooks.register_configure_hook(*added)


def test_t11_observe_puts_a_handler_that_hears_of_interrupts_where_they_are_told():
    seen = []
    graph = observe(stored(ask), seen.append)
    graph.invoke(IN, THREAD)

    assert notes(seen) == ["interrupt"]
    assert isinstance(Observer(seen.append).handler, GraphCallbackHandler)


def test_t11_a_handler_in_a_hook_knows_an_interrupted_graph_by_its_node(monkeypatch):
    seen = []
    variable = contextvars.ContextVar("variable", default=Observer(seen.append).handler)
    hook(monkeypatch, variable, True)
    stored(ask).invoke(IN, THREAD)

    assert tree(seen) == "graph LangGraph interrupted (interrupt)\n  node ask interrupted (interrupt)"


@derived
def test_t16_v2_results_keep_their_class(derive):
    class Model(BaseModel):
        x: list = []

    builder = StateGraph(Model)
    builder.add_node("one", one)
    builder.add_edge(START, "one")
    seen = []
    result = derive(observe(builder.compile(), seen.append)).invoke(IN, version="v2").value

    assert result == Model(x=[1])
    assert tree(seen) == "graph LangGraph ok\n  node one ok"


@derived
def test_t17_attributes_that_the_user_set_stay(derive):
    graph = linear(one)
    graph.team = "blue"

    assert derive(observe(graph, lambda _: None)).team == "blue"


def test_t18_events_are_told_on_the_thread_they_happen_on():
    threads = []
    asyncio.run(observe(linear(aspeak), lambda _: threads.append(threading.current_thread())).ainvoke(IN))

    assert len(threads) == 6
    assert set(threads) == {threading.main_thread()}


def test_t19_no_event_is_told_on_an_event_loop_of_its_own():
    loops = []

    async def main():
        await observe(linear(speak), lambda _: loops.append(asyncio._get_running_loop())).ainvoke(IN)
        return asyncio.get_running_loop()

    main_loop = asyncio.run(main())
    assert len(loops) == 6
    assert set(loops) == {main_loop, None}  # none in the thread in which a sync node runs
    assert not issubclass(CallbackHandler, AsyncCallbackHandler)


def test_t32_a_sink_that_raises_is_nothing_to_the_agent(monkeypatch):
    monkeypatch.setattr(observer, "strict", False)

    def broken(_):
        raise ValueError("a bug of ours")

    seen = []
    watching = Observer(broken, seen.append)
    assert watching.watch(linear(speak)).invoke(IN) == {"x": ["well said"]}
    assert tree(seen) == "graph LangGraph ok\n  node speak ok\n    model ScriptedModel ok 1+2 tokens"
    assert watching.health()["test_traps_wrapping.test_t32_a_sink_that_raises_is_nothing_to_the_agent.<locals>.broken"] == {
        "errors": 6
    }
    assert watching.handler.raise_error is False


def test_t32_a_bug_in_capture_is_nothing_to_the_agent(monkeypatch):
    monkeypatch.setattr(observer, "strict", False)
    seen = []
    watching = Observer(seen.append)
    monkeypatch.setattr(watching.tracker, "finish", None)

    assert watching.watch(linear(speak)).invoke(IN) == {"x": ["well said"]}
    assert watching.health()["capture"]["errors"] == 3


def test_t33_handlers_are_merged_and_deep_copied():
    seen = []
    handler = CallbackHandler(seen.append)
    inner = linear(one, compile_with={"name": "inner"}).with_config(callbacks=CallbackManager(handlers=[handler]))
    linear(("outer", lambda _: inner.invoke(IN))).invoke(IN, {"callbacks": [handler]})

    assert tree(seen) == "graph LangGraph ok\n  node outer ok\n    graph inner ok\n      node one ok"
    again = copy.deepcopy(linear(one).with_config(callbacks=[handler]))
    assert again.config["callbacks"] == [handler]
    assert again.config["callbacks"][0] is handler


def test_t36_an_observed_graph_is_a_sub_graph():
    watching = Observer(lambda _: None)
    outer = stored(("sub", watching.watch(linear(ask))))
    outer.invoke(IN, THREAD)

    assert outer.get_state(THREAD, subgraphs=True).tasks[0].state.next == ("ask",)
    assert [name for name, _ in outer.get_subgraphs()] == ["sub"]
    assert "ask" in outer.get_graph(xray=True).draw_mermaid()


def test_t37_an_observed_graph_is_of_its_own_class():
    graph = linear(one)
    seen = observe(graph, lambda _: None)

    assert isinstance(seen, Pregel)
    assert type(seen).__bases__ == (CompiledStateGraph,)
    assert type(graph) is CompiledStateGraph


def test_t40_of_a_remote_graph_we_see_the_node_that_calls_it_and_change_nothing():
    runs = SimpleNamespace(stream=lambda *_, **__: iter([SimpleNamespace(event="values", data={"x": ["remote"]})]))
    remote = RemoteGraph("assistant", sync_client=SimpleNamespace(runs=runs), name="remote")
    seen, config = handling()
    assert remote.invoke(IN, config) == {"x": ["remote"]}
    assert seen == []

    assert tree(invoked(linear(("far", remote)))) == "graph LangGraph ok\n  node far ok"


@pytest.mark.parametrize("config", [{}, {**THREAD, "recursion_limit": 0}], ids=["no thread", "no steps"])
def test_t41_a_call_refused_before_it_began_is_refused_all_the_same_and_is_a_failed_run(config):
    seen = []
    graph = stored(one)
    with pytest.raises(ValueError) as without_us:
        graph.invoke(IN, config)
    with pytest.raises(ValueError) as with_us:
        observe(graph, seen.append).invoke(IN, config)

    assert str(with_us.value) == str(without_us.value)
    assert tree(seen) == "graph LangGraph error ValueError"
    assert ends(seen)[0].failure.message == str(without_us.value)
    assert ends(seen)[0].run.input.value == IN


def test_t42_handlers_that_a_hook_makes_anew_for_every_call_are_of_one_observer(monkeypatch):
    seen = []
    monkeypatch.setattr(observer, "_default", Observer(seen.append))
    monkeypatch.setenv("LANGGRAPH_OBSERVE_TEST_HOOK", "true")
    hook(monkeypatch, contextvars.ContextVar("variable", default=None), True, CallbackHandler, "LANGGRAPH_OBSERVE_TEST_HOOK")
    linear(speak).invoke(IN)

    assert tree(seen) == "graph LangGraph ok\n  node speak ok\n    model ScriptedModel ok 1+2 tokens"
    assert CallbackHandler() == CallbackHandler()


def test_t47_embeddings_are_told_by_the_retriever_that_uses_them_only():
    class Flat(Embeddings):
        def embed_documents(self, texts):
            return [[1.0] for _ in texts]

        def embed_query(self, text):
            return [1.0]

    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            return [Document(f"about {query}: {Flat().embed_query(query)}")]

    def look(_):
        Flat().embed_documents(["bees"])
        return {"x": [found.page_content for found in Shelf().invoke("bees")]}

    assert tree(invoked(linear(look))) == "graph LangGraph ok\n  node look ok\n    retriever Shelf ok"


def test_t50_a_slow_sink_holds_back_no_token():
    gate, delivered = threading.Event(), []

    def slow(record):
        assert gate.wait(30)
        delivered.append(record)

    sink = Deferred(slow, interval=0.001)
    chunks = [chunk for chunk, _ in observe(linear(speak), sink).stream(IN, stream_mode="messages")]
    assert "".join(chunk.text for chunk in chunks) == "well said"
    assert delivered == []

    gate.set()
    assert sink.flush(10)
    assert len(delivered) == 6
    sink.close()


@derived
def test_t57_the_allowlist_of_checkpointed_types_stays(monkeypatch, derive):
    monkeypatch.setattr(_serde, "STRICT_MSGPACK_ENABLED", True)
    graph = stored(one)

    assert graph._serde_allowlist is not None
    assert derive(observe(graph, lambda _: None))._serde_allowlist == graph._serde_allowlist
