"""Scenarios of the functional API: workflows and their tasks."""

from __future__ import annotations

import asyncio
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.types import Command, RetryPolicy, interrupt
from scenarios.actors import Tries, model
from scenarios.calling import without
from scenarios.nodes import ASYNC_ONLY, State, line, one
from scenarios.scenario import Move, Scenario

AGAIN = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=ValueError)
FOUR = (Move(4),)
ONE_BY_ONE = without(["tasks"], "each workflow holds a thread while its task waits for one: too many wait for ever, without us too")
FEW = ONE_BY_ONE | without(["abatch"], "the same, since its task holds another")


@task
def double(number: int) -> int:
    return number * 2


@task
async def adouble(number: int) -> int:
    await asyncio.sleep(0)
    return number * 2


@task(name="halve")
def under_another_name(number: int) -> int:
    return number // 2


@task
def broken(number: int) -> int:
    raise ValueError(f"no {number}")


@task
def fourfold(number: int) -> int:
    """A task of tasks."""
    return double(double(number).result()).result()


@task
def speak(number: int) -> str:
    return model("well said").invoke(f"say {number}").text


@task
def confirm(number: int) -> str:
    """Ask a human."""
    return interrupt(f"really {number}?")


def plain() -> Any:
    @entrypoint()
    def work(number: int) -> int:
        return number + 1

    return work


def awaiting() -> Any:
    @entrypoint()
    async def work(number: int) -> int:
        return await adouble(number) + await adouble(number)

    return work


def gathering() -> Any:
    """Tasks at the same time."""

    @entrypoint()
    async def work(number: int) -> list[int]:
        return await asyncio.gather(*(adouble(number) for _ in range(3)))

    return work


def calling(*steps: Any) -> Any:
    """These tasks, one after the other."""

    @entrypoint()
    def work(number: int) -> Any:
        for step in steps:
            number = step(number).result()
        return number

    return work


def at_once() -> Any:
    """Two tasks at the same time, in threads."""

    @entrypoint()
    def work(number: int) -> int:
        return sum(job.result() for job in [double(number), under_another_name(number)])

    return work


def counting() -> Any:
    """It says one thing and remembers another."""

    @entrypoint(checkpointer=InMemorySaver())
    def work(number: int, *, previous: int | None = None) -> Any:
        return entrypoint.final(value=previous, save=(previous or 0) + number)

    return work


def stumbling(policy: Any) -> Any:
    """A task that fails once."""
    tries = Tries()

    @task(retry_policy=policy)
    def shaky(number: int) -> int:
        if tries() == 1:
            raise ValueError("not yet")
        return number

    return calling(shaky)


def catching() -> Any:
    """It expects that its task may fail."""

    @entrypoint()
    def work(number: int) -> str:
        try:
            return str(broken(number).result())
        except ValueError as error:
            return f"well: {error}"

    return work


def asking() -> Any:
    """A question between two tasks: the first is not done again."""

    @entrypoint(checkpointer=InMemorySaver())
    def work(number: int) -> Any:
        doubled = double(number).result()
        answer = interrupt("go on?")
        return answer, under_another_name(doubled).result()

    return work


def asking_in_task() -> Any:
    @entrypoint(checkpointer=InMemorySaver())
    def work(number: int) -> Any:
        return confirm(double(number).result()).result()

    return work


def delegating() -> Any:
    """A workflow that calls a graph."""

    @entrypoint()
    def work(number: int) -> Any:
        return line({"one": one}, name="inner").invoke({"x": [number]})

    return work


def in_graph() -> Any:
    """A task called by a node."""

    def think(_: State) -> State:
        return {"x": [double(4).result()]}

    return line({"think": think})


def failing() -> Any:
    @entrypoint()
    def work(number: int) -> Any:
        raise ValueError(double(number).result())

    return work


def in_threads(ending: str, graph: Any, tree: str, **more: Any) -> Scenario:
    """A workflow whose tasks have threads of their own: an event stream is told by whichever comes first."""
    told = {"moves": FOUR, "absent": ONE_BY_ONE, "racing": frozenset({"astream_events v2"}), **more}
    return Scenario("workflow", ending, graph, tree, **told)


WORK = "graph work ok\n  node work ok"
ONE_TASK = f"{WORK}\n    node double ok"
AWAITED = f"{WORK}\n    node adouble ok\n    node adouble ok"
GATHERED = f"{AWAITED}\n    node adouble ok"
IN_A_ROW = f"{ONE_TASK}\n    node halve ok"
NESTED = f"{WORK}\n    node fourfold ok\n      node double ok\n      node double ok"
FAILED = "graph work error ValueError\n  node work error ValueError\n    node broken error ValueError"
CAUGHT = f"{WORK}\n    node broken error ValueError"
FAILED_ITSELF = "graph work error ValueError\n  node work error ValueError\n    node double ok"
RETRIED = f"{WORK}\n    node shaky error ValueError\n    node shaky ok attempt 2"
GAVE_UP = "graph work error ValueError\n  node work error ValueError\n    node broken error ValueError"
SPOKEN = f"{WORK}\n    node speak ok\n      model ScriptedModel ok 2+2 tokens"
ASKED = """\
graph work interrupted (interrupt)
  node work interrupted (interrupt)
    node double ok
graph work ok resumed_from
  node work ok
    node halve ok"""
CONFIRMED = """\
graph work interrupted (interrupt)
  node work interrupted (interrupt)
    node double ok
    node confirm interrupted (interrupt)
graph work ok resumed_from
  node work ok
    node confirm ok"""
DELEGATED = f"{WORK}\n    graph inner ok\n      node one ok"
IN_GRAPH = "graph line ok\n  node think ok\n    node double ok"
RESUMED = (Move(4), Move(Command(resume="yes")))

SCENARIOS = [
    Scenario("workflow", "ok", plain, WORK, moves=FOUR),
    Scenario("workflow", "ok, async", awaiting, AWAITED, moves=FOUR, absent=ASYNC_ONLY),
    Scenario("workflow", "tasks at once, async", gathering, GATHERED, moves=FOUR, parallel=True, absent=ASYNC_ONLY),
    in_threads("a task", lambda: calling(double), ONE_TASK),
    in_threads("tasks in a row", lambda: calling(double, under_another_name), IN_A_ROW),
    in_threads("tasks at once", at_once, IN_A_ROW, parallel=True),
    in_threads("a task of tasks", lambda: calling(fourfold), NESTED, absent=FEW),
    in_threads("a model in a task", lambda: calling(speak), SPOKEN),
    Scenario("workflow", "the previous state", counting, f"{WORK}\n{WORK}", moves=FOUR * 2),
    Scenario("workflow", "a graph in it", delegating, DELEGATED, moves=FOUR),
    in_threads("a task is tried again", lambda: stumbling(AGAIN), RETRIED),
    in_threads("a task fails", lambda: calling(broken), FAILED),
    in_threads("a task fails, and is caught", catching, CAUGHT),
    in_threads("error", failing, FAILED_ITSELF),
    in_threads("interrupted, resumed", asking, ASKED, moves=RESUMED),
    in_threads("interrupted in a task, resumed", asking_in_task, CONFIRMED, moves=RESUMED),
    in_threads("in a node", in_graph, IN_GRAPH, moves=(Move(),)),
]
