"""Scenarios in which a node asks a human, and gets an answer: here or there, once or twice, one or several at a time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt
from scenarios.actors import model
from scenarios.nodes import State, Wrap, added, ask, awaited, both, fan, line, one, stored, three, two
from scenarios.scenario import Move, Scenario

from langgraph_observe import Finished, Noted, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langgraph_observe import Record


def twice(_: State) -> State:
    """Two questions, one after the other."""
    return {"x": [interrupt("what?"), interrupt("and then?")]}


def think_and_ask(_: State) -> State:
    """The model is asked again when the answer is there: the node runs anew."""
    return {"x": [interrupt(model("well said").invoke("say it").text)]}


def decide(_: State) -> str:
    """A router that asks."""
    return interrupt("where to?")


def numbered(state: State) -> State:
    """One of several who ask."""
    return {"x": [interrupt(f"what, {state['n']}?")]}


def pick(_: State) -> list[Send]:
    return [Send("ask", {"n": number}) for number in range(2)]


def decided(of: Wrap) -> Any:
    builder = StateGraph(State)
    added(builder, {"one": one, "two": two}, of)
    builder.add_edge(START, "one")
    builder.add_conditional_edges("one", decide, ["two", END])
    return stored(lambda _, __, **compiled: builder.compile(name="branch", **compiled), {}, of)


def asked_by_tasks(of: Wrap) -> Any:
    builder = StateGraph(State)
    added(builder, {"ask": ask}, of)
    builder.add_conditional_edges(START, pick, ["ask"])
    return stored(lambda _, __, **compiled: builder.compile(name="map", **compiled), {}, of)


def inside(of: Wrap, **compiled: Any) -> Any:
    """The question is put in a graph in the graph."""
    inner = line({"one": one, "ask": ask}, of, name="inner", **compiled)
    return stored(line, {"sub": inner, "two": two}, of, name="outer")


def called(of: Wrap) -> Any:
    """The question is put in a graph that a node calls."""
    inner = line({"ask": ask}, of, name="inner")

    def call(state: State) -> State:
        return inner.invoke(state)

    async def acall(state: State) -> State:
        return await inner.ainvoke(state)

    return stored(line, {"call": acall if of is awaited else call}, name="outer")


def answer_all(graph: Any, config: dict[str, Any]) -> Command:
    """To each question its answer."""
    return Command(resume={question.id: f"so: {question.value}" for question in graph.get_state(config).interrupts})


def answer_one(graph: Any, config: dict[str, Any]) -> Command:
    """An answer to what comes first."""
    first = min(graph.get_state(config).interrupts, key=lambda question: str(question.value))
    return Command(resume={first.id: "so"})


def linked(records: Sequence[Record]) -> None:
    """Who resumes is linked to the last run of its thread that was interrupted."""
    last: dict[str | None, str] = {}
    for end in records:
        if isinstance(end, Finished) and end.run.parent_id is None:
            assert [link.span_id for link in end.run.links] in ([], [last.get(end.run.thread_id)])
            if end.outcome == "interrupted":
                last[end.run.thread_id] = end.run.span_id


def noted(*kinds: str) -> Callable[[Sequence[Record]], None]:
    """What is noted of each session, and nothing else; and `linked`."""

    def check(records: Sequence[Record]) -> None:
        linked(records)
        sessions = {record.thread_id for record in records if isinstance(record, Started)}
        notes = Counter((note.run.thread_id, note.kind) for note in records if isinstance(note, Noted))
        assert notes == {(session, kind): count for session in sessions for kind, count in Counter(kinds).items()}

    return check


QUESTION = Move()
ANSWER = Move(Command(resume="so"))
ASKED = (QUESTION, ANSWER)
NOTES = noted("interrupt", "resume")

IN_NODE = """\
graph line interrupted (interrupt)
  node one ok
  node ask interrupted (interrupt)
graph line ok resumed_from
  node ask ok
  node two ok"""
TWICE = """\
graph line interrupted (interrupt)
  node twice interrupted (interrupt)
graph line interrupted (interrupt) resumed_from
  node twice interrupted (interrupt)
graph line ok resumed_from
  node twice ok"""
NOT_KEPT = "graph line interrupted (interrupt)\n  node one ok\n  node ask interrupted (interrupt)"
THOUGHT = """\
graph line interrupted (interrupt)
  node think interrupted (interrupt)
    model ScriptedModel ok 2+2 tokens
graph line ok resumed_from
  node think ok
    model ScriptedModel ok 2+2 tokens"""
ROUTED = """\
graph branch interrupted (interrupt)
  node one interrupted (interrupt)
    chain decide interrupted (interrupt)
graph branch ok resumed_from
  node one ok → two
    chain decide ok
  node two ok"""
INSIDE = """\
graph outer interrupted (interrupt)
  node sub interrupted (interrupt)
    graph inner interrupted (interrupt)
      node one ok
      node ask interrupted (interrupt)
graph outer ok resumed_from
  node sub ok
    graph inner ok
      node ask ok
  node two ok"""
CALLED = """\
graph outer interrupted (interrupt)
  node call interrupted (interrupt)
    graph inner interrupted (interrupt)
      node ask interrupted (interrupt)
graph outer ok resumed_from
  node call ok
    graph inner ok
      node ask ok"""
BESIDE = """\
graph fan interrupted (interrupt)
  node one ok
  node ask interrupted (interrupt)
