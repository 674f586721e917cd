"""The places of an agent where user code runs and opens spans, and whose children these must be.

Each function makes an agent around a bit of user code. In its table a mark, which is a span by hand, one over HTTP and one in
SQL, stands with the run, or the user's own span, that it belongs to.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from dataclasses import dataclass, field
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableGenerator, RunnableLambda, RunnableParallel
from langchain_core.tools import StructuredTool
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.runtime import get_runtime
from langgraph.types import RetryPolicy, Send
from pydantic import BaseModel
from scenarios.user_spans import DONE, MEANS, MODEL, Called, State, Streamed, Within, linear

from langgraph_observe.testing import ScriptedModel

USAGE = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}  # nothing is to be estimated, which is said in a log


@dataclass(frozen=True)
class Place:
    graph: Any
    expected: dict[str, str]
    given: Any = field(default_factory=lambda: {"x": []})

    def children(self):
        """Each mark is a span of each means; but a span of the user's own, in which others are, is made by hand."""
        steps = {to.removeprefix("span ") for to in self.expected.values() if to.startswith("span ")}
        made = {mark: MEANS[:1] if mark in steps else MEANS for mark in self.expected}
        return {(means, mark): to for mark, to in self.expected.items() for means in made[mark]}


def of(owner, *marks):
    return dict.fromkeys(marks, owner)


# -- nodes


def nodes(actor):
    body = actor.body("first", Called(MODEL, "q"), "after the model", Streamed(MODEL, "q"), "last")
    expected = {**of("node one", "first", "after the model", "last"), "next": "node two"}
    return Place(linear(("one", body), ("two", actor.body("next"))), expected)


def a_span_of_the_users_own(actor):
    """As without us, whatever runs have come and gone inside it."""
    inner = linear(("deep", actor.body("deep", Within("depth", (Called(MODEL, "q"), "in depth")))), name="inner")
    inmost = Within("inmost", (Called(MODEL, "q"), Called(MODEL, "q"), "after two"))
    step = (
        "before",
        Called(MODEL, "q"),
        "after a model",
        Called(inner, DONE),
        "after a graph",
        inmost,
        Streamed(MODEL, "q"),
        "out",
    )
    graph = linear(("n", actor.body(Within("step", step), "after it")))
    expected = {"deep": "node deep", "in depth": "span depth", "after two": "span inmost", "after it": "node n"}
    expected |= {"depth": "node deep", "inmost": "span step", "step": "node n"}
    return Place(graph, of("span step", "before", "after a model", "after a graph", "out") | expected)


def parallel_nodes(actor):
    builder = StateGraph(State)
    for name in "abc":
        builder.add_node(name, actor.body(name, Called(MODEL, "q"), f"later {name}"))
        builder.add_edge(START, name)
    return Place(builder.compile(), {mark: f"node {name}" for name in "abc" for mark in (name, f"later {name}")})


def sent_tasks(actor):
    builder = StateGraph(State)
    builder.add_node("plan", lambda _: DONE)
    builder.add_node("work", actor.body("work {n}", Called(MODEL, "q"), "later {n}"))
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", lambda _: [Send("work", {"n": n}) for n in range(3)], ["work"])
    return Place(builder.compile(), {f"{mark} {n}": f"node work {n}" for mark in ("work", "later") for n in range(3)})


def a_retried_node(actor):
    def attempt():
        return get_runtime().execution_info.node_attempt

    def fail_once():
        if attempt() == 1:
            raise RuntimeError("once")
        return DONE

    body = actor.body(lambda: actor.mark(f"try {attempt()}"), answer=fail_once)
    policy = RetryPolicy(initial_interval=0.001, jitter=False, retry_on=RuntimeError)
    return Place(linear(("n", body), retry_policy=policy), {"try 1": "node n", "try 2": "node n attempt 2"})


def a_generator(actor):
    def work(_):
        actor.mark("before the piece")
        yield DONE
        actor.mark("after the piece")

    async def awork(_):
        await actor.amark("before the piece")
        yield DONE
        await actor.amark("after the piece")

    graph = linear(("n", awork if actor.asynchronous else work))
    return Place(graph, of("node n", "before the piece", "after the piece"))


# -- tools, models, retrievers


class Number(BaseModel):
    n: int


def look_up(actor, *actions):
    """A tool with one argument, a number, which its marks may name."""
    work = actor.body(*actions, answer="found")
    chosen = {"coroutine": work} if actor.asynchronous else {"func": work}
    return StructuredTool(name="look_up", description="Look it up.", args_schema=Number, **chosen)


def calling(*numbers):
    calls = [{"name": "look_up", "args": {"n": n}, "id": f"c{n}", "type": "tool_call"} for n in numbers]
    return AIMessage("", tool_calls=calls)


