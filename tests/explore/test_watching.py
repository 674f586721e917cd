"""What is being recorded, as it comes: followed and watched, with a clock of the test's own."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from langgraph_observe.explore import Filter, Memory, Traces
from langgraph_observe.explore.live import follow, watch
from langgraph_observe.records import Finished, Started


def run(trace, at_ns=1):
    return Started(id="r", root_id="r", trace_id=trace, span_id=f"{trace}1", kind="graph", name=f"graph {trace}", at_ns=at_ns)


def end(trace, at_ns=1):
    return Finished(run=run(trace, at_ns), outcome="ok", seconds=0.5)


class Clock:
    """Sleeping runs the next thing that happens; after the last, the user presses Ctrl-C."""

    def __init__(self, *events):
        self._events = list(events)
        self.slept = 0.0

    def __call__(self):
        return self.slept

    def sleep(self, seconds):
        self.slept += seconds
        if not self._events:
            raise KeyboardInterrupt
        self._events.pop(0)()


def followed(memory, clock, last=0):
    traces = Traces(memory)
    seen = []
    told = follow(lambda limit: memory.ids(Filter(), limit=limit), lambda one: traces[one], every=1.0, last=last, sleep=clock.sleep)
    with pytest.raises(KeyboardInterrupt):
        seen.extend(trace.id for trace in told)
    return seen


def test_each_trace_is_told_once_when_it_has_ended():
    memory = Memory([end("a", 1), run("b", 2)])
    clock = Clock(lambda: memory(run("c", 3)), lambda: memory(end("b", 2)), lambda: None, lambda: memory(end("c", 3)))
    assert followed(memory, clock) == ["b", "c"]


def test_of_those_that_have_ended_the_last_come_first_the_oldest_before():
    memory = Memory([end(name, at) for at, name in enumerate("abcd")])
    assert followed(memory, Clock(), last=2) == ["c", "d"]
    assert followed(memory, Clock(), last=9) == ["a", "b", "c", "d"]


def test_what_was_forgotten_meanwhile_is_left_out():
    told = follow(lambda _: ["a", "b"], lambda one: None if one == "a" else Traces(Memory([end("b")]))["b"], every=1, last=5)
    assert next(told).id == "b"


def test_a_view_is_drawn_when_it_has_changed_and_ctrl_c_ends_it(capsys):
    memory = Memory()
    shown = []

    class View:
        def __repr__(self):
            shown.append(repr(Traces(memory)))
            return shown[-1]

    watch(View(), every=1.0, sleep=Clock(lambda: memory(end("a")), lambda: None).sleep)
    assert len(shown) == 3
    assert "graph a" in capsys.readouterr().out


def test_it_ends_by_itself_after_so_many_seconds():
    clock = Clock(*[lambda: None] * 9)
    watch("view", every=1.0, seconds=3.0, sleep=clock.sleep, now=clock)
    assert clock.slept == 3.0


@pytest.fixture
def notebook(monkeypatch):
    """A kernel, as far as it is asked: one output that is updated."""
    drawn = []

    def display(view, *, display_id):
        drawn.append(("new", repr(view)))
        return SimpleNamespace(update=lambda view: drawn.append(("again", repr(view))))

    ipython, inner = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())
    inner.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", inner)
    return drawn


def test_in_a_notebook_one_output_is_updated(notebook):
    memory = Memory()
    traces = Traces(memory)
    watch(traces, every=1.0, sleep=Clock(lambda: None, lambda: memory(end("a")), lambda: None).sleep)
    assert [how for how, _ in notebook] == ["new", "again"]
    assert "graph a" in notebook[-1][1]


def test_traces_are_watched_and_followed(capsys):
    traces = Traces(Memory([end("a")]))
    traces.watch(every=0.01, seconds=0.02)
    assert "graph a" in capsys.readouterr().out
    assert next(traces.follow(last=1)).id == "a"
