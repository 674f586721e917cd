"""What other monitoring of agents gets wrong about metrics (E01 … E46 of our list), done right, on real graphs."""
# ruff: noqa: F811 - fixtures are imported

import asyncio
import json
import subprocess
import sys
from typing import TypedDict

import pytest
from capture.graphs import agent, call, linear
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from langgraph.types import interrupt
from metric_records import NS, finished, give, metrics, model, registry, series, started, value  # noqa: F401
from prometheus_client import generate_latest

from langgraph_observe import Observer
from langgraph_observe.process.price import price
from langgraph_observe.records import Lazy, Usage
from langgraph_observe.sinks.prometheus import CATALOG
from langgraph_observe.sinks.prometheus.catalog import SECONDS
from langgraph_observe.testing import ScriptedModel


class State(TypedDict):
    n: int


def test_e01_sessions_threads_and_users_make_no_series(registry, metrics):
    observer = Observer(metrics)
    graph = observer.watch(linear(lambda state: {"n": 1}, ("b", lambda state: {}), compile_with={"name": "g"}))
    sizes = []
    for n in range(30):
        graph.invoke(
            {"n": n}, {"configurable": {"thread_id": f"thread-{n}"}, "metadata": {"session_id": f"s{n}", "user_id": f"u{n}"}}
        )
        sizes.append(len(generate_latest(registry).splitlines()))
    assert len(set(sizes)) == 1
    labels = {label for one in CATALOG.values() for label in one.labels}
    assert not [
        label for label in labels if any(word in label for word in ("session", "thread", "user", "run", "trace", "checkpoint"))
    ]


def test_e06_no_label_is_a_date_and_the_cost_of_a_day_is_an_increase(registry, metrics):
    assert CATALOG["llm_cost_usd_total"].type == "counter"
    assert not {"date", "day", "hour"} & {label for one in CATALOG.values() for label in one.labels}


def test_e07_a_metric_is_exposed_under_the_name_that_is_written(registry, metrics):
    give(metrics, finished(model(), measured=Lazy(Usage(input_tokens=1, cost=1))))
    assert series(registry, "llm_cost_usd_total") == {("p", "m", "reported"): 1}
    assert b"usd_total_" not in generate_latest(registry)


def test_e16_two_streams_of_one_session_are_two_and_an_end_told_twice_is_one(registry, metrics):
    tabs = [started("stream", "/chat", serial=n, session_id="same") for n in (1, 2)]
    give(metrics, *tabs)
    assert value(registry, "stream_connections_active", route="/chat") == 2
    give(metrics, finished(tabs[0]), finished(tabs[0]), finished(tabs[0]))
    assert value(registry, "stream_connections_active", route="/chat") == 1


def test_e17_completion_is_counted_by_graph_not_by_node(registry, metrics):
    def one(state):
        return {"n": 1}

    def two(state):
        raise ValueError

    graph = Observer(metrics).watch(linear(one, two, compile_with={"name": "g"}))
    with pytest.raises(ValueError):
        graph.invoke({"n": 0})
    runs, nodes = (series(registry, f"{what}_duration_seconds_count") for what in ("run", "node"))
    assert {labels: n for labels, n in runs.items() if n} == {("g", "error"): 1}
    assert {labels: n for labels, n in nodes.items() if n} == {("g", "one", "ok"): 1, ("g", "two", "error"): 1}


@pytest.mark.parametrize("what", ["run", "node", "tool", "retriever", "llm"])
def test_e18_durations_know_how_they_ended_and_reach_ten_minutes(what):
    one = CATALOG[f"{what}_duration_seconds"]
    assert "status" in one.labels
    assert tuple(one.buckets) == SECONDS
    assert max(one.buckets) == 600


def test_e20_the_provider_is_what_the_model_says_and_what_has_no_price_is_counted(registry, metrics):
    observer = Observer(metrics, process=[price()])
    for provider, name in (("anthropic", "claude-sonnet-4-5-20250929"), ("zhipu", "glm-of-tomorrow")):
        observer_model = ScriptedModel(respond=lambda _: "four words of answer", provider=provider, model=name)
        observer_model.invoke("a question", {"callbacks": [observer.handler]})
    spent = series(registry, "llm_cost_usd_total")
    assert list(spent) == [("anthropic", "claude-sonnet-4-5-20250929", "reported")]
    assert all(amount > 0 for amount in spent.values())
    assert {k: n for k, n in series(registry, "llm_unpriced_calls_total").items() if n} == {("zhipu", "glm-of-tomorrow"): 1}


def test_e20_what_was_estimated_is_told_from_what_was_reported(registry, metrics):
    seen = []  # a sink that reads payloads: without one, no text is kept that could be counted
    observer = Observer(metrics, seen.append, process=[price()])
    for reports in (True, False):
        silent = ScriptedModel(respond=lambda _: "an answer of some words", provider="openai", model="gpt-4.1-mini", usage=reports)
        silent.invoke("a question", {"callbacks": [observer.handler]})
    assert {labels[-1] for labels, tokens in series(registry, "llm_tokens_total").items() if tokens} == {"reported", "estimated"}
    assert {labels[-1] for labels in series(registry, "llm_cost_usd_total")} == {"reported", "estimated"}


def test_e35_gauges_are_added_up_over_the_processes_that_live():
    assert {name: one.mode for name, one in CATALOG.items() if one.type == "gauge"} == {
        "runs_active": "livesum",
        "stream_connections_active": "livesum",
        "export_queue_size": "livesum",
        "build_info": "max",
    }


async def test_e45_a_closed_tab_is_cancelled_a_question_is_interrupted_and_neither_is_an_error(registry, metrics):
    entered = asyncio.Event()

    async def slow(state):
        entered.set()
        await asyncio.sleep(60)

    def ask(state):
        return {"n": interrupt("which?")}

    def compiled(node):
        return (
            StateGraph(State)
            .add_node(node)
            .set_entry_point(node.__name__)
            .compile(name=node.__name__, checkpointer=InMemorySaver())
        )

    observer = Observer(metrics)
    config = {"configurable": {"thread_id": "1"}}
    task = asyncio.ensure_future(observer.watch(compiled(slow)).ainvoke({"n": 0}, config))
    await entered.wait()
    task.cancel()
    await asyncio.wait([task])
    await observer.watch(compiled(ask)).ainvoke({"n": 0}, config)
    runs = series(registry, "run_duration_seconds_count")
    assert {labels: n for labels, n in runs.items() if n} == {("slow", "cancelled"): 1, ("ask", "interrupted"): 1}
    assert series(registry, "errors_total") == {}
    assert series(registry, "interrupts_total")[("ask", "interrupt")] == 1


def test_e46_what_the_telemetry_itself_loses_is_a_metric(registry, metrics):
    def broken(record):
        raise RuntimeError

    observer = Observer(metrics, broken)
    observer.watch(agent(call("add", a=1, b=2))).invoke({"messages": [("user", "1+2?")]})
    lost = {labels: n for labels, n in series(registry, "dropped_total").items() if n}
    ((component, reason), times) = lost.popitem()
    assert (component.rpartition(".")[2], reason, lost) == ("broken", "failed", {})
    assert times > 3
    assert ("prometheus.Metrics",) in {labels[:1] for labels in series(registry, "export_queue_size")}


def test_e31_a_port_and_a_page_need_no_more_than_prometheus_client():
    code = """
import json, sys
from langgraph_observe.sinks import prometheus
prometheus.Metrics().close()
prometheus.serve(0).close()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not {"fastapi", "starlette", "langchain_core", "langgraph", "pandas", "opentelemetry"} & set(json.loads(done.stdout))
