"""A real agent graph, every real sink around it, and what a caller sees: to be compared with and without us."""

import asyncio
import json
import re
from collections import Counter
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from langgraph_observe import Finished, Observer, Started
from langgraph_observe.sinks import langfuse, otel
from langgraph_observe.sinks.log import Lines
from langgraph_observe.sinks.prometheus import Metrics
from langgraph_observe.sinks.store import Store
from langgraph_observe.testing import ScriptedModel

IDS = re.compile("[0-9a-f]{8}-[0-9a-f-]{27}|0x[0-9a-f]+")
MODES = ["values", "updates", "messages", "custom"]
KEYS = {"public_key": "pk-lf-1234", "secret_key": "sk-lf-not-to-be-told"}
RUNS = 10
"""Of one question: a graph, four nodes, two model calls, two conditions and a tool."""


class State(TypedDict, total=False):
    messages: Annotated[list, add_messages]
    fails: bool
    thing: Any


@tool
def look(city: str) -> str:
    """Look out of the window."""
    return f"rain in {city}"


def _respond(messages):
    if isinstance(messages[-1], ToolMessage):
        return AIMessage("Take an umbrella", id="last")
    return AIMessage("", id="first", tool_calls=[{"name": "look", "args": {"city": "Bergen"}, "id": "call-1"}])


def agent(act=None):
    """think → look → think → act; `act(state)` if given, and an error if the state says `fails`."""
    model = ScriptedModel(respond=_respond).bind_tools([look])

    def think(state: State):
        return {"messages": [model.invoke(state["messages"])]}

    def deed(state: State):
        get_stream_writer()("acting")
        if state.get("fails"):
            raise ValueError("no umbrella left")
        return act(state) if act else {}

    builder = StateGraph(State)
    builder.add_node("think", think)
    builder.add_node("tools", ToolNode([look]))
    builder.add_node("act", deed)
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition, {"tools": "tools", "__end__": "act"})
    builder.add_edge("tools", "think")
    return builder.compile(name="agent")


def question(**more):
    return {"messages": [HumanMessage("What is the weather?", id="asked")], **more}


WAYS = {
    "invoke": lambda graph, given: graph.invoke(given),
    "stream": lambda graph, given: list(graph.stream(given, stream_mode=MODES)),
    "ainvoke": lambda graph, given: asyncio.run(graph.ainvoke(given)),
    "astream": lambda graph, given: asyncio.run(_collect(graph.astream(given, stream_mode=MODES))),
}


async def _collect(chunks):
    return [chunk async for chunk in chunks]


def seen(call, *arguments):
    """What a caller gets, with every type and in order, or its exception; without the ids that are new each time."""
    try:
        got = call(*arguments)
    except Exception as error:
        return type(error), IDS.sub("<id>", str(error))
    return type(got), IDS.sub("<id>", repr(got))


def unchanged(observed, graph):
    """Every way of asking, with success and failure, gives the caller of both the same. How many times each was run."""
    for way, call in WAYS.items():
        for given in (question(), question(fails=True)):
            expected = seen(call, graph, given)
            assert seen(call, observed, given) == expected, way
            assert "umbrella" in expected[1]
    return 2 * len(WAYS)


def once(records, observer):
    """Each run that started has finished exactly once, under a parent that is there; none is open. How many runs."""
    started = Counter(record.span_id for record in records if isinstance(record, Started))
    assert started == Counter(record.run.span_id for record in records if isinstance(record, Finished))
    assert set(started.values()) <= {1}
    assert {run.parent_span_id for run in begun(records) if run.parent_id} <= started.keys()
    assert len(observer.tracker) == 0
    assert observer.health()["capture"] == {"open": 0, "errors": 0}
    return len(started)


def begun(records):
    return [record for record in records if isinstance(record, Started)]


def ended(records, *kinds):
    return [record for record in records if isinstance(record, Finished) and (not kinds or record.run.kind in kinds)]


def contents(records):
    """Every payload of the records as the data its JSON stands for: each must be valid, bounded JSON."""
    found = []
    for end in ended(records):
        for payload in (end.run.input, end.run.tools, end.output):
            if payload is not None:
                assert len(payload.json) < 4_000_000
                found.append(json.loads(payload.json))
    return found


class Everything:
    """All the sinks at once, none of them a fake, each with a backend in memory or in a directory."""

    def __init__(self, directory, *more):
        self.records = []
        self.spans, self.observations = InMemorySpanExporter(), InMemorySpanExporter()
        self.registry = CollectorRegistry()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.store = Store(directory / "traces.db")
        self.observer = Observer(
            self.records.append,
            self.store,
            otel.Spans(tracer_provider=provider, content="SPAN_ONLY"),
            langfuse.Traces(span_exporter=self.observations, **KEYS),
            Metrics(registry=self.registry),
            Lines(),
            *more,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.observer.close()

    def complete(self):
        """Every sink has taken every run, and lost nothing. How many runs."""
        runs = once(self.records, self.observer)
        assert self.observer.flush(10)
        assert len(self.spans.get_finished_spans()) == runs
        assert len([span for span in self.observations.get_finished_spans() if "type" not in span.name]) == runs
        for name, counts in self.observer.health().items():
            assert not any(counts.values()), name
        contents(self.records)
        return runs
