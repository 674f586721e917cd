"""Scenarios of plain graphs that come to a good end: lines, branches, cycles, joins, and the kinds of nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from pydantic import BaseModel
from scenarios.actors import model
from scenarios.nodes import ASYNC_ONLY, State, Wrap, added, as_it_is, awaited, both, fan, line, one, stored, three, two
from scenarios.scenario import Move, Scenario

from langgraph_observe import Finished, Noted, Started

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langgraph_observe import Record

SAID = model("well said")


def last(state: State) -> str:
    """A router: on after the first, else the end."""
    return "two" if state["x"] == [1] else END


def apart(_: State) -> list[str]:
    """A router to two nodes at once."""
    return ["two", "three"]


def again(state: State) -> str:
    """A router back, until there are three."""
    return "count" if state["n"] < 3 else END


def second(_: State) -> str:
    """A router by names of its own."""
    return "the second"


def count(state: State) -> State:
    return {"n": state.get("n", 0) + 1}


def total(state: State) -> State:
    return {"n": sum(state["x"])}


def nothing(_: State) -> None:
    """It looks, and changes nothing."""


def routed(router: Any, *ends: str, of: Wrap = as_it_is, entry: bool = False, names: dict[str, str] | None = None) -> Any:
    """A node and where a router sends on to, or just a router at the start."""
    builder = StateGraph(State)
    added(builder, {"one": one, "two": two, "three": three}, of)
    if not entry:
        builder.add_edge(START, "one")
    builder.add_conditional_edges(START if entry else "one", router, names or list(ends))
    return builder.compile(name="branch")


def cycle(of: Wrap) -> Any:
    """Three times the same node."""
    builder = StateGraph(State)
    added(builder, {"count": count}, of)
    builder.add_edge(START, "count")
    builder.add_conditional_edges("count", again, ["count", END])
    return builder.compile(name="cycle")


def deferred() -> Any:
    """Two branches of unequal length; what is deferred waits for the longer."""
    builder = StateGraph(State)
    added(builder, {"one": one, "two": two, "three": three, "total": (total, {"defer": True})}, as_it_is)
    for before, after in ((START, "one"), (START, "two"), ("two", "three"), ("one", "total"), ("three", "total")):
        builder.add_edge(before, after)
    return builder.compile(name="late")


def commanding(goto: Any, of: Wrap = as_it_is) -> Any:
    """A node that says itself where to go on."""

    def decide(_: State) -> Command:
        return Command(update={"x": [0]}, goto=goto)

    builder = StateGraph(State)
    added(builder, {"decide": (decide, {"destinations": ("two", "three", END)}), "two": two, "three": three}, of)
    builder.add_edge(START, "decide")
    return builder.compile(name="command")


def generated(_):
    """A node in pieces."""
    yield {"n": 1}
    yield {"x": [1]}


async def agenerated(_):
    """The same, asynchronously."""
    yield {"n": 1}
    yield {"x": [1]}


def speaking() -> Any:
    """A node that is an LCEL chain."""
    prompt = ChatPromptTemplate.from_template("say it {x}")
    return line({"speak": prompt | SAID | StrOutputParser() | RunnableLambda(heard, name="hear"), "two": two})


def heard(said: str) -> State:
    return {"x": [said]}


def told(_: State) -> State:
    return {"x": [SAID.invoke("say it").text]}


async def atold(_: State) -> State:
    return {"x": [(await SAID.ainvoke("say it")).text]}


def shout(_: State) -> State:
    """Custom events, of both kinds: those of callbacks are noted, those of LangGraph are its stream's."""
    get_stream_writer()({"written": 1})
    dispatch_custom_event("shouted", {"loud": True})
    return {"x": [1]}


async def ashout(_: State) -> State:
    get_stream_writer()({"written": 1})
    await adispatch_custom_event("shouted", {"loud": True})
    return {"x": [1]}


