"""Everything in a process observed, with no word in its code: `instrument()`. As a command: test_instrument_run.py."""

import inspect
import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace

import pytest
from alike import IN, KINDS, THREAD, outcome, stored
from capture.graphs import add, linear
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langgraph.cache.memory import InMemoryCache
from langgraph.pregel import Pregel
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import CachePolicy, Command, interrupt
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from ways import WAYS, run

from langgraph_observe import CallbackHandler, Observer, Started, observe, testing
from langgraph_observe.everywhere import instrument, uninstrument
from langgraph_observe.instrumentor import LangGraphObserveInstrumentor
from langgraph_observe.observer import flush_all
from langgraph_observe.testing import ScriptedModel, tree

MODEL = ScriptedModel(respond=lambda _: "well said indeed")
OWN = [(Pregel, name) for name in ("stream", "astream", "_defaults")] + [(RemoteGraph, name) for name in ("stream", "astream")]
AS_IT_WAS = [getattr(*one) for one in OWN]


class Sink(list):
    """Keeps the records, and has user code find the run that it is in as the current span."""

    context = True
    __call__ = list.append


@pytest.fixture(autouse=True)
def strict():
    with testing.strict():
        yield


@pytest.fixture
def seen():
    """What is recorded of all that the test runs."""
    records = Sink()
    instrument(records)
    yield records
    uninstrument()


def speak(_):
    return {"x": [MODEL.invoke("q").text]}


class Shelf(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return []


# -- what is seen


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_answers_as_without_us_and_its_records_are_those_of_observe(kind, way):
    make, given = KINDS[kind]
    seen, expected, compiled = Sink(), Sink(), make()
    bare = outcome(run, way, make(), given, THREAD)
    run(way, observe(make(), expected), given, THREAD)
    instrument(seen)
    try:
        told = outcome(run, way, compiled, given, THREAD)
    finally:
        uninstrument()

    assert told == bare
    assert tree(seen) == tree(expected) != ""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("runnable", "given", "expected"),
    [
        (MODEL, "q", "model ScriptedModel ok 1+3 tokens"),
        (RunnableLambda(lambda _: "q") | MODEL, "q", "chain RunnableSequence ok\n  chain RunnableLambda ok\n  model ScriptedModel ok 1+3 tokens"),
        (add, {"a": 1, "b": 2}, "tool add ok"),
        (Shelf(), "q", "retriever Shelf ok"),
    ],
    ids=["model", "chain", "tool", "retriever"],
)  # fmt: skip
def test_what_is_no_graph_is_recorded_once_too(seen, runnable, given, expected, way):
    run(way, runnable, given)
    assert tree(seen) == expected


def test_a_thread_that_the_program_starts_bare_is_seen(seen):
    thread = threading.Thread(target=MODEL.invoke, args=["q"])
    thread.start()
    thread.join()
    assert tree(seen) == "model ScriptedModel ok 1+3 tokens"


@pytest.mark.parametrize("callbacks", [[], None], ids=["silenced", "inherited"])
def test_a_model_in_a_node_with_callbacks_of_its_own_stays_in_the_tree(seen, callbacks):
    linear(("n", lambda _: {"x": [MODEL.invoke("q", {"callbacks": callbacks}).text]})).invoke(IN)
    assert tree(seen) == "graph LangGraph ok\n  node n ok\n    model ScriptedModel ok 1+3 tokens"


def test_a_question_and_its_answer_are_linked(seen):
    graph = stored(("ask", lambda _: {"x": [interrupt("?")]}))
    graph.invoke(IN, THREAD)
    graph.invoke(Command(resume="yes"), THREAD)
    assert tree(seen) == (
        "graph LangGraph interrupted (interrupt)\n  node ask interrupted (interrupt)\ngraph LangGraph ok resumed_from\n  node ask ok"
    )
    assert [getattr(record, "kind", None) for record in seen].count("interrupt") == 1


def test_a_call_that_langgraph_refuses_is_recorded_once(seen):
    with pytest.raises(ValueError, match="thread_id"):
        stored(speak).invoke(IN)
    assert tree(seen) == "graph LangGraph error ValueError"


def test_a_node_answered_from_the_cache_is_recorded_once(seen):
    graph = linear(speak, cache_policy=CachePolicy(), compile_with={"cache": InMemoryCache()})
    graph.invoke(IN)
    seen.clear()
    graph.invoke(IN)
    assert tree(seen) == "graph LangGraph ok\n  node speak ok cached"


