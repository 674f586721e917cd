"""The graph behind a trace: which nodes ran, how often, how long, and which way they were left; as a picture, as Mermaid, as text."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from langgraph_observe.explore import html, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langgraph_observe.explore.run import Run
    from langgraph_observe.explore.trace import Trace

START: Final = "__start__"
END: Final = "__end__"
ENDS: Final = {START: "start", END: "end"}
PUSHED: Final = "__pregel_push"
"""The trigger of a task that was sent (`Send`): its sender has named it in `goto`."""
MERMAID: Final = {'"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\\": "#92;"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What is known of one node of the graph."""

    name: str
    seconds: tuple[float, ...] = ()
    """Of each run that has ended, ascending."""
    runs: int = 0
    errors: int = 0
    interrupts: int = 0
    inner: str | None = None
    """The graph that runs inside it: `t.graph(inner)` draws that one."""

    @property
    def p95(self) -> float | None:
        """Seconds, the nearest rank; None where nothing has ended."""
        return self.seconds[math.ceil(0.95 * len(self.seconds)) - 1] if self.seconds else None

    def __str__(self) -> str:
        if self.name in ENDS:
            return ""
        if not self.runs:
            return "not reached"
        named = "" if len(self.seconds) < 2 else "p95 "  # noqa: PLR2004 - of one there is no percentile
        took = None if self.p95 is None else f"{named}{words.duration(self.p95)}"
        counts = (f"✖ {self.errors}" if self.errors else None, f"⏸ {self.interrupts}" if self.interrupts else None)
        return " · ".join(filter(None, (f"{self.runs}×", took, *counts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A way from one node to another, by name."""

    source: str
    target: str
    times: int = 0
    """How often it was gone; 0 for one that the graph has, and this trace did not go."""
    chosen: bool = False
    """By a condition or a `Command`, at run time."""


@dataclass(frozen=True, slots=True)
class Topology:
    """One graph of a trace.

    An edge is exact where the node chose it (`goto`), or where the graph itself was given; else it is what the order of steps
    allows: of nodes that ran side by side, all lead to all of the next step.
    """

    name: str
    nodes: Mapping[str, Node]
    edges: Sequence[Edge]

    @classmethod
    def of(cls, trace: Trace, graph: Any = None) -> Topology:
        """The graph of this name in the trace, or a compiled graph with its ways not gone; with None, the outermost.

        Raises LookupError if no run of such a graph was recorded.
        """
        name = graph if isinstance(graph, str) or graph is None else graph.get_name()
        runs = _graphs(trace, name)
        nodes, edges = _nodes(trace, runs), _edges(trace, runs)
        if graph is None or isinstance(graph, str):
            return cls(runs[0].name, *_reached(nodes, edges))
        return cls(runs[0].name, *_declared(graph.get_graph(), nodes, edges))

    def mermaid(self) -> str:
        """The same for a page that draws Mermaid."""
        keys = {name: f"n{i}" for i, name in enumerate(self.nodes)}
        lines = [f'    {keys[name]}["{_quoted(_label(node))}"]' for name, node in self.nodes.items()]
        for edge in self.edges:
            arrow = "-.->" if edge.chosen else "-->"
            label = f"|{edge.times}×|" if edge.times > 1 else ""
            lines.append(f"    {keys[edge.source]} {arrow}{label} {keys[edge.target]}")
        failed = ",".join(keys[name] for name, node in self.nodes.items() if node.errors)
        return "\n".join(["flowchart TD", *lines, *([f"    style {failed} stroke:#e5484d,stroke-width:2px"] if failed else [])])

    def svg(self) -> str:
        """The picture alone, as a file would hold it."""
        from langgraph_observe.explore.diagram import drawn

        return drawn(self)[0]

    def __str__(self) -> str:
        lines = [f"graph {words.clean(self.name)}"]
        for name, node in self.nodes.items():
            ways = ", ".join(_way(edge) for edge in self.edges if edge.source == name)
            if name != END:
                lines.append("  ".join(filter(None, (f"{_named(name)}", str(node), ways and f"→ {ways}"))))
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from langgraph_observe.explore.diagram import picture

        return html.either(str(self), picture(self))


def _graphs(trace: Trace, name: str | None) -> list[Run]:
    """The runs of one graph: of that name, or of the name of the first."""
    graphs = [run for run in trace if run.kind in ("graph", "agent") and _within(trace, run)]
    found = [run for run in graphs if run.name == (graphs[0].name if name is None else name)]
    if not found:
        msg = f"trace {trace.id} has no graph {name or ''}".rstrip()
        raise LookupError(msg)
    return found


def _within(trace: Trace, graph: Run) -> list[Run]:
    return [run for run in trace.children.get(graph.span_id, ()) if run.kind == "node"]


def _nodes(trace: Trace, graphs: Iterable[Run]) -> dict[str, Node]:
    runs: dict[str, list[Run]] = {}
    for graph in graphs:
        for run in _within(trace, graph):
            runs.setdefault(run.name, []).append(run)
    found = {name: _node(trace, name, of) for name, of in runs.items()}
    return {START: Node(name=START), **found, END: Node(name=END)}


def _node(trace: Trace, name: str, runs: Sequence[Run]) -> Node:
    inner = next(
        (child.name for run in runs for child in trace.children.get(run.span_id, ()) if child.kind in ("graph", "agent")), None
    )
    return Node(
        name=name, runs=len(runs), inner=inner,
        seconds=tuple(sorted(run.seconds for run in runs if run.seconds is not None)),
        errors=sum(run.outcome == "error" for run in runs), interrupts=sum(run.outcome == "interrupted" for run in runs),
    )  # fmt: skip


def _edges(trace: Trace, graphs: Iterable[Run]) -> Counter[tuple[str, str, bool]]:
    """How often each way was gone: source, target, whether it was chosen."""
    found: Counter[tuple[str, str, bool]] = Counter()
    for graph in graphs:
        steps: dict[int, list[Run]] = {}
        for run in _within(trace, graph):
            steps.setdefault(run.started.step or 0, []).append(run)
        found.update(_gone(graph, [steps[step] for step in sorted(steps)]))
    return found


def _gone(graph: Run, steps: Sequence[Sequence[Run]]) -> Iterator[tuple[str, str, bool]]:
    known = {run.name for step in steps for run in step} | {END}
    before: Sequence[Run] = ()
    for step in steps:
        for run in step:
            yield from _entered(run, before, graph)
        before = step
    for run in (run for step in steps for run in step):
        yield from ((run.name, target, True) for target in _goto(run) if target in known)
    if graph.outcome == "ok":
        yield from ((run.name, END, False) for run in before if not _goto(run))


def _entered(run: Run, before: Sequence[Run], graph: Run) -> Iterator[tuple[str, str, bool]]:
    """How a node was reached, if not chosen by the one before it, which says so itself."""
    if not before:
        yield START, run.name, bool(graph.finished and graph.finished.goto)
        return
    if any(run.name in _goto(one) for one in before):
        return
    joined = [name for trigger in run.started.triggers for name in _joined(trigger)]
    sources = joined or [one.name for one in before if not _goto(one)] or [one.name for one in before]
    yield from ((source, run.name, False) for source in dict.fromkeys(sources))


def _joined(trigger: str) -> list[str]:
    """LangGraph names the channel of several nodes that are waited for `join:a+b:target`."""
    kind, _, rest = trigger.partition(":")
    return rest.rpartition(":")[0].split("+") if kind == "join" else []


def _goto(run: Run) -> tuple[str, ...]:
    return run.finished.goto if run.finished is not None else ()


def _reached(nodes: dict[str, Node], gone: Counter[tuple[str, str, bool]]) -> tuple[dict[str, Node], list[Edge]]:
    """The end stands there only if something led to it."""
    edges = [Edge(source=source, target=target, times=times, chosen=chosen) for (source, target, chosen), times in gone.items()]
    ended = any(edge.target == END for edge in edges)
    return {name: node for name, node in nodes.items() if ended or name != END}, edges


def _declared(graph: Any, nodes: dict[str, Node], gone: Counter[tuple[str, str, bool]]) -> tuple[dict[str, Node], list[Edge]]:
    """With what the compiled graph has, and without the ways that it has not."""
    known = {(str(edge.source), str(edge.target)): bool(edge.conditional) for edge in graph.edges}
    times = Counter[tuple[str, str]]()
    for (source, target, chosen), count in gone.items():
        if chosen or (source, target) in known:
            times[source, target] += count
    ways = {**dict.fromkeys(times, True), **known}
    every = {START: nodes[START], **{str(name): nodes.get(str(name), Node(name=str(name))) for name in graph.nodes}, **nodes}
    end = every.pop(END)
    return {**every, END: end}, [
        Edge(source=s, target=t, times=times[s, t], chosen=chosen) for (s, t), chosen in ways.items() if {s, t} <= {*every, END}
    ]


def _named(name: str) -> str:
    return ENDS.get(name) or words.clean(name, 40)


def _label(node: Node) -> str:
    return " · ".join(filter(None, (_named(node.name), str(node))))


def _way(edge: Edge) -> str:
    return _named(edge.target) + (f" {edge.times}×" if edge.times > 1 else "" if edge.times else " (not gone)")


def _quoted(text: str) -> str:
    return "".join(MERMAID.get(c, c) for c in text)