def shouted(records: Sequence[Record]) -> None:
    """It is noted where it happened, once in each session."""
    notes = [note for note in records if isinstance(note, Noted)]
    assert {(note.kind, note.name, note.run.name, repr(note.payload.value)) for note in notes if note.payload} == {
        ("custom", "shouted", "shout", "{'loud': True}")
    }
    assert len(notes) == sum(isinstance(record, Started) and record.name == "shout" for record in records)


@dataclass
class Speaker:
    """A context."""

    name: str


def greet(_, runtime):
    return {"x": [runtime.context.name]}


def remember(_, runtime, config):
    """Keep in the store how often this session was here."""
    place = ("visits", config["configurable"]["thread_id"])
    known = runtime.store.get(place, "count")
    runtime.store.put(place, "count", {"n": known.value["n"] + 1 if known else 1})
    return {"n": known.value["n"] if known else 0}


class Formal(BaseModel):
    """A state that is validated."""

    x: list[int] = []


@dataclass
class Plain:
    """A state with attributes."""

    x: Annotated[list[int], lambda a, b: a + b] = field(default_factory=list)


def formal(state: Any) -> dict[str, Any]:
    return {"x": [len(state.x)]}


def told_of_node(records: Sequence[Record]) -> None:
    """What the author says of a node is on its run; the caller's metadata and tags are on all of them."""
    runs = [record for record in records if isinstance(record, Started)]
    assert all(run.metadata.get("caller") == "me" and "mine" in run.tags for run in runs)
    assert {run.name: run.metadata.get("owner") for run in runs} == {"line": None, "one": "us", "two": None}


def unchanged(records: Sequence[Record]) -> None:
    """A node that returned nothing gave nothing."""
    (output,) = {
        repr(end.output and end.output.value) for end in records if isinstance(end, Finished) and end.run.name == "nothing"
    }
    assert output == "None"


def keeping(durability: str) -> Scenario:
    """The same in each mode of writing checkpoints."""
    moves = (Move(options={"durability": durability}),) * 2
    return Scenario(
        "linear", f"durability {durability}", lambda: stored(line, {"one": one, "two": two}), f"{LINE}\n{LINE}", moves=moves
    )


def owned() -> Any:
    """A graph and a node of it that say something of themselves."""
    return line({"one": (one, {"metadata": {"owner": "us"}}), "two": two}).with_config(tags=["mine"])


def visited() -> Any:
    """A graph with a store."""
    return line({"remember": remember}, store=InMemoryStore())


LINE = "graph line ok\n  node one ok\n  node two ok"
TALK = "graph line ok\n  node told ok\n    model ScriptedModel ok 2+2 tokens"
SPEECH = """\
graph line ok
  node speak ok
    chain ChatPromptTemplate ok
    model ScriptedModel ok 3+2 tokens
    chain StrOutputParser ok
    chain hear ok
  node two ok"""
LAMBDAS = "graph line ok\n  node one ok\n    chain it ok\n  node two ok"
"""What a node consists of, under the node's own name, is the node."""
CYCLE = """\
graph cycle ok
  node count ok → count
    chain again ok
  node count ok → count
    chain again ok
  node count ok → __end__
    chain again ok"""
MINE = Move(config={"metadata": {"caller": "me"}})
NAMED = Move(config={"run_name": "mine"})
SHOUT = "graph line ok\n  node shout ok"
ADA = Move(options={"context": Speaker("Ada")})
NAMES = {"the second": "two"}
BRANCH = "graph branch ok\n  node one ok → two\n    chain last ok\n  node two ok"
ENDED = "graph branch ok\n  node one ok → __end__\n    chain last ok"
BOTH = "graph branch ok\n  node one ok → two, three\n    chain apart ok\n  node two ok\n  node three ok"
ENTRY = "graph branch ok → two\n  chain second ok\n  node two ok"
ENTRIES = "graph branch ok → two, three\n  chain apart ok\n  node two ok\n  node three ok"
COMMANDS = "graph command ok\n  node decide ok → two, three\n  node two ok\n  node three ok"
TOTAL = {"one": one, "two": two, "total": total}
DEFERRED = "graph late ok\n  node one ok\n  node two ok\n  node three ok\n  node total ok"

