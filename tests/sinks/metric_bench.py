"""meter.Meters on a provider of its own, real graphs for it to measure, and what came out."""

from capture.graphs import add, call, fail, linear
from langchain.agents import create_agent
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langgraph.types import RetryPolicy
from metric_rules import violations
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from langgraph_observe import CallbackHandler, Observer, demo
from langgraph_observe.sinks.meter import Meters
from langgraph_observe.testing import ScriptedModel


class Bench:
    """A sink on an SDK provider of its own, and what its reader collects."""

    def __init__(self, **options):
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.meters = Meters(**{"meter_provider": self.provider, **options})
        self.observer = Observer(self.meters)

    def __call__(self, *records):
        for record in records:
            self.meters(record)
        return self

    @property
    def handler(self):
        return {"callbacks": [CallbackHandler(observer=self.observer)]}

    def read(self):
        """All points, by name, after the table has been asked whether they are as the conventions say."""
        assert self.meters.flush(5)
        assert self.meters.health() == {"queued": 0, "dropped": 0, "errors": 0, "open": 0}
        data = self.reader.get_metrics_data()
        found = (
            {metric.name: metric for scope in data.resource_metrics[0].scope_metrics for metric in scope.metrics} if data else {}
        )
        assert [problem for metric in found.values() for problem in violations(metric)] == []
        return {name: metric.data.data_points for name, metric in found.items()}

    def sums(self, name, *attributes):
        """What was counted or added up, by the values of these attributes."""
        return {
            tuple(point.attributes.get(key) for key in attributes): getattr(point, "sum", getattr(point, "value", None))
            for point in self.read().get(name, ())
        }

    def counts(self, name, *attributes):
        return {tuple(point.attributes.get(key) for key in attributes): point.count for point in self.read().get(name, ())}


class Library(BaseRetriever):
    def _get_relevant_documents(self, query, *, run_manager):
        return [Document("text")]


def researcher():
    """An agent whose tool asks another agent, which fails at one of its two tools."""
    helper = create_agent(
        ScriptedModel(respond=calling(call("add", 1, a=1, b=2), call("fail", 2, a=1)), model="small"), [add, fail], name="helper"
    )

    @tool
    def ask(question: str) -> str:
        """Ask the helper."""
        try:
            return helper.invoke({"messages": [("user", question)]})["messages"][-1].text
        except ValueError:
            return "the helper failed"

    return create_agent(ScriptedModel(respond=calling(call("ask", question="?"))), [ask], name="researcher")


def calling(*calls):
    return lambda messages: AIMessage("", tool_calls=list(calls)) if isinstance(messages[-1], HumanMessage) else "done now"


def play(bench):
    """Everything that there is to be measured, but for what a provider must say."""
    demo.run(bench.observer)
    researcher().invoke({"messages": [("user", "well?")]}, bench.handler)
    Library().invoke("what?", bench.handler)
    flaky().invoke({"n": 1}, bench.handler)


def flaky():
    tries = []

    def stumble(state):
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError
        return {"n": 2}

    retry = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=ConnectionError)
    return linear(stumble, compile_with={"name": "flaky"}, retry_policy=retry)
