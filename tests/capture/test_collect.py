"""`collect_runs`: what a piece of code has started, and nobody else's."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import graphs
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from ways import run

from langgraph_observe import Observer, Scored, collect_runs, observe
from langgraph_observe.process.sample import sample

WAYS = ("invoke", "stream", "ainvoke", "astream", "batch")


def one(_):
    return {"x": [1]}


async def aone(_):
    await asyncio.sleep(0)
    return {"x": [1]}


def broken(_):
    raise ValueError("no")


def thread(name):
    return {"configurable": {"thread_id": name}}


@pytest.mark.parametrize("way", WAYS)
def test_it_has_the_roots_alone_with_their_trace_and_their_end(way):
    seen = []
    with collect_runs() as runs:
        run(way, observe(graphs.linear(one), seen.append), {"x": []})

    (root,) = runs
    assert (root.trace_id, root.id, root.started) == (seen[0].trace_id, seen[0].id, seen[0])
    assert (root.finished, root.outcome) == (seen[-1], "ok")


def test_it_knows_a_trace_from_its_first_moment_and_its_outcome_at_the_end():
    with collect_runs() as runs:
        stream = observe(graphs.linear(one, broken), lambda _: None).stream({"x": []})
        next(stream)
        assert len(runs[0].trace_id) == 32
        assert (runs[0].outcome, runs[0].finished) == (None, None)
        with pytest.raises(ValueError, match="no"):
            next(stream)
    assert runs[0].outcome == "error"


def test_each_task_has_its_own():
    graph = observe(graphs.linear(aone, compile_with={"checkpointer": InMemorySaver()}), lambda _: None)

    async def task(name):
        with collect_runs() as runs:
            for _ in range(3):
                await graph.ainvoke({"x": []}, thread(name))
        return [root.started.thread_id for root in runs]

    async def main():
        return await asyncio.gather(*(task(str(number)) for number in range(100)))

    assert asyncio.run(main()) == [[str(number)] * 3 for number in range(100)]


def test_each_thread_has_its_own():
    graph = observe(graphs.linear(one), lambda _: None)

    def job(name):
        with collect_runs() as runs:
            graph.invoke({"x": []}, thread(name))
        return [root.started.thread_id for root in runs]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(job, map(str, range(100)))) == [[str(number)] for number in range(100)]


def test_an_outer_one_has_what_an_inner_one_has_and_nothing_comes_after_its_end():
    graph = observe(graphs.linear(one), lambda _: None)
    with collect_runs() as outer:
        graph.invoke({"x": []})
        with collect_runs() as inner:
            graph.invoke({"x": []})
    graph.invoke({"x": []})

    assert (len(outer), len(inner)) == (2, 1)
    assert outer[1].id == inner[0].id


def test_what_a_sampler_drops_is_not_there():
    observer = Observer(lambda _: None, process=[sample(0.0)])
    with collect_runs() as runs:
        observer.watch(graphs.linear(one)).invoke({"x": []})

    assert runs == []


def test_a_root_takes_feedback_of_its_own():
    seen = []
    with collect_runs() as runs:
        observe(graphs.linear(one), seen.append).invoke({"x": []})
    runs[0].score("helpful", 1, comment="yes")

    score = seen[-1]
    assert isinstance(score, Scored)
    assert (score.trace_id, score.span_id, score.run_id) == (seen[0].trace_id, seen[0].span_id, seen[0].id)
    assert (score.name, score.value, score.comment) == ("helpful", 1, "yes")


async def test_it_may_end_in_another_context_than_it_began_in():
    async def collected():
        with collect_runs() as runs:
            yield runs

    chunks = collected()
    await asyncio.create_task(anext(chunks))
    await chunks.aclose()