SCENARIOS = [
    *both("linear", "ok", lambda of: line({"one": one, "two": two}, of), LINE),
    Scenario("linear", "one sync and one async", lambda: line({"one": one, "two": awaited(two)}), LINE, absent=ASYNC_ONLY),
    Scenario(
        "linear", "a node returns nothing", lambda: line({"nothing": nothing}), "graph line ok\n  node nothing ok", also=unchanged
    ),
    Scenario("linear", "metadata and tags", owned, LINE, moves=(MINE,), also=told_of_node),
    Scenario(
        "linear",
        "a generator",
        lambda: line({"generated": generated}),
        "graph line ok\n  node generated ok",
        differs={"astream_events v2": "graph line error TypeError\n  node generated error TypeError"},  # LangChain refuses it there
    ),
    Scenario(
        "linear",
        "an async generator",
        lambda: line({"agenerated": agenerated}),
        "graph line ok\n  node agenerated ok",
        absent=ASYNC_ONLY,
    ),
    Scenario(
        "linear",
        "runnables",
        lambda: line({"one": RunnableLambda(one, name="it"), "two": RunnableLambda(two, name="two")}),
        LAMBDAS,
    ),
    Scenario("linear", "a chain of runnables", speaking, SPEECH),
    Scenario("linear", "a model", lambda: line({"told": told}), TALK),
    Scenario("linear", "a model, async nodes", lambda: line({"told": atold}), TALK, absent=ASYNC_ONLY),
    Scenario("linear", "custom events", lambda: line({"shout": shout}), SHOUT, also=shouted),
    Scenario("linear", "custom events, async nodes", lambda: line({"shout": ashout}), SHOUT, also=shouted, absent=ASYNC_ONLY),
    Scenario("linear", "a context", lambda: line({"greet": greet}), "graph line ok\n  node greet ok", moves=(ADA,)),
    Scenario(
        "linear", "a store", visited, "graph line ok\n  node remember ok\ngraph line ok\n  node remember ok", moves=(Move(), Move())
    ),
    Scenario("linear", "a pydantic state", lambda: line({"one": formal, "two": formal}, state=Formal), LINE),
    Scenario("linear", "a dataclass as state", lambda: line({"one": formal, "two": formal}, state=Plain), LINE),
    *(keeping(durability) for durability in ("sync", "async", "exit")),
    *both("branch", "ok", lambda of: routed(last, "two", END, of=of), BRANCH),
    Scenario("branch", "to the end", lambda: routed(last, "two", END), ENDED, moves=(Move({"x": [0]}),)),
    Scenario("branch", "by names of its own", lambda: routed(second, names=NAMES), BRANCH.replace("last", "second")),
    Scenario("branch", "by a lambda", lambda: routed(lambda _: "two", "two"), BRANCH.replace("last", "condition")),
    *both("branch", "to two at once", lambda of: routed(apart, "two", "three", of=of), BOTH, parallel=True),
    *both("branch at the start", "ok", lambda of: routed(second, of=of, entry=True, names=NAMES), ENTRY),
    Scenario("branch at the start", "to two at once", lambda: routed(apart, "two", "three", entry=True), ENTRIES, parallel=True),
    *both("cycle", "ok", cycle, CYCLE, moves=(Move({"n": 0}),)),
    *both(
        "join",
        "ok",
        lambda of: fan(TOTAL, of, join=["total"]),
        "graph fan ok\n  node one ok\n  node two ok\n  node total ok",
        parallel=True,
    ),
    Scenario("deferred node", "ok", deferred, DEFERRED, parallel=True),
    Scenario("command", "ok", lambda: commanding("two"), "graph command ok\n  node decide ok → two\n  node two ok"),
    Scenario("command", "to the end", lambda: commanding(END), "graph command ok\n  node decide ok → __end__"),
    *both("command", "to two at once", lambda of: commanding(["two", "three"], of), COMMANDS, parallel=True),
]
