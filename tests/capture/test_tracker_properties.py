"""Whatever order LangChain tells its events in, and whichever it forgets, each run ends once; and nothing of it stays behind."""

import asyncio
import gc
import random
import sys
import uuid
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langgraph.errors import GraphInterrupt, ParentCommand
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from langgraph_observe import CallbackHandler, Finished, Message, Observer, Payload, Started, testing
from langgraph_observe.capture.tracker import GHOSTS, Run, Tracker
from langgraph_observe.records import Outcome
from langgraph_observe.sinks.otel import Spans
from langgraph_observe.sinks.prometheus import Metrics
from langgraph_observe.sinks.store import Store
from langgraph_observe.testing import Clock, ScriptedModel

KINDS = ("graph", "node", "chain", "model", "tool", "retriever")
ERRORS = (ValueError, asyncio.CancelledError, GeneratorExit, GraphInterrupt, lambda: ParentCommand(Command(goto="elsewhere")))


def identity(number):
    return uuid.UUID(int=number + 1)


class Told:
    """A handler that is told about runs by number, as LangChain would tell it."""

    def __init__(self):
        self.records = []
        self.observer = Observer(self.records.append)
        self.tracker = self.observer._tracker = Tracker(self.observer, clock=Clock())
        self.handler = CallbackHandler(observer=self.observer)

    def start(self, number, parent, kind):
        ids = {"run_id": identity(number), "parent_run_id": None if parent is None else identity(parent)}
        match kind:
            case "graph":
                self.handler.on_chain_start(None, {"x": 1}, metadata={"ls_integration": "langgraph", "thread_id": "t"}, **ids)
            case "node":
                about = {"langgraph_checkpoint_ns": f"node:{number}", "langgraph_node": "node", "langgraph_step": number % 3}
                self.handler.on_chain_start(None, {"x": 1}, name="node", metadata=about, **ids)
            case "chain":
                self.handler.on_chain_start(None, "in", name="chain", **ids)
            case "model":
                self.handler.on_chat_model_start({"name": "model"}, [[HumanMessage("hi")]], **ids)
            case "tool":
                self.handler.on_tool_start({"name": "tool"}, "{}", **ids)
            case "retriever":
                self.handler.on_retriever_start({"name": "retriever"}, "what", **ids)

    def end(self, number, kind, error):
        on = "llm" if kind == "model" else kind if kind in ("tool", "retriever") else "chain"
        if error is not None:
            getattr(self.handler, f"on_{on}_error")(ERRORS[error](), run_id=identity(number))
            return
        answer = LLMResult(generations=[[ChatGeneration(message=AIMessage("hello"))]])
        output = {"model": answer, "retriever": [Document("page")]}.get(kind, {"x": 2})
        getattr(self.handler, f"on_{on}_end")(output, run_id=identity(number))


@st.composite
def histories(draw):
    """Runs of a random forest, with unknown parents among them; starts and ends missing, twice, late, in any order or a likely one."""
    events = []
    for number in range(draw(st.integers(1, 14))):
        parent = draw(st.sampled_from([None, 1_000, *range(number)]))
        kind = draw(st.sampled_from(KINDS))
        start = ("start", number, parent, kind)
        error = draw(st.sampled_from([None, None, *range(len(ERRORS))]))
        end = ("end", number, kind, error)
        events += [start] * draw(st.sampled_from([1, 1, 1, 2, 0]))
        if draw(st.booleans()):
            place = draw(st.integers(0, len(events)))  # an end among what came before: a parent that ends before its child starts
            events[place:place] = [end] * draw(st.sampled_from([1, 2]))
        else:
            events += [end] * draw(st.sampled_from([0, 1, 1]))
    return draw(st.permutations(events)) if draw(st.booleans()) else events


def tell(history):
    told = Told()
    for what, *about in history:
        getattr(told, what)(*about)
    return told


def sound(records):
    """What must hold of the records of any history, once the Observer is closed."""
    runs = {record.span_id: record for record in records if isinstance(record, Started)}
    ends = [record for record in records if isinstance(record, Finished)]
    assert Counter(end.run.span_id for end in ends) == Counter(runs.keys())
    for end in ends:
        assert end.outcome in get_args(Outcome)
        assert end.seconds >= 0
        assert end.run is runs[end.run.span_id]
    for run in runs.values():
        if run.parent_id is None:
            assert (run.parent_span_id, run.root_id) == (None, run.id)
        else:
            parent = runs[run.parent_span_id]
            assert (parent.id, parent.trace_id, parent.root_id) == (run.parent_id, run.trace_id, run.root_id)
            assert parent.at_ns < run.at_ns


CUT_OFF = ERRORS.index(asyncio.CancelledError)
NODE_HELD_WHILE_ITS_GRAPH_IS_NOT_ENDED = [("start", 0, None, "graph"), ("start", 1, 0, "node"), ("end", 1, "node", CUT_OFF)]
CHILD_OF_AN_ENDED_RUN = [("start", 0, None, "graph"), ("end", 0, "graph", None), ("start", 1, 0, "tool"), ("end", 1, "tool", None)]
END_BEFORE_START = [("end", 0, "chain", None), ("start", 0, None, "chain")]
ID_USED_AGAIN = [("start", 0, None, "graph"), ("start", 1, 0, "node"), ("end", 0, "graph", None)] * 2


