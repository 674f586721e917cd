"""Spans that are made late look as if they had been made at once, and are made at once where somebody could tell."""

import copy

import pytest
from capture.graphs import ASKED, agent, call
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext
from otel_records import finished, started
from ways import WAYS, run

from langgraph_observe import Observer
from langgraph_observe.sinks.lazy import Lazy
from langgraph_observe.sinks.otel import Spans


class Watching(SpanProcessor):
    """Told of starts."""

    def __init__(self):
        self.begun = []

    def on_start(self, span, parent_context=None):
        self.begun.append(span.name)


class OfNodes(Sampler):
    """Leaves out what is no node."""

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None):
        return SamplingResult(Decision.RECORD_AND_SAMPLE if "node" in name or "graph" in name else Decision.DROP)

    def get_description(self):
        return "of nodes"


class World:
    """A provider and what it exports."""

    def __init__(self, *processors, sampler=ALWAYS_ON):
        self.memory, self.provider = InMemorySpanExporter(), TracerProvider(sampler=sampler, shutdown_on_exit=False)
        for processor in (*processors, SimpleSpanProcessor(self.memory)):
            self.provider.add_span_processor(processor)
        self.sink = Spans(tracer_provider=self.provider, content="SPAN_ONLY")
        self.observer = Observer(self.sink)

    def told(self):
        """What was exported, without ids and times."""
        assert self.observer.flush()
        spans = self.memory.get_finished_spans()
        names = {span.context.span_id: span.name for span in spans}
        mine = (
            (
                span.name,
                names.get(span.parent.span_id) if span.parent else None,
                span.kind,
                span.status.status_code,
                sorted(span.attributes),
                [event.name for event in span.events],
                len(span.links),
                span.start_time <= span.end_time,
            )
            for span in spans
        )
        return sorted(mine, key=str)


@pytest.mark.parametrize("way", WAYS)
def test_late_spans_are_those_that_would_have_been_made_at_once(way):
    late, at_once = World(), World(Watching())
    for world in (late, at_once):
        run(way, world.observer.watch(agent(call("add", a=1, b=2))), ASKED)
    assert late.told() == at_once.told()
    assert len(late.told()) == 9


def test_what_is_below_a_root_waits_until_it_is_written_to_or_ends():
    world = World()
    root, below = started(), None
    world.sink(root)
    below = started(parent_span_id=root.span_id, parent_id=root.id, span_id="00000000000000aa", id="below")
    world.sink(below)
    span = world.sink.span(below)
    assert isinstance(span, Lazy)
    assert f"{span.get_span_context().span_id:016x}" == below.span_id
    assert span.is_recording()
    assert span._made is None
    span.set_attribute("mine", 1)
    assert span.attributes["mine"] == 1
    world.sink(finished(below))
    world.sink(finished(root))
    assert world.sink.flush()
    assert [one.attributes.get("mine") for one in world.memory.get_finished_spans()] == [1, None]


def test_a_span_of_the_users_hangs_below_one_that_is_not_made_yet():
    world = World()
    root = started()
    below = started(parent_span_id=root.span_id, parent_id=root.id, span_id="00000000000000aa", id="below")
    world.sink(root)
    world.sink(below)
    with trace.use_span(world.sink.span(below)):
        world.provider.get_tracer("mine").start_span("query").end()
    assert world.sink.span(below)._made is None
    (query,) = world.memory.get_finished_spans()
    assert f"{query.parent.span_id:016x}" == below.span_id


def test_a_processor_that_is_told_of_starts_is_told_in_their_order():
    watching = Watching()
    world = World(watching)
    world.observer.watch(agent(call("add", a=1, b=2))).invoke(ASKED)
    assert watching.begun[0].startswith("invoke_")
    assert len(watching.begun) == 9
    world.provider.add_span_processor(late := Watching())
    world.observer.watch(agent(call("add", a=1, b=2))).invoke(ASKED)
    assert late.begun == watching.begun[9:]


@pytest.mark.parametrize(
    ("sampler", "lazy"),
    [
        (ALWAYS_ON, True),
        (TraceIdRatioBased(1.0), True),
        (ParentBased(ALWAYS_ON), True),
        (ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF), False),
        (OfNodes(), False),
    ],
)
def test_a_sampler_that_asks_more_than_the_trace_is_asked_at_once(sampler, lazy):
    world = World(sampler=sampler)
    root = started(kind="graph")
    below = started(parent_span_id=root.span_id, parent_id=root.id, span_id="00000000000000aa", id="below", kind="node")
    world.sink(root)
    world.sink(below)
    assert isinstance(world.sink.span(below), Lazy) is lazy


