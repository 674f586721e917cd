"""What the handler survives in company: threads, tasks, forks, exits, other handlers, copies, the garbage collector."""

import asyncio
import copy
import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langchain_core.callbacks import CallbackManager, dispatch_custom_event
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from survival import RUNS, WAYS, Everything, agent, begun, ended, once, question, seen, unchanged

from langgraph_observe import Noted, Observer
from langgraph_observe.explore import StoreFile, Traces
from langgraph_observe.testing import ScriptedModel, tree


def families(records, field):
    """The values of a field of Started, in each trace."""
    found = defaultdict(set)
    for run in begun(records):
        found[run.trace_id].add(getattr(run, field))
    return found


# -- many at once


def config(number, *handlers):
    named = {"thread_id": f"thread-{number}", "user_id": f"user-{number}"}
    return {"configurable": named, "tags": [f"tag-{number}"], "callbacks": list(handlers)}


def apart(records, count):
    """Each of `count` conversations is one trace, whole, and knows nothing of another."""
    assert [len(said) for said in families(records, "thread_id").values()] == [1] * count
    for field, word in (("thread_id", "thread"), ("user_id", "user")):
        assert set.union(*families(records, field).values()) == {f"{word}-{number}" for number in range(count)}
    for run in begun(records):
        assert run.tags == (run.thread_id.replace("thread", "tag"),)
    runs = defaultdict(list)
    for record in records:
        runs[(record if record in begun([record]) else record.run).trace_id].append(record)
    assert len({tree(of_one) for of_one in runs.values()}) == 1


def test_200_threads_share_a_handler_and_their_runs_stay_apart(tmp_path):
    graph, gate = agent(), threading.Barrier(200)
    with Everything(tmp_path) as world:
        handler = world.observer.handler

        def ask(number):
            gate.wait()
            return graph.invoke(question(), config(number, handler))["messages"][-1].text

        with ThreadPoolExecutor(200) as pool:
            assert set(pool.map(ask, range(200))) == {"Take an umbrella"}
        assert world.complete() == 200 * RUNS
    apart(world.records, 200)


async def test_1000_tasks_share_a_handler_and_their_runs_stay_apart():
    async def wait(state):
        await asyncio.sleep(0)  # so that the tasks take turns
        return {"messages": [await model.ainvoke(state["messages"])]}

    model = ScriptedModel(respond=lambda messages: messages[-1].text)
    builder = StateGraph(MessagesState)
    builder.add_node("wait", wait)
    builder.add_edge(START, "wait")
    graph, records = builder.compile(), []
    observer = Observer(records.append)
    handler = observer.handler

    async def ask(number):
        given = {"messages": [HumanMessage(f"answer {number}")]}
        return (await graph.ainvoke(given, config(number, handler)))["messages"][-1].text

    answers = await asyncio.gather(*map(ask, range(1_000)))
    assert answers == [f"answer {number}" for number in range(1_000)]
    assert once(records, observer) == 3_000
    apart(records, 1_000)
    for end in ended(records, "model"):
        number = end.run.thread_id.removeprefix("thread-")
        assert end.output.value["messages"][0]["content"] == f"answer {number}"


# -- once, however it is attached


ATTACHED = {
    "twice in a list": lambda graph, handler: graph.with_config(callbacks=[handler, handler]),
    "at two levels": lambda graph, handler: _calling(graph.with_config(callbacks=[handler]), [handler]),
    "two handlers of one observer": lambda graph, handler: graph.with_config(callbacks=[handler, handler.observer.handler]),
    "to an observed graph": lambda graph, handler: _calling(handler.observer.watch(graph), [handler]),
    "in a manager to an observed graph": lambda graph, handler: _calling(
        handler.observer.watch(graph), CallbackManager([handler], inheritable_handlers=[handler])
    ),
    "observed twice": lambda graph, handler: handler.observer.watch(handler.observer.watch(graph)),
    "observed, then configured": lambda graph, handler: handler.observer.watch(graph).with_config(callbacks=[handler]),
    "configured, then observed": lambda graph, handler: handler.observer.watch(graph.with_config(callbacks=[handler])),
    "observed": lambda graph, handler: handler.observer.watch(graph),
    "copied by the server": lambda graph, handler: handler.observer.watch(graph).copy({"name": "agent"}),
}


class _calling:  # noqa: N801 - reads as a verb where it is used
    """A graph that is always called with these callbacks."""

    def __init__(self, graph, callbacks):
        self._graph, self._config = graph, {"callbacks": callbacks}

    def invoke(self, given):
        return self._graph.invoke(given, self._config)

    def stream(self, given, **options):
        return self._graph.stream(given, self._config, **options)

    async def ainvoke(self, given):
        return await self._graph.ainvoke(given, self._config)

    def astream(self, given, **options):
        return self._graph.astream(given, self._config, **options)


