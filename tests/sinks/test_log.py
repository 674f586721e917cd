"""log.Lines: one JSON line per finished run, never content."""

import json
import logging
import threading
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_observe.payloads import Payload, text
from langgraph_observe.records import Failure, Finished, Lazy, Noted, Scored, Started, Usage
from langgraph_observe.sinks.log import LONGEST, Lines, line


def started(**over):
    return Started(
        **{"id": "1", "root_id": "1", "trace_id": "a" * 32, "span_id": "b" * 16, "kind": "graph", "name": "g", "at_ns": 0, **over}
    )


def finished(run=None, **over):
    return Finished(**{"run": run or started(), "outcome": "ok", "seconds": 1.5, **over})


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []
        self.threads = set()

    def emit(self, record):
        self.records.append(record)
        self.threads.add(threading.current_thread())


@pytest.fixture
def kept():
    """A logger of our own and what it was given."""
    logger = logging.getLogger("test of log.Lines")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = Kept()
    logger.addHandler(handler)
    handler.logger = logger
    yield handler
    logger.handlers.clear()


def logged(kept, *records, **options):
    lines = Lines(logger=kept.logger, **options)
    for record in records:
        lines(record)
    assert lines.flush()
    assert lines.health() == {"queued": 0, "dropped": 0, "errors": 0}
    lines.close()
    return [json.loads(record.getMessage()) for record in kept.records]


def test_a_line_says_what_when_how_and_where(kept):
    run = started(
        kind="node",
        name="plan",
        graph="g",
        node="plan",
        step=2,
        attempt=3,
        thread_id="t",
        session_id="s",
        parent_id="0",
        at_ns=10**18,
    )
    assert logged(kept, run, finished(run, outcome="interrupted", reason="interrupt")) == [
        {
            "event": "run_finished",
            "at": "2001-09-09T01:46:41.500+00:00",
            "kind": "node",
            "name": "plan",
            "outcome": "interrupted",
            "reason": "interrupt",
            "seconds": 1.5,
            "graph": "g",
            "node": "plan",
            "step": 2,
            "attempt": 3,
            "thread_id": "t",
            "session_id": "s",
            "trace_id": "a" * 32,
            "span_id": "b" * 16,
        }
    ]


def test_a_model_call_says_what_it_spent_and_unknown_is_left_out(kept):
    run = started(kind="model", name="ChatX", model="x", provider="p")
    usage = Usage(input_tokens=5, output_tokens=0, estimated=True, cost=Decimal("0.000000015"))
    known, unknown, cached = logged(
        kept,
        finished(run, measured=Lazy(usage), model="x-2026"),
        finished(run, measured=Lazy(Usage(input_tokens=5))),
        finished(run, measured=Lazy(usage), cached=True),
    )
    assert {k: known[k] for k in ("model", "input_tokens", "output_tokens", "estimated", "cost_usd")} == {
        "model": "x-2026",
        "input_tokens": 5,
        "output_tokens": 0,
        "estimated": True,
        "cost_usd": 1.5e-08,
    }
    assert unknown["model"] == "x"
    assert unknown["input_tokens"] == 5
    assert {"output_tokens", "cost_usd", "estimated", "cached"}.isdisjoint(unknown)
    assert cached["cached"] is True
    assert {"input_tokens", "output_tokens", "cost_usd"}.isdisjoint(cached)


def test_the_usage_of_a_run_that_is_no_model_is_not_read(kept):
    def explode(usage):
        raise AssertionError

    assert len(logged(kept, finished(measured=Lazy(None, explode)))) == 1


def test_failed_runs_are_errors_and_the_others_are_of_the_given_level(kept):
    logged(
        kept,
        finished(),
        finished(outcome="cancelled"),
        finished(outcome="error", failure=Failure("x.E", "m")),
        level=logging.WARNING,
    )
    assert [record.levelno for record in kept.records] == [logging.WARNING, logging.WARNING, logging.ERROR]
    assert json.loads(kept.records[2].getMessage())["error_type"] == "x.E"


