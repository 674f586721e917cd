"""What the agent survives inside of it: values that raise, that are no JSON, too large, too deep, that change; unknown messages."""

import dataclasses
import gc
import json
import sys
import threading
import types
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, FunctionMessage, HumanMessage, RemoveMessage
from langchain_core.tools import StructuredTool
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel, ConfigDict
from survival import RUNS, WAYS, Everything, State, agent, begun, contents, ended, once, question, seen

from langgraph_observe import Observer, observe
from langgraph_observe.payloads import REDACTION_FAILED
from langgraph_observe.sinks.deferred import Deferred
from langgraph_observe.testing import ScriptedModel

MEGABYTES_50 = 50 * 2**20


def fail(*_):
    raise RuntimeError("do not look at me")


def hostile(kind, *methods):
    """A subclass of `kind` whose methods raise."""
    return type(f"Hostile{kind.__name__.title()}", (kind,), dict.fromkeys(methods, fail))


DISPLAY = ("__repr__", "__str__", "__format__")
ACCESS = ("__eq__", "__bool__", "__len__", "__iter__", "__getitem__", "__contains__", "__getattr__")
Object = hostile(object, *DISPLAY, *ACCESS, "__reduce_ex__", "__deepcopy__")
Object.__hash__ = object.__hash__


class Liar:
    """Its very class cannot be asked for."""

    __class__ = property(fail)


class NoMapping(Mapping):
    __getitem__ = __iter__ = __len__ = items = keys = fail


@dataclasses.dataclass
class Record:
    kept: str = "kept"
    broken: Any = dataclasses.field(default_factory=lambda: None)


Record.broken = property(fail, lambda self, value: None)


class Form(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True, extra="allow")
    kept: str = "kept"
    inside: Any = None

    __repr__ = __str__ = __eq__ = __iter__ = fail
    __hash__ = object.__hash__

    @property
    def broken(self):
        return fail()


class Numbers:
    """As numpy's arrays are: compared item by item, and no truth value."""

    dtype = "float64"

    def __eq__(self, other):
        return Numbers()

    def __bool__(self):
        raise ValueError("The truth value of an array with more than one element is ambiguous")

    def __array__(self, *_):
        fail()

    __hash__ = None


class SilentError(Exception):
    __str__ = __repr__ = fail


def cycle():
    one: dict[str, Any] = {"kept": "kept"}
    one["self"] = [one]
    return one


def deep():
    value: Any = "bottom"
    for _ in range(sys.getrecursionlimit() * 20):
        value = [value]
    return value


def dead():
    return weakref.proxy(Numbers())


VALUES = {
    "object": Object,
    "class that raises": Liar,
    "mapping": NoMapping,
    "list": lambda: hostile(list, *DISPLAY, *ACCESS)([1, 2]),
    "dict": lambda: hostile(dict, *DISPLAY, *ACCESS, "items", "keys", "values", "get")(kept="kept"),
    "str": lambda: hostile(str, *DISPLAY, "__len__", "__iter__", "__eq__", "__getitem__", "encode", "isascii")("text"),
    "int": lambda: hostile(int, *DISPLAY, "__eq__", "__bool__", "__int__", "__index__", "__lt__", "__le__")(7),
    "float": lambda: hostile(float, *DISPLAY, "__eq__", "__bool__", "__float__")(7.5),
    "set": lambda: hostile(set, *DISPLAY, *ACCESS)({1}),
    "bytes": lambda: hostile(bytes, *DISPLAY, "__len__", "__iter__")(b"ab"),
    "path": lambda: hostile(type(Path()), *DISPLAY, "__fspath__")("/tmp"),
    "dataclass": Record,
    "pydantic model": Form,
    "dead proxy": dead,
    "array": Numbers,
    "exception": SilentError,
    "binary": lambda: b"\x00\xff" * 9,
    "sets": lambda: {frozenset({1}), "a", None, 2.5},
    "cycle": cycle,
    "not numbers": lambda: [float("nan"), float("inf"), -float("inf"), 10**5_000, 2**64, 1j],
    "lone surrogates": lambda: {"a\ud800": "\udfff", ("t", 1): "tuple key", None: "no key", b"k": "binary key"},
    "deep": deep,
    "lock": threading.Lock,
    "generator": lambda: (number for number in range(3)),
    "class": lambda: Record,
    "module": lambda: json,
    "function": lambda: fail,
    "view": lambda: memoryview(b"abc"),
    "read-only": lambda: types.MappingProxyType({"kept": "kept"}),
}


def pass_on(state: State):
    return {"thing": state["thing"]}


def with_tool(state: State):
    def use(thing: Any) -> Any:
        return "used"

    StructuredTool.from_function(use, description="Use a thing.").invoke({"thing": state["thing"]})


def with_model(state: State):
    content: Any = [{"type": "text", "text": "kept", "thing": state["thing"]}]
    message = HumanMessage("kept", additional_kwargs={"thing": state["thing"]})
    message.content = content
    model = GenericFakeChatModel(messages=iter([AIMessage("well", additional_kwargs={"thing": state["thing"]})]))
    model.invoke([message])