def test_a_remote_graph_is_called_once_and_gets_the_trace(seen):
    sent = []

    def stream(**call):
        sent.append(call)
        yield SimpleNamespace(event="values", data={"x": ["far"]})

    RemoteGraph("assistant", sync_client=SimpleNamespace(runs=SimpleNamespace(stream=stream)), name="far").invoke(IN)
    assert tree(seen) == "graph far ok"
    assert sent[0]["headers"] == {"traceparent": f"00-{seen[0].trace_id}-{seen[0].span_id}-01"}


def test_options_are_on_every_run():
    seen = []
    instrument(seen.append, session_id="s-1", tags=["all"])
    try:
        linear(speak).invoke(IN)
        MODEL.invoke("q")
    finally:
        uninstrument()
    begun = [record for record in seen if isinstance(record, Started)]
    assert {(run.session_id, run.tags) for run in begun} == {("s-1", ("all",))}
    assert len(begun) == 4


# -- beside what the program does itself


EXPLICIT = {
    "observe": lambda graph, observer: observer.watch(graph).invoke(IN, THREAD),
    "a handler": lambda graph, observer: graph.invoke(IN, {**THREAD, "callbacks": [observer.handler]}),
    "both": lambda graph, observer: observer.watch(graph).invoke(IN, {**THREAD, "callbacks": [observer.handler]}),
    "with_config": lambda graph, observer: graph.with_config(callbacks=[observer.handler]).invoke(IN, THREAD),
}
TREE = "graph LangGraph ok\n  node speak ok\n    model ScriptedModel ok 1+3 tokens"


@pytest.mark.parametrize("how", EXPLICIT)
def test_what_is_observed_by_its_own_code_as_well_is_recorded_once(how):
    records = Sink()
    observer = Observer(records)
    instrument(observer=observer)
    try:
        EXPLICIT[how](stored(speak), observer)
    finally:
        uninstrument()
    assert tree(records) == TREE


@pytest.mark.parametrize("how", EXPLICIT)
def test_two_observers_each_record_it_once(seen, how):
    others = Sink()
    EXPLICIT[how](stored(speak), Observer(others))
    assert tree(seen) == tree(others) == TREE


@pytest.mark.parametrize("way", WAYS)
def test_with_two_observers_what_only_the_graph_can_tell_is_told_to_each_once(seen, way):
    others = Sink()
    graph = observe(linear(speak, cache_policy=CachePolicy(), compile_with={"cache": InMemoryCache()}), others)
    refused = observe(stored(speak), others)
    run(way, graph, IN)
    for records in (seen, others):
        records.clear()
    run(way, graph, IN)
    with pytest.raises(ValueError, match="thread_id"):
        run(way, refused, IN)
    assert tree(seen) == tree(others) == "graph LangGraph ok\n  node speak ok cached\ngraph LangGraph error ValueError"


def test_an_observed_graph_made_meanwhile_is_observed_afterwards_by_its_own_only(seen):
    own = Sink()
    graph = observe(stored(speak), own)
    uninstrument()
    graph.invoke(IN, THREAD)
    assert tree(own) == TREE
    assert seen == []


def test_a_handler_s_own_options_win(seen):
    observer = Observer(seen)
    instrument(observer=observer, session_id="everybody's")
    MODEL.invoke("q", {"callbacks": [CallbackHandler(observer=observer, session_id="its own")]})
    assert [record.session_id for record in seen if isinstance(record, Started)] == ["its own"]


# -- on and off


def test_twice_is_once_and_off_leaves_langgraph_as_it_was(seen):
    instrument(seen)
    linear(speak).invoke(IN)
    assert len(tree(seen).splitlines()) == 3
    for _ in range(2):
        uninstrument()
    seen.clear()
    linear(speak).invoke(IN)
    MODEL.invoke("q")
    assert seen == []
    assert [getattr(*one) for one in OWN] == AS_IT_WAS


def test_the_newer_call_holds(seen):
    newer = Sink()
    instrument(newer)
    linear(speak).invoke(IN)
    assert seen == []
    assert len(tree(newer).splitlines()) == 3


def test_a_run_that_goes_on_is_recorded_to_its_end(seen):
    chunks = linear(speak, ("last", lambda _: None)).stream(IN)
    next(chunks)
    uninstrument()
    list(chunks)
    assert tree(seen) == "graph LangGraph ok\n  node speak ok\n    model ScriptedModel ok 1+3 tokens\n  node last ok"