@pytest.mark.parametrize(
    ("sampler", "late"),
    [
        (ALWAYS_ON, True),
        (ParentBased(ALWAYS_ON), True),
        (ALWAYS_OFF, False),
        (TraceIdRatioBased(1.0), False),
        (ParentBased(TraceIdRatioBased(1.0)), False),
        (ParentBased(ALWAYS_ON, local_parent_sampled=ALWAYS_OFF), False),
        (OfNodes(), False),
    ],
)
def test_a_root_waits_too_where_every_root_is_sampled(sampler, late):
    world = World(sampler=sampler)
    root, _ = opened(world)
    span = world.sink.span(root)
    assert isinstance(span, Lazy) is late
    assert f"{span.get_span_context().trace_id:032x}" == root.trace_id
    assert (
        span.get_span_context().trace_flags.sampled
        is span.is_recording()
        is not (sampler is ALWAYS_OFF or isinstance(sampler, OfNodes))
    )


def test_a_root_below_somebody_elses_span_is_made_at_once():
    world = World()
    root = started(kind="graph", parent_span_id="00000000000000bb")
    world.sink(root)
    assert not isinstance(world.sink.span(root), Lazy)


def test_a_tracer_that_was_switched_off_gives_no_root(monkeypatch):
    world = World()
    root, _ = opened(world)
    monkeypatch.setattr(type(world.sink._found()), "_is_enabled", lambda _: False)
    second = started(kind="graph", span_id="00000000000000cc", id="second")
    world.sink(second)
    assert not world.sink.span(second).is_recording()
    assert world.sink.span(root).is_recording()


def test_of_a_trace_that_is_not_sampled_nothing_is_made():
    world = World(sampler=ALWAYS_OFF)
    root = started()
    below = started(parent_span_id=root.span_id, parent_id=root.id, span_id="00000000000000aa", id="below")
    world.sink(root)
    world.sink(below)
    span = world.sink.span(below)
    assert not span.is_recording()
    assert not span.get_span_context().trace_flags.sampled
    world.sink(finished(below))
    world.sink(finished(root))
    assert world.sink.flush()
    assert span._made is None
    assert world.memory.get_finished_spans() == ()


def opened(world):
    """A root and a run below it."""
    root = started(kind="graph")
    below = started(parent_span_id=root.span_id, parent_id=root.id, span_id="00000000000000aa", id="below", kind="node")
    world.sink(root)
    world.sink(below)
    return root, below


class Failing(SpanProcessor):
    """An application's own, with a fault."""

    def on_start(self, span, parent_context=None):
        raise RuntimeError("processor")


def test_what_a_processor_raises_at_a_late_start_does_not_reach_who_writes():
    world = World()
    opened(world)
    world.provider.add_span_processor(Failing())
    span = world.sink.span(started(span_id="00000000000000aa"))
    span.set_attribute("mine", 1)
    assert span._made is None


class NoNodes(ParentBased):
    """One that decides by itself."""

    def should_sample(self, *arguments, **options):
        return super().should_sample(*arguments, **options)


def test_a_sampler_that_is_derived_from_a_known_one_is_asked_at_once():
    world = World(sampler=NoNodes(ALWAYS_ON))
    _, below = opened(world)
    assert not isinstance(world.sink.span(below), Lazy)


def test_spans_that_are_recorded_but_not_sampled_are_made_at_once():
    world = World(sampler=StaticSampler(Decision.RECORD_ONLY))
    _, below = opened(world)
    assert world.sink.span(below).is_recording()


def test_of_two_spans_that_two_threads_make_the_first_is_everybody_s():
    lazy, made = None, []

    def make(run, *, bare):
        span = NonRecordingSpan(SpanContext(1, len(made) + 1, is_remote=False))
        made.append(span)
        if len(made) == 1:
            assert lazy.made() is made[1]  # another thread, in the middle of it
        return span

    lazy = Lazy(started(), SpanContext(1, 1, is_remote=False), make)
    assert lazy.made() is lazy.made() is made[1]


def test_a_sink_that_is_closed_takes_no_span_from_one_that_is_open():
    world = World()
    second = Spans(tracer_provider=world.provider)
    second.close()
    root = started(kind="graph")
    for sink in (second, world.sink):
        sink(root)
    for sink in (second, world.sink):
        sink(finished(root))
    assert world.sink.flush()
    assert len(world.memory.get_finished_spans()) == 1


def test_a_span_can_be_copied():
    world = World()
    _, below = opened(world)
    span = world.sink.span(below)
    assert copy.copy(span).get_span_context() == span.get_span_context()
