"""How long the explorer takes over many runs: `python tests/benchmarks/explore.py [RUNS] [FILE]`.

Makes a store of 100,000 runs (22 a trace, 2 KB of content each, 14 days, 7 nodes, 5 models, 5 tools) unless FILE is there already,
and asks it everything, the best of three, in milliseconds of CPU time.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path

from langgraph_observe.explore import StoreFile, Traces
from langgraph_observe.payloads import Lazy, Message, Payload
from langgraph_observe.records import Failure, Finished, Scored, Started, Usage
from langgraph_observe.sinks.store.writer import Writer

DAY_NS = 86_400 * 10**9
NODES = ("plan", "search", "read", "think", "write", "check", "send")
MODELS = (
    ("openai", "gpt-4.1"),
    ("openai", "gpt-4.1-mini"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google_genai", "gemini-2.5-pro"),
    ("x", "own"),
)
TOOLS = ("weather", "search_web", "sql", "mail", "calculator")
WORDS = (
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "refunds",
    "for",
    "invoice",
    "numbers",
    "wait",
)
BATCH = 500
"""Traces in one transaction."""


def trace(number: int, dice: random.Random, at_ns: int):
    """22 runs: a graph, its seven nodes, a model in each, a tool in each."""
    trace_id = f"{dice.getrandbits(128):032x}"
    of_all = {"trace_id": trace_id, "root_id": f"r{number}", "graph": f"graph {number % 4}", "user_id": f"u{number % 90}"}
    of_all |= {"thread_id": f"t{number % 900}", "session_id": f"s{number % 900}", "tags": ("beta",) if number % 5 == 0 else ()}
    asked = Message({"role": "user", "content": " ".join(dice.choices(WORDS, k=150))})

    def run(span: int, kind: str, name: str, parent: int | None, **more):
        ids = {
            "id": f"{number}-{span}",
            "span_id": f"{number:08x}{span:08x}",
            "parent_id": None if parent is None else f"{number}-{parent}",
        }
        above = None if parent is None else f"{number:08x}{parent:08x}"
        return Started(**of_all, **ids, parent_span_id=above, kind=kind, name=name, at_ns=at_ns + span * 10**7, **more)

    def end(begun: Started, **more):
        failed = dice.random() < 0.02
        failure = Failure("builtins.TimeoutError", f"no answer from {begun.name}\nsecond line") if failed else None
        return Finished(run=begun, outcome="error" if failed else "ok", seconds=dice.expovariate(2), failure=failure, **more)

    yield end(run(0, "graph", of_all["graph"], None, input=Payload({"messages": [asked]})))
    for place, node in enumerate(NODES):
        provider, model = dice.choice(MODELS)
        spent = Usage(input_tokens=dice.randint(50, 4000), output_tokens=dice.randint(1, 900),
                      cost=None if provider == "x" else Decimal(dice.randint(1, 10**7)).scaleb(-9))  # fmt: skip
        answer = Message({"role": "assistant", "content": " ".join(dice.choices(WORDS, k=120))})
        first = 1 + place * 3
        yield end(run(first, "node", node, 0, node=node, step=place))
        call = run(first + 1, "model", model, first, node=node, model=model, provider=provider, input=Payload([asked, answer]))
        yield end(call, measured=Lazy(spent), model=model, output=Payload(answer), first_token_seconds=dice.random())
        tool = run(
            first + 2, "tool", dice.choice(TOOLS), first, node=node, input=Payload({"query": " ".join(dice.choices(WORDS, k=60))})
        )
        yield end(tool, output=Payload(" ".join(dice.choices(WORDS, k=100))))
    if number % 50 == 0:
        yield Scored(trace_id=trace_id, name="helpful", value=dice.random(), at_ns=at_ns, id=trace_id)


def fill(path: Path, runs: int) -> None:
    """A store of about so many runs."""
    dice, now = random.Random(1), time.time_ns()
    writer = Writer(path, keep_days=None, keep_bytes=None, busy_seconds=5)
    traces = runs // 22
    for start in range(0, traces, BATCH):
        numbers = range(start, min(start + BATCH, traces))
        writer.write([one for n in numbers for one in trace(n, dice, now - 14 * DAY_NS + n * 14 * DAY_NS // traces)])
    writer.close()


def questions(traces: Traces):
    """What people look at, by name."""
    yield "the list", traces.table
    yield "the list, as HTML", traces._repr_html_
    yield "the last trace", traces.last
    prefix = traces.last().id[:8]
    yield "one by its id", lambda: traces[prefix]
    for name in ("nodes", "models", "tools", "errors", "costs", "threads", "scores"):
        yield f"{name}()", getattr(traces, name)
    yield "models(by='day')", lambda: traces.models(by="day")
    yield "costs(by=['day', 'node'])", lambda: traces.costs(by=["day", "node"])
    yield "nodes() of the last day", traces.filter(since="1d").nodes
    yield "filter(graph=…, outcome='error')", lambda: len(traces.filter(graph="graph 1", outcome="error"))
    yield "filter(tool=…, model=…)", lambda: len(traces.filter(tool="sql", model="own"))
    yield "filter(tag=…)", lambda: len(traces.filter(tag="beta"))
    yield "filter(min_cost=…)", lambda: len(traces.filter(min_cost=0.05))
    yield "filter(text='fox jumps dog')", lambda: len(traces.filter(text="fox jumps dog"))
    yield "the list of filter(text='refunds')", lambda: traces.filter(text="refunds").last(20)
    yield "sql(…)", lambda: traces.sql("SELECT node, count(*) FROM runs GROUP BY 1")
    yield "df()", lambda: traces.df("pandas")
    yield "df('polars')", lambda: traces.df("polars")


def best(question) -> float:
    """Milliseconds of CPU time; a question that takes long is asked once."""
    taken: list[float] = []
    while len(taken) < 3 and sum(taken) < 2000:
        start = time.process_time()
        question()
        taken.append((time.process_time() - start) * 1e3)
    return min(taken)


def main(runs: int, path: Path) -> None:
    """Fill, ask, print."""
    if not path.exists():
        start = time.perf_counter()
        fill(path, runs)
        sys.stdout.write(f"{runs:,} runs written in {time.perf_counter() - start:.1f} s\n")
    sys.stdout.write(f"{path.stat().st_size / 1e6:.0f} MB\n")
    for name, question in questions(Traces(StoreFile(path))):
        sys.stdout.write(f"{name:36} {best(question):8.1f} ms\n")


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as place:
        main(runs, Path(sys.argv[2]) if len(sys.argv) > 2 else Path(place) / "traces.db")
