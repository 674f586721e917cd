"""Where the nodes of a directed graph stand so that edges lead downwards and cross little (Sugiyama's method, in short).

Back edges are set aside; a node stands one layer below the lowest that leads to it; an edge over several layers gets a place
in each of them; in a layer, each stands near the middle of its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SWEEPS: Final = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """Layers from above to below. What is no node is the place of a long edge: `(source, target, layer)`."""

    layers: Sequence[Sequence[object]]
    back: frozenset[tuple[str, str]]
    """Edges that lead up, or to themselves."""
    routes: Mapping[tuple[str, str], Sequence[object]]
    """For each other edge: its source, its places on the way, its target."""


def layout(nodes: Sequence[str], edges: Iterable[tuple[str, str]], lowest: str | None = None) -> Layout:
    """A place for each node, the first nodes given first where nothing else decides. `lowest` stands below all others, and leads only up."""
    ways = list(dict.fromkeys(edges))
    back = _back(nodes, ways) | {way for way in ways if way[0] == lowest}
    down = [way for way in ways if way not in back]
    depth = _depths(nodes, down)
    if lowest in depth:
        depth[lowest] = max((1 + deep for node, deep in depth.items() if node != lowest), default=0)
    routes = {way: _route(way, depth) for way in down}
    layers: list[list[object]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for node in nodes:
        layers[depth[node]].append(node)
    for (source, _), route in routes.items():
        for place in route[1:-1]:
            layers[depth[source] + route.index(place)].append(place)
    _order(layers, [pair for route in routes.values() for pair in pairwise(route)])
    return Layout(layers, frozenset(back), routes)


def _back(nodes: Sequence[str], ways: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Edges to a node that is still being walked: what closes a ring. Without recursion."""
    out: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in ways:
        out[source].append(target)
    back: set[tuple[str, str]] = set()
    done: set[str] = set()
    for first in nodes:
        path: dict[str, list[str]] = {} if first in done else {first: list(out[first])}
        while path:
            node = next(reversed(path))
            if not path[node]:
                done.add(node)
                del path[node]
            elif (target := path[node].pop(0)) in path:
                back.add((node, target))
            elif target not in done:
                path[target] = list(out[target])
    return back


def _depths(nodes: Sequence[str], down: Sequence[tuple[str, str]]) -> dict[str, int]:
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:  # the longest way has fewer edges than there are nodes
        before = dict(depth)
        for source, target in down:
            depth[target] = max(depth[target], depth[source] + 1)
        if depth == before:
            break
    return depth


def _route(way: tuple[str, str], depth: Mapping[str, int]) -> list[object]:
    source, target = way
    return [source, *((source, target, layer) for layer in range(depth[source] + 1, depth[target])), target]


def _order(layers: list[list[object]], pairs: Sequence[tuple[object, object]]) -> None:
    above: dict[object, list[object]] = {}
    below: dict[object, list[object]] = {}
    for upper, lower in pairs:
        below.setdefault(upper, []).append(lower)
        above.setdefault(lower, []).append(upper)
    for sweep in range(SWEEPS):
        order, beside = (layers[1:], above) if sweep % 2 == 0 else (layers[-2::-1], below)
        for layer in order:
            place = {item: i / max(len(row) - 1, 1) for row in layers for i, item in enumerate(row)}
            now = {item: i for i, item in enumerate(layer)}

            def middle(item: object, beside: dict[object, list[object]] = beside, place: dict[object, float] = place) -> float:
                near = beside.get(item, ())
                return sum(place[one] for one in near) / len(near) if near else place[item]

            layer.sort(key=lambda item, middle=middle, now=now: (middle(item), now[item]))  # type: ignore[misc]  # bound now
