"""What is kept of inputs and outputs: as they were, bounded, new parts only, and never more than was asked for."""

import dataclasses
import threading

import graphs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, Send, TracePolicy
from pydantic import BaseModel

from langgraph_observe import CallbackHandler, Finished, Observer, Started, observe
from langgraph_observe.capture import payload
from langgraph_observe.payloads import Payload, plain
from langgraph_observe.testing import ScriptedModel


def kept(value):
    return plain(payload.Snapshot().of(value))


def node_inputs(seen):
    return {record.name: record.input for record in seen if isinstance(record, Started) and record.kind == "node"}


def test_a_state_is_recorded_as_it_was_when_the_node_began():
    seen = []

    def mutate(state):
        state["x"].append("later")
        return {"x": ["returned"]}

    observe(graphs.linear(mutate), seen.append, payloads="full").invoke({"x": ["at start"]})

    assert node_inputs(seen)["mutate"].value == {"x": ["at start"]}


def conversation(length):
    """A graph whose nodes each add a message to a history of this length."""
    builder = StateGraph(MessagesState)
    before = START
    for name in ("a", "b", "c"):
        builder.add_node(name, lambda _, name=name: {"messages": [AIMessage(f"from {name}")]})
        builder.add_edge(before, name)
        before = name
    return builder.compile(), {"messages": [HumanMessage(f"message {number}") for number in range(length)]}


def test_a_node_s_input_is_what_is_new_since_the_state_was_last_shown():
    graph, history = conversation(50)
    seen = []
    observe(graph, seen.append).invoke(history)

    inputs = node_inputs(seen)
    assert len(seen[0].input.messages) == 50
    assert inputs["a"].value == {}
    assert inputs["a"].omitted == {"messages": None}
    assert [message["content"] for message in inputs["b"].value["messages"]] == ["from a"]
    assert inputs["b"].omitted == {"messages": 50}
    root = seen[-1]
    assert [message["content"] for message in root.output.value["messages"]] == ["from a", "from b", "from c"]
    assert root.output.omitted == {"messages": 50}


def test_what_is_kept_of_a_node_does_not_grow_with_the_conversation():
    def size(length):
        graph, history = conversation(length)
        seen = []
        observe(graph, seen.append).invoke(history)
        return sum(len(record.input.json) for record in seen if isinstance(record, Started) and record.kind == "node")

    assert size(10) == size(300)


def test_the_full_policy_keeps_the_whole_state():
    graph, history = conversation(5)
    seen = []
    observe(graph, seen.append, payloads="full").invoke(history)

    assert [len(item.value["messages"]) for item in node_inputs(seen).values()] == [5, 6, 7]


def test_the_none_policy_and_sinks_that_read_nothing_keep_nothing():
    def blind(_):
        pass

    blind.payloads = False
    graph, history = conversation(2)
    seen = []
    observe(graph, seen.append, payloads="none").invoke(history)
    made = []
    with Observer(blind) as observer:
        emit, observer.tracker._emit = observer.emit, lambda record: made.append(record) or emit(record)
        observer.watch(graph).invoke(history)

    for record in (*seen, *made):
        assert getattr(record, "input", None) is None
        assert getattr(record, "output", None) is None
    assert made


def test_a_model_s_input_is_whole_whatever_the_policy():
    seen = []
    model = ScriptedModel(respond=lambda _: "yes")
    builder = StateGraph(MessagesState)
    builder.add_node("ask", lambda state: {"messages": [model.invoke([SystemMessage("be kind"), *state["messages"]])]})
    builder.add_node("again", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "again")
    observe(builder.compile(), seen.append).invoke({"messages": [HumanMessage("hello")]})

    asked = [record.input.value["messages"] for record in seen if isinstance(record, Started) and record.kind == "model"]
    assert [[message["content"] for message in messages] for messages in asked] == [["be kind", "hello"], ["hello", "yes"]]
    answers = [record.output.value["messages"] for record in seen if isinstance(record, Finished) and record.run.kind == "model"]
    assert [answer[0]["role"] for answer in answers] == ["assistant", "assistant"]


