"""prometheus.Metrics: every run counted once, under names that stay."""
# ruff: noqa: F811 - fixtures are imported

from decimal import Decimal

import pytest
from capture.graphs import agent, call
from metric_records import NS, finished, give, metrics, model, registry, series, spent, started, value  # noqa: F401
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from langgraph_observe import Observer
from langgraph_observe.records import Failure, Lazy, Noted, Scored, Usage
from langgraph_observe.sinks.prometheus import Metrics
from langgraph_observe.sinks.prometheus.catalog import STATUSES


def test_a_scrape_sees_all_that_was_recorded_before_it(registry, metrics):
    for n in range(1, 200):
        metrics(finished(started(serial=n)))
        assert value(registry, "run_duration_seconds_count", graph="g", status="ok") == n


def test_a_scrape_of_chosen_names_sees_it_too(registry, metrics):
    metrics(finished())
    text = generate_latest(registry.restricted_registry([f"{NS}run_duration_seconds_count"])).decode()
    assert f'{NS}run_duration_seconds_count{{graph="g",status="ok"}} 1.0' in text
    assert "_bucket" not in text


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("ok", "ok"), ("error", "error"), ("interrupted", "interrupted"), ("cancelled", "cancelled"), ("abandoned", "cancelled")],
)
def test_every_ending_is_one_of_four_statuses(registry, metrics, outcome, status):
    metrics(finished(outcome=outcome))
    counts = series(registry, "run_duration_seconds_count")
    assert {labels: n for labels, n in counts.items() if n} == {("g", status): 1}
    assert set(counts) == {("g", each) for each in ("ok", "error", "interrupted", "cancelled")}


@pytest.mark.parametrize(
    ("run", "name", "labels"),
    [
        (started("graph", "g"), "run", ("g", "ok")),
        (started("agent", "helper"), "run", ("helper", "ok")),
        (started("chain", "rag"), "run", ("rag", "ok")),
        (started("node", "plan", node="plan"), "node", ("g", "plan", "ok")),
        (started("tool", "search"), "tool", ("search", "ok")),
        (started("retriever", "docs"), "retriever", ("docs", "ok")),
        (model(), "llm", ("p", "m", "ok")),
        (started("stream", "/chat"), "stream", ("/chat", "completed")),
    ],
)
def test_each_kind_of_run_is_timed_once(registry, metrics, run, name, labels):
    give(metrics, run, finished(run, seconds=0.3))
    timed = {
        (family.name.removeprefix(NS), tuple(v for k, v in sample.labels.items() if k != "le")): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.endswith("_duration_seconds_sum") and sample.value
    }
    assert timed == {(f"{name}_duration_seconds", labels): 0.3}


def test_a_chain_inside_a_run_is_not_counted(registry, metrics):
    inside = started("chain", "inside", parent_id="0")
    give(metrics, inside, finished(inside, outcome="error"))
    assert series(registry, "run_duration_seconds_count") == {}
    assert series(registry, "errors_total") == {}


def test_runs_active_rises_and_falls_and_is_never_negative(registry, metrics):
    runs = [started(serial=n) for n in range(3)]
    give(metrics, *runs, runs[0])
    assert value(registry, "runs_active", graph="g") == 3
    give(metrics, *map(finished, runs), finished(runs[0]), finished(started(serial=9)))
    assert value(registry, "runs_active", graph="g") == 0


def test_errors_are_counted_by_kind_name_and_type(registry, metrics):
    failure = Failure("openai.RateLimitError", "sk-secret")
    give(
        metrics,
        finished(outcome="error", failure=failure),
        finished(model(), outcome="error", failure=failure),
        finished(started("tool", "search"), outcome="error"),
        finished(started("tool", "search"), outcome="cancelled", failure=Failure("CancelledError", "")),
    )
    assert series(registry, "errors_total") == {
        ("run", "g", "openai.RateLimitError"): 1,
        ("llm", "m", "openai.RateLimitError"): 1,
        ("tool", "search", ""): 1,
    }
    assert b"sk-secret" not in generate_latest(registry) + openmetrics(registry)


