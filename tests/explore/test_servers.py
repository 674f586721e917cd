"""Traces out of Phoenix and MLflow, from stand-ins that answer as theirs do (the real ones: tests/backends), and servers in trouble."""

import base64
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from otlp_server import Server

from langgraph_observe import Observer, demo
from langgraph_observe.explore import Memory, Traces
from langgraph_observe.explore.mlflow import Mlflow
from langgraph_observe.explore.phoenix import Phoenix
from langgraph_observe.explore.server import shown

KINDS = ("array_value", "bool_value", "bytes_value", "double_value", "int_value", "kvlist_value", "string_value")


def snake(name):
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name)


def spans_of(trace):
    """What a backend keeps of our spans: no record of ours, names as protobuf spells them."""
    (resource,) = json.loads(trace.to_otlp())["resourceSpans"]
    for span in resource["scopeSpans"][0]["spans"]:
        told = {snake(key): value for key, value in span.items() if key not in {"events", "links"}}
        pairs = [(one["key"], one["value"]) for one in span["attributes"] if one["key"] != "langgraph_observe.record"]
        yield told | {"attributes": [{"key": key, "value": {snake(k): v for k, v in value.items()}} for key, value in pairs]}


def all_kinds(span):
    """As Phoenix: every kind of value is named, all but one null."""
    pairs = [{"key": one["key"], "value": dict.fromkeys(KINDS) | one["value"]} for one in span["attributes"]]
    return span | {"attributes": pairs, "parent_span_id": span["parent_span_id"] or None}


def in_base64(span):
    """As MLflow has ids at times."""
    return span | {"span_id": base64.b64encode(bytes.fromhex(span["span_id"])).decode(),
                   "parent_span_id": base64.b64encode(bytes.fromhex(span["parent_span_id"])).decode()}  # fmt: skip


class PhoenixServer(Server):
    page = 3

    def answer(self, request):
        url = urlsplit(request.path)
        if not url.path.endswith("/v1/projects/default/spans/otlpv1"):
            return 404, b""
        asked = parse_qs(url.query)
        wanted = [one for one in self.spans_here if self.fits(one, asked)]
        first = int(asked.get("cursor", ["0"])[0])
        more = str(first + self.page) if first + self.page < len(wanted) else None
        return 200, json.dumps({"data": wanted[first : first + self.page], "next_cursor": more}).encode()

    def fits(self, span, asked):
        of = asked.get("trace_id", [span["trace_id"]])
        return span["trace_id"] in of and ("parent_id" not in asked or span["parent_span_id"] is None)

    def hold(self, traces):
        self.spans_here = [all_kinds(span) for trace in traces for span in spans_of(trace)]
        return Phoenix(self.url)


class MlflowServer(Server):
    def answer(self, request):
        if request.path.endswith("/traces/search"):
            first = int(request.json.get("page_token", 0))
            assert request.json["locations"][0]["mlflow_experiment"] == {"experiment_id": "0"}
            found = [{"trace_id": f"tr-{one}"} for one in self.here][first : first + 2]
            return 200, json.dumps(
                {"traces": found, "next_page_token": str(first + 2) if first + 2 < len(self.here) else ""}
            ).encode()
        wanted = parse_qs(urlsplit(request.path).query)["trace_ids"][0].removeprefix("tr-")
        return 200, json.dumps({"traces": [self.here[wanted]] if wanted in self.here else []}).encode()

    def hold(self, traces):
        self.here = {trace.id: self.told(trace) for trace in traces}
        return Mlflow(self.url)

    def told(self, trace):
        return {"trace_info": {"trace_metadata": {}}, "spans": [in_base64(span) for span in spans_of(trace)]}


@pytest.fixture(scope="module")
def recorded():
    memory = Memory()
    with Observer(memory) as observer:
        demo.run(observer)
    return Traces(memory)


@pytest.fixture(params=[PhoenixServer, MlflowServer])
def traces(request, recorded):
    with request.param() as server:
        yield Traces(server.hold(list(recorded)))


def lines(trace):
    return [(run.kind, run.started.node, run.started.graph, run.outcome, run.seconds) for run in trace]


def test_the_trees_are_those_that_were_recorded(traces, recorded):
    assert [lines(trace) for trace in traces] == [lines(trace) for trace in recorded]
    assert [(trace.tokens, trace.cost) for trace in traces] == [(trace.tokens, trace.cost) for trace in recorded]


def test_filters_and_tables_are_as_of_any_source(traces, recorded):
    assert [trace.id for trace in traces.filter(tool="weather")] == [trace.id for trace in recorded.filter(tool="weather")]
    assert len(traces.filter(since="1h", outcome="interrupted")) == 1
    assert traces.models()["model"] == recorded.models()["model"]
    assert traces.last(2)[1].id == recorded.last(2)[1].id


def test_what_was_said_can_be_read(traces):
    model = traces.filter(tool="weather").last().find(kind="model")[-1]
    assert model.output.messages[0].plain["content"].startswith("Go to Lisbon")
    assert model.input.messages[-1].role == "tool"


def test_a_trace_that_is_not_there_is_not_found(traces):
    with pytest.raises(LookupError, match="no trace in"):
        traces["ffff"]


@pytest.mark.parametrize("place", ["phoenix://127.0.0.1:9/default", "mlflow://127.0.0.1:9/0"])
def test_nobody_at_home_is_said_in_words(place):
    traces = Traces().open(place)
    with pytest.raises(ConnectionError, match=r"does not answer at http://127\.0\.0\.1:9 \(ConnectError\): is it up"):
        traces.last()
    assert "does not answer" in repr(traces)


@pytest.mark.parametrize(
    ("status", "kind", "words"), [(401, PermissionError, "does not let us in"), (500, ConnectionError, "status 500")]
)
def test_a_refusal_is_said_in_words(status, kind, words):
    with Server(status=status) as server, pytest.raises(kind, match=words):
        Traces(Phoenix(server.url)).last()


def test_an_answer_that_is_no_json_is_no_answer():
    class Website(Server):
        def answer(self, request):
            return 200, b"<html>hello</html>"

    with Website() as server, pytest.raises(ConnectionError, match="JSONDecodeError"):
        Traces(Mlflow(server.url)).last()


def test_an_address_is_shown_without_what_is_secret_in_it():
    assert shown("https://ada:secret@host:1/path?key=hidden") == "https://host:1/path"
    assert "secret" not in repr(Traces().open("phoenix://ada:secret@127.0.0.1:9/p"))


@pytest.mark.parametrize(
    ("address", "told"),
    [("localhost:4317/x", "localhost:4317/x"), ("ada:secret@host:1", "host:1"), ("http://a:b@host?k=1", "http://host")],
)
def test_an_address_is_shown_as_it_is_without_its_secrets(address, told):
    assert shown(address) == told
