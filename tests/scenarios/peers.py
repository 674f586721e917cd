"""The peers on our scenarios: what arrives from Langfuse's own handler, from OpenTelemetry's instrumentation, and from us.

    python tests/scenarios/peers.py [--handler langfuse|otel|ours] [-k text] [--worst 6]

Each scenario is played synchronously and asynchronously, and the spans are compared with its golden tree (`verdicts.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import contextvars
import gc
import io
import logging
import sys
import time
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

sys.path[0] = str(Path(__file__).parents[1])
import conftest  # noqa: E402, F401 - nothing of the machine's own set-up
from scenarios.calling import WAYS, Way, play, without_ids  # noqa: E402
from scenarios.test_scenarios import SCENARIOS  # noqa: E402
from scenarios.verdicts import CLASSES, golden, of_gen_ai, of_langfuse, shown, verdicts  # noqa: E402

from langgraph_observe import Observer  # noqa: E402
from langgraph_observe.sinks.otel import Spans  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from scenarios.scenario import Scenario
    from scenarios.verdicts import Told

    Play = Callable[[Way, Scenario], list[list[str]]]
    Cells = Sequence[tuple[Scenario, Way]]
    Defects = Mapping[str, Sequence[str]]

PREFERRED = (
    ("invoke", "invoke, callbacks", "stream values", "stream updates"),
    ("ainvoke", "ainvoke, callbacks", "astream values", "astream updates"),
)
"""Of each the first in which a scenario can be played."""


@dataclass
class Played:
    """What one play has left behind."""

    seen: list[list[str]] = field(default_factory=list)
    heard: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    crashed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Peer:
    """Who observes. `families` are the kinds it tells apart; kinds without one it leaves out by design."""

    package: str
    watching: Callable[[TracerProvider], contextlib.AbstractContextManager[Play]]
    read: Callable[[Span], Told]
    families: Mapping[str, str]


class Begun(SpanProcessor):
    """The spans, from their start."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self.spans.append(span)


# -- the peers


@contextlib.contextmanager
def langfuse(provider: TracerProvider) -> Iterator[Play]:
    """The handler that Langfuse's SDK brings, a new one for each play."""
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    client = Langfuse(public_key="pk", secret_key="sk", tracer_provider=provider, span_exporter=InMemorySpanExporter())
    yield lambda way, scenario: play(way, scenario, scenario.graph(), [CallbackHandler(public_key="pk")])
    client.shutdown()


@contextlib.contextmanager
def official(provider: TracerProvider) -> Iterator[Play]:
    """OpenTelemetry's instrumentation, which patches the process."""
    from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument(tracer_provider=provider)
    yield unobserved
    LangChainInstrumentor().uninstrument()


@contextlib.contextmanager
def ours(provider: TracerProvider) -> Iterator[Play]:
    """`observe(graph)`, or the handler for what is no graph."""
    with Observer(Spans(tracer_provider=provider, content="NO_CONTENT")) as observer:

        def watched(way: Way, scenario: Scenario) -> list[list[str]]:
            graph = scenario.graph()
            by_handler = way.by_handler or not hasattr(graph, "stream_mode")
            seen = play(way, scenario, graph, [observer.handler]) if by_handler else play(way, scenario, observer.watch(graph))
            observer.flush()
            return seen

        yield watched


def unobserved(way: Way, scenario: Scenario) -> list[list[str]]:
    """As it is."""
    return play(way, scenario, scenario.graph())


_COMMON = {"graph": "graph", "agent": "graph", "model": "model", "tool": "tool", "retriever": "retriever"}
PEERS = {
    "langfuse": Peer("langfuse", langfuse, of_langfuse, _COMMON | dict.fromkeys(("graph", "agent", "node", "chain"), "run")),
    "otel": Peer("opentelemetry-instrumentation-genai-langchain", official, of_gen_ai, _COMMON | {"root": "graph"}),
    "ours": Peer("langgraph-observe", ours, of_gen_ai, _COMMON | {"node": "node", "chain": "chain"}),
}

# -- playing


def judge(peer: Peer, cells: Cells, unseen: Sequence[Played]) -> list[Defects]:
    """Play every cell; what was wrong in each."""
    provider, begun = TracerProvider(), Begun()
    provider.add_span_processor(begun)
    out = []
    with peer.watching(provider) as watched:
        for (scenario, way), alone in zip(cells, unseen, strict=True):
            begun.spans = spans = []
            told = played(watched, way, scenario)
            settle(spans)
            wrong = defaultdict(list, compared(told, alone))
            for defect, detail in verdicts(golden(scenario.tree_in(way.name), peer.families), shown(spans, peer.read)):
                wrong[defect].append(detail)
            out.append(wrong)
    return out


def played(watched: Play, way: Way, scenario: Scenario) -> Played:
    """Play it in a context of its own."""
    told = Played()

    def note() -> None:
        span = trace.get_current_span()
        told.left.update([getattr(span, "name", "a span")] if span.get_span_context().is_valid else [])

    def alone() -> None:
        in_any_order = scenario.parallel or way.name in scenario.racing
        told.seen = [sorted(seen) if in_any_order else seen for seen in watched(*looking(way, scenario, note))]
        note()

    with listening(told.heard):
        try:
            contextvars.Context().run(alone)
        except Exception as error:
            told.crashed.append(type(error).__name__)
        gc.collect()
    return told


