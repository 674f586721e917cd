"""OTLP JSON: what was written is read again as it was, and so is what others have written, as far as it goes."""

import json
from dataclasses import fields
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_observe import Observer, demo
from langgraph_observe.explore import Memory, Trace, Traces
from langgraph_observe.explore.data import record, told
from langgraph_observe.explore.otlp import OtlpFile, documents, spans_of
from langgraph_observe.explore.vocabulary import records
from langgraph_observe.payloads import Lazy, Message, Payload
from langgraph_observe.records import Failure, Finished, Link, Noted, Prompt, Scored, Started, Stream, Usage
from langgraph_observe.sinks.store import StoreError

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
some = st.none() | texts
counts = st.none() | st.integers(0, 10**9)
spans = st.text("0123456789abcdef", min_size=16, max_size=16).filter(lambda text: text.strip("0"))
numbers = st.floats(0, 1e6, allow_nan=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
messages = st.builds(lambda role, content: Message({"role": role, "content": content}), texts, texts)
payloads = st.none() | st.builds(Payload, plain | st.lists(messages, max_size=3))
usages = st.none() | st.builds(
    Usage, input_tokens=counts, output_tokens=counts, reasoning_tokens=counts, cost=st.none() | st.decimals(0, 100, places=9)
)
streams = st.none() | st.builds(
    Stream, pieces=st.integers(0, 99), kinds=st.dictionaries(texts, st.integers(0, 9), max_size=3),
    timeline=st.lists(st.tuples(numbers, st.integers(0, 99)), max_size=3).map(tuple),
)  # fmt: skip
starts = st.builds(
    Started, id=texts, root_id=texts, trace_id=st.just("a" * 32), span_id=spans, parent_span_id=st.none() | spans,
    kind=st.sampled_from(["graph", "node", "agent", "model", "tool", "retriever", "chain", "stream"]), name=texts,
    at_ns=st.integers(1, 2 * 10**18), graph=some, node=some, step=counts, triggers=st.lists(texts, max_size=2).map(tuple),
    thread_id=some, session_id=some, user_id=some, tags=st.lists(texts, max_size=3).map(tuple), model=some, provider=some,
    prompt=st.none() | st.builds(Prompt, texts, st.integers(0, 9)), input=payloads, tools=payloads,
    links=st.lists(st.builds(Link, st.just("b" * 32), spans, st.just("resumed_from")), max_size=2).map(tuple),
    parameters=st.dictionaries(texts, st.integers(0, 9), max_size=2), metadata=st.dictionaries(texts, plain, max_size=2),
)  # fmt: skip
ends = st.builds(
    Finished, run=starts, outcome=st.sampled_from(["ok", "error", "interrupted", "cancelled", "abandoned"]), seconds=numbers,
    first_token_seconds=st.none() | numbers, stream=streams, measured=usages.map(Lazy), model=some, reason=some,
    finish_reasons=st.lists(texts, max_size=2).map(tuple), cached=st.booleans(), goto=st.lists(texts, max_size=2).map(tuple),
    input=payloads, output=payloads, failure=st.none() | st.builds(Failure, texts, texts, some),
)  # fmt: skip
notes = st.builds(Noted, run=starts, kind=texts, at_ns=st.integers(0, 2 * 10**18), name=some, payload=payloads)
scores = st.builds(
    Scored, trace_id=st.just("a" * 32), name=texts, value=numbers | texts | st.booleans(), span_id=st.none() | spans, comment=some,
    at_ns=st.integers(0, 2 * 10**18), id=texts,
)  # fmt: skip


def kept(trace):
    """All that a trace holds, in a comparable form."""
    told_of_runs = [told(one) for run in trace for one in (run.finished or run.started, *run.events)]
    return [*told_of_runs, *map(told, trace.scores)]


def written(tmp_path, text, name="x.otlp.json"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return Traces(OtlpFile(path))


@pytest.fixture(scope="module")
def demo_traces():
    memory = Memory()
    with Observer(memory) as observer:
        demo.run(observer)
    return list(Traces(memory))


@given(starts | ends | notes | scores)
def test_a_record_as_data_is_the_record_again(one):
    there = json.loads(json.dumps(told(one)))
    back = record(there)
    assert told(back) == told(one)
    assert getattr(back, "usage", None) == getattr(one, "usage", None)
    for name in {field.name for field in fields(one)} - {"run", "input", "output", "tools", "payload", "measured", "metadata"}:
        assert getattr(back, name) == getattr(one, name)


@given(
    st.lists(starts | ends | notes, min_size=1, max_size=6, unique_by=lambda r: (r if isinstance(r, Started) else r.run).span_id),
    scores,
)
def test_a_trace_written_and_read_is_the_trace(tmp_path_factory, found, score):
    trace = Trace.of("a" * 32, [*found, score])
    path = tmp_path_factory.mktemp("otlp") / "trace.otlp.json"
    trace.to_otlp(path)
    assert kept(Traces(OtlpFile(path))["a"]) == kept(trace)


def test_the_demo_s_traces_are_the_same_again(tmp_path, demo_traces):
    for trace in demo_traces:
        trace.to_otlp(tmp_path / "x.json")
        again = Traces().open(tmp_path / "x.json")[trace.id]
        assert str(again) == str(trace).replace(f" · resumed by {(trace.resumed_by or '')[:8]}", "")  # of another file
        assert kept(again) == kept(trace)


def test_without_our_records_the_attributes_tell_the_tree(tmp_path, demo_traces):
    """As what a collector has written, that our spans were sent to."""
    for trace in demo_traces:
        document = json.loads(trace.to_otlp())
        for span in spans_in(document):
            span["attributes"] = [one for one in span["attributes"] if one["key"] != "langgraph_observe.record"]
            span["events"] = []
        again = written(tmp_path, json.dumps(document))[trace.id]
        assert [(run.kind, run.outcome, run.started.graph, run.started.node) for run in again] == [
            (run.kind, run.outcome, run.started.graph, run.started.node) for run in trace
        ]
        assert (again.cost, again.tokens, again.thread_id) == (trace.cost, trace.tokens, trace.thread_id)
        assert [run.input.messages[0].plain["content"] for run in again.find(kind="model")] == [
            run.input.messages[0].plain["content"] for run in trace.find(kind="model")
        ]


def spans_in(document):
    return document["resourceSpans"][0]["scopeSpans"][0]["spans"]


def test_a_collector_s_file_has_a_document_a_line_and_its_last_line_may_be_half_written(tmp_path, demo_traces):
    lines = [trace.to_otlp() for trace in demo_traces]
    traces = written(tmp_path, "\n".join([*lines, lines[0][:500]]), "spans.jsonl")
    assert [trace.id for trace in traces] == [trace.id for trace in demo_traces]


def test_a_file_that_grows_is_read_again(tmp_path, demo_traces):
    traces = written(tmp_path, demo_traces[0].to_otlp() + "\n", "spans.jsonl")
    assert len(traces) == 1
    with (tmp_path / "spans.jsonl").open("a") as file:
        file.write(demo_traces[1].to_otlp() + "\n")
    assert len(traces) == 2


def test_our_own_records_a_line_each_are_read_too(tmp_path, demo_traces):
    trace = demo_traces[0]
    lines = [json.dumps(told(one)) for run in trace for one in (run.finished, *run.events)]
    assert kept(written(tmp_path, "\n".join(lines), "runs.jsonl").last()) == kept(trace)


@pytest.mark.parametrize(
    "text",
    [
        "dear diary",
        "[1, 2]",
        "{}",
        "null",
        '{"resourceSpans": 3}',
        '{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "soon"}]}]}]}',
        '{"finished": {"run": {}}}',
        b"\xff\xfe\x00",
    ],
)
def test_a_foreign_file_is_named_with_what_is_wrong(tmp_path, text):
    with pytest.raises(StoreError, match=r"x\.otlp\.json holds no OTLP"):
        len(written(tmp_path, text))


def test_a_file_cut_in_the_middle_is_named(tmp_path, demo_traces):
    text = demo_traces[0].to_otlp()
    with pytest.raises(StoreError, match="is damaged"):
        written(tmp_path, text[: len(text) // 2]).last()


def test_an_empty_file_has_no_traces_yet(tmp_path):
    assert len(written(tmp_path, "", "spans.jsonl")) == 0


def test_a_file_that_is_not_there_is_said(tmp_path):
    assert "No such file" in repr(Traces().open(tmp_path / "nothing.json"))


FOREIGN = {
    "resource_spans": [
        {
            "scope_spans": [
                {
                    "spans": [
                        {
                            "trace_id": "q6urq6urq6urq6urq6urqw==",
                            "span_id": "AAAAAAAAAAE=",
                            "name": "ChatOpenAI",
                            "start_time_unix_nano": 1,
                            "end_time_unix_nano": 10**9 + 1,
                            "status": {"code": "STATUS_CODE_ERROR", "message": "no"},
                            "attributes": [
                                {"key": "openinference.span.kind", "value": {"string_value": "LLM"}},
                                {"key": "llm.model_name", "value": {"string_value": "gpt-4.1"}},
                                {"key": "llm.token_count.prompt", "value": {"int_value": "7"}},
                                {"key": "llm.cost.total", "value": {"double_value": 0.1}},
                                {"key": "llm.input_messages.0.message.role", "value": {"string_value": "user"}},
                                {"key": "llm.input_messages.0.message.content", "value": {"string_value": "hi"}},
                                {"key": "gen_ai.agent.name", "value": {"int_value": "5"}},
                                {"key": "langgraph.node.step", "value": {"string_value": "two"}},
                                {"key": "tag.tags", "value": {"string_value": '["a", "b"]'}},
                            ],
                        }
                    ]
                }
            ]
        }
    ]
}


def test_what_other_instrumentations_say_is_understood():
    (end,) = records(spans_of(FOREIGN))
    assert (end.run.kind, end.run.model, end.run.trace_id, end.run.span_id) == ("model", "gpt-4.1", "ab" * 16, "0" * 15 + "1")
    assert (end.usage.input_tokens, end.usage.output_tokens, end.usage.cost) == (7, None, Decimal("0.1"))
    assert (end.outcome, end.failure.message, end.seconds) == ("error", "no", 1.0)
    assert end.run.input.value == [{"role": "user", "content": "hi"}]
    assert (end.run.agent, end.run.step, end.run.tags) == ("5", None, ("a", "b"))


def test_spans_in_a_ring_are_read():
    ring = [
        {"traceId": "a" * 32, "spanId": one * 16, "parentSpanId": other * 16, "name": one, "startTimeUnixNano": "1"}
        for one, other in ("12", "23", "31")
    ]
    found = records(spans_of({"resourceSpans": [{"scopeSpans": [{"spans": ring}]}]}))
    assert len(Trace.of("a" * 32, found)) == 3


def test_documents_come_one_or_many():
    assert list(documents(b'[{"a": 1}, {"b": 2}]')) == [{"a": 1}, {"b": 2}]
    assert list(documents(b'{"a": 1}\n\n{"b": 2}\n{"c"')) == [{"a": 1}, {"b": 2}]


def beside(tmp_path, *others):
    """A span that is well, and others."""
    well = {"traceId": "a" * 32, "spanId": "1" * 16, "name": "well", "startTimeUnixNano": "1", "endTimeUnixNano": "2"}
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [well, *({**well, "spanId": "2" * 16, **one} for one in others)]}]}]}
    return written(tmp_path, json.dumps(document))


@pytest.mark.parametrize("wrong", [{"startTimeUnixNano": "soon"}, {"attributes": [{"value": {}}]}, {"attributes": 7}])
def test_a_span_that_cannot_be_read_hides_no_other(tmp_path, wrong):
    assert [run.name for run in beside(tmp_path, wrong)["a" * 32]] == ["well"]


@pytest.mark.parametrize("held", ["{}", "[" * 100_000, '{"started": {}}', "7"])
def test_a_record_that_is_none_leaves_the_span_s_own_attributes(tmp_path, held):
    attributes = [
        {"key": "langgraph_observe.record", "value": {"stringValue": held}},
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
    ]
    assert [run.kind for run in beside(tmp_path, {"attributes": attributes})["a" * 32]] == ["chain", "model"]


def test_a_file_of_spans_of_which_none_can_be_read_is_damaged(tmp_path):
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "soon"}]}]}]}
    with pytest.raises(StoreError, match="is damaged"):
        len(written(tmp_path, json.dumps(document)))
