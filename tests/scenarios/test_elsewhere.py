"""A human answers, and another process goes on: from the checkpoint, which says whose it is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scenarios import elsewhere

from langgraph_observe import Noted, Observer, Started
from langgraph_observe.explore import traces
from langgraph_observe.sinks.otel import Spans
from langgraph_observe.testing import tree

TESTS = Path(__file__).parents[1]


class Worker:
    """Processes that share checkpoints and a store."""

    def __init__(self, directory, way):
        self.files, self.way = [str(directory / "checkpoints.db"), str(directory / "traces.db")], way

    def does(self, move):
        done = subprocess.run(
            [sys.executable, elsewhere.__file__, *self.files, self.way, move],
            env={**os.environ, "PYTHONPATH": str(TESTS), "LANGGRAPH_OBSERVE_STORE": "off"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return re.findall(r"^\w+Error(?=:)", done.stderr, re.MULTILINE) or done.stderr

    @property
    def traces(self):
        return traces.open(self.files[1])


@pytest.fixture(params=["invoke", "ainvoke"])
def worker(tmp_path, request):
    return Worker(tmp_path, request.param)


@pytest.mark.scenario("linear", "interrupt, resume in another process", "processes")
def test_the_resume_is_linked_to_the_question_and_the_question_to_the_resume(worker):
    assert [worker.does("ask"), worker.does("answer")] == ["", ""]

    answered, asked = worker.traces.filter(thread="refund-1").last(2)
    assert (asked.outcome, answered.outcome) == ("interrupted", "ok")
    assert (answered.resumed_from, asked.resumed_by) == (asked.id, answered.id)
    assert answered.root.started.links[0].span_id == asked.root.span_id
    assert f"resumed by {answered.id[:8]}" in str(asked)
    assert f"resumed from {asked.id[:8]}" in str(answered)
    assert [event.kind for event in answered.root.events] == ["resume"]


@pytest.mark.scenario("linear", "static interrupt, resume in another process", "processes")
def test_a_static_interrupt_too(worker):
    assert [worker.does("stop"), worker.does("go on")] == ["", ""]

    answered, asked = worker.traces.last(2)
    assert (asked.root.finished.reason, answered.resumed_from) == ("interrupt_before", asked.id)


@pytest.mark.scenario("linear", "error, restart in another process", "processes")
def test_a_restart_after_a_failure_is_no_resume(worker):
    assert [worker.does("fail"), worker.does("again")] == [["ValueError"], ["ValueError"]]

    again, failed = worker.traces.last(2)
    assert (failed.outcome, again.resumed_from, failed.resumed_by) == ("error", None, None)


@pytest.mark.scenario("linear", "interrupt, new input in another process", "processes")
def test_new_input_is_no_resume(worker):
    assert [worker.does("ask"), worker.does("ask")] == ["", ""]

    assert [trace.resumed_from for trace in worker.traces.last(2)] == [None, None]


def desks(*sinks):
    """The same graph as two processes would have it: two Observers, one checkpointer."""
    saver = InMemorySaver()
    return [Observer(sink).watch(elsewhere.desk(saver)) for sink in sinks]


def starts(seen):
    return [record for record in seen if isinstance(record, Started) and record.kind == "graph"]


def test_the_one_key_in_the_checkpoint_is_no_business_of_any_handler_or_node():
    seen = []
    (graph,) = desks(seen.append)
    graph.invoke({"x": []}, elsewhere.THREAD)
    metadata = graph.get_state(elsewhere.THREAD).metadata

    key = "langgraph_observe_traceparent"
    assert metadata.pop(key) == f"00-{seen[0].trace_id}-{seen[0].span_id}-01"
    assert not [value for record in starts(seen) for value in record.metadata.values()]
    assert key not in str(graph.get_state(elsewhere.THREAD).config)


def test_the_span_of_the_resume_has_the_link():
    exporter, seen = InMemorySpanExporter(), []
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    asking, answering = desks(seen.append, Spans(tracer_provider=provider))
    asking.invoke({"x": []}, elsewhere.THREAD)
    answering.invoke(elsewhere.MOVES["answer"][0], elsewhere.THREAD)
    assert answering.__dict__["_langgraph_observe_handler"][0].observer.flush()

    (root,) = [span for span in exporter.get_finished_spans() if span.parent is None]
    (link,) = root.links
    assert (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") == (seen[0].trace_id, seen[0].span_id)
    assert dict(link.attributes) == {"langgraph.link.kind": "resumed_from"}


def test_a_return_to_the_checkpoint_where_it_asked_is_no_resume():
    first, second = [], []
    asking, elsewhere_too = desks(first.append, second.append)
    asking.invoke({"x": []}, elsewhere.THREAD)
    asking.invoke(elsewhere.MOVES["answer"][0], elsewhere.THREAD)
    asked = next(state for state in asking.get_state_history(elsewhere.THREAD) if state.next == ("ask",))
    elsewhere_too.invoke(None, asked.config)

    assert tree(second).startswith("graph desk interrupted (interrupt)\n")
    assert [record.kind for record in second if isinstance(record, Noted)] == ["interrupt"]


def test_who_resumed_what_is_found_in_a_long_conversation(tmp_path):
    worker = Worker(tmp_path, "invoke")
    for move in ("ask", "ask", "answer", "ask", "answer"):
        assert worker.does(move) == ""

    chain = [(trace.outcome, trace.resumed_from, trace.resumed_by, trace.id) for trace in reversed(worker.traces.last(5))]
    assert [outcome for outcome, *_ in chain] == ["interrupted", "interrupted", "ok", "interrupted", "ok"]
    assert [chain[1][2], chain[3][2]] == [chain[2][3], chain[4][3]]
    assert [chain[2][1], chain[4][1]] == [chain[1][3], chain[3][3]]
    assert chain[0][2] is None