def test_a_message_is_captured_once_for_all_payloads_that_hold_it():
    graph, history = conversation(3)
    seen = []
    observe(graph, seen.append, payloads="full").invoke(history)

    first = {id(item.messages[0]) for item in node_inputs(seen).values()}
    assert len(first) == 1


def test_a_message_that_was_changed_in_place_is_shown_as_it_is_now():
    seen = []
    model = ScriptedModel(respond=lambda _: "yes")
    message = HumanMessage(["first"])
    handler = CallbackHandler(seen.append)

    def change(_):
        model.invoke([message], {"callbacks": [handler]})
        message.content.append("second")
        message.name = "bob"
        model.invoke([message], {"callbacks": [handler]})

    from langchain_core.runnables import RunnableLambda

    RunnableLambda(change).invoke(1, {"callbacks": [handler]})
    first, second = [record.input.value["messages"][0] for record in seen if isinstance(record, Started) and record.kind == "model"]
    assert first == {"role": "user", "content": ["first"]}
    assert second == {"role": "user", "content": ["first", "second"], "name": "bob"}


def test_an_item_that_took_another_s_place_is_new():
    seen = []

    def replace_first(state):
        state["x"][0] = "other"
        return {"n": 1}

    builder = StateGraph(dict_state())
    builder.add_node("a", replace_first)
    builder.add_node("b", lambda _: {"n": 2})
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    observe(builder.compile(), seen.append).invoke({"x": ["one", "two"], "n": 0})

    assert node_inputs(seen)["b"].value["x"] == ["other", "two"]


def dict_state():
    from typing import TypedDict

    return TypedDict("Plain", {"x": list, "n": int})


def test_task_arguments_are_whole():
    seen = []
    observe(graphs.fan_out(), seen.append).invoke({"x": []})

    works = [record.input.value for record in seen if isinstance(record, Started) and record.name == "work"]
    assert works == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_the_author_s_trace_policy_is_honoured():
    seen = []

    def broken(_):
        raise ValueError("no")

    policy = TracePolicy(process_inputs=lambda state: {"count": len(state["x"])}, process_outputs=broken)
    observe(graphs.linear(("n", lambda _: {"x": ["secret"]}), trace_policy=policy), seen.append).invoke({"x": ["a", "b"]})

    node = next(record for record in seen if isinstance(record, Finished) and record.run.kind == "node")
    assert node.run.input.value == {"count": 2}
    assert "secret" not in str(node.output.value)
    assert "dropped" in node.output.value


class Point(BaseModel):
    x: int
    tags: set[str]


@dataclasses.dataclass
class Pair:
    left: object
    right: object


class Strange:
    """Everything one may ask it raises."""

    def __repr__(self):
        raise RuntimeError

    __str__ = __len__ = __iter__ = __bool__ = __repr__

    def __eq__(self, other):
        raise RuntimeError

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"abc", "<bytes: 3 bytes>"),
        ({1, 2}, [1, 2]),
        (float("nan"), "nan"),
        ("\ud800", "?"),
        (Pair(1, {"k": (2, 3)}), {"left": 1, "right": {"k": [2, 3]}}),
        (Point(x=1, tags={"b", "a"}), {"x": 1, "tags": ["a", "b"]}),
        (threading.Lock(), "<_thread.lock>"),
        (Strange(), f"<{__name__}.Strange>"),
        ({"k": Strange(), 3: 4}, {"k": f"<{__name__}.Strange>", "3": 4}),
        (ValueError("no", 1), {"type": "ValueError", "arguments": ["no", 1]}),
        (Send("n", {"a": 1}), {"node": "n", "arg": {"a": 1}}),
        (Point, f"<class {__name__}.Point>"),
        (len, "<builtin_function_or_method len>"),
    ],
)
def test_what_is_not_json_is_named_or_taken_apart_without_its_own_code(value, expected):
    assert kept(value) == expected


