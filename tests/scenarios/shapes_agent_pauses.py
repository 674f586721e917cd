"""Scenarios of agents that wait for a human: in a tool, in two at once, in an agent of a tool, in a middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware, before_model
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from scenarios.actors import ASKED, ASYNC_ONLY, aask, add, ask, call, calling, model, settled
from scenarios.scenario import Move, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

QUESTION = calling(call("ask", question="really?"))
QUESTIONS = calling(call("ask", 1, question="really?"), call("ask", 2, question="really?"))


def agent(*script: Any, tools: Sequence[Any] = (), name: str = "helper", **options: Any) -> Any:
    """An agent that can wait."""
    return create_agent(model(*script), tools, name=name, checkpointer=InMemorySaver(), **options)


def case(ending: str, graph: Callable[[], Any], answers: Sequence[Move], tree: str, **more: Any) -> Scenario:
    """A scenario of an agent that is asked, and then answered."""
    return Scenario("agent pauses", ending, graph, tree, moves=(Move(ASKED), *answers), same=settled, **more)


def says(decision: Any) -> Move:
    """A human answers the only question."""
    return Move(Command(resume=decision))


def decides(*decisions: dict[str, Any]) -> Move:
    """A human answers the middleware."""
    return says({"decisions": list(decisions)})


def says_to(questions: int) -> Move:
    """A human answers so many of the open questions, by their ids."""

    def answers(graph: Any, config: dict[str, Any]) -> Command:
        return Command(resume={one.id: "yes" for one in graph.get_state(config).interrupts[:questions]})

    return Move(answers=answers)


@tool
def research(topic: str) -> str:
    """Let another agent look, who asks."""
    helper = create_agent(model(QUESTION, "three"), [ask], name="researcher")
    return helper.invoke({"messages": [("user", topic)]})["messages"][-1].text


@before_model
def consent(state: Any, runtime: Any) -> None:
    """Ask before any model is asked."""
    interrupt("may I?")


def reviewed(*calls: Any, **options: Any) -> Callable[[], Any]:
    """An agent whose calls of `add` a human looks at first."""
    middleware = [HumanInTheLoopMiddleware({"add": True}, **options)]
    return lambda: agent(calling(*calls), "three", tools=[add], middleware=middleware)


ASKS = "agent helper {0}\n  node model ok\n    model ScriptedModel ok 3+{1} tokens"
WAITS = ASKS.format("interrupted (interrupt)", "{0}")
OPEN = "\n  node tools interrupted (interrupt) triggered_by\n    tool {0} interrupted (interrupt)"
DONE = "\n  node tools ok triggered_by\n    tool {0} ok"
GOES_ON = "\nagent helper ok resumed_from"
# The node that sent the tools ran before the interrupt: nobody sends them in the run that resumes.
RESUMED = "\n  node tools ok\n    tool {0} ok"
STILL_OPEN = "\n  node tools interrupted (interrupt)\n    tool {0} interrupted (interrupt)"
STILL_WAITS = "\nagent helper interrupted (interrupt) resumed_from"
ANSWERS = "\n  node model ok\n    model ScriptedModel ok {0}+1 tokens"
REVIEW = "\n  node HumanInTheLoopMiddleware.after_model {0}"
REVIEWS = WAITS.format(4) + REVIEW.format("interrupted (interrupt)") + GOES_ON + REVIEW.format("ok")
DECIDED = "\n  node HumanInTheLoopMiddleware.after_model ok"
ADD = call("add", a=1, b=2)

SCENARIOS = [
    case(
        "a tool asks",
        lambda: agent(QUESTION, "three", tools=[ask]),
        [says("yes")],
        WAITS.format(3) + OPEN.format("ask") + GOES_ON + RESUMED.format("ask") + ANSWERS.format(4),
    ),
    case(
        "a tool asks, async",
        lambda: agent(calling(call("aask", question="really?")), "three", tools=[aask]),
        [says("yes")],
        WAITS.format(3) + OPEN.format("aask") + GOES_ON + RESUMED.format("aask") + ANSWERS.format(4),
        absent=ASYNC_ONLY,
    ),
    case(
        "two tools ask, answered at once",
        lambda: agent(QUESTIONS, "three", tools=[ask]),
        [says_to(2)],
        WAITS.format(6) + 2 * OPEN.format("ask") + GOES_ON + 2 * RESUMED.format("ask") + ANSWERS.format(5),
        parallel=True,
    ),
    case(
        "two tools ask, answered one by one",
        lambda: agent(QUESTIONS, "three", tools=[ask]),
        [says_to(1), says_to(1)],
        WAITS.format(6)
        + 2 * OPEN.format("ask")
        + STILL_WAITS
        + RESUMED.format("ask")
        + STILL_OPEN.format("ask")
        + GOES_ON
        + RESUMED.format("ask")
        + ANSWERS.format(5),
        parallel=True,
    ),
    case(
        "an agent of a tool asks",
        lambda: agent(calling(call("research", topic="some numbers")), "three", tools=[research]),
        [says("yes")],
        WAITS.format(3)
        + OPEN.format("research")
        + "\n      agent researcher interrupted (interrupt)\n        node model ok\n          model ScriptedModel ok 2+3 tokens"
        + OPEN.format("ask").replace("\n", "\n      ")
        + GOES_ON
        + RESUMED.format("research")
        + "\n      agent researcher ok"
        + RESUMED.format("ask").replace("\n", "\n      ")
        + "\n        node model ok\n          model ScriptedModel ok 3+1 tokens"
        + ANSWERS.format(4),
    ),
    case(
        "a middleware asks",
        lambda: agent("three", middleware=[consent]),
        [says("yes")],
        "agent helper interrupted (interrupt)\n  node consent.before_model interrupted (interrupt)"
        + GOES_ON
        + "\n  node consent.before_model ok"
        + ANSWERS.format(3),
    ),
    case(
        "reviewed, approved",
        reviewed(ADD),
        [decides({"type": "approve"})],
        REVIEWS + DONE.format("add") + ANSWERS.format(4) + DECIDED,
    ),
    case(
        "reviewed, edited",
        reviewed(ADD, edit_notice=None),
        [decides({"type": "edit", "edited_action": {"name": "add", "args": {"a": 3, "b": 4}}})],
        REVIEWS + DONE.format("add") + ANSWERS.format(4) + DECIDED,
    ),
    case(
        "reviewed, rejected", reviewed(ADD), [decides({"type": "reject", "message": "no"})], REVIEWS + ANSWERS.format(13) + DECIDED
    ),
    case(
        "reviewed, answered",
        reviewed(ADD),
        [decides({"type": "respond", "message": "three"})],
        REVIEWS + ANSWERS.format(4) + DECIDED,
    ),
    case(
        "reviewed, two at once",
        reviewed(call("add", 1, a=1, b=2), call("add", 2, a=3, b=4)),
        [decides({"type": "approve"}, {"type": "reject", "message": "no"})],
        REVIEWS.replace("3+4", "3+8") + DONE.format("add") + ANSWERS.format(14) + DECIDED,
    ),
    case(
        "reviewed, each call by itself",
        reviewed(ADD, interrupt_mode="per_call"),
        [says({"type": "approve"})],
        WAITS.format(4)
        + DECIDED
        + "\n  node tools interrupted (interrupt) triggered_by"
        + GOES_ON
        + RESUMED.format("add")
        + ANSWERS.format(4)
        + DECIDED,
    ),
]