graph fan ok resumed_from
  node ask ok
  node three ok"""
BOTH = """\
graph fan interrupted (interrupt)
  node left interrupted (interrupt)
  node right interrupted (interrupt)"""
BOTH_AT_ONCE = f"""\
{BOTH}
graph fan ok resumed_from
  node left ok
  node right ok"""
ONE_BY_ONE = f"""\
{BOTH}
graph fan interrupted (interrupt) resumed_from
  node left ok
  node right interrupted (interrupt)
graph fan ok resumed_from
  node right ok"""
AMBIGUOUS = f"""\
{BOTH}
graph fan error RuntimeError resumed_from
graph fan ok resumed_from
  node left ok
  node right ok"""
TASKS = """\
graph map interrupted (interrupt) → ask, ask
  chain pick ok
  node ask interrupted (interrupt)
  node ask interrupted (interrupt)
graph map ok resumed_from
  node ask ok
  node ask ok"""
BOTH_INSIDE = """\
graph fan interrupted (interrupt)
  node left interrupted (interrupt)
    graph inner interrupted (interrupt)
      node ask interrupted (interrupt)
  node right interrupted (interrupt)
    graph inner interrupted (interrupt)
      node ask interrupted (interrupt)
graph fan ok resumed_from
  node left ok
    graph inner ok
      node ask ok
  node right ok
    graph inner ok
      node ask ok"""
NOT_ANSWERED = """\
graph line interrupted (interrupt)
  node one ok
  node ask interrupted (interrupt)
graph line interrupted (interrupt) resumed_from
  node ask interrupted (interrupt)
graph line ok resumed_from
  node ask ok
  node two ok"""
FRESH = """\
graph line interrupted (interrupt)
  node one ok
  node ask interrupted (interrupt)
graph line interrupted (interrupt)
  node one ok
  node ask interrupted (interrupt)
graph line ok resumed_from
  node ask ok
  node two ok"""


def asking(of: Wrap) -> Any:
    return stored(line, {"one": one, "ask": ask, "two": two}, of)


def asking_with_policy(of: Wrap) -> Any:
    """A question is no failure that another try would mend."""
    return stored(line, {"one": one, "ask": (ask, {"retry_policy": RetryPolicy(retry_on=Exception)}), "two": two}, of)


def asking_inside_both(of: Wrap) -> Any:
    """Two graphs at once, each with a question."""
    return stored(fan, {side: line({"ask": ask}, of, name="inner") for side in ("left", "right")}, of)


def asking_both(of: Wrap) -> Any:
    return stored(fan, {"left": numbered, "right": numbered}, of)


SCENARIOS = [
    *both("question", "answered", asking, IN_NODE, moves=ASKED, also=NOTES),
    *both(
        "question",
        "two in a node",
        lambda of: stored(line, {"twice": twice}, of),
        TWICE,
        moves=(QUESTION, ANSWER, ANSWER),
        also=linked,
    ),
    *both("question", "nothing is kept", lambda of: line({"one": one, "ask": ask}, of), NOT_KEPT, also=noted("interrupt")),
    *both("question", "of a node that would be tried again", asking_with_policy, IN_NODE, moves=ASKED, also=NOTES),
    Scenario("question", "after a model", lambda: stored(line, {"think": think_and_ask}), THOUGHT, moves=ASKED),
    *both("question", "in a router", decided, ROUTED, moves=(QUESTION, Move(Command(resume="two"))), also=NOTES),
    *both("question", "in a sub-graph", inside, INSIDE, moves=ASKED, also=NOTES),
    Scenario(
        "question", "in a sub-graph with a memory of its own", lambda: inside(lambda it: it, checkpointer=True), INSIDE, moves=ASKED
    ),
    *both("question", "in a graph called in a node", called, CALLED, moves=ASKED, also=NOTES),
    *both(
        "question",
        "beside another node",
        lambda of: stored(fan, {"one": one, "ask": ask, "three": three}, of, join=["three"]),
        BESIDE,
        moves=ASKED,
        parallel=True,
    ),
    *both("question", "asked again", asking, NOT_ANSWERED, moves=(QUESTION, Move(None), ANSWER), also=linked),
    *both("question", "never answered, and a new input", asking, FRESH, moves=(QUESTION, QUESTION, ANSWER), also=linked),
    *both(
        "questions", "answered at once", asking_both, BOTH_AT_ONCE, moves=(Move({"n": 1}), Move(answers=answer_all)), parallel=True
    ),
    *both(
        "questions",
        "answered one by one",
        asking_both,
        ONE_BY_ONE,
        moves=(Move({"n": 1}), Move(answers=answer_one), ANSWER),
        also=linked,
        parallel=True,
    ),
    Scenario(
        "questions",
        "one answer for two",
        lambda: asking_both(lambda it: it),
        AMBIGUOUS,
        moves=(Move({"n": 1}), ANSWER, Move(answers=answer_all)),
        parallel=True,
    ),
    *both(
        "questions", "of two sub-graphs", asking_inside_both, BOTH_INSIDE, moves=(QUESTION, Move(answers=answer_all)), parallel=True
    ),
    *both("questions", "of two tasks", asked_by_tasks, TASKS, moves=(QUESTION, Move(answers=answer_all)), parallel=True),
]