@pytest.mark.parametrize("how", ATTACHED)
def test_however_the_handler_is_attached_each_run_is_recorded_once(how):
    def act(state):
        dispatch_custom_event("looked", {"at": "the sky"})

    records, graph = [], agent(act)
    observer = Observer(records.append)
    asked = unchanged(ATTACHED[how](graph, observer.handler), graph)
    assert once(records, observer) == asked * RUNS
    assert sum(run.parent_id is None for run in begun(records)) == asked
    assert {end.stream and end.stream.pieces for end in ended(records, "model")} == {
        None,
        1,
        3,
    }  # invoked; streamed: as with one handler
    noted = [record for record in records if isinstance(record, Noted)]
    assert [(note.kind, note.name) for note in noted] == [("custom", "looked")] * (asked // 2)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_streamed_model_counts_its_chunks_once_however_often_the_handler_is_given(times):
    records, model = [], ScriptedModel(respond=lambda _: "one two three")
    observer = Observer(records.append)
    chunks = [chunk.text for chunk in model.stream("count", {"callbacks": [observer.handler] * times})]
    assert [chunk for chunk in chunks if chunk] == ["one", " two", " three"]
    assert once(records, observer) == 1
    assert [end.stream.pieces for end in ended(records)] == [3]  # not the usage, nor the end that LangChain adds


def test_outer_and_inner_graph_observed_are_one_tree():
    records = []
    observer = Observer(records.append)

    def outer(inner):
        builder = StateGraph(MessagesState)
        builder.add_node("ask", inner)
        builder.add_node("ask again", lambda state: {"messages": inner.invoke(question())["messages"][-1:]})
        builder.add_edge(START, "ask")
        builder.add_edge("ask", "ask again")
        return builder.compile(name="outer")

    plain, watched = outer(agent()), observer.watch(outer(observer.watch(agent())))
    asked = len(WAYS)
    for call in WAYS.values():
        assert str(call(watched, question())).count("umbrella") == str(call(plain, question())).count("umbrella")
    assert once(records, observer) == asked * (3 + 2 * RUNS)
    assert [run.name for run in begun(records) if run.parent_id is None] == ["outer"] * asked
    assert len(families(records, "graph")) == asked


def test_two_observers_of_one_graph_each_see_everything_once():
    first, second, graph = [], [], agent()
    one, two = Observer(first.append), Observer(second.append)
    asked = unchanged(two.watch(one.watch(graph)), graph)
    assert once(first, one) == once(second, two) == asked * RUNS
    assert {run.id for run in begun(first)} == {run.id for run in begun(second)}
    assert {run.span_id for run in begun(first)} == {run.span_id for run in begun(second)}


@pytest.mark.parametrize("how", ["observed", "observed twice", "twice in a list"])
def test_a_deep_copy_is_observed_as_its_original_is_and_shares_the_observer_only(how):
    records, graph = [], agent()
    observer = Observer(records.append)
    original = ATTACHED[how](graph, observer.handler)
    twin = copy.deepcopy(original)
    assert type(twin) is type(original)
    assert twin.nodes["act"] is not original.nodes["act"]
    for call in WAYS.values():  # LangGraph's own deep copy refuses its input: whatever it does, it does observed
        assert seen(call, twin, question()) == seen(call, copy.deepcopy(graph), question())
    once(records, observer)
    assert [run.name for run in begun(records) if run.parent_id is None] == ["agent"] * len(WAYS)


# -- ends that come late, or not at all


def test_closing_the_observer_abandons_what_is_open_once_and_the_agent_goes_on(tmp_path):
    graph = agent()
    with Everything(tmp_path) as world:
        expected = [list(chunk) for chunk in graph.stream(question())]
        stream = world.observer.watch(graph).stream(question())
        chunks = [list(next(stream))]
        world.observer.close()
        records = list(world.records)
        chunks += [list(chunk) for chunk in stream]
    assert chunks == expected
    assert [(end.run.kind, end.outcome, end.reason) for end in ended(records) if end.outcome != "ok"] == [
        ("graph", "abandoned", "closed")
    ]
    assert len(world.observer.tracker) == 0
    ends = [end.run.span_id for end in ended(world.records)]
    assert len(ends) == len(set(ends))
    trace = Traces(StoreFile(world.store.path)).last()
    assert (trace.outcome, trace.root.name) == ("abandoned", "agent")


def test_a_stream_that_the_garbage_collector_ends_inside_another_callback_is_recorded_once():
    graph, records, forgotten = agent(), [], []

    def collect(record):
        if forgotten and record in begun([record]) and record.kind == "model":
            forgotten.clear()
            gc.collect()

    class Ring:
        """A cycle that only the collector can find."""

        def __init__(self, stream):
            self.stream, self.ring = stream, self

    observer = Observer(collect, records.append)
    observed = observer.watch(graph)
    for _ in range(20):
        stream = observed.stream(question())
        next(stream)
        forgotten.append(Ring(stream))
    del stream
    gc.disable()  # so that it happens where this test says
    try:
        observed.invoke(question())
    finally:
        gc.enable()
    once(records, observer)
    roots = [(end.outcome, end.reason) for end in ended(records, "graph")]
    assert sorted(roots, key=str) == [("cancelled", "stream_closed")] * 20 + [("ok", None)]
    last = next(index for index, record in enumerate(records) if record in ended([record], "graph"))
    assert "act" not in {record.run.node for record in ended(records[:last])}  # they ended before the graph that was running


# -- forks and exits


PATHS = [str(directory) for directory in Path(__file__).parents[:2]]


def python(code, home, *arguments):
    script = textwrap.dedent(code)
    environment = {"PYTHONPATH": os.pathsep.join(PATHS), "HOME": str(home), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_after_a_fork_parent_and_child_each_deliver_their_own_under_ids_of_their_own(tmp_path):
    printed = python(
        """
        import os, sys
        from survival import agent, question
        from langgraph_observe import Observer
        from langgraph_observe.sinks.deferred import Deferred
        from langgraph_observe.sinks.store import Store
        seen = []
        observer = Observer(Store(sys.argv[1]), Deferred(seen.append, interval=60))
        observed = observer.watch(agent())
        observed.invoke(question())  # it is in the queue when the process forks

        def deliver(who):
            observed.invoke(question())
            observer.close()
            print(who, len(seen), seen[-1].run.trace_id, flush=True)

        children = []
        for _ in range(2):
            children.append(os.fork())
            if children[-1] == 0:
                deliver("child")
                os._exit(0)
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0]
        deliver("parent")
        """,
        tmp_path,
        tmp_path / "traces.db",
    )
    who, delivered, ids = zip(*map(str.split, printed.splitlines()), strict=True)
    assert who == ("child", "child", "parent")
    assert [int(count) for count in delivered] == [2 * RUNS, 2 * RUNS, 2 * 2 * RUNS]
    traces = Traces(StoreFile(tmp_path / "traces.db"))
    assert len(set(ids)) == 3
    assert {trace.id for trace in traces} > set(ids)
    assert [len(trace) for trace in traces] == [RUNS] * 4  # before the forks, and one of each process


@pytest.mark.parametrize("leaves", ["sys.exit()", "observer.close(); os._exit(0)", "return {}"])
def test_a_process_that_is_forked_inside_of_a_run_tells_its_own_runs_and_leaves_that_one_to_its_parent(tmp_path, leaves):
    printed = python(
        f"""
        import os, sys
        from langchain_core.runnables import RunnableLambda
        from survival import agent, question
        from langgraph_observe import Finished, Observer

        def tell(record):
            if isinstance(record, Finished):
                run = record.run
                os.write(1, f"{{run.span_id}} {{run.parent_span_id}} {{run.name}} {{os.getpid() == first}}\\n".encode())

        def act(state):
            if os.fork() == 0:
                RunnableLambda(len, name="inside").invoke("rain")
                {leaves}
            os.wait()

        first = os.getpid()
        observer = Observer(tell)
        observer.watch(agent(act)).invoke(question())
        """,
        tmp_path,
    )
    told = {span: (parent, name, whose) for span, parent, name, whose in map(str.split, printed.splitlines())}
    assert len(told) == len(printed.splitlines()) == RUNS + 1
    (inside,) = [span for span, (_, name, _) in told.items() if name == "inside"]
    assert told[told[inside][0]][1:] == ("act", "True")
    assert [name for _, name, whose in told.values() if whose == "False"] == ["inside"]


def test_at_exit_a_full_queue_is_delivered_or_counted(tmp_path):
    printed = python(
        """
        import atexit, sys, time
        delivered = 0
        def slow(record):
            global delivered
            time.sleep(0.001)
            delivered += 1
        atexit.register(lambda: print(taken, delivered, deferred.dropped, deferred.health()["queued"]))  # runs last
        from survival import agent, question
        from langgraph_observe import Observer
        from langgraph_observe.sinks.deferred import Deferred
        records = []
        deferred = Deferred(slow, capacity=100, batch=10)
        observer = Observer(records.append, deferred)
        observed = observer.watch(agent())
        for _ in range(50):
            observed.invoke(question())
        taken = len(records)
        """,
        tmp_path,
    )
    taken, delivered, dropped, queued = map(int, printed.split())
    assert (taken, queued) == (50 * RUNS * 2, 0)
    assert delivered + dropped == taken
    assert delivered >= 100
    assert dropped > 0


def test_at_exit_a_sink_that_hangs_is_not_waited_for_without_end(tmp_path):
    printed = python(
        """
        import threading
        from survival import agent, question
        from langgraph_observe import Observer, observer as own
        from langgraph_observe.sinks.deferred import Deferred
        own._last_words.__defaults__ = (0.2,)
        observer = Observer(Deferred(lambda record: threading.Event().wait()))
        print(observer.watch(agent()).invoke(question())["messages"][-1].text)
        """,
        tmp_path,
    )
    assert printed == "Take an umbrella\n"


def test_a_runnable_inside_a_node_with_its_own_callbacks_stays_in_the_tree():
    records = []
    observer = Observer(records.append)
    inner = RunnableLambda(lambda text: text.upper(), name="shout")

    def act(state):
        assert inner.invoke("rain", {"callbacks": [observer.handler]}) == "RAIN"

    observer.watch(agent(act)).invoke(question())
    assert once(records, observer) == RUNS + 1
    (shout,) = [run for run in begun(records) if run.name == "shout"]
    assert shout.node == "act"
