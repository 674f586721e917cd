"""Scenarios of what stands in for what has failed: `with_fallbacks`, in chains and in nodes, and an agent's fallback models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.prompts import ChatPromptTemplate
from langgraph.graph import START, MessagesState, StateGraph
from scenarios.actors import ASKED, model, settled
from scenarios.calling import CHAIN, only
from scenarios.scenario import Move, Scenario

from langgraph_observe import Finished, Noted, Record, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ABSENT = {**only(CHAIN, "no graph: it is watched by its callbacks"), "abatch": "there nothing tells that a run is a with_fallbacks"}
SAY = ChatPromptTemplate.from_template("say {word}")
BUSY = ValueError("busy")


def primary(error: Exception = BUSY) -> Any:
    """The model that is asked first, and fails."""
    return model(error, name="primary")


def second(*script: Any) -> Any:
    """The one that stands in for it."""
    return model(*(script or ("it",)), name="second")


def told(*errors: str) -> Callable[[Sequence[Record]], None]:
    """Each attempt after a failed one says so: with what that one failed, and which it was."""

    def check(records: Sequence[Record]) -> None:
        notes = [note for note in records if isinstance(note, Noted) and note.kind == "fallback"]
        roots = [run for run in records if isinstance(run, Started) and run.parent_id is None]
        assert sorted(str(note.name) for note in notes) == sorted(errors * len(roots))
        ends = {end.run.span_id: end for end in records if isinstance(end, Finished)}
        for note in notes:
            failed = ends[note.payload.value["failed"]]
            assert (failed.run.parent_span_id, failed.failure.type) == (note.run.parent_span_id, note.name)

    return check


def chain(ending: str, make: Callable[[], Any], tree: str, *errors: str, given: Any = "say it", **more: Any) -> Scenario:
    """A scenario of a chain."""
    return Scenario("fallback", ending, make, tree, moves=(Move(given),), **{"absent": ABSENT, "also": told(*errors), **more})


def graph(ending: str, make: Callable[[], Any], tree: str, *errors: str) -> Scenario:
    """A scenario of a graph."""
    return Scenario("fallback", ending, make, tree, moves=(Move(ASKED),), also=told(*errors), same=settled)


def node(*models: Any) -> Any:
    """A graph whose node asks the first model, or else the others."""
    asked = models[0].with_fallbacks(models[1:])
    builder = StateGraph(MessagesState)
    builder.add_node("think", lambda state: {"messages": [asked.invoke(state["messages"])]})
    builder.add_edge(START, "think")
    return builder.compile(name="desk")


def agent(*models: Any) -> Any:
    """An agent with these models."""
    return create_agent(models[0], [], name="helper", middleware=[ModelFallbackMiddleware(*models[1:])])


TRIED = "\n  model primary error ValueError"
HELPED = "\n  model second ok 2+1 tokens"
THINK = "graph desk {0}\n  node think {0}\n    chain RunnableWithFallbacks {0}\n      model primary error ValueError\n      model second {1}"
HELPER = "agent helper {0}\n  node model {0}\n    model primary error ValueError\n    model second {1}"
SEQUENCE = "\n  chain RunnableSequence {0}\n    chain ChatPromptTemplate ok\n    model {1}"
IN_BATCH = only(("abatch",), "told as by the other scenarios")

SCENARIOS = [
    chain("not needed", lambda: second().with_fallbacks([primary()]), "chain RunnableWithFallbacks ok" + HELPED),
    chain("helps", lambda: primary().with_fallbacks([second()]), "chain RunnableWithFallbacks ok" + TRIED + HELPED, "ValueError"),
    chain(
        "the third helps",
        lambda: primary().with_fallbacks([primary(KeyError("gone")), second()]),
        "chain RunnableWithFallbacks ok" + TRIED + "\n  model primary error KeyError" + HELPED,
        "ValueError",
        "KeyError",
    ),
    chain(
        "does not help",
        lambda: primary().with_fallbacks([second(KeyError("gone"))]),
        "chain RunnableWithFallbacks error ValueError" + TRIED + "\n  model second error KeyError",
        "ValueError",
        differs={
            "batch": "chain RunnableWithFallbacks error KeyError" + TRIED + "\n  model second error KeyError"
        },  # the last error, not the first
    ),
    chain(
        "helps, untold",
        lambda: primary().with_fallbacks([second()]),
        "chain RunnableWithFallbacks ok" + TRIED + HELPED,
        absent=IN_BATCH,
    ),
    chain(
        "for other errors only",
        lambda: primary().with_fallbacks([second()], exceptions_to_handle=(KeyError,)),
        "chain RunnableWithFallbacks error ValueError" + TRIED,
    ),
    chain(
        "of chains",
        lambda: (SAY | primary()).with_fallbacks([SAY | second()]),
        "chain RunnableWithFallbacks ok"
        + SEQUENCE.format("error ValueError", "primary error ValueError")
        + SEQUENCE.format("ok", "second ok 2+1 tokens"),
        "ValueError",
        given={"word": "it"},
    ),
    chain(
        "in a chain",
        lambda: SAY | primary().with_fallbacks([second()]),
        "chain RunnableSequence ok\n  chain ChatPromptTemplate ok\n  chain RunnableWithFallbacks ok"
        + (TRIED + HELPED).replace("\n", "\n  "),
        "ValueError",
        given={"word": "it"},
    ),
    graph("in a node, helps", lambda: node(primary(), second()), THINK.format("ok", "ok 3+1 tokens"), "ValueError"),
    graph(
        "in a node, does not help",
        lambda: node(primary(), second(KeyError("gone"))),
        THINK.format("error ValueError", "error KeyError"),
        "ValueError",
    ),
    graph("of an agent, helps", lambda: agent(primary(), second()), HELPER.format("ok", "ok 3+1 tokens"), "ValueError"),
    graph(
        "of an agent, does not help",
        lambda: agent(primary(), second(KeyError("gone"))),
        HELPER.format("error KeyError", "error KeyError"),
        "ValueError",
    ),
]