def test_whoever_wraps_our_methods_is_not_undone_and_nothing_is_recorded_twice_later(seen, monkeypatch):
    ours, calls = Pregel.stream, []

    def wrapped(self, *arguments, **options):
        calls.append(self.name)
        return ours(self, *arguments, **options)

    monkeypatch.setattr(Pregel, "stream", wrapped)
    uninstrument()
    assert Pregel.stream is wrapped
    linear(speak).invoke(IN)
    assert (calls, seen) == (["LangGraph"], [])
    instrument(seen)
    linear(speak).invoke(IN)
    assert len(tree(seen).splitlines()) == 3
    monkeypatch.undo()
    uninstrument()
    assert [getattr(*one) for one in OWN] == AS_IT_WAS


def test_the_methods_look_like_their_own(seen):
    for (kind, name), own in zip(OWN, AS_IT_WAS, strict=True):
        ours = getattr(kind, name)
        assert ours is not own
        assert (ours.__qualname__, inspect.signature(ours)) == (own.__qualname__, inspect.signature(own))
        assert [ask(ours) for ask in (inspect.isgeneratorfunction, inspect.isasyncgenfunction)] == [
            ask(own) for ask in (inspect.isgeneratorfunction, inspect.isasyncgenfunction)
        ]


@pytest.mark.parametrize(("wrong", "error"), [({"payloads": "some"}, ValueError), ({"sesion": "s"}, TypeError)])
def test_an_option_that_cannot_be_is_refused_at_once(wrong, error):
    with pytest.raises(error):
        instrument(**wrong)
    linear(speak).invoke(IN)
    assert [getattr(*one) for one in OWN] == AS_IT_WAS


def test_opentelemetry_s_own_class_does_it_into_the_provider_given():
    memory, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    instrumentor = LangGraphObserveInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        linear(speak).invoke(IN)
    finally:
        instrumentor.uninstrument()
    assert flush_all()
    spans = {span.name: span for span in memory.get_finished_spans()}
    assert set(spans) == {"invoke_workflow", "invoke_node speak", "chat scripted-1"}
    assert spans["chat scripted-1"].parent.span_id == spans["invoke_node speak"].context.span_id
    assert not isinstance(trace.get_tracer_provider(), TracerProvider)


# -- in a program of its own, where nothing is imported yet


def program(text, tmp_path, **environment):
    """What it prints, run in a process of its own with nothing but this environment."""
    given = {"PATH": "", "HOME": str(tmp_path), "LANGSMITH_TRACING": "false", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=given | environment,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


MODULES = ("langgraph.pregel", "langgraph.pregel.remote", "langgraph.func", "langchain_core.callbacks.manager", "langchain.agents")


@pytest.mark.parametrize("first", MODULES)
def test_it_waits_for_the_program_to_import_what_it_imports_in_any_order(first, tmp_path):
    told = program(
        f"""
        import sys
        from langgraph_observe.everywhere import instrument
        seen = []
        instrument(seen.append)
        print(any(name.startswith(("langchain", "langgraph.", "opentelemetry")) for name in sys.modules))
        import {first}
        from langgraph.pregel import Pregel
        from langgraph.pregel.remote import RemoteGraph
        print(hasattr(Pregel.stream, "__wrapped__"), hasattr(RemoteGraph.stream, "__wrapped__"))
        from langgraph_observe.testing import ScriptedModel, tree
        ScriptedModel(respond=lambda _: "a").invoke("q")
        print(tree(seen))
        loaders = [vars(sys.modules[name].__loader__) for name in ("langgraph.pregel", "langchain_core.tracers.context")]
        print([sorted(loader) for loader in loaders])
        """,
        tmp_path,
    )
    assert told.split("\n") == ["False", "True True", "model ScriptedModel ok 1+1 tokens", str([["name", "path"]] * 2), ""]


def test_the_default_observer_is_made_by_the_first_run_when_the_program_has_set_its_environment(tmp_path):
    told = program(
        """
        import os
        from langgraph_observe.everywhere import instrument
        instrument()
        from langgraph_observe.testing import ScriptedModel
        os.environ["LANGGRAPH_OBSERVE_STORE"] = os.environ["HOME"] + "/later.db"  # as load_dotenv() would
        ScriptedModel(respond=lambda _: "a").invoke("q")
        from langgraph_observe import traces
        print(len(traces), os.path.exists(os.environ["LANGGRAPH_OBSERVE_STORE"]))
        """,
        tmp_path,
    )
    assert told == "1 True\n"


def test_switched_off_nothing_is_asked_of_anybody(tmp_path):
    told = program(
        """
        from langgraph_observe.everywhere import instrument
        instrument()
        from langchain_core.callbacks import CallbackManager
        print(CallbackManager.configure().handlers)
        """,
        tmp_path,
        LANGGRAPH_OBSERVE_ENABLED="false",
    )
    assert told == "[]\n"