def in_tools(work):
    builder = StateGraph(MessagesState)
    builder.add_node("tools", ToolNode([work]))
    builder.add_edge(START, "tools")
    return builder.compile()


def parallel_tools(actor):
    work = look_up(actor, "tool {n}", Called(MODEL, "q"), "later {n}")
    expected = {f"{mark} {n}": f"tool look_up c{n}" for mark in ("tool", "later") for n in (1, 2)}
    return Place(in_tools(work), expected, {"messages": [calling(1, 2)]})


class Asking(BaseChatModel):
    """Asks its provider, so to speak, in each of the methods that the class of a model may have."""

    actor: Any

    @property
    def _llm_type(self):
        return "asking"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.actor.mark(f"in {self.name}")
        return ChatResult(generations=[ChatGeneration(message=AIMessage("hello", usage_metadata=USAGE))])


class AAsking(Asking):
    async def _agenerate(self, messages, stop=None, run_manager=None, **kwargs):
        await self.actor.amark(f"in {self.name}")
        return ChatResult(generations=[ChatGeneration(message=AIMessage("hello", usage_metadata=USAGE))])


class Streaming(Asking):
    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        self.actor.mark(f"in {self.name}")
        yield ChatGenerationChunk(message=AIMessageChunk("hel"))
        self.actor.mark(f"later in {self.name}")
        yield ChatGenerationChunk(message=AIMessageChunk("lo", usage_metadata=USAGE))


class AStreaming(Streaming):
    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        await self.actor.amark(f"in {self.name}")
        yield ChatGenerationChunk(message=AIMessageChunk("hel"))
        await self.actor.amark(f"later in {self.name}")
        yield ChatGenerationChunk(message=AIMessageChunk("lo", usage_metadata=USAGE))


def models(actor):
    """One class has an asynchronous method, for the other LangChain calls its plain one in a thread."""
    body = actor.body(Called(Asking(actor=actor, name="plain"), "q"), Called(AAsking(actor=actor, name="both"), "q"), "after")
    return Place(linear(("n", body)), {"in plain": "model plain", "in both": "model both", "after": "node n"})


def streamed_models(actor):
    kinds = {"plain": Streaming, "both": AStreaming}
    body = actor.body(*(Streamed(kind(actor=actor, name=name), "q") for name, kind in kinds.items()), "after")
    expected = {mark: f"model {name}" for name in kinds for mark in (f"in {name}", f"later in {name}")}
    return Place(linear(("n", body)), expected | {"after": "node n"})


class Retrieving(BaseRetriever):
    actor: Any

    def _get_relevant_documents(self, query, *, run_manager):
        self.actor.mark(f"in {self.name}")
        return []


class ARetrieving(Retrieving):
    async def _aget_relevant_documents(self, query, *, run_manager):
        await self.actor.amark(f"in {self.name}")
        return []


def retrievers(actor):
    kinds = {"plain": Retrieving, "both": ARetrieving}
    body = actor.body(*(Called(kind(actor=actor, name=name), "q") for name, kind in kinds.items()), "after")
    return Place(linear(("n", body)), {f"in {name}": f"retriever {name}" for name in kinds} | {"after": "node n"})


# -- edges, sub-graphs, tasks, chains, middleware


def routers(actor):
    builder = StateGraph(State)
    builder.add_node("n", actor.body("in the node"))
    builder.add_conditional_edges(START, actor.body("at the start", answer="n", name="enter"), ["n"])
    builder.add_conditional_edges("n", actor.body("after the node", answer=END, name="leave"), [END])
    return Place(builder.compile(), {"in the node": "node n", "at the start": "chain enter", "after the node": "chain leave"})


def sub_graphs(actor):
    """One is a node, one is called in a node, and one that is observed by itself is both."""
    one, two, three, four = (linear((name, actor.body(name)), name=f"graph {name}") for name in ("one", "two", "three", "four"))
    watch = actor.observer.watch
    body = actor.body("before", Called(two, DONE), "between", Called(watch(four), DONE), "after")
    graph = linear(("first", one), ("second", body), ("third", watch(three)))
    expected = {name: f"node {name}" for name in ("one", "two", "three", "four")}
    return Place(graph, expected | of("node second", "before", "between", "after"))


def a_sub_graph_in_a_tool(actor):
    inner = linear(("inner", actor.body("inside")), name="sub")
    graph = in_tools(look_up(actor, "before", Called(inner, DONE), "after"))
    return Place(graph, {"inside": "node inner"} | of("tool look_up c7", "before", "after"), {"messages": [calling(7)]})