def test_a_command_is_taken_apart():
    assert kept(Command(goto="n", update={"a": 1}))["goto"] == "n"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (HumanMessage("hi", name="ada"), {"role": "user", "content": "hi", "name": "ada"}),
        (ChatMessage("hi", role="critic"), {"role": "critic", "content": "hi"}),
        (RemoveMessage(id="m-1"), {"role": "remove", "content": "", "id": "m-1"}),
        (
            ToolMessage("no", tool_call_id="c-1", status="error"),
            {"role": "tool", "content": "no", "tool_call_id": "c-1", "status": "error"},
        ),
        (
            AIMessage("", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "c-1"}], additional_kwargs={"refusal": "no"}),
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"name": "f", "args": {"a": 1}, "id": "c-1"}],
                "additional_kwargs": {"refusal": "no"},
            },
        ),
    ],
)
def test_a_message_is_described_by_its_role_and_what_it_has(message, expected):
    assert payload.message(message, message.__dict__).plain == expected


def test_a_cycle_and_a_bottomless_state_end():
    endless = {}
    endless["self"] = endless
    deep = []
    for _ in range(10_000):
        deep = [deep]

    assert "deeper" in str(kept(endless))
    assert "deeper" in str(kept(deep))


def test_fifty_megabytes_are_bounded():
    big = {"text": "x" * 50_000_000, "numbers": list(range(2_000_000)), "many": {str(n): n for n in range(100_000)}}
    encoded = Payload(payload.Snapshot().of(big), encode=payload.encode).json

    assert len(encoded) < 2 * payload.TOTAL_CHARS
    assert b"characters more" in encoded
    assert b"more>" in encoded


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(Strange),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers(), inner, max_size=4) | st.tuples(inner, inner)
    ),
    max_leaves=20,
)


@given(values)
def test_anything_can_be_encoded(value):
    Payload(payload.Snapshot().of(value), encode=payload.encode).json.decode()


@given(st.lists(st.integers()), st.lists(st.integers()))
def test_a_shared_beginning_is_all_of_the_first_or_nothing(before, added):
    now = before + added
    assert payload.common(before, now) == len(before)
    assert payload.common([*before, object()], now) == 0


def test_a_value_that_cannot_be_compared_is_new():
    class Array:
        def __eq__(self, other):
            raise ValueError("the truth value is ambiguous")

        __hash__ = None

    first, last = Array(), Array()
    assert payload.common([first, Array(), last], [first, Array(), last]) == 0


def test_a_template_links_its_prompt_to_the_model_after_it():
    from types import SimpleNamespace

    from langchain_core.prompts import ChatPromptTemplate

    managed = SimpleNamespace(name="greeting", version=7, is_fallback=False)
    template = ChatPromptTemplate.from_template("say {w}").with_config(metadata={"langfuse_prompt": managed})
    model = ScriptedModel(respond=lambda _: "hi")
    seen = []
    (template | model | (lambda message: message.text) | model).invoke({"w": "hi"}, {"callbacks": [CallbackHandler(seen.append)]})

    prompts = [record.prompt for record in seen if isinstance(record, Started) and record.kind == "model"]
    assert [(prompt.name, prompt.version) if prompt else None for prompt in prompts] == [("greeting", 7), None]


def test_a_graph_s_output_holds_its_answer_though_another_node_ran_after_it():
    builder = StateGraph(MessagesState)
    builder.add_node("answer", lambda _: {"messages": [AIMessage("forty-two")]})
    builder.add_node("audit", lambda _: {})
    builder.add_edge(START, "answer")
    builder.add_edge("answer", "audit")
    seen = []
    observe(builder.compile(), seen.append).invoke({"messages": [HumanMessage("why?")]})
    assert [message.plain["content"] for message in seen[-1].output.messages] == ["forty-two"]


def test_the_names_of_what_is_left_out_are_redacted_too():
    key = "sk-abcdefghij0123456789ABCDEFG"
    builder = StateGraph(dict)
    for name in ("a", "b"):
        builder.add_node(name, lambda state: state)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    seen = []
    observe(builder.compile(), seen.append).invoke({key: "x"})
    told = [
        payload for record in seen if isinstance(record, Finished) for payload in (record.input or record.run.input, record.output)
    ]
    assert any(payload.omitted for payload in told)
    assert key not in "".join(str(payload.omitted) for payload in told)
