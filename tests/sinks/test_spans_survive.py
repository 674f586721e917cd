"""What spans survive on their way to a server, as real graphs make them.

By a provider of our own, by the application's with the SDK's processor and exporter, and to Langfuse.
"""

import threading
import time
from collections import Counter
from typing import TypedDict

import pytest
from capture.graphs import ASKED, agent, call
from langchain_core.callbacks import dispatch_custom_event
from langgraph.graph import START, StateGraph
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from otel_records import failed, finished, quoting, started
from otlp_server import Collector, attributes

from langgraph_observe import Observer
from langgraph_observe.sinks import otel
from langgraph_observe.sinks.langfuse import Traces
from langgraph_observe.testing import ScriptedModel

RUNS = 9
"""Of the calculator."""


def own(url):
    return otel.exporting(url, content="SPAN_ONLY")


def applications(url):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
    return otel.Spans(tracer_provider=provider, content="SPAN_ONLY", on_close=provider.shutdown)


def langfuse(url):
    return Traces(base_url=url, public_key="pk", secret_key="sk")


senders = pytest.mark.parametrize("sender", [own, applications, langfuse])


def calculator():
    return agent(call("add", a=1, b=2))


def chain(act, *, name="graph", **state):
    """A graph of one node."""
    return StateGraph(TypedDict("State", state or {"text": str})).add_node("act", act).add_edge(START, "act").compile(name=name)


# -- what is large, or much


@senders
def test_attributes_beyond_the_limit_of_a_span_do_not_push_out_its_own(collector, sender):
    def act(state):
        for number in range(300):
            trace.get_current_span().set_attribute(f"user.{number}", number)
        return {}

    with Observer(sender(collector.url)) as observer:
        observer.watch(chain(act), metadata={f"k{number}": number for number in range(300)}).invoke({"text": "q"})
    required = "langfuse.observation.type" if sender is langfuse else "gen_ai.operation.name"
    assert [required in attributes(span) for span in collector.taken] == [True, True]
    held = {key for span in collector.taken for key in attributes(span)}
    assert len([key for key in held if ".metadata.k" in key]) == (300 if sender is langfuse else 0)


@senders
def test_texts_of_megabytes_are_cut_and_every_span_arrives(collector, sender):
    large = "è" * 5_000_000

    def act(state):
        ScriptedModel(respond=lambda messages: large).invoke(state["text"])
        raise ValueError(large)

    with Observer(sink := sender(collector.url)) as observer:
        graph = observer.watch(
            chain(act, name="g" * 5_000_000), metadata={"m": large}, tags=[large], user_id=large, session_id=large
        )
        with pytest.raises(ValueError, match="è"):
            graph.invoke({"text": large}, {"configurable": {"thread_id": large}})
        assert observer.flush(60)
        assert not any(sink.health().values())
    collector.once(3)
    assert max(len(request.body) for request in collector.requests) < 8 * 1024 * 1024


@senders
def test_three_hundred_visits_with_states_of_200_kb_all_arrive(collector, sender):
    builder = StateGraph(TypedDict("State", {"texts": list, "visits": int})).add_edge(START, "visit")
    builder.add_node(
        "visit", lambda state: {"texts": [*state["texts"][1:], f"{state['visits']:04}" * 500], "visits": state["visits"] + 1}
    )
    builder.add_conditional_edges("visit", lambda state: "visit" if state["visits"] < 300 else "__end__", ["visit", "__end__"])
    with Observer(sink := sender(collector.url), process=[]) as observer:
        graph = observer.watch(builder.compile())
        graph.invoke({"texts": ["x" * 2_000] * 100, "visits": 0}, {"recursion_limit": 400})
        assert observer.flush(60)
        assert not any(sink.health().values())
    assert sum(span.name.endswith("visit") for span in collector.taken) == 300
    collector.once(601)  # with the graph and a condition after each visit


@senders
def test_three_hundred_failures_that_quote_their_prompts_all_arrive(collector, sender):
    sink = sender(collector.url)
    for _ in range(300):
        run = started()
        sink(run)
        sink(finished(run, **failed(failure=quoting("x" * 100_000))))
    assert sink.flush(60)
    collector.once(300)
    sink.close()
    assert not any(sink.health().values())


# -- queues that are full, and ends in the middle of something


@senders
def test_what_our_queue_has_no_room_for_is_counted_and_shown(collector, sender, caplog):
    told = 20 * RUNS
    with Observer(sink := sender(collector.url)) as observer:
        sink._deferred._capacity = 2 * RUNS
        graph = observer.watch(calculator())
        for _ in range(20):
            graph.invoke(ASKED)
        assert observer.flush(20)
        (counts,) = [counts for name, counts in observer.health().items() if name != "capture"]
    assert 0 < counts["dropped"] == told - len(collector.taken)
    assert "records are dropped and counted" in caplog.text


@senders
def test_a_burst_that_the_sdks_queue_has_no_room_for_arrives_whole(collector, sender):
    collector.seconds = 0.05
    sink = sender(collector.url)
    for _ in range(5_000):
        run = started()
        sink(run)
        sink(finished(run))
    assert sink.flush(20)
    collector.once(5_000)
    sink.close()
    assert not any(sink.health().values())


def test_what_the_sdks_queue_has_no_room_for_is_counted_and_said_once(collector, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "12")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    collector.seconds = 0.05
    with Observer(sink := own(collector.url)) as observer:
        graph = observer.watch(calculator())
        for _ in range(20):
            graph.invoke(ASKED)
        assert observer.flush(20)
        assert 0 < sink.health()["lost"] == 20 * RUNS - len(collector.taken)
    assert caplog.text.count("its queue is full") == 1