def with_message(state: State):
    return {"messages": [AIMessage("kept", id="odd", additional_kwargs={"thing": state["thing"]})]}


def with_error(state: State):
    raise LookupError(state["thing"])


PLACES = [pass_on, with_tool, with_model, with_message, with_error]


def got(graph, thing):
    """What the caller gets, as far as it can be compared: the very object, or the exception."""
    try:
        out = graph.invoke(question(thing=thing))
    except Exception as error:
        return type(error), error.args[0] is thing if isinstance(error, LookupError) else str(error)
    return list(out), out["thing"] is thing, [type(message) for message in out["messages"]]


@pytest.mark.parametrize("name", VALUES)
def test_a_value_that_is_no_plain_data_changes_nothing_and_costs_its_own_place_only(tmp_path, name):
    with Everything(tmp_path) as world:
        for place in PLACES:
            graph, thing = agent(place), VALUES[name]()
            assert got(world.observer.watch(graph), thing) == got(graph, thing), place
            if type(thing) is types.GeneratorType:
                assert next(thing) == 0, "consumed"
        world.complete()
    told = contents(world.records)
    assert REDACTION_FAILED not in json.dumps(told)
    assert not [whole for whole in told if str(whole).startswith("<unreadable")]
    runs = [end.run.input.value for end in ended(world.records, "graph")]
    assert [run["messages"][0]["content"] for run in runs] == ["What is the weather?"] * len(PLACES)
    assert all("thing" in run for run in runs)


def test_a_state_nested_beyond_the_recursion_limit_is_recorded_down_to_a_depth():
    records = []
    observe(agent(pass_on), records.append).invoke(question(thing=deep()))
    value, depth = ended(records, "graph")[0].run.input.value["thing"], 0
    while isinstance(value, list):
        (value,), depth = value, depth + 1
    assert (value, depth > 10) == ("<deeper: list>", True)


def test_an_exception_that_cannot_be_told_is_recorded_by_its_type(tmp_path):
    def act(state):
        raise SilentError

    with Everything(tmp_path) as world:
        with pytest.raises(SilentError):
            world.observer.watch(agent(act)).invoke(question())
        world.complete()
    failures = [end.failure for end in ended(world.records) if end.outcome == "error"]
    assert [(failure.type, failure.message) for failure in failures] == [
        ("test_survival_content.SilentError", "<unreadable: RuntimeError>")
    ] * 2


@pytest.mark.parametrize(
    "config",
    [
        {"metadata": {"thing": Object(), 1: 2}},
        {"metadata": {"user_id": Object(), "session_id": Numbers(), "langfuse_trace_name": VALUES["str"]()}},
        {"configurable": {"user_id": Object(), "session_id": "\ud800"}},
        {"metadata": {"langfuse_tags": 5, "langfuse_prompt": Object()}},
        {"tags": ["\ud800", ""], "metadata": {"langfuse_tags": ["vip", None, Object()]}},
        {"run_name": 7},
    ],
    ids=" ".join,
)
def test_a_config_that_says_odd_things_changes_nothing_and_loses_no_run(tmp_path, config):
    graph = agent()
    with Everything(tmp_path) as world:
        observed = world.observer.watch(graph)
        assert seen(observed.invoke, question(), config) == seen(graph.invoke, question(), config)
        assert world.complete() == RUNS
    assert len({run.trace_id for run in begun(world.records)}) == 1


# -- size and time


def test_a_state_of_50_megabytes_is_recorded_in_part_and_kept_by_nobody():
    opened = threading.Event()

    def wait(record):
        opened.wait()

    text, binary = "x" * MEGABYTES_50, bytes(MEGABYTES_50)
    many = {"texts": ["y" * 100_000] * 500, "numbers": list(range(100_000))}
    graph, records = agent(pass_on), []
    observer = Observer(records.append, Deferred(wait, name="slow"))  # all of it stays in the queue
    held = sys.getrefcount(text), sys.getrefcount(binary), sys.getrefcount(many["numbers"]), sys.getrefcount(many["texts"][0])
    out = observer.watch(graph).invoke(question(thing={"text": text, "binary": binary, **many}))
    assert out["thing"]["text"] is text
    del out
    gc.collect()
    now = sys.getrefcount(text), sys.getrefcount(binary), sys.getrefcount(many["numbers"])
    assert now == held[:3]
    assert observer.health()["deferred.Deferred"]["queued"] >= len(records) - 512
    assert sum(len(json.dumps(content)) for content in contents(records)) < 10_000_000
    thing = ended(records, "graph")[0].run.input.value["thing"]
    assert [len(thing["text"]) < 200_000, thing["binary"]] == [True, f"<bytes: {MEGABYTES_50} bytes>"]
    opened.set()
    once(records, observer)
    observer.close()