def test_tokens_and_cost_are_added_and_estimates_kept_apart(registry, metrics):
    reported = Usage(input_tokens=10, output_tokens=5, cache_read_tokens=4, reasoning_tokens=2, cost=Decimal("0.25"))
    estimated = Usage(input_tokens=3, estimated=True)
    give(
        metrics,
        finished(model(), measured=spent(reported)),
        finished(model(), measured=spent(reported)),
        finished(model(), measured=spent(estimated)),
    )
    tokens = series(registry, "llm_tokens_total")
    assert {labels: count for labels, count in tokens.items() if count} == {
        ("p", "m", "input", "reported"): 20,
        ("p", "m", "output", "reported"): 10,
        ("p", "m", "input", "estimated"): 3,
    }
    assert series(registry, "llm_token_details_total") == {("p", "m", "cache_read"): 8, ("p", "m", "reasoning"): 4}
    assert series(registry, "llm_cost_usd_total") == {("p", "m", "reported"): 0.5}
    assert series(registry, "llm_unpriced_calls_total") == {("p", "m"): 1}


def test_a_model_without_a_price_has_no_cost_and_a_failed_call_without_usage_is_not_unpriced(registry, metrics):
    give(metrics, finished(model(), measured=spent(None)), finished(model(), outcome="error", measured=spent(None)))
    assert series(registry, "llm_cost_usd_total") == {}
    assert series(registry, "llm_unpriced_calls_total") == {("p", "m"): 1}
    assert series(registry, "llm_duration_seconds_count")[("p", "m", "error")] == 1


def test_a_cached_call_spends_nothing_and_is_a_hit(registry, metrics):
    def explode(usage):
        raise AssertionError

    call = model()
    give(metrics, call, finished(call, cached=True, first_token_seconds=0.1, measured=Lazy(None, explode)))
    assert series(registry, "llm_cache_hits_total") == {("p", "m"): 1}
    assert sum(series(registry, "llm_duration_seconds_count").values()) == 0
    assert sum(series(registry, "llm_tokens_total").values()) == 0
    assert series(registry, "llm_time_to_first_token_seconds_count") == {}
    assert metrics.health()["errors"] == 0


def test_the_time_to_the_first_token(registry, metrics):
    give(metrics, finished(model(), first_token_seconds=0.3), finished(model()))
    assert series(registry, "llm_time_to_first_token_seconds_count") == {("p", "m"): 1}
    assert value(registry, "llm_time_to_first_token_seconds_bucket", provider="p", model="m", le="0.4") == 1
    assert value(registry, "llm_time_to_first_token_seconds_bucket", provider="p", model="m", le="0.2") == 0


def test_a_model_is_named_by_what_was_asked_for_else_by_what_answered(registry, metrics):
    give(metrics, finished(model(), model="m-2026"), finished(model(model=None, provider=None), model="m-2026"))
    calls = series(registry, "llm_duration_seconds_count")
    assert {labels for labels, n in calls.items() if n} == {("p", "m", "ok"), ("", "m-2026", "ok")}


def test_attempts_after_the_first_are_retries(registry, metrics):
    node = started("node", "plan", node="plan", attempt=2)
    give(metrics, started("node", "plan", node="plan"), node, finished(node), started("tool", "t", attempt=3))
    give(
        metrics,
        started("chain", "inside", parent_id="0", attempt=2),
        Noted(run=node, kind="retry", at_ns=0),
        Noted(run=model(), kind="retry", at_ns=0),
        Noted(run=model(), kind="custom", at_ns=0),
        model(attempt=2),
    )
    assert series(registry, "retries_total") == {("node", "plan"): 1, ("llm", "m"): 2, ("tool", "t"): 1, ("chain", "inside"): 1}


def test_a_run_that_stands_in_for_one_that_failed_is_a_fallback(registry, metrics):
    give(
        metrics,
        Noted(run=model(model="second"), kind="fallback", at_ns=0, name="openai.RateLimitError"),
        Noted(run=started("chain", "inside", parent_id="0"), kind="fallback", at_ns=0),
    )
    assert series(registry, "fallbacks_total") == {("llm", "second", "openai.RateLimitError"): 1, ("chain", "inside", ""): 1}


def test_a_resume_is_counted_where_the_outermost_graph_goes_on(registry, metrics):
    inner = started("graph", "inner", parent_id="5", checkpoint_ns="ask:1")
    give(metrics, *(Noted(run=run, kind="resume", at_ns=0) for run in (started(), inner, started("node", "n", node="n"))))
    assert series(registry, "resumes_total") == {("g",): 1}


