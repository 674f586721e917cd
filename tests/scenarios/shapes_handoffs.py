"""Scenarios of agents that hand over to each other: a supervisor and its workers, a swarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState
from langgraph.types import Command, Send
from scenarios.actors import ASKED, ask, call, calling, fail, model, settled
from scenarios.scenario import Move, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Team(MessagesState):
    """What is said, and who has the word."""

    active: str


def transfer_to(name: str, *, graph: str | None = Command.PARENT) -> Any:
    """A tool that hands the conversation over."""

    @tool(f"transfer_to_{name}")
    def transfer(state: Annotated[dict, InjectedState], call_id: Annotated[str, InjectedToolCallId]) -> Command:
        """Hand over."""
        said = ToolMessage(f"over to {name}", tool_call_id=call_id)
        return Command(graph=graph, goto=name, update={"messages": [*state["messages"], said], "active": name})

    return transfer


def delegate_to(name: str) -> Any:
    """A tool that sends the other agent a task of its own."""

    @tool(f"delegate_to_{name}")
    def delegate(topic: str) -> Command:
        """Hand over a task."""
        return Command(graph=Command.PARENT, goto=[Send(name, {"messages": [("user", topic)]})])

    return delegate


def agent(name: str, script: Sequence[Any], *tools: Any) -> Any:
    """An agent of the team."""
    return create_agent(model(*script), list(tools), name=name)


def supervised(boss: Any, *workers: Any, **options: Any) -> Any:
    """A supervisor, to whom its workers return."""
    builder = StateGraph(Team)
    builder.add_node("boss", boss, destinations=tuple(worker.name for worker in workers))
    builder.add_edge(START, "boss")
    for worker in workers:
        builder.add_node(worker.name, worker)
        builder.add_edge(worker.name, "boss")
    return builder.compile(name="team", **options)


def active(state: Team) -> str:
    """Who has the word."""
    return state.get("active") or "ada"


def swarm(*agents: Any) -> Any:
    """Agents that hand over to each other; the next call goes to whom had the last word."""
    builder = StateGraph(Team)
    builder.add_conditional_edges(START, active, [one.name for one in agents])
    for one in agents:
        builder.add_node(one.name, one)
    return builder.compile(name="swarm", checkpointer=InMemorySaver())


def case(shape: str, ending: str, graph: Callable[[], Any], tree: str, *moves: Move, **more: Any) -> Scenario:
    """A scenario of a team."""
    return Scenario(shape, ending, graph, tree, moves=moves or (Move(ASKED),), same=settled, **more)


def spoke(tokens: str) -> str:
    """A turn of the model of an agent that is a node."""
    return f"\n      node model ok\n        model ScriptedModel ok {tokens} tokens"


def hands(giver: str, taker: str, tokens: str = "3+2", *, tool: str = "transfer_to", times: int = 1) -> str:
    """An agent that hands over."""
    to = ", ".join([taker] * times)
    return (
        f"\n  node {giver} ok (handoff) → {to}\n    agent {giver} ok (handoff) → {to}{spoke(tokens)}"
        f"\n      node tools ok (handoff) → {to} triggered_by\n        tool {tool}_{taker} ok → {to}"
    )


def answers(name: str, tokens: str, *, links: str = "") -> str:
    """An agent that answers."""
    return f"\n  node {name} ok{links}\n    agent {name} ok{spoke(tokens)}"


def boss(*script: Any) -> Any:
    """Who hands over to mathematics at first."""
    return agent("boss", [calling(call("transfer_to_math")), *(script or ("x", "done"))], transfer_to("math"))


def desk() -> Any:
    """A worker who asks a human."""
    return agent("math", ["x", calling(call("ask", question="really?")), "three"], ask)


def broken() -> Any:
    """A worker whose tool fails."""
    return agent("math", ["x", calling(call("fail", a=7))], fail)


HALTED = spoke("6+3") + "\n      node tools {0} triggered_by\n        tool {1} {0}"
FAILED = "error ValueError"
PAUSED = "interrupted (interrupt)"

SCENARIOS = [
    case(
        "supervisor",
        "one worker",
        lambda: supervised(boss(), agent("math", ["x", "three"])),
        "graph team ok" + hands("boss", "math") + answers("math", "6+1") + answers("boss", "7+1"),
    ),
    case(
        "supervisor",
        "one worker, then another",
        lambda: supervised(
            agent(
                "boss",
                [calling(call("transfer_to_math")), "x", calling(call("transfer_to_art", 2)), "x", "done"],
                transfer_to("math"),
                transfer_to("art"),
            ),
            agent("math", ["x", "three"]),
            agent("art", ["x", "x", "x", "blue"]),
        ),
        "graph team ok"
        + hands("boss", "math")
        + answers("math", "6+1")
        + hands("boss", "art", "7+2")
        + answers("art", "10+1")
        + answers("boss", "11+1"),
    ),
    case(
        "supervisor",
        "a task of its own",
        lambda: supervised(
            agent("boss", [calling(call("delegate_to_math", topic="numbers")), "done"], delegate_to("math")),
            agent("math", ["three"]),
        ),
        "graph team ok"
        + hands("boss", "math", "3+3", tool="delegate_to")
        + answers("math", "1+1", links=" triggered_by")
        + answers("boss", "5+1"),
    ),
    case(
        "supervisor",
        "to nobody",
        lambda: supervised(agent("boss", [calling(call("transfer_to_nobody"))], transfer_to("nobody"))),
        "graph team ok" + hands("boss", "nobody"),
    ),
    case(
        "supervisor",
        "error in a worker",
        lambda: supervised(boss(), broken()),
        f"graph team {FAILED}"
        + hands("boss", "math")
        + f"\n  node math {FAILED}\n    agent math {FAILED}"
        + HALTED.format(FAILED, "fail"),
    ),
    case(
        "supervisor",
        "a worker asks, resumed",
        lambda: supervised(boss("x", "x", "done"), desk(), checkpointer=InMemorySaver()),
        f"graph team {PAUSED}"
        + hands("boss", "math")
        + f"\n  node math {PAUSED}\n    agent math {PAUSED}"
        + HALTED.format(PAUSED, "ask")
        + "\ngraph team ok resumed_from\n  node math ok\n    agent math ok\n      node tools ok\n        tool ask ok"
        + spoke("7+1")
        + answers("boss", "8+1"),
        Move(ASKED),
        Move(Command(resume="yes")),
    ),
    case(
        "supervisor",
        "nobody above",
        boss,
        "agent boss error langgraph.errors.ParentCommand → math"
        "\n  node model ok\n    model ScriptedModel ok 3+2 tokens"
        "\n  node tools ok (handoff) → math triggered_by\n    tool transfer_to_math ok → math",
    ),
    case(
        "swarm",
        "there, and asked again",
        lambda: swarm(
            agent("ada", [calling(call("transfer_to_bob"))], transfer_to("bob")),
            agent("bob", ["x", "hello", "and again"], transfer_to("ada")),
        ),
        "graph swarm ok → ada\n  chain active ok"
        + hands("ada", "bob")
        + answers("bob", "6+1")
        + "\ngraph swarm ok → bob\n  chain active ok"
        + answers("bob", "10+2"),
        Move(ASKED),
        Move(ASKED),
    ),
    case(
        "swarm",
        "there and back",
        lambda: swarm(
            agent("ada", [calling(call("transfer_to_bob")), "x", "hello"], transfer_to("bob")),
            agent("bob", ["x", calling(call("transfer_to_ada", 2))], transfer_to("ada")),
        ),
        "graph swarm ok → ada\n  chain active ok" + hands("ada", "bob") + hands("bob", "ada", "6+2") + answers("ada", "9+1"),
    ),
]