def test_a_message_of_50_megabytes_is_recorded_in_part(tmp_path):
    model = GenericFakeChatModel(messages=iter([AIMessage("short")]))
    with Everything(tmp_path) as world:
        model.invoke("x" * MEGABYTES_50, {"callbacks": [world.observer.handler]})
        world.complete()
    (end,) = ended(world.records)
    assert "characters more" in end.run.input.value["messages"][0]["content"]


def test_a_state_that_its_node_changes_is_recorded_as_it_was_at_start(tmp_path):
    def act(state):
        state["thing"]["list"].append("later")
        state["thing"]["deep"]["dict"]["later"] = True
        state["thing"]["set"].clear()
        state["thing"].update(later=True)
        state["messages"].append(HumanMessage("later"))
        return {"thing": dict(state["thing"])}

    def given():
        return question(thing={"list": [1], "deep": {"dict": {}}, "set": {1}})

    graph = agent(act)
    with Everything(tmp_path) as world:
        assert seen(world.observer.watch(graph).invoke, given()) == seen(graph.invoke, given())
        world.complete()
    (end,) = ended(world.records, "graph")
    assert end.run.input.value["thing"] == {"list": [1], "deep": {"dict": {}}, "set": [1]}
    assert end.output.value["thing"]["list"] == [1, "later"]
    node = next(end for end in ended(world.records, "node") if end.run.node == "act")
    assert "later" not in node.run.input.json.decode()
    assert "later" in node.output.json.decode()


# -- messages and models of all kinds


class Telegram(BaseMessage):
    """A class that only its user knows."""

    type: str = "telegram"
    urgent: bool = True


def test_messages_of_every_class_are_recorded_by_their_role(tmp_path):
    odd = [
        ChatMessage("not so sure", role="critic", id="1"),
        FunctionMessage("42", name="answer", id="2"),
        Telegram("stop", id="3"),
        HumanMessage("to go", id="4"),
    ]
    model = ScriptedModel(respond=lambda messages: AIMessage("well", id="5"))
    builder = StateGraph(MessagesState)
    builder.add_node("speak", lambda state: {"messages": [model.invoke(state["messages"])]})
    builder.add_node("forget", lambda state: {"messages": [RemoveMessage(id="4"), ("user", "a tuple")]})
    builder.add_edge(START, "speak")
    builder.add_edge("speak", "forget")
    graph = builder.compile()
    given = {"messages": odd}
    with Everything(tmp_path) as world:
        observed = world.observer.watch(graph)
        assert seen(WAYS["stream"], observed, given) == seen(WAYS["stream"], graph, given)
        world.complete()
    (asked,) = ended(world.records, "model")
    assert [message["role"] for message in asked.run.input.value["messages"]] == ["critic", "function", "telegram", "user"]
    forget = next(end for end in ended(world.records, "node") if end.run.node == "forget")
    assert forget.output.value["messages"] == [{"role": "remove", "content": "", "id": "4"}, ["user", "a tuple"]]


class Nameless(LLM):
    @property
    def _llm_type(self):
        return "nameless"

    def _call(self, prompt, stop=None, run_manager=None, **kwargs):
        return "well said"


@pytest.mark.parametrize("model", [lambda: GenericFakeChatModel(messages=iter([AIMessage("well said")] * 4)), Nameless])
def test_a_model_without_a_name_has_none_and_its_tokens_are_marked_as_estimated(tmp_path, model):
    with Everything(tmp_path) as world:
        asked = {"callbacks": [world.observer.handler]}
        assert str(getattr(answer := model().invoke("How?", asked), "content", answer)) == "well said"
        assert "".join(str(getattr(chunk, "content", chunk)) for chunk in model().stream("How?", asked)) == "well said"
        assert world.complete() == 2
    assert [(run.kind, run.model) for run in begun(world.records)] == [("model", None)] * 2
    for end in ended(world.records):
        assert end.run.input.value["messages"][-1]["content"] == "How?"
        assert (end.usage.estimated, end.usage.cost) == (True, None)
        assert end.usage.input_tokens
        assert end.usage.output_tokens


def test_a_batch_of_prompts_and_an_empty_one_survive(tmp_path):
    with Everything(tmp_path) as world:
        out = Nameless().generate(["one", "", "\ud800"], callbacks=[world.observer.handler])
        assert [generation[0].text for generation in out.generations] == ["well said"] * 3
        assert world.complete() == 3


def test_a_state_class_of_the_users_own_is_recorded_by_its_fields():
    class Own(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        count: int = 0
        lock: Any = None

    builder = StateGraph(Own)
    builder.add_node("add", lambda state: {"count": state.count + 1})
    builder.add_edge(START, "add")
    graph, records = builder.compile(), []
    given = Own(count=1, lock=threading.Lock())
    assert observe(graph, records.append).invoke(given) == graph.invoke(given)
    (end,) = ended(records, "graph")
    assert end.run.input.value == {"count": 1, "lock": "<_thread.lock>"}