def looking(way: Way, scenario: Scenario, note: Callable[[], None]) -> tuple[Way, Scenario]:
    """The same, but the caller looks after each awaited call, and at each chunk, which span it finds."""

    async def call(*args: Any, **options: Any) -> Any:
        try:
            return await way.open(*args, **options)
        finally:
            note()

    moves = tuple(replace(move, stop=lambda chunk, move=move: note() or move.stop(chunk)) for move in scenario.moves)
    return replace(way, open=call) if way.kind == "await" else way, replace(scenario, moves=moves)


@contextlib.contextmanager
def listening(heard: set[str]) -> Iterator[None]:
    """Collect what is logged, warned of and printed."""
    printed, handler = io.StringIO(), logging.Handler(logging.WARNING)
    handler.emit = lambda record: heard.add(without_ids(f"{record.name}: {record.getMessage()}").partition("\n")[0])
    logging.getLogger().addHandler(handler)
    with warnings.catch_warnings(action="always"), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        warnings.showwarning = lambda message, category, *_: heard.add(f"{category.__name__}: {message}")
        yield
    logging.getLogger().removeHandler(handler)
    heard.update(without_ids(line) for line in printed.getvalue().splitlines())


def settle(spans: Sequence[Span]) -> None:
    """Threads that nobody waits for may end theirs."""
    deadline = time.monotonic() + 1
    while any(span.end_time is None for span in spans) and time.monotonic() < deadline:
        time.sleep(0.01)


def compared(told: Played, alone: Played) -> dict[str, list[str]]:
    """What is wrong beside the spans."""
    other = [line[:80] for one, two in zip(told.seen, alone.seen, strict=False) for line in one if line not in two]
    wrong = {
        "span left with the caller": sorted(told.left),
        "log lines and warnings": sorted(told.heard - alone.heard),
        "agent disturbed": other or ["less, or in another order"] if told.seen != alone.seen else [],
        "crashed": told.crashed,
    }
    return {defect: details for defect, details in wrong.items() if details}


# -- telling


def summary(results: Mapping[str, Sequence[Defects]], cells: Cells, worst: int) -> Iterator[str]:
    """Markdown: the table, and below it the worst of each peer."""
    columns = [f"{PEERS[name].package} {version(PEERS[name].package)}" for name in results]
    yield f"| scenarios × ways with a defect, of {len(cells)} | {' | '.join(columns)} |"
    yield "|---" + "|---:" * len(columns) + "|"
    for name, what in CLASSES.items():
        yield f"| {name}: {what} | {' | '.join(str(sum(name in one for one in each)) for each in results.values())} |"
    yield f"| **any of them** | {' | '.join(str(sum(map(bool, each))) for each in results.values())} |"
    for name, title in zip(results, columns, strict=True):
        yield f"\n{title}: {missing(results[name])}{by_design(PEERS[name], cells)}."
        yield from worst_of(results[name], cells, worst)


def missing(each: Sequence[Defects]) -> str:
    """Of which kinds."""
    kinds = Counter(run.split()[0] for one in each for run in one.get("runs missing", ()))
    return "missing " + (", ".join(f"{count} × {kind}" for kind, count in kinds.most_common()) or "nothing")


def by_design(peer: Peer, cells: Cells) -> str:
    """What is not counted as missing, told apart from what is lost."""
    every = PEERS["ours"].families
    kinds = Counter(run.label.split()[0] for scenario, way in cells for run in golden(scenario.tree_in(way.name), every))
    out = [f"{kinds[kind]} × {kind}" for kind in every if kind not in peer.families]
    return f" (and by design {', '.join(out)}, not counted above)" if out else ""


def worst_of(each: Sequence[Defects], cells: Cells, count: int) -> Iterator[str]:
    """One line of a shape, for the cell with the most classes of defects, then the most defects."""
    shapes: set[str] = set()
    order = sorted(range(len(each)), key=lambda at: (len(each[at]), sum(map(len, each[at].values()))), reverse=True)
    for (scenario, way), wrong in ((cells[at], each[at]) for at in order):
        if wrong and scenario.shape not in shapes and len(shapes) < count:
            shapes.add(scenario.shape)
            yield f"- {scenario.shape} · {scenario.ending} · {way.name}: {'; '.join(_told(*one) for one in wrong.items())}"


def _told(name: str, details: Sequence[str]) -> str:
    first = [detail[:80] if count == 1 else f"{count} × {detail[:80]}" for detail, count in Counter(details).most_common(3)]
    return f"{name} ({', '.join(first)}{', …' if len(set(details)) > 3 else ''})"


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--handler", choices=PEERS, help="one of them only")
    parser.add_argument("-k", default="", help="text of `shape · ending`")
    parser.add_argument("--worst", type=int, default=6, help="lines of each handler")
    options = parser.parse_args()
    names = [options.handler] if options.handler else list(PEERS)
    try:
        _ = [version(PEERS[name].package) for name in names]
    except PackageNotFoundError:
        sys.exit(f"pip install {' '.join(PEERS[name].package for name in names if name != 'ours')}")
    chosen = [one for one in SCENARIOS if options.k in f"{one.shape} · {one.ending}"]
    ways = [(one, next((way for way in some if way not in one.absent), None)) for one in chosen for some in PREFERRED]
    cells = [(one, WAYS[way]) for one, way in ways if way]
    unseen = [played(unobserved, way, one) for one, way in cells]
    assert not any(one.crashed for one in unseen)
    results = {name: judge(PEERS[name], cells, unseen) for name in names}
    sys.stdout.writelines(f"{line}\n" for line in summary(results, cells, options.worst))


if __name__ == "__main__":
    main()
