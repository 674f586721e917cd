"""What Langfuse's pages are drawn from: the chat view, the agent graph, prompts, the first token, environments and releases."""

# ruff: noqa: F811 - fixtures are imported, and are arguments

import json
from datetime import datetime

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langfuse.api.prompts.types.prompt import Prompt_Chat
from langfuse.model import ChatPromptClient
from langfuse_bench import bench  # noqa: F401
from langfuse_server import KEYS, Langfuse
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from providers import Reply, gpt, one_certificate, openai  # noqa: F401

from langgraph_observe import Observer
from langgraph_observe.sinks.langfuse import Traces
from langgraph_observe.testing import ScriptedModel


@tool
def weather(city: str) -> str:
    """Look out of the window."""
    return f"rain in {city}"


def respond(messages):
    if isinstance(messages[-1], ToolMessage):
        return AIMessage("Take an umbrella.")
    return AIMessage("", tool_calls=[{"id": "c-1", "name": "weather", "args": {"city": "Oslo"}}])


def test_the_chat_view_has_messages_tools_and_calls_in_openais_form(bench):
    model = ScriptedModel(respond=respond).bind_tools([weather])
    asked = [SystemMessage("Be brief."), HumanMessage("Umbrella?")]
    answer = model.invoke(asked, bench.config())
    model.invoke([*asked, answer, weather.invoke(answer.tool_calls[0])], bench.config())
    first, second = bench.seen()
    call = {"id": "c-1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    assert first.data("input")["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Umbrella?"}]
    (offered,) = first.data("input")["tools"]
    assert (offered["type"], offered["function"]["name"], offered["function"]["parameters"]["required"]) == (
        "function",
        "weather",
        ["city"],
    )
    assert first.data("output") == {"role": "assistant", "content": "", "tool_calls": [call]}
    *_, called, told = second.data("input")["messages"]
    assert called["tool_calls"] == [call]
    assert (told["role"], told["tool_call_id"], told["content"]) == ("tool", "c-1", "rain in Oslo")
    assert second.data("output") == {"role": "assistant", "content": "Take an umbrella."}


def test_the_agent_graph_is_drawn_from_the_node_and_the_step_of_every_observation_in_it(bench):
    agent = create_agent(ScriptedModel(respond=respond), tools=[weather], name="helper")
    agent.invoke({"messages": [HumanMessage("Umbrella?")]}, bench.config())
    seen = bench.seen()
    drawn = {(one.metadata["langgraph_step"], one.metadata["langgraph_node"]) for one in seen if "langgraph_node" in one.metadata}
    assert drawn == {(1, "model"), (2, "tools"), (3, "model")}
    assert [(one.type, one.name) for one in seen if "langgraph_node" not in one.metadata] == [("AGENT", "helper")]
    root = bench.server.named("helper")
    assert root.data("input")["messages"][0]["content"] == "Umbrella?"
    assert root.data("output")["messages"][-1]["content"] == "Take an umbrella."


def managed(*, is_fallback=False):
    told = Prompt_Chat(name="support", version=7, prompt=[], config={}, labels=[], tags=[], type="chat")
    return ChatPromptClient(told, is_fallback=is_fallback)


def test_a_managed_prompt_is_linked_to_the_generation_that_used_it_and_a_fallback_text_to_none(bench):
    model = ScriptedModel(respond=lambda _: "word")
    for is_fallback in (False, True):
        template = ChatPromptTemplate.from_template("say {word}").with_config(
            metadata={"langfuse_prompt": managed(is_fallback=is_fallback)}
        )
        (template | model).invoke({"word": "w"}, bench.config(run_name=f"{is_fallback=}"))
    bench.seen()
    first, second = bench.server.generations()
    assert (first.data("prompt.name"), first.data("prompt.version")) == ("support", 7)
    assert (second.data("prompt.name"), second.data("prompt.version")) == (None, None)


def test_the_first_token_of_a_stream_has_its_time(bench):
    with openai(Reply()) as server:
        list(gpt(server).stream("q", bench.config()))
        gpt(server).invoke("q", bench.config())
    streamed, whole = bench.seen()
    first = datetime.fromisoformat(json.loads(streamed.held["langfuse.observation.completion_start_time"])).timestamp() * 1e9
    assert streamed.span.start_time_unix_nano - 1000 <= first <= streamed.span.end_time_unix_nano  # told in microseconds
    assert "langfuse.observation.completion_start_time" not in whole.held


def test_environment_release_version_session_and_user_are_on_every_observation_events_too():
    def ask(_):
        return interrupt("may I?")

    asking = StateGraph(dict).add_node("ask", ask).add_edge(START, "ask").compile(checkpointer=InMemorySaver())
    told = {"langfuse.environment": "staging", "langfuse.release": "r-7", "langfuse.version": "1.2"}
    with Langfuse() as server:
        sink = Traces(base_url=server.url, environment="staging", release="r-7", version="1.2", **KEYS)
        with Observer(sink) as observer:
            observer.watch(asking, session_id="s-1", user_id="ada", tags=["gold"]).invoke(
                {}, {"configurable": {"thread_id": "t-1"}}
            )
    assert sorted(one.type for one in server.observations) == ["CHAIN", "CHAIN", "EVENT"]
    for one in server.observations:
        assert {key: one.held[key] for key in told} == told
        assert (one.session, one.user, one.tags) == ("s-1", "ada", ["gold"])
