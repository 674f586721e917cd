"""The Observer: one guard between sinks and the agent, flush and close within a time, the default from the environment."""

import logging
import os
import subprocess
import sys
import textwrap
import time
import uuid

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph

from langgraph_observe import CallbackHandler, Finished, Observer, Scored, Started
from langgraph_observe.sinks.deferred import Deferred
from langgraph_observe.testing import ScriptedModel, strict

MODEL = ScriptedModel(respond=lambda _: "an answer")
SECRET = "sk-ant-api03-" + "a" * 40


def ask(*handlers):
    return MODEL.invoke("a question", {"callbacks": list(handlers)}).text


def test_a_sink_that_raises_costs_the_others_nothing_and_is_named_once(caplog):
    def broken(record):
        raise ValueError(SECRET)

    seen = []
    observer = Observer(broken, seen.append)
    assert ask(observer.handler) == ask(observer.handler) == "an answer"

    assert len(seen) == 4
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert "broken" in lines[0]
    assert "ValueError" in lines[0]
    assert SECRET not in caplog.text
    assert [counts["errors"] for name, counts in observer.health().items() if "broken" in name] == [4]


def test_a_processor_that_raises_lets_nothing_through():
    def broken(record):
        raise ValueError

    seen = []
    assert ask(CallbackHandler(seen.append, process=[broken])) == "an answer"
    assert seen == []


@pytest.mark.parametrize("drops", [True, False])
def test_a_processor_that_fails_on_an_end_or_drops_it_costs_the_content_and_not_the_end(drops):
    def odd(record):
        if isinstance(record, Finished):
            if drops:
                return None
            raise ValueError
        return record

    seen = []
    assert ask(CallbackHandler(seen.append, process=[odd])) == "an answer"
    assert [type(record) for record in seen] == [Started, Finished]
    assert seen[1].output is None
    assert seen[1].outcome == "ok"


def test_a_sink_s_cancellation_or_exit_is_not_the_agent_s():
    import asyncio

    for error in (asyncio.CancelledError, SystemExit):

        def broken(record, error=error):
            raise error

        assert ask(CallbackHandler(broken)) == "an answer"


def test_close_is_bounded_for_all_sinks_together():
    import threading

    over = threading.Event()
    with_hung_threads = [Deferred(lambda _: over.wait(30)) for _ in range(3)]
    observer = Observer(*with_hung_threads)
    ask(observer.handler)
    started = time.monotonic()
    observer.close(0.2)
    assert time.monotonic() - started < 5
    over.set()


@pytest.mark.parametrize("wrong", [{"nonsense": 1}, {"payloads": "Full"}, {"tags": "abc"}])
def test_an_option_that_cannot_be_is_refused(wrong):
    with pytest.raises((TypeError, ValueError)):
        CallbackHandler(lambda _: None, **wrong)


def test_an_option_of_none_says_nothing():
    seen = []
    ask(CallbackHandler(seen.append, tags=None, metadata=None, labels=None, user_id=None, payloads=None))
    assert (seen[0].tags, seen[0].labels, seen[0].user_id) == ((), {}, None)


@pytest.mark.parametrize("wrong", [{"trace_id": "zz"}, {"value": float("nan")}])
def test_a_score_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="32 hex digits"):
        Observer().score(**{"name": "helpful", "value": 1.0, "trace_id": "a" * 32, **wrong})


def test_without_content_a_failure_has_no_message():
    def refuse(_):
        raise ValueError("no such customer PRIVATE")

    seen = []
    with pytest.raises(ValueError, match="PRIVATE"):
        ScriptedModel(respond=refuse).invoke("q", {"callbacks": [CallbackHandler(seen.append, payloads="none")]})
    assert seen[-1].failure.type == "ValueError"
    assert "PRIVATE" not in str(seen[-1])


def test_what_runs_at_exit_ends_as_abandoned(tmp_path):
    in_a_process(
        """
        from langgraph_observe import observe
        from langgraph_observe.demo import travel_agent
        stream = observe(travel_agent()).stream({"messages": [("user", "q")]})
        next(stream)
        """,
        tmp_path,
    )
    out = in_a_process("from langgraph_observe import traces; print(traces.last().outcome)", tmp_path)
    assert out.stdout.strip() == "abandoned"


def test_names_with_what_utf8_cannot_hold_are_cleaned():
    seen = []
    config = {
        "callbacks": [CallbackHandler(seen.append, user_id="\ud800", tags=["mine\ud800"])],
        "run_name": "\ud800",
        "tags": ["\ud800"],
    }
    MODEL.invoke("q", config)
    assert (seen[0].name, seen[0].user_id, seen[0].tags) == ("?", "?", ("mine?", "?"))


