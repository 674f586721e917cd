"""Trace and its picture: the tree from records in any order, totals, and names that mean harm."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from itertools import count

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from langgraph_observe.explore import Trace, words
from langgraph_observe.explore.storefile import StoreFile
from langgraph_observe.payloads import Lazy
from langgraph_observe.records import Failure, Finished, Noted, Scored, Started, Usage
from langgraph_observe.sinks.store.writer import Writer

files = count()


def started(span, parent=None, **over):
    at_ns = over.pop("at_ns", int(span, 36) * 1_000_000)
    identity = {"id": f"run-{span}", "parent_id": parent, "root_id": "r", "trace_id": "4bf92f3577b34da6", "span_id": span}
    return Started(**identity | {"parent_span_id": parent, "kind": "node", "name": f"node {span}", "at_ns": at_ns} | over)


def finished(*args, seconds=0.25, outcome="ok", usage=None, run=None, cached=False, failure=None, first=None, **over):
    run = run or started(*args, **over)
    end = {"first_token_seconds": first, "cached": cached, "failure": failure}
    return Finished(run=run, outcome=outcome, seconds=seconds, measured=Lazy(usage), **end)


def model(span, parent="1", usage=None, **over):
    return finished(span, parent, kind="model", usage=usage, **over)


def trace(*records):
    return Trace.of("4bf92f3577b34da6", records)


RUN = [
    finished("1", kind="graph", name="support", graph="support", seconds=1.24, thread_id="42"),
    finished("2", "1", name="agent", seconds=0.61),
    model("3", "2", Usage(input_tokens=1812, output_tokens=45, cost=Decimal("0.0031")), name="gpt-4.1", seconds=0.6, first=0.21),
    finished(
        "4", "1", kind="tool", name="search", outcome="error", attempt=2, failure=Failure("TimeoutError", "secret"), seconds=0.0004
    ),
    finished("5", "1", name="ask", outcome="interrupted", seconds=125),
    started("6", "1", name="still"),
]
PICTURE = """\
✓ support · 1.24 s · 1,857 tokens · $0.0031 · thread 42 · 4bf92f35
✓ graph support · 1.24 s
├─ ✓ node agent · 610 ms
│  └─ ✓ model gpt-4.1 · 600 ms · first token 210 ms · 1,812→45 · $0.0031
├─ ✖ tool search · 0.4 ms · attempt 2 · TimeoutError
├─ ⏸ node ask · 2 min 05 s
└─ … node still · —"""


def test_the_tree_as_text():
    assert str(trace(*RUN)) == PICTURE


def test_a_model_s_own_name_stands_by_that_of_its_class():
    one = finished("1", kind="model", name="ChatOpenAI", model="gpt-4.1\x1b[31m")
    same = finished("2", kind="model", name="gpt-4.1", model="gpt-4.1")

    assert "model ChatOpenAI · gpt-4.1\\x1b[31m · 250 ms" in str(trace(one))
    assert "model gpt-4.1 · 250 ms" in str(trace(same))


def test_the_tree_in_a_notebook_is_its_text_too():
    assert repr(trace(*RUN)) == PICTURE


def test_rich_shows_the_same_words_in_colour():
    def shown(**options):
        console = Console(file=StringIO(), width=120, **options)
        console.print(trace(*RUN))
        return console.file.getvalue()

    assert shown().rstrip() == PICTURE
    assert "\x1b[1;31m✖" in shown(force_terminal=True, color_system="standard")


@st.composite
def trees(draw):
    """Records of a tree with running, ended, orphaned and ring-shaped runs, moments and scores; not in order."""
    size = draw(st.integers(1, 12))
    records = []
    for i in range(size):
        parent = draw(st.one_of(st.none(), st.integers(0, size + 2)))
        at_ns = draw(st.integers(0, 5))
        run = started(f"{i:x}", None if parent is None else f"{parent:x}", at_ns=at_ns)
        records.append(run)
        if draw(st.booleans()):
            records.append(finished(run=run))
        if draw(st.booleans()):
            records.extend(Noted(run=run, kind="custom", at_ns=at_ns - i % 2 * n, name=str(n)) for n in range(3))
        if draw(st.booleans()):
            records.append(Scored(trace_id=run.trace_id, name="n", value=1.0, at_ns=at_ns, id=str(i)))
    return records


def shape(one):
    runs = [(run.span_id, run.outcome, [event.name for event in run.events], way) for run, way in one.walk()]
    return runs, [score.id for score in one.scores]


@given(trees(), st.randoms(use_true_random=False))
@example([started("1", "1")], None).via("its own parent")
@example([started("1", "2"), started("2", "1"), started("3", "1")], None).via("a ring")
def test_records_in_any_order_give_the_same_tree_and_lose_no_run(records, random):
    expected = trace(*records)
    assert len([*expected]) == len(expected) == len({r.span_id for r in records if isinstance(r, Started)})
    mixed = list(records)
    if random is not None:
        random.shuffle(mixed)
    assert shape(trace(*mixed)) == shape(expected)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(trees(), st.randoms(use_true_random=False), st.integers(1, 9))
def test_records_stored_in_any_order_and_any_batches_give_the_same_tree(tmp_path, records, random, size):
    mixed = list(records)
    random.shuffle(mixed)
    path = tmp_path / f"{next(files)}.db"
    writer = Writer(path, keep_days=None, keep_bytes=None, busy_seconds=5.0)
    for i in range(0, len(mixed), size):
        writer.write(mixed[i : i + size])
    writer.close()
    assert shape(trace(*StoreFile(path).records("4bf92f3577b34da6"))) == shape(trace(*records))


def test_orphans_stand_beside_the_roots():
    one = trace(finished("1", kind="graph"), finished("5", "gone"), finished("6", "5"))
    assert [(run.span_id, way) for run, way in one.walk()] == [("1", ()), ("5", ()), ("6", (True,))]


def test_a_tree_may_be_deeper_than_the_stack():
    deep = [finished("0"), *(finished(f"{i:x}", f"{i - 1:x}") for i in range(1, 3000))]
    assert str(trace(*deep)).count("\n") == 3000


def test_no_runs_is_no_trace():
    with pytest.raises(LookupError, match="4bf9"):
        trace(Scored(trace_id="4bf92f3577b34da6", name="n", value=1.0, at_ns=0, id="k"))


def test_a_trace_answers_for_its_root():
    one = trace(*RUN)
    assert (one.name, one.outcome, one.seconds, one.thread_id, one.root.span_id) == ("support", "ok", 1.24, "42", "1")
    assert one.duration == timedelta(seconds=1.24)
    assert one.at_ns == 1_000_000


@pytest.mark.parametrize(
    ("outcomes", "together"),
    [(("ok", "error", "interrupted"), "error"), (("interrupted", "ok"), "interrupted"), (("ok", "cancelled"), "cancelled")],
)
def test_the_worst_root_speaks_for_the_trace(outcomes, together):
    assert trace(*(finished(str(i), outcome=outcome) for i, outcome in enumerate(outcomes))).outcome == together


def test_two_roots_last_from_the_first_start_to_the_last_end():
    one = trace(finished("1", seconds=1.0, at_ns=0), finished("2", seconds=1.0, at_ns=2 * 10**9))
    assert one.seconds == 3.0
    assert trace(finished("1"), started("2")).seconds is None
    assert trace(finished("1"), started("2")).outcome is None


def test_the_failure_is_the_roots():
    failure = Failure("ValueError", "no")
    assert trace(finished("1", outcome="error", failure=failure)).failure == failure


def test_the_thread_of_a_graph_below_a_web_request_is_the_traces():
    assert trace(finished("1", kind="stream"), finished("2", "1", thread_id="42")).thread_id == "42"


def test_looking_up():
    one = trace(*RUN)
    assert [run.span_id for run in one["agent"]] == ["2"]
    assert [run.span_id for run in one.find(kind="node", outcome="interrupted")] == ["5"]
    assert [run.span_id for run in one.find(name="gpt-4.1")] == ["3"]
    assert len(one.find()) == len(one) == 6
    with pytest.raises(KeyError, match="nobody"):
        one["nobody"]


KNOWN = Usage(input_tokens=10, output_tokens=5, cost=Decimal("0.5"))


@pytest.mark.parametrize(
    ("calls", "tokens", "cost", "head"),
    [
        ([], None, None, "— tokens · —"),
        ([model("2", usage=None)], None, None, "— tokens · —"),
        ([model("2", usage=KNOWN), model("3", usage=KNOWN)], 30, Decimal(1), "30 tokens · $1.00"),
        (
            [model("2", usage=KNOWN), model("3", usage=replace(KNOWN, cost=None), cached=True)],
            15,
            Decimal("0.5"),
            "15 tokens · $0.5000",
        ),
        ([model("2", usage=replace(KNOWN, estimated=True))], 15, Decimal("0.5"), "~15 tokens · ~$0.5000"),
        ([model("2", usage=KNOWN), model("3", usage=replace(KNOWN, cost=None))], 30, Decimal("0.5"), "30 tokens · ≥$0.5000"),
        ([finished("2", "1", kind="agent", usage=KNOWN), model("3", "2", usage=KNOWN)], 15, Decimal("0.5"), "15 tokens · $0.5000"),
        ([model("2", usage=Usage(cost=Decimal(0)))], None, Decimal(0), "— tokens · $0.00"),
    ],
)
def test_totals_count_each_model_call_once_and_never_make_up_a_zero(calls, tokens, cost, head):
    one = trace(finished("1", kind="graph"), *calls)
    assert (one.tokens, one.cost) == (tokens, cost)
    assert head in str(one).splitlines()[0]


def test_a_cached_call_spends_nothing():
    line = str(trace(model("2", None, usage=KNOWN, cached=True))).splitlines()[1]
    assert line.endswith("10→5 · cached")


HOSTILE = "\x1b[31mred\x1b[0m\r\n\u202eevil\u200b[bold]not bold[/bold]\x00\ud800"


def test_a_hostile_name_stays_on_its_line_and_shows_what_it_is():
    failure = Failure(HOSTILE, "x")
    one = trace(finished("1", name=HOSTILE, trace_name=HOSTILE, thread_id=HOSTILE, outcome="error", failure=failure))
    console = Console(file=StringIO(), width=500, force_terminal=True, color_system="standard")
    console.print(one)
    for shown in (str(one), console.file.getvalue()):
        assert shown.rstrip("\n").count("\n") == 1
        assert not {"\r", "\x00", "\u202e", "\u200b", "\ud800", "\x1b[31mred"} & {c for c in HOSTILE if c in shown}
        assert "\\x1b[31mred" in shown
        assert "[bold]not bold[/bold]" in shown
    assert "\x1b" not in str(one)
    assert "\x1b[31mred" not in console.file.getvalue()


@given(st.text(st.characters(exclude_categories=())))
def test_clean_text_is_printable_and_short(text):
    assert words.clean(text).isprintable()
    assert len(words.clean("x" * 1000, 30)) == 30


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (0, "0 ms"),
        (0.00042, "0.42 ms"),
        (0.9996, "1.00 s"),
        (59.999, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3661, "1 h 01 min"),
    ],
)
def test_durations_in_words(seconds, text):
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("cost", "text"),
    [(None, "—"), ("0", "$0.00"), ("0.00001", "<$0.0001"), ("0.0031", "$0.0031"), ("12.346", "$12.35"), ("1", "$1.00")],
)
def test_money_in_words(cost, text):
    assert words.money(None if cost is None else Decimal(cost)) == text


def test_a_fallback_says_what_it_stands_in_for():
    run = started("2", "1", kind="model", name="second")
    note = Noted(run=run, kind="fallback", at_ns=run.at_ns, name="openai.RateLimitError")
    lines = str(trace(finished("1"), note, finished(run=run))).splitlines()

    assert lines[-1].endswith("instead of one that failed: openai.RateLimitError")
