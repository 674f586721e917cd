"""The graph of a trace, from real graphs: who leads to whom, how often, how long; laid out, drawn, and as Mermaid."""

from itertools import pairwise
from typing import Annotated, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send
from recorded import HOSTILE, TIMEOUT, agent, hostile, node, run, trace

from langgraph_observe import Observer, demo
from langgraph_observe.explore import Memory, Traces
from langgraph_observe.explore.layers import layout


class State(TypedDict):
    seen: Annotated[list, lambda a, b: a + b]


def nothing(state):
    return {"seen": [1]}


def seen(graph, *inputs):
    """The traces of these calls, the first first."""
    memory = Memory()
    with Observer(memory) as observer:
        for one in inputs or ({"seen": []},):
            observer.watch(graph).invoke(one)
    return list(Traces(memory))[::-1]


def ways(topology):
    return {(edge.source.strip("_"), edge.target.strip("_"), edge.times, edge.chosen) for edge in topology.edges}


def built(*edges, nodes="abcd", **more):
    builder = StateGraph(State)
    for name in nodes:
        builder.add_node(name, more.get(name, nothing))
    for source, target in edges:
        builder.add_edge(source, target)
    return builder


def test_a_chain():
    (one,) = seen(built((START, "a"), ("a", "b"), ("b", END), nodes="ab").compile())
    assert ways(one.graph()) == {("start", "a", 1, False), ("a", "b", 1, False), ("b", "end", 1, False)}


def test_an_agent_and_its_tools():
    memory = Memory()
    with Observer(memory) as observer:
        demo.run(observer)
    (one,) = (found for found in Traces(memory) if found.name == "travel_agent")
    assert ways(one.graph()) == {
        ("start", "think", 1, False), ("think", "tools", 1, True), ("tools", "think", 1, False), ("think", "end", 1, True),
    }  # fmt: skip
    assert str(one.graph().nodes["think"]).startswith("2× · p95 ")


def test_a_map_and_its_reduction():
    builder = built((START, "a"), ("b", "c"), ("c", END), nodes="abc")
    builder.add_conditional_edges("a", lambda _: [Send("b", {"seen": []})] * 3, ["b"])
    (one,) = seen(builder.compile())
    assert ways(one.graph()) == {("start", "a", 1, False), ("a", "b", 3, True), ("b", "c", 1, False), ("c", "end", 1, False)}


def test_nodes_side_by_side_that_are_waited_for():
    builder = built((START, "a"), (START, "b"), (["a", "b"], "c"), ("c", END), nodes="abc")
    (one,) = seen(builder.compile())
    assert ways(one.graph()) == {
        ("start", "a", 1, False), ("start", "b", 1, False), ("a", "c", 1, False), ("b", "c", 1, False), ("c", "end", 1, False),
    }  # fmt: skip


def test_who_is_waited_for_may_have_ended_long_before():
    builder = built((START, "a"), (START, "b"), ("b", "c"), (["a", "c"], "d"), ("d", END))
    (one,) = seen(builder.compile())
    assert {("a", "d", 1, False), ("c", "d", 1, False)} <= ways(one.graph())


def test_the_compiled_graph_says_which_way_of_several_it_was_and_which_were_not_gone():
    graph = built((START, "a"), (START, "b"), ("a", "c"), ("b", "d"), ("c", END), ("d", END)).compile()
    (one,) = seen(graph)
    assert ("a", "d", 1, False) in ways(one.graph())  # all that the order of steps allows
    assert ways(one.graph(graph)) == {
        ("start", "a", 1, False), ("start", "b", 1, False), ("a", "c", 1, False), ("b", "d", 1, False),
        ("c", "end", 1, False), ("d", "end", 1, False),
    }  # fmt: skip


def test_a_command_is_a_choice_and_what_was_not_reached_is_there_with_the_compiled_graph():
    def choose(state) -> Command:
        return Command(goto="b")

    builder = built((START, "a"), nodes="bc")
    graph = builder.add_node("a", choose, destinations=("b", "c")).compile()
    (one,) = seen(graph)
    whole = one.graph(graph)
    assert ("a", "b", 1, True) in ways(whole)
    assert ("a", "c", 0, True) in ways(whole)
    assert str(whole.nodes["c"]) == "not reached"
    assert "c" not in one.graph().nodes


def test_a_graph_inside_a_graph_is_drawn_by_its_name():
    inner = built((START, "x"), ("x", END), nodes="x").compile(name="inner")
    (one,) = seen(built((START, "a"), ("a", "b"), nodes="ab", b=inner).compile())
    assert one.graph().nodes["b"].inner == "inner"
    assert list(one.graph("inner").nodes) == ["__start__", "x", "__end__"]
    assert "⊞" in one.graph().svg()
    with pytest.raises(LookupError, match="no graph other"):
        one.graph("other")


def test_failures_are_counted_and_seen():
    failing = [
        run("a1", None, "graph", "g", outcome="error"), node("b1", "a1", "n", 1, outcome="error", failure=TIMEOUT),
        node("b2", "a1", "n", 2, 1, 3.0), node("b3", "a1", "asks", 3, outcome="interrupted"),
    ]  # fmt: skip
    topology = trace(failing).graph()
    assert str(topology) == "graph g\nstart  → n\nn  2× · p95 3.00 s · ✖ 1  → n, asks\nasks  1× · 1.00 s · ⏸ 1"
    assert "__end__" not in topology.nodes  # nothing led there
    assert topology.svg().count('stroke="#e5484d"') == 1
    assert topology.mermaid().endswith("style n1 stroke:#e5484d,stroke-width:2px")


def test_mermaid():
    assert trace(agent()).graph().mermaid().splitlines() == [
        "flowchart TD", '    n0["start"]', '    n1["route · 1× · 20 ms"]', '    n2["agent · 2× · p95 1.20 s"]',
        '    n3["tools · 1× · 800 ms"]', '    n4["end"]', "    n0 --> n1", "    n1 -.-> n2", "    n2 -.-> n3",
        "    n3 -.-> n2", "    n2 -.-> n4",
    ]  # fmt: skip


def test_mermaid_cannot_be_left_by_a_name():
    for line in trace(hostile()).graph().mermaid().splitlines():
        assert line.count('"') in {0, 2}
        assert not {"<", "\x1b"} & set(line.partition('"')[2])
    assert HOSTILE not in trace(hostile()).graph().mermaid()


GRAPHS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30)


@given(GRAPHS)
def test_edges_lead_down_and_each_node_stands_once(edges):
    nodes = [str(i) for i in range(10)]
    plan = layout(nodes, [(str(a), str(b)) for a, b in edges], lowest="9")
    place = {item: level for level, layer in enumerate(plan.layers) for item in layer}
    assert sorted(item for item in place if isinstance(item, str)) == nodes
    assert set(plan.routes) | plan.back == {(str(a), str(b)) for a, b in edges}
    for route in plan.routes.values():
        assert all(place[lower] - place[upper] == 1 for upper, lower in pairwise(route))
    assert [item for item in plan.layers[-1] if isinstance(item, str)] == ["9"]


@given(GRAPHS)
def test_only_what_closes_a_ring_leads_up(edges):
    plan = layout([str(i) for i in range(10)], [(str(a), str(b)) for a, b in edges])
    if all(a < b for a, b in edges):
        assert plan.back == frozenset()


def test_neighbours_stand_so_that_edges_do_not_cross():
    plan = layout(list("abxy"), [("a", "y"), ("b", "x")])
    order = [layer.index for layer in plan.layers]
    assert (order[0]("a") < order[0]("b")) == (order[1]("y") < order[1]("x"))