def test_in_strict_mode_it_is_raised_into_the_agent():
    def broken(record):
        raise ValueError("told")

    with strict(), pytest.raises(ValueError, match="told"):
        ask(CallbackHandler(broken))


def test_a_dropped_start_takes_its_tree_with_it():
    import operator
    from typing import Annotated, TypedDict

    from langgraph.graph import START, StateGraph

    class State(TypedDict):
        x: Annotated[list, operator.add]

    builder = StateGraph(State)
    builder.add_node("kept", lambda _: {"x": [MODEL.invoke("q").text]})
    builder.add_node("dropped", lambda _: {"x": [MODEL.invoke("q").text]})
    builder.add_edge(START, "kept")
    builder.add_edge("kept", "dropped")
    seen = []

    def without(record):
        return None if isinstance(record, Started) and record.name == "dropped" else record

    Observer(seen.append, process=[without]).watch(builder.compile()).invoke({"x": []})

    assert [record.name for record in seen if isinstance(record, Started)] == ["LangGraph", "kept", "ScriptedModel"]
    assert len([record for record in seen if isinstance(record, Finished)]) == 3


def test_flush_asks_every_sink_within_one_deadline():
    asked = []

    class Slow:
        def __call__(self, record):
            pass

        def flush(self, timeout):
            asked.append(timeout)
            time.sleep(min(timeout, 0.2))
            return False

    started = time.monotonic()
    assert Observer(Slow(), Slow()).flush(0.2) is False
    assert time.monotonic() - started < 2
    assert asked[0] <= 0.2
    assert asked[1] < asked[0]


def test_close_ends_what_is_open_as_abandoned_and_closes_sinks_once():
    closed = []

    class Sink:
        def __call__(self, record):
            seen.append(record)

        def close(self, timeout):
            closed.append(timeout <= 5)

    seen = []
    observer = Observer(Sink())
    stream = MODEL.stream("q", {"callbacks": [observer.handler]})
    next(stream)
    observer.close()
    observer.close()
    stream.close()

    assert closed == [True]
    ends = [(record.outcome, record.reason) for record in seen if isinstance(record, Finished)]
    assert ends == [("abandoned", "closed")]


def test_a_score_is_a_record_like_any_other():
    seen = []
    scored = Observer(seen.append).score("helpful", 1.0, trace_id="a" * 32, comment=f"key {SECRET}", id="once")

    assert [type(record) for record in seen] == [Scored]
    assert (seen[0].name, seen[0].value, seen[0].id) == ("helpful", 1.0, "once")
    assert SECRET not in seen[0].comment
    assert scored.trace_id == "a" * 32


def test_health_names_each_sink():
    health = Observer(Deferred(lambda _: None, name="mine")).health()
    assert health["capture"] == {"open": 0, "errors": 0}
    assert health["deferred.Deferred"] == {"errors": 0, "queued": 0, "dropped": 0}


def test_two_sinks_of_one_kind_do_not_hide_each_other():
    health = Observer(Deferred(lambda _: None), Deferred(lambda _: None)).health()
    assert {"deferred.Deferred", "deferred.Deferred#2"} < set(health)


def test_a_sink_of_several_observers_is_told_of_a_run_once_and_of_every_run():
    told, own = [], []
    sink = told.append
    first, second, third = observers = [Observer(sink, own.append), Observer(sink), Observer(sink)]
    key = uuid.uuid4()
    for observer in observers:
        observer.handler.on_chain_start({"name": "of all"}, {}, run_id=key)
        observer.handler.on_custom_event("hello", {}, run_id=key)
    for observer in (third, first, second):
        observer.handler.on_chain_end({}, run_id=key)
    RunnableLambda(str, name="of one").invoke("", {"callbacks": [third.handler]})
    assert [type(record).__name__ for record in told] == ["Started", "Noted", "Finished", "Started", "Finished"]
    assert [record.run.name for record in told if isinstance(record, Finished)] == ["of all", "of one"]
    assert len(own) == 3
    assert [len(observer._calls[0].taken) for observer in observers] == [0, 0, 0]
    second.score("good", 1, trace_id="a" * 32)
    assert isinstance(told[-1], Scored)


def test_a_run_id_that_is_used_again_while_another_observer_has_it_open_is_another_run():
    told = []
    sink = told.append
    first, second = Observer(sink), Observer(sink)
    key = uuid.uuid4()
    for observer in (first, second):
        observer.handler.on_chain_start({"name": "one"}, {}, run_id=key)
    second.handler.on_chain_end({}, run_id=key)
    second.handler.on_chain_start({"name": "another"}, {}, run_id=key)
    second.handler.on_chain_end({}, run_id=key)
    first.handler.on_chain_end({}, run_id=key)
    assert [record.run.name for record in told if isinstance(record, Finished)] == ["another", "one"]