def test_nothing_of_the_content_is_in_a_line(kept):
    secret = "the patient's name"
    run = started(
        input=Payload(secret), tools=Payload(secret), metadata={"a": secret}, labels={"a": secret}, tags=(secret,), user_id=secret,
        parameters={"stop": secret}, base_url=secret, description=secret,
    )  # fmt: skip
    end = finished(run, outcome="error", output=Payload(secret), input=Payload(secret), failure=Failure("E", secret, secret))
    logged(kept, end)
    (record,) = kept.records
    assert secret not in record.getMessage()
    assert secret not in repr(record.__dict__)
    assert Lines.payloads is False


@given(st.text(), st.text(st.characters(categories=["Cc", "Cs", "Zl", "Zp"])))
def test_no_name_can_break_the_line(one, other):
    written = line(finished(started(name=one + other, node=other, thread_id=one)))
    assert written.isascii()
    assert written.isprintable()
    assert json.loads(written)["name"] == text((one + other)[:LONGEST])
    assert json.loads(line(finished(started(name="a\x7f\n\u2028b"))))["name"] == "a\x7f\n\u2028b"
    assert line(finished(started(name="\x7f"))).isprintable()


@pytest.mark.parametrize("kind", ["graph", "agent", "node", "model", "tool", "retriever", "stream"])
def test_runs_are_logged(kept, kind):
    assert [entry["kind"] for entry in logged(kept, finished(started(kind=kind, parent_id="0")))] == [kind]


def test_chains_inside_are_logged_only_when_they_fail(kept):
    inside = started(kind="chain", name="inside", parent_id="0")
    entries = logged(kept, finished(inside), finished(inside, outcome="error"), finished(started(kind="chain", name="root")))
    assert [(entry["name"], entry["outcome"]) for entry in entries] == [("inside", "error"), ("root", "ok")]


def test_nothing_else_is_logged(kept):
    run = started()
    score = Scored(trace_id="a" * 32, name="s", value=1.0, at_ns=0, id="1")
    assert logged(kept, run, Noted(run=run, kind="custom", at_ns=0), score) == []


def test_a_structured_logger_finds_the_ids_on_the_record(kept):
    logged(kept, finished())
    (record,) = kept.records
    assert (record.trace_id, record.span_id) == ("a" * 32, "b" * 16)


def test_handlers_are_never_called_on_the_agents_thread(kept):
    logged(kept, finished())
    assert threading.current_thread() not in kept.threads


def test_a_disabled_level_costs_no_line_and_no_look_at_the_usage(kept):
    def explode(usage):
        raise AssertionError

    kept.logger.setLevel(logging.ERROR)
    model = finished(started(kind="model"), measured=Lazy(None, explode))
    assert [entry["outcome"] for entry in logged(kept, model, finished(outcome="error"))] == ["error"]


def test_the_default_logger_is_the_packages_and_gets_no_handler(caplog):
    lines = Lines()
    with caplog.at_level(logging.INFO, "langgraph_observe.runs"):
        lines(finished())
        assert lines.flush()
    lines.close()
    mine = {record.name for record in caplog.records} - {"test of a stuck handler"}  # which comes free when that test is over
    assert mine == {"langgraph_observe.runs"}
    assert logging.getLogger("langgraph_observe.runs").handlers == []
    assert logging.getLogger("langgraph_observe").handlers == []


def test_a_handler_that_raises_is_counted_and_the_next_line_is_written(kept):
    failing = logging.Handler()

    def emit(record):
        if json.loads(record.getMessage())["name"] == "bad":
            raise OSError

    failing.emit = emit
    kept.logger.addHandler(failing)
    lines = Lines(logger=kept.logger)
    lines(finished(started(name="bad")))
    lines(finished(started(name="good")))
    assert lines.flush()
    assert lines.health()["errors"] == 1
    assert [json.loads(record.getMessage())["name"] for record in kept.records] == ["bad", "good"]
    lines.close()
    lines.close()
    lines(finished())
    assert lines.health()["dropped"] == 1


def test_close_waits_no_longer_than_it_is_told():
    gate, done = threading.Event(), threading.Event()

    class Stuck(logging.Handler):
        def emit(self, record):
            gate.wait(4)
            done.set()

    logger = logging.getLogger("test of a stuck handler")
    logger.propagate = False
    logger.addHandler(Stuck())
    lines = Lines(logger=logger, level=logging.ERROR)
    lines(finished())
    lines.close(0)
    assert not done.is_set()
    gate.set()
