"""The command line: `demo`, `run`, `doctor`, `deploy`, and what `reading` adds. Thin: whatever it shows, a notebook can show as well."""

from __future__ import annotations

import argparse
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from langgraph_observe import reading
from langgraph_observe.sinks.store.schema import StoreError, configured_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langgraph_observe.explore import Trace
    from langgraph_observe.records import Sink
    from langgraph_observe.sinks.store import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. 0: done; 1: it could not be done, and stderr says why; 2: the call is wrong."""
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that knows no `✓` shows `?`
        sys.stdout.reconfigure(errors="replace")
    try:
        done = options.command(options)
        print(end="", flush=True)  # here, where a reader that has gone is still ours to handle
    except BrokenPipeError:  # `| head` has seen enough. Not SIG_DFL for SIGPIPE: that would kill us for a lost connection, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it flushes at its end
        return 1  # as Python's manual (signal, "Note on SIGPIPE") and rich
    except (
        LookupError,
        ValueError,
        ArithmeticError,
        OSError,
        RuntimeError,
        StoreError,
    ) as error:  # RuntimeError: nobody's home directory
        print(f"langgraph-observe: {error}", file=sys.stderr)
        return 1
    return int(done or 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="langgraph-observe", description="See every step of a LangChain or LangGraph agent.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="run three small graphs and show what is recorded")
    demo.add_argument("--otlp", metavar="URL", help="send the spans there too, as http://localhost:4318")
    demo.add_argument("--langfuse", action="store_true", help="send the traces to Langfuse too, keys from the environment")
    demo.add_argument("--store", metavar="PATH", help="keep the traces in this file")
    demo.set_defaults(command=_demo)
    run = commands.add_parser("run", help="run a program as python would, and record every chain, model and graph in it")
    run.add_argument("-m", dest="module", action="store_true", help="it is a module")
    run.add_argument("program", metavar="PROGRAM", help="a script; with -m, a module")
    run.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="the program's own")
    run.set_defaults(command=_run)
    reading.add(commands)
    doctor = commands.add_parser("doctor", help="look at what is installed and configured, and whether it works")
    doctor.set_defaults(command=_doctor)
    kit = commands.add_parser("deploy", help="write rules, alerts, boards, a runbook and a compose file for Prometheus and Grafana")
    kit.add_argument("directory", metavar="DIR", help="files of the kit that are there are replaced")
    kit.add_argument("--namespace", help="of the metrics, if Metrics was given one")
    kit.add_argument("--target", action="append", metavar="HOST:PORT", help="an agent to scrape; once for each")
    kit.add_argument("--channel", action="append", metavar="NAME", help="slack, pagerduty, email, wecom or dingtalk; once for each")
    kit.add_argument("--limit", action="append", default=[], metavar="ALERT=NUMBER", help="another limit for an alert")
    kit.add_argument("--runbook", metavar="URL", help="where runbook.md will be; by default it is a board in Grafana")
    kit.set_defaults(command=_deploy)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from prometheus_client import CollectorRegistry, generate_latest

    from langgraph_observe import demo
    from langgraph_observe.explore import Memory, Traces
    from langgraph_observe.observer import Observer
    from langgraph_observe.sinks.prometheus import Metrics

    memory, registry, store = Memory(), CollectorRegistry(), _store(options.store)
    kept = [] if isinstance(store, str) else [store]
    with Observer(memory, Metrics(registry=registry), *kept, *_backends(options)) as observer:
        demo.run(observer)
        delivered = observer.flush()
        exposition = generate_latest(registry).decode()
        health = observer.health()
    _print_traces(list(Traces(memory))[::-1])  # not from the store, which may not be had
    _print_exposition(exposition)
    stored = _print_place(store)
    sent = _print_delivery(health, delivered=delivered) or not (options.otlp or options.langfuse)
    return 0 if sent and (stored or options.store is None) else 1


def _run(options: argparse.Namespace) -> NoReturn:
    """Become `python PROGRAM …`. Arguments, `__main__`, tracebacks, exit codes and signals are python's own business."""
    places = str(Path(__file__).parent / "startup"), os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, places))
    module = ["-m"] if options.module else []
    os.execv(sys.executable, [sys.executable, *module, options.program, *options.arguments])  # noqa: S606 - what was asked for


def _store(asked: str | None) -> Store | str:
    """The store to write to, or why there is none."""
    from langgraph_observe.sinks.store import Store

    try:
        path = asked or configured_path()
        return "LANGGRAPH_OBSERVE_STORE is off" if path is None else Store(path)
    except RuntimeError as error:  # nobody's home directory
        return str(error)


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


def _print_place(store: Store | str) -> bool:
    """Whether what was recorded is there to be opened."""
    if isinstance(store, str):
        print(f"not stored: {store}", file=sys.stderr)
        return False
    if _lossy(store.health()):
        print(f"not stored: {store.path} did not take all of it", file=sys.stderr)
        return False
    print(f"\nStored in {store.path}")
    print("Open them:  langgraph-observe traces   ·   langgraph-observe show last")
    print("In Jupyter: from langgraph_observe import traces; traces.last()")
    return True


def _print_delivery(health: dict[str, dict[str, int]], *, delivered: bool) -> bool:
    """Whether all of it is where it was to be sent."""
    losses = {name: counts for name, counts in health.items() if _lossy(counts)}
    if losses or not delivered:
        print(f"Not everything was delivered: {losses or 'the time for it was over'}", file=sys.stderr)
    return delivered and not losses.keys() - {"store"}


def _lossy(counts: dict[str, int]) -> bool:
    return any(counts.get(name) for name in ("dropped", "errors", "lost"))


def _doctor(_: argparse.Namespace) -> int:
    from langgraph_observe.doctor import findings

    found = list(findings())
    print(*found, sep="\n")
    return int(any(one.mark == "✖" for one in found))


def _deploy(options: argparse.Namespace) -> None:
    from langgraph_observe import deploy

    asked = {
        "namespace": options.namespace,
        "targets": options.target and tuple(options.target),
        "channels": options.channel and tuple(options.channel),
        "limits": dict(map(_limit, options.limit)),
        "runbook": options.runbook,
    }
    settings = deploy.Settings(**{name: value for name, value in asked.items() if value})
    directory = Path(options.directory)
    print(f"{len(deploy.write(directory, settings))} files in {directory}; {directory / 'README.md'} says what they are.")


def _limit(text: str) -> tuple[str, float]:
    alert, equals, number = text.partition("=")
    if not equals:
        message = f"a limit is written ALERT=NUMBER, not {text!r}"
        raise ValueError(message)
    return alert, float(number)