def tasks(actor):
    fetch = task(actor.body("in task {n}", Called(MODEL, "q"), "later in {n}", answer=1), name="fetch")

    def flow(_):
        actor.mark("first")
        return [future.result() for future in [fetch(n=1), fetch(n=2)]], actor.mark("last")

    async def aflow(_):
        await actor.amark("first")
        return await asyncio.gather(fetch(n=1), fetch(n=2)), await actor.amark("last")

    work = aflow if actor.asynchronous else flow
    expected = {f"{mark} {n}": f"node fetch {n}" for mark in ("in task", "later in") for n in (1, 2)}
    return Place(entrypoint()(work), expected | of(f"node {work.__name__}", "first", "last"))


def chains(actor):
    def step(name):
        return RunnableLambda(actor.body(f"in {name}", answer=1), name=name)

    def pieces(_):
        actor.mark("first piece")
        yield 1
        actor.mark("second piece")

    async def apieces(_):
        await actor.amark("first piece")
        yield 1
        await actor.amark("second piece")

    streamed = step("three") | RunnableGenerator(apieces if actor.asynchronous else pieces, name="pieces")
    body = actor.body(
        Called(step("one") | RunnableParallel(a=step("a"), b=step("b")), 1), "between", Streamed(streamed, 1), "after"
    )
    graph = linear(("n", body), ("chain", step("four") | step("five") | (lambda _: DONE)))
    expected = {f"in {name}": f"chain {name}" for name in ("one", "a", "b", "three", "four", "five")}
    return Place(graph, expected | of("chain pieces", "first piece", "second piece") | of("node n", "between", "after"))


class Hooks(AgentMiddleware):
    def __init__(self, actor):
        super().__init__()
        self.actor = actor

    def before_model(self, state, runtime):
        self.actor.mark(f"before {len(state['messages'])}")

    async def abefore_model(self, state, runtime):
        await self.actor.amark(f"before {len(state['messages'])}")

    def wrap_model_call(self, request, handler):
        self.actor.mark(f"around {len(request.messages)}")
        answer = handler(request)
        self.actor.mark(f"answered {len(request.messages)}")
        return answer

    async def awrap_model_call(self, request, handler):
        await self.actor.amark(f"around {len(request.messages)}")
        answer = await handler(request)
        await self.actor.amark(f"answered {len(request.messages)}")
        return answer

    def wrap_tool_call(self, request, handler):
        self.actor.mark("around a tool")
        answer = handler(request)
        self.actor.mark("after a tool")
        return answer

    async def awrap_tool_call(self, request, handler):
        await self.actor.amark("around a tool")
        answer = await handler(request)
        await self.actor.amark("after a tool")
        return answer


def middleware(actor):
    model = ScriptedModel(respond=lambda messages: calling(5) if isinstance(messages[-1], HumanMessage) else "done")
    graph = create_agent(model, [look_up(actor, "in the tool")], middleware=[Hooks(actor)])
    expected = {mark: to for n in (1, 3) for mark, to in hooked(n).items()} | {"in the tool": "tool look_up c5"}
    return Place(graph, expected | of("node tools", "around a tool", "after a tool"), {"messages": [HumanMessage("go")]})


def hooked(n):
    return {f"before {n}": "node Hooks.before_model", f"around {n}": "node model", f"answered {n}": "node model"}


# -- threads and tasks of the user's own


def a_thread(actor):
    graph = linear(("n", actor.body(in_thread(actor, "in a thread"), Within("step", (in_thread(actor, "inside"),)), "after")))
    return Place(graph, of("node n", "in a thread", "after", "step") | {"inside": "span step"})


def in_thread(actor, place):
    def run():
        thread = threading.Thread(target=contextvars.copy_context().run, args=(actor.mark, place))
        thread.start()
        thread.join()

    return run


def asyncio_tasks(actor):
    async def group():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(actor.amark("in a group"))

    def a_model_and(*places):
        return [actor.aact([Called(MODEL, "q"), place], {}) for place in places]

    started = (
        lambda: asyncio.gather(*a_model_and("gathered 1", "gathered 2")),
        lambda: asyncio.create_task(*a_model_and("in a task")),
        lambda: asyncio.to_thread(actor.mark, "in a thread"),
        group,
    )
    step = Within("step", (lambda: asyncio.gather(MODEL.ainvoke("q"), *a_model_and("in the step 1", "in the step 2")), "later"))
    marks = ("gathered 1", "gathered 2", "in a task", "in a thread", "in a group", "after", "step")
    graph = linear(("n", actor.body(*started, "after", step)))
    return Place(graph, of("node n", *marks) | of("span step", "in the step 1", "in the step 2", "later"))


ASYNC_ONLY = (asyncio_tasks,)
PLACES = (
    *(nodes, a_span_of_the_users_own, parallel_nodes, sent_tasks, a_retried_node, a_generator),
    *(parallel_tools, models, streamed_models, retrievers, routers, sub_graphs, a_sub_graph_in_a_tool, tasks, chains, middleware),
    *(a_thread, asyncio_tasks),
)