def test_redaction_comes_before_every_sink():
    seen = []
    MODEL.invoke(f"my key is {SECRET}", {"callbacks": [CallbackHandler(seen.append)], "metadata": {"api_key": SECRET}})

    assert seen
    for record in seen:
        run = record if isinstance(record, Started) else record.run
        assert SECRET not in run.input.json.decode()
        assert SECRET not in str(run.metadata)


DEFAULT = """
    import json, sys
    from langgraph_observe import CallbackHandler, observe, traces
    from langgraph_observe.observer import default
    from langgraph_observe.testing import ScriptedModel

    handler = CallbackHandler()
    assert handler.observer is default() and CallbackHandler().observer is default()
    ScriptedModel(respond=lambda _: "hi").invoke("q", {"callbacks": [handler]})
    print(json.dumps({
        "sinks": [type(sink).__module__.split(".")[-1] + "." + type(sink).__name__ for sink in default().sinks],
        "read": traces.last().root.name if len(traces) else None,
    }))
"""


def in_a_process(code, tmp_path, **environment):
    """Run it with this environment and a home of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    environment = {**kept, "HOME": str(tmp_path), "LANGSMITH_TRACING": "false", **environment}
    code = textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )


def test_the_default_keeps_a_store_counts_and_logs(tmp_path):
    out = in_a_process(DEFAULT, tmp_path)

    assert '"read": "ScriptedModel"' in out.stdout
    for sink in ("Store", "Spans", "Metrics", "Lines"):
        assert sink in out.stdout
    assert "langfuse" not in out.stdout
    assert (tmp_path / ".local/share/langgraph-observe/traces.db").exists()
    assert out.stderr == ""


def test_the_environment_can_switch_it_off(tmp_path):
    out = in_a_process(
        """
        from langgraph_observe import CallbackHandler, observe
        from langgraph_observe.demo import travel_agent
        graph = travel_agent()
        assert observe(graph) is graph
        handler = CallbackHandler()
        assert handler.ignore_chain and handler.ignore_llm and handler.ignore_chat_model and handler.ignore_agent
        graph.invoke({"messages": [("user", "q")]}, {"callbacks": [handler]})
        assert not handler.observer.sinks
        """,
        tmp_path,
        LANGGRAPH_OBSERVE_ENABLED="false",
    )
    assert out.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_half_the_keys_of_langfuse_are_one_warning_and_no_failure(tmp_path):
    out = in_a_process(DEFAULT, tmp_path, LANGFUSE_PUBLIC_KEY="pk-lf-1")

    assert out.stderr.count("\n") == 1
    assert "LANGFUSE_SECRET_KEY" in out.stderr
    assert "Store" in out.stdout


def test_at_exit_what_is_queued_is_delivered(tmp_path):
    in_a_process(
        """
        from langgraph_observe import CallbackHandler
        from langgraph_observe.testing import ScriptedModel
        for _ in range(50):
            ScriptedModel(respond=lambda _: "hi").invoke("q", {"callbacks": [CallbackHandler()]})
        """,
        tmp_path,
    )
    out = in_a_process("from langgraph_observe import traces; print(len(traces))", tmp_path)

    assert out.stdout.strip() == "50"


def test_a_thousand_observers_are_not_kept_alive():
    import gc
    import weakref

    observers = [Observer(lambda _: None) for _ in range(100)]
    for observer in observers:
        ask(observer.handler)
    references = [weakref.ref(observer) for observer in observers]
    del observer, observers
    gc.collect()

    assert [reference for reference in references if reference() is not None] == []


def test_nothing_is_logged_when_all_is_well(caplog):
    with caplog.at_level(logging.DEBUG, logger="langgraph_observe"):
        ask(CallbackHandler(lambda _: None))

    assert caplog.records == []


def test_a_sink_that_expects_graphs_is_told_of_each_that_is_watched():
    """By its name, its own nodes, and the labels that its runs will have."""
    told = []

    class Expecting(list):
        __call__ = list.append

        def expect(self, *of):
            told.append(of)

    def line(name):
        builder = StateGraph(MessagesState)
        builder.add_node("ask", lambda _: {})
        builder.add_edge(START, "ask")
        return builder.compile(name=name)

    with Observer(Expecting()) as observer:
        observer.watch(line("one"), labels={"team": "a"})
        observer.watch(line(None))
    assert told == [("one", ["ask"], {"team": "a"}), ("LangGraph", ["ask"], None)]