def test_what_the_sdk_gives_up_at_its_end_is_counted(monkeypatch):
    monkeypatch.setattr(BatchSpanProcessor, "shutdown", lambda self: self._batch_processor.shutdown(100))  # 30 seconds by itself
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
    with Collector(silent=True) as silent:
        observer = Observer(sink := own(silent.url))
        observer.watch(calculator()).invoke(ASKED)
        observer.close(0.3)
        until(lambda: sink.health()["lost"] == RUNS - 4)
        late = sink._given.get_tracer("mine").start_span("late")
        late.end()
    until(lambda: sink.health()["lost"] == RUNS + 1)  # with the four that the server never answered


@senders
def test_a_close_in_the_middle_of_an_export_waits_for_it_and_for_what_is_behind_it(collector, sender, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    collector.seconds = 0.2
    observer = Observer(sink := sender(collector.url))
    graph = observer.watch(calculator())
    graph.invoke(ASKED)
    exporting = threading.Thread(target=observer.flush, args=(20,))
    exporting.start()
    until(lambda: collector.requests)
    graph.invoke(ASKED)
    sink.close(20)
    exporting.join()
    collector.once(2 * RUNS)
    observer.close()
    assert not any(sink.health().values())


def test_a_flush_says_false_when_the_application_has_shut_its_provider_down_before(collector):
    sink = applications(collector.url)
    observer = Observer(sink)
    graph = observer.watch(calculator())
    graph.invoke(ASKED)
    assert observer.flush(20)
    sink._given.shutdown()
    assert graph.invoke(ASKED)["messages"][-1].text == "done now"
    assert not observer.flush(20)
    observer.close()
    collector.once(RUNS)


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# -- clocks, providers, observers


@senders
def test_when_the_clock_steps_backwards_every_span_lies_inside_of_its_parent(collector, sender, monkeypatch):
    behind, wall = [0], time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: wall() - behind[0])
    model = ScriptedModel(respond=lambda messages: "yes")

    def act(state):
        for _ in range(2):
            behind[0] += 3_600 * 10**9
            model.invoke("q")
            dispatch_custom_event("stepped", {})
        return {}

    with Observer(sender(collector.url)) as observer:
        observer.watch(chain(act)).invoke({"text": "q"})
    spans = {span.span_id: span for span in collector.taken}
    assert len([span for span in spans.values() if span.name.startswith(("chat", "ScriptedModel"))]) == 2
    for span in spans.values():
        above = spans.get(span.parent_span_id, span)
        times = [above.start_time_unix_nano, span.start_time_unix_nano, span.end_time_unix_nano, above.end_time_unix_nano]
        moments = [span.start_time_unix_nano, *(event.time_unix_nano for event in span.events), span.end_time_unix_nano]
        assert (times, moments) == (sorted(times), sorted(moments))
    assert sum(len(span.events) + (span.name == "stepped") for span in spans.values()) == 2


@pytest.mark.parametrize("sender", [own, langfuse])
def test_the_global_provider_may_be_replaced_under_who_does_not_use_it(collector, sender, monkeypatch):
    with Observer(sender(collector.url)) as observer, Collector() as other:
        chunks = observer.watch(calculator()).stream(ASKED)
        next(chunks)
        replaced = applications(other.url)._given
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", replaced)
        list(chunks)
        assert observer.flush(20)
        replaced.shutdown()
        assert not other.requests
    collector.once(RUNS)
    assert len({span.trace_id for span in collector.taken}) == 1


def test_a_provider_that_replaces_another_gets_the_next_graph_and_the_other_what_it_has_begun(collector, monkeypatch):
    with Collector() as other, Observer(otel.Spans()) as observer:
        providers = [applications(one.url)._given for one in (collector, other)]
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", providers[0])
        graph = observer.watch(calculator())
        chunks = graph.stream(ASKED)
        next(chunks)
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", providers[1])
        list(chunks)
        graph.invoke(ASKED)
        assert observer.flush(20)
        for provider in providers:
            provider.shutdown()
        collector.once(RUNS)
        other.once(RUNS)


@senders
def test_two_observers_of_one_sink_make_one_span_of_a_run_that_both_see_and_tell_its_moments_once(collector, sender):
    sink = sender(collector.url)

    def act(state):
        dispatch_custom_event("looked", {})
        inner.invoke(ASKED)
        return {}

    one, other = Observer(sink), Observer(sink)
    inner = other.watch(calculator())
    other.watch(one.watch(chain(act))).invoke({"text": "q"})
    assert one.flush(20)
    assert not any(sink.health().values())
    moments = [span.name for span in collector.taken if span.name == "looked"] if sender is langfuse else []
    collector.once(2 + RUNS + len(moments))
    assert sum(len(span.events) for span in collector.taken) + len(moments) == 1
    one.close()
    other.close()


def test_two_observers_of_one_project_send_a_run_under_one_id_which_langfuse_replaces(collector):
    one, other = (Observer(langfuse(collector.url)) for _ in range(2))
    other.watch(one.watch(calculator())).invoke(ASKED)
    for observer in (one, other):
        observer.close()
    assert set(Counter(span.span_id for span in collector.taken).values()) == {2}
    assert len({(span.span_id, span.parent_span_id, span.trace_id, span.name) for span in collector.taken}) == RUNS