def test_a_run_that_was_cancelled_says_by_what(registry, metrics):
    give(
        metrics,
        finished(outcome="cancelled", reason="stream_closed"),
        finished(outcome="abandoned", reason="process_stopped"),
        finished(outcome="cancelled"),
        finished(started("graph", "inner", parent_id="5", checkpoint_ns="ask:1"), outcome="cancelled", reason="task_cancelled"),
    )
    assert series(registry, "run_cancellations_total") == {
        ("g", "stream_closed"): 1,
        ("g", "process_stopped"): 1,
        ("g", "cancelled"): 1,
    }


def test_an_interrupt_is_counted_where_the_outermost_graph_stops(registry, metrics):
    give(
        metrics,
        finished(started("node", "ask", node="ask", checkpoint_ns="ask:1"), outcome="interrupted"),
        finished(started("graph", "inner", parent_id="5", checkpoint_ns="ask:1"), outcome="interrupted"),
        finished(outcome="interrupted", reason="interrupt_before"),
        finished(outcome="interrupted"),
    )
    assert series(registry, "interrupts_total") == {("g", "interrupt_before"): 1, ("g", "interrupt"): 1}


def test_scores_that_are_numbers_are_distributed(registry, metrics):
    for score in (0.25, True, 0, "good", float("nan"), float("inf")):
        metrics(Scored(trace_id="a" * 32, name="quality", value=score, source="eval", at_ns=0, id=str(score)))
    assert value(registry, "score_count", name="quality", source="eval") == 3
    assert value(registry, "score_sum", name="quality", source="eval") == 1.25
    assert value(registry, "score_bucket", name="quality", source="eval", le="0.3") == 2
    assert metrics.health()["errors"] == 0


def test_series_begin_at_zero_when_a_run_is_first_seen(registry, metrics):
    give(metrics, started(), started("node", "plan", node="plan"), model())
    assert set(series(registry, "run_duration_seconds_count").values()) == {0}
    assert series(registry, "node_duration_seconds_count") == {("g", "plan", "ok"): 0, ("g", "plan", "error"): 0}
    assert series(registry, "llm_tokens_total") == {("p", "m", "input", "reported"): 0, ("p", "m", "output", "reported"): 0}
    assert series(registry, "llm_unpriced_calls_total") == {("p", "m"): 0}
    assert series(registry, "interrupts_total") == {("g", "interrupt"): 0}
    assert series(registry, "resumes_total") == {("g",): 0}
    reasons = ("queue_full", "failed", "not_delivered")
    assert series(registry, "dropped_total") == {("prometheus.Metrics", reason): 0 for reason in reasons}
    (info,) = series(registry, "build_info").values()
    assert info == 1


def test_exemplars_lead_to_the_trace(registry, metrics):
    metrics(finished(started(serial=7), outcome="error"))
    exemplars = {
        sample.name.removeprefix(NS): sample.exemplar.labels
        for family in registry.collect()
        for sample in family.samples
        if sample.exemplar is not None
    }
    ids = {"trace_id": "a" * 32, "span_id": f"{7:016x}"}
    assert exemplars == {"run_duration_seconds_bucket": ids, "errors_total": ids}
    assert b"# {" in openmetrics(registry)
    assert b"a" * 32 not in generate_latest(registry)


def test_a_graph_that_is_expected_is_there_before_it_runs(registry):
    metrics = Metrics(registry=registry, labels=("team",))
    metrics.expect("g", ["plan", "act"], {"team": "red"})
    assert series(registry, "node_duration_seconds_count") == {
        ("g", node, status, "red"): 0 for node in ("plan", "act") for status in ("ok", "error")
    }
    assert set(series(registry, "run_duration_seconds_count")) == {("g", s, "red") for s in STATUSES}
    metrics.close()


def test_a_compiled_graph_that_is_expected_gets_no_new_series_of_nodes_when_it_runs(registry, metrics):
    graph = agent(call("add", a=1, b=2))
    metrics.expect(graph.get_name(), [name for name in graph.nodes if not name.startswith("__")])
    before = set(series(registry, "node_duration_seconds_count"))
    Observer(metrics).watch(graph).invoke({"messages": [("user", "1+2?")]})
    after = series(registry, "node_duration_seconds_count")
    assert (set(after), sum(after.values())) == (before, 3)
    assert len(series(registry, "run_duration_seconds_count")) == len(STATUSES)
