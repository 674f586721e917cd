"""Beside Langfuse's SDK and what else traces a model call: one generation a call, and its cost once."""

# ruff: noqa: F811 - fixtures are imported, and are arguments

import gc

import anthropic as sdk
import pytest
from langfuse import observe, propagate_attributes
from langfuse._client.span_processor import LangfuseSpanProcessor
from langfuse_bench import bench  # noqa: F401
from langfuse_server import PUBLIC
from langgraph.graph import START, StateGraph
from opentelemetry.sdk.trace import TracerProvider
from otel_records import started
from providers import Reply, anthropic, claude, one_certificate  # noqa: F401

from langgraph_observe.sinks import langfuse, langfuse_sdk
from langgraph_observe.testing import ScriptedModel

pytestmark = pytest.mark.filterwarnings("ignore:The model 'claude:DeprecationWarning")  # Anthropic's SDK, on its models' ends
ANSWER = Reply(usage={"input_tokens": 10, "output_tokens": 5}, model="claude-sonnet-4-5-20250929", finish="end_turn")


@pytest.fixture
def company(bench):
    """With the SDK's client and `otel.Spans` on one provider."""
    bench.beside_the_sdk()
    return bench


class Traced(ScriptedModel):
    """A model with somebody's instrumentation inside."""

    inside: object

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.inside()
        return super()._generate(messages, stop, run_manager, **kwargs)


INSTRUMENTATIONS = {
    "opentelemetry.instrumentation.openai_v2": {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 7},
    "openinference.instrumentation.openai": {"openinference.span.kind": "LLM", "llm.token_count.prompt": 7},
    "com.anthropic.sdk.python": {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 7},
}


@pytest.mark.parametrize("scope", INSTRUMENTATIONS)
def test_what_an_instrumentation_tells_of_a_call_of_ours_is_left_out(company, scope):
    def inside():
        company.provider.get_tracer(scope).start_span("chat", attributes=INSTRUMENTATIONS[scope]).end()

    Traced(respond=lambda _: "word", inside=inside).invoke("q", company.config())
    assert [one.name for one in company.seen()] == ["Traced"]


def test_langfuses_own_wrapper_of_a_client_tells_it_once_too(company):
    @observe(name="OpenAI-generation", as_type="generation")
    def inside():
        pass

    Traced(respond=lambda _: "word", inside=inside).invoke("q", company.config())
    assert [one.name for one in company.seen()] == ["Traced"]


def test_what_a_user_observes_inside_of_his_own_model_stays(company):
    Traced(respond=lambda _: "word", inside=observe(name="mine")(lambda: None)).invoke("q", company.config())
    company.seen()
    assert company.server.tree() == {"Traced": None, "mine": "Traced"}


def test_what_a_user_observes_in_a_node_is_no_root_of_the_trace(company):
    def work(_):
        observe(name="mine")(lambda: None)()
        return {}

    graph = StateGraph(dict).add_node("work", work).add_edge(START, "work").compile()
    graph.invoke({}, company.config())
    roots = [one.name for one in company.seen() if one.held.get("langfuse.internal.is_app_root")]
    assert (roots, company.server.tree()) == (["LangGraph"], {"LangGraph": None, "work": "LangGraph", "mine": "work"})


async def test_what_is_propagated_by_the_sdk_is_on_all_of_ours_where_the_call_says_nothing_else(company):
    graph = StateGraph(dict).add_node("work", observe(name="mine")(nothing)).add_edge(START, "work").compile()
    told = {
        "session_id": "s-1",
        "user_id": "ada",
        "tags": ["gold"],
        "trace_name": "support",
        "environment": "staging",
        "version": "7",
    }
    with propagate_attributes(**told, metadata={"tenant": "acme"}):
        await graph.ainvoke({}, company.config(configurable={"thread_id": "t-1"}))
        await graph.ainvoke({}, company.config(metadata={"langfuse_session_id": "s-2"}))
    await graph.ainvoke({}, company.config())
    keys = ("langfuse.trace.name", "langfuse.environment", "langfuse.version", "langfuse.trace.metadata.tenant")
    seen = [(one.session, one.user, *one.tags, *map(one.held.get, keys)) for one in company.seen() if one.name != "mine"]
    said = ("ada", "gold", "support", "staging", "7", "acme")
    assert seen[:2] == [("s-1", *said)] * 2
    assert seen[2:4] == [("s-2", *said)] * 2
    assert [one[:2] for one in seen[4:]] == [(None, None)] * 2
    assert [one.session for one in company.server.observations if one.name == "mine"] == ["s-1", "s-1", None]


async def nothing(_):
    return {}


@pytest.mark.parametrize(
    ("key", "rule", "lines"),
    [(PUBLIC, None, 1), (PUBLIC, langfuse.others, 0), ("pk-another", None, 0)],
    ids=["doubled", "told", "another"],
)
def test_an_sdk_that_would_send_everything_twice_is_named_once(bench, caplog, key, rule, lines):
    provider = bench.provider
    provider.add_span_processor(
        LangfuseSpanProcessor(public_key=key, secret_key="s", base_url=bench.server.url, should_export_span=rule)
    )
    for _ in range(2):
        ScriptedModel(respond=lambda _: "word").invoke("q", bench.config())
        bench.seen()
    provider.shutdown()
    assert ["should_export_span=langgraph_observe" in line.getMessage() for line in caplog.records] == [True] * lines


def test_a_call_that_langchain_knows_nothing_of_keeps_the_generation_of_its_client(company):
    with anthropic(ANSWER) as server:

        def ask(_):
            client = sdk.Anthropic(base_url=server.url, api_key="none", max_retries=0)
            client.messages.create(model="claude-sonnet-4-5", max_tokens=9, messages=[{"role": "user", "content": "q"}])
            return {}

        StateGraph(dict).add_node("ask", ask).add_edge(START, "ask").compile().invoke({}, company.config())
    company.seen()
    (generation,) = company.server.generations()
    assert generation.tokens == 15
    assert company.server.tree()[generation.name] == "ask"


def test_a_stream_that_is_broken_off_is_one_generation(company):
    with anthropic(ANSWER) as server:
        stream = claude(server).stream("q", company.config())
        next(stream)
        stream.close()
        del stream
        gc.collect()  # the client ends its span when nobody reads on
    company.seen()
    assert [one.name for one in company.server.generations()] == ["ChatAnthropic"]


def test_only_the_last_few_thousand_calls_are_remembered(monkeypatch):
    calls = langfuse_sdk.Recent(3)
    monkeypatch.setattr(langfuse, "calls", calls)
    traces = langfuse.Traces(public_key="a", secret_key="b", base_url="http://127.0.0.1:9")
    runs = [started("model") for _ in range(8)]
    for run in runs:
        traces(run)
    traces.close()
    assert [run.span_id in calls for run in runs] == [False] * 3 + [True] * 5


def test_a_tool_a_node_or_a_span_of_somebody_else_is_no_call():
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("web").start_as_current_span("request"):
        span = provider.get_tracer("com.anthropic.sdk.python").start_span("chat", attributes={"gen_ai.operation.name": "chat"})
    span.end()
    assert langfuse.others(span)
