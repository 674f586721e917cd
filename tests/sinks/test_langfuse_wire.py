"""What Langfuse's server may answer, or not; scores; masks; several projects and hosts."""

import os
import socket
import time

import pytest
from langchain_core.runnables import RunnableLambda
from langfuse_server import KEYS, PUBLIC, Langfuse
from langgraph.graph import START, StateGraph
from otel_records import NOW, TRACE, finished, started

from langgraph_observe import Observer, collect_runs
from langgraph_observe.process.redact import redact
from langgraph_observe.records import Payload, Scored
from langgraph_observe.sinks import otlp
from langgraph_observe.sinks.langfuse import Traces
from langgraph_observe.testing import ScriptedModel

QUIET = {"queued": 0, "dropped": 0, "errors": 0, "lost": 0}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("LANGFUSE_", "OTEL_"))]:
        monkeypatch.delenv(name)


def noise(size):
    """Text that gzip makes no smaller than half of this."""
    return os.urandom(size // 2).hex()


def sent(server, *records, **options):
    """A sink that has sent these, and is closed."""
    traces = Traces(**{"base_url": server.url, **KEYS} | options)
    for record in records:
        traces(record)
    assert traces.flush(20)
    traces.close()
    return traces


# -- spans


def test_a_request_that_is_too_large_for_a_proxy_is_sent_in_halves():
    with Langfuse(largest=20_000) as server:
        traces = sent(server, *(finished(started(name=f"n{n}", input=Payload(noise(24_000)))) for n in range(7)))
    assert [one.name for one in server.observations] == [f"n{n}" for n in range(7)]
    assert traces.health() == QUIET


def test_of_a_request_that_is_too_large_only_the_large_span_is_lost(caplog):
    with Langfuse(largest=20_000) as server:
        sizes = [10, 12_000, 100_000, 12_000, 10]
        traces = sent(server, *(finished(started(name=f"{size}", input=Payload(noise(size)))) for size in sizes))
    assert [one.name for one in server.observations] == ["10", "12000", "12000", "10"]
    assert traces.health() == QUIET | {"lost": 1}
    assert ["status 413" in line.getMessage() for line in caplog.records] == [True]


def test_large_spans_are_encoded_once(monkeypatch):
    encoded = []
    monkeypatch.setenv("LANGFUSE_OTEL_MAX_BATCH_SIZE_BYTES", "40000")
    monkeypatch.setattr(otlp, "request", lambda spans, encode=otlp.request: encoded.extend(spans) or encode(spans))
    with Langfuse() as server:
        sent(server, *(finished(started(input=Payload("x" * 12_000))) for _ in range(20)))
    assert (len(server.observations), len(encoded)) == (20, 20)


def test_a_server_that_names_a_time_is_given_it_whatever_the_timeout(monkeypatch):
    with Langfuse(statuses=[429], headers={"retry-after": "50"}) as server:
        traces = Traces(base_url=server.url, timeout=30, **KEYS)
        waited = []
        monkeypatch.setattr(traces._ingestion._closing, "wait", waited.append)
        traces(finished(started()))
        assert traces.flush(60)
        traces.close()
    assert (waited, len(server.requests), len(server.observations)) == ([50], 2, 1)
    assert traces.health() == QUIET


def test_what_waits_for_the_time_that_a_server_named_does_not_delay_the_end():
    with Langfuse(status=429, headers={"retry-after": "50"}) as server:
        traces = Traces(base_url=server.url, **KEYS)
        traces(finished(started()))
        until(lambda: server.requests)
        begun = time.monotonic()
        traces.close(0.1)
        until(lambda: traces.health()["lost"] == 1)
        assert time.monotonic() - begun < 25


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_server_that_comes_back_gets_what_waited():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    traces = Traces(base_url=f"http://127.0.0.1:{port}", timeout=20, **KEYS)
    traces(finished(started()))
    assert not traces.flush(0.1)
    with Langfuse(port=port) as server:
        assert traces.flush(20)
        traces.close()
    assert len(server.observations) == 1
    assert traces.health() == QUIET


# -- several projects, several hosts


def test_two_projects_get_each_their_own_and_a_refused_one_costs_the_other_nothing(caplog):
    with Langfuse(projects={PUBLIC: KEYS["secret_key"], "pk-2": "sk-2"}) as server:
        sinks = [
            Traces(base_url=server.url, public_key=public, secret_key=secret, environment=environment)
            for public, secret, environment in (
                (PUBLIC, KEYS["secret_key"], "one"),
                ("pk-2", "sk-2", "two"),
                ("pk-3", "sk-3", "three"),
            )
        ]
        with Observer(*sinks) as observer:
            observer.watch(graph()).invoke({"said": "q"})
            assert observer.flush(20)
        health = observer.health()
    told = sorted((one.project, one.held["langfuse.environment"], one.name) for one in server.observations)
    assert told == [("pk-2", "two", "LangGraph"), ("pk-2", "two", "say"), (PUBLIC, "one", "LangGraph"), (PUBLIC, "one", "say")]
    assert [health[f"langfuse.Traces{number}"]["lost"] for number in ("", "#2", "#3")] == [0, 0, 2]


def test_two_hosts_get_the_same_ids():
    with Langfuse() as one, Langfuse() as other:
        with Observer(*(Traces(base_url=server.url, **KEYS) for server in (one, other))) as observer:
            observer.watch(graph()).invoke({"said": "q"})
        assert {seen.id for seen in one.observations} == {seen.id for seen in other.observations}
        assert len(one.observations) == 2


def graph(say=lambda state: {"said": f"{state['said']}!"}):
    return StateGraph(dict).add_node("say", say).add_edge(START, "say").compile()


# -- scores


def test_a_score_again_under_its_id_replaces_and_is_of_the_run_it_was_given_for():
    with Langfuse() as server, Observer(Traces(base_url=server.url, **KEYS)) as observer, collect_runs() as runs:
        observer.watch(graph()).invoke({"said": "q"})
        (run,) = runs
        for value in (0.2, 0.9):
            observer.score("helpful", value, trace_id=run.trace_id, span_id=run.started.span_id, id="feedback-1")
        run.score("polite", value=True)
    first, second = server.scores.values()
    assert (first["name"], first["value"], second["name"]) == ("helpful", 0.9, "polite")
    root = server.named("LangGraph")
    assert {(score["traceId"], score["observationId"]) for score in (first, second)} == {(root.trace_id, root.id)}


def test_of_a_list_of_scores_what_the_server_rejects_is_counted_and_no_more(caplog):
    scores = [Scored(trace_id=TRACE, name=name, value=1.0, at_ns=NOW, id=f"s{name}") for name in ("a", "", "b")]
    with Langfuse() as server:
        traces = sent(server, *scores)
    assert len(server.requests) == 1
    assert sorted(score["name"] for score in server.scores.values()) == ["a", "b"]
    assert traces.health() == QUIET | {"lost": 1}
    assert ["rejected" in line.getMessage() for line in caplog.records] == [True]


def test_scores_with_long_comments_all_arrive():
    scores = [Scored(trace_id=TRACE, name="n", value=1.0, comment="x" * 300, at_ns=NOW, id=str(number)) for number in range(15)]
    with Langfuse(largest=2_000) as server:
        traces = sent(server, *scores)
    assert len(server.scores) == 15
    assert traces.health() == QUIET


# -- masks

SECRET = "Grace Hopper"


def mask(*, data):
    """As people give it to Langfuse's SDK."""
    return data.replace(SECRET, "<name>") if isinstance(data, str) else data


def test_a_mask_made_for_langfuses_sdk_masks_everything_that_is_sent():
    def fail(_):
        raise ValueError(f"no such person: {SECRET}")

    model = ScriptedModel(respond=lambda messages: messages[-1].text)

    def say(state):
        model.invoke(f"Who is {SECRET}?", stop=[SECRET])
        RunnableLambda(fail).with_fallbacks([RunnableLambda(lambda text: text)]).invoke({SECRET: [state["said"]]})
        return state

    with Langfuse() as server:
        redacting = redact(callback=lambda _, value: mask(data=value))
        with Observer(Traces(base_url=server.url, **KEYS), process=[redacting]) as observer:
            watched = observer.watch(graph(say), tags=[SECRET], metadata={"who": SECRET, SECRET: 1}, labels={"who": SECRET})
            watched.invoke({"said": SECRET})
            observer.score("right", SECRET, trace_id=TRACE, comment=SECRET)
    assert {one.type for one in server.observations} == {"CHAIN", "GENERATION"}
    assert [one.words for one in server.observations if one.level == "ERROR"] == ["ValueError: no such person: <name>"]
    assert not [request for request in server.requests if SECRET.encode() in request.body]