@settings(max_examples=300, deadline=None)
@given(histories())
@example(NODE_HELD_WHILE_ITS_GRAPH_IS_NOT_ENDED)
@example(CHILD_OF_AN_ENDED_RUN)
@example(END_BEFORE_START)
@example(ID_USED_AGAIN)
def test_each_run_finishes_once_under_a_parent_that_is_there_whatever_is_told(history):
    told = tell(history)
    started = sum(isinstance(record, Started) for record in told.records)
    told.observer.close()
    sound(told.records)
    assert started == sum(isinstance(record, Started) for record in told.records)
    assert (len(told.tracker), told.tracker._roots, told.tracker._nodes) == (0, {}, {})
    assert told.observer.health()["capture"] == {"open": 0, "errors": 0}


@settings(max_examples=100, deadline=None)
@given(histories())
def test_what_is_told_after_the_close_is_sound_too(history):
    told = tell(history[: len(history) // 2])
    told.tracker.close()
    for what, *about in history[len(history) // 2 :]:
        getattr(told, what)(*about)
    told.observer.close()
    told.tracker.close()
    sound(told.records)
    assert len(told.tracker) == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([None, *range(8)]), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_a_tree_whose_every_end_is_told_has_no_abandoned_run_in_any_order_of_ends(parents, order):
    told = Told()
    told_of = []
    for number, parent in enumerate(parents):
        told.start(number, parent if parent is None or parent < number else None, "chain")
        told_of.append(number)
    order.shuffle(told_of)
    for number in told_of:
        told.end(number, "chain", None)
    assert len(told.tracker) == 0
    sound(told.records)
    assert {record.outcome for record in told.records if isinstance(record, Finished)} == {"ok"}


# -- nothing stays behind

KEPT = (Run, Started, Finished, Payload, Message)


def alive():
    gc.collect()
    found = Counter(type(one) for one in gc.get_objects() if isinstance(one, KEPT))
    return [found[kind] for kind in KEPT]


def conversation():
    def speak(state):
        if state["messages"][-1].text == "fail":
            raise ValueError
        return {"messages": [model.invoke(state["messages"])]}

    model = ScriptedModel(respond=lambda messages: "well")
    builder = StateGraph(MessagesState)
    builder.add_node("listen", lambda state: {"messages": []})
    builder.add_node("speak", speak)
    builder.add_edge(START, "listen")
    builder.add_edge("listen", "speak")
    return builder.compile()


def busy(graph, runs, chance):
    """Of the runs, a fifth are streams that their consumer forgets, and a twentieth fail."""
    forgotten = []
    for _ in range(runs):
        match chance.random():
            case dice if dice < 0.2:
                stream = graph.stream({"messages": [HumanMessage("hi")]})
                next(stream)
                forgotten.append([stream, forgotten])  # a cycle: only the garbage collector ends it
                if len(forgotten) > 20:
                    forgotten.clear()
            case dice if dice < 0.25:
                with pytest.raises(ValueError):
                    graph.invoke({"messages": [HumanMessage("fail")]})
            case _:
                graph.invoke({"messages": [HumanMessage("hi")]})
    forgotten.clear()


def lived(path):
    """What is alive, and how many blocks of memory are in use, after each thousand of runs.

    Nothing is redacted: the redactor remembers some thousand texts, and here each has an id of its own.
    """
    sinks = Store(path), Metrics(registry=CollectorRegistry()), Spans(tracer_provider=TracerProvider())
    with testing.strict(), Observer(*sinks, process=()) as observer:
        graph, chance, counts, blocks = observer.watch(conversation()), random.Random(1), [], []
        for _ in range(5):
            busy(graph, 1_000, chance)
            gc.collect()
            assert observer.flush(60)
            assert len(observer.tracker) == 0
            assert len(observer.tracker._ghosts) <= GHOSTS
            counts.append(alive())
            blocks.append(sys.getallocatedblocks())
    return len(sinks), counts, blocks


def test_five_thousand_runs_with_abandoned_streams_and_errors_leave_nothing_behind(tmp_path):
    """In a process of their own: in this one, what other tests have left comes and goes meanwhile."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        sinks, counts, blocks = process.submit(lived, tmp_path / "traces.db").result(300)
    few = 10 * sinks  # the record that a sink's thread has taken last stays until the next, with its messages
    assert all(now <= then + few for then, now in zip(counts[1], counts[4], strict=True)), counts
    assert counts[4][0] <= GHOSTS + few  # ended runs that late children may still be put under
    assert max(counts[4][1:]) <= few, counts
    assert blocks[4] - blocks[1] < 1_000, blocks  # of three thousand runs; the first fill caches
