"""The command line: `demo`, `traces`, `show`. Thin: whatever it shows, a notebook can show as well."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langgraph_observe.explore import Trace
    from langgraph_observe.records import Record, Sink


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. 0: done; 1: it could not be done, and stderr says why; 2: the call is wrong."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options) or 0)
    except (LookupError, ValueError, OSError) as error:
        print(f"langgraph-observe: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="langgraph-observe", description="See every step of a LangChain or LangGraph agent.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="run three small graphs and show what is recorded")
    demo.add_argument("--otlp", metavar="URL", help="send the spans there too, as http://localhost:4318")
    demo.add_argument("--langfuse", action="store_true", help="send the traces to Langfuse too, keys from the environment")
    demo.add_argument("--store", metavar="PATH", help="keep the traces in this file")
    demo.set_defaults(command=_demo)
    listing = commands.add_parser("traces", help="list the last traces")
    listing.add_argument("--store", metavar="PATH", help="read this file")
    listing.set_defaults(command=_traces)
    show = commands.add_parser("show", help="show one trace as a tree")
    show.add_argument("id", help="the trace id, or how it begins; `last` for the last one")
    show.add_argument("--store", metavar="PATH", help="read this file")
    show.set_defaults(command=_show)
    return parser


def _demo(options: argparse.Namespace) -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    from langgraph_observe import demo
    from langgraph_observe.observer import Observer
    from langgraph_observe.records import Started
    from langgraph_observe.sinks.prometheus import Metrics
    from langgraph_observe.sinks.store import Store

    registry = CollectorRegistry()
    store = Store(options.store or _store_variable())
    roots: list[str] = []

    def remember(record: Record) -> None:
        if isinstance(record, Started) and record.parent_id is None:
            roots.append(record.trace_id)

    with Observer(store, Metrics(registry=registry), remember, *_backends(options)) as observer:
        demo.run(observer)
        delivered = observer.flush()
        exposition = generate_latest(registry).decode()
        health = observer.health()
    from langgraph_observe import traces

    kept = traces.open(store.path)
    _print_traces([kept[trace_id] for trace_id in roots])
    _print_exposition(exposition)
    _print_delivery(str(store.path), health, delivered=delivered)


def _store_variable() -> str | None:
    place = os.environ.get("LANGGRAPH_OBSERVE_STORE")
    return None if place == "off" else place


def _backends(options: argparse.Namespace) -> list[Sink]:
    sinks: list[Sink] = []
    if options.otlp:
        from langgraph_observe.sinks import otel

        sinks.append(otel.exporting(options.otlp, content="SPAN_ONLY"))
    if options.langfuse:
        from langgraph_observe.sinks import langfuse

        sinks.append(langfuse.Traces())
    return sinks


def _print_traces(found: list[Trace]) -> None:
    from rich.console import Console

    from langgraph_observe.explore import words
    from langgraph_observe.explore.tree import rich
    from langgraph_observe.records import totals

    console = Console()
    for trace in found:
        console.print(rich(trace), soft_wrap=True)
        console.print()
    ends = [run.finished for trace in found for run in trace.find(kind="model") if run.finished is not None]
    spent = totals(ends)
    runs = sum(len(trace) for trace in found)
    console.print(
        f"[bold]{len(found)} traces[/], {runs} runs, {len(ends)} model calls, "
        f"{spent.input_tokens} + {spent.output_tokens} tokens, {words.money(spent.cost)}\n"
    )


def _print_exposition(exposition: str) -> None:
    wanted = (
        "langgraph_run_duration_seconds_count",
        "langgraph_llm_tokens_total",
        "langgraph_llm_cost_usd_total",
        "langgraph_interrupts_total",
    )
    lines = [line for line in exposition.splitlines() if line.startswith(wanted) and not line.endswith(" 0.0")]
    print("Prometheus sees:", *(f"  {line}" for line in lines[:10]), sep="\n")


def _print_delivery(path: str, health: dict[str, dict[str, int]], *, delivered: bool) -> None:
    losses = {
        name: counts for name, counts in health.items() if counts.get("dropped") or counts.get("errors") or counts.get("lost")
    }
    print(f"\nStored in {path}")
    print("Open them:  langgraph-observe traces   ·   langgraph-observe show last")
    print("In Jupyter: from langgraph_observe import traces; traces.last()")
    if losses or not delivered:
        print(f"Not everything was delivered: {losses or 'the time for it was over'}", file=sys.stderr)


def _traces(options: argparse.Namespace) -> None:
    from langgraph_observe import traces

    print(traces.open(options.store) if options.store else traces)


def _show(options: argparse.Namespace) -> None:
    from rich.console import Console

    from langgraph_observe import traces
    from langgraph_observe.explore.tree import rich

    found = traces.open(options.store) if options.store else traces
    Console().print(rich(found.last() if options.id == "last" else found[options.id]), soft_wrap=True)
