"""sample: whole traces, the same ones everywhere."""

import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langgraph_observe.process.sample import sample
from langgraph_observe.records import Finished, Noted, Scored, Started

TRACES = [f"{random.Random(n).getrandbits(128):032x}" for n in range(4_000)]


def started(trace_id, **over):
    return Started(
        **{"id": "1", "root_id": "1", "trace_id": trace_id, "span_id": "1" * 16, "kind": "graph", "name": "g", "at_ns": 0, **over}
    )


def kept(rate, traces=TRACES):
    process = sample(rate)
    return {trace for trace in traces if process(started(trace)) is not None}


def test_all_and_nothing():
    assert kept(1) == set(TRACES)
    assert kept(0) == set()
    assert kept(1.0, ["0" * 32, "f" * 32]) == {"0" * 32, "f" * 32}
    assert kept(0.0, ["0" * 32, "f" * 32]) == set()


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_the_share_is_the_rate(rate):
    spread = 4 * (rate * (1 - rate) / len(TRACES)) ** 0.5
    assert abs(len(kept(rate)) / len(TRACES) - rate) < spread


@given(st.floats(0, 1), st.floats(0, 1))
def test_what_a_lower_rate_keeps_a_higher_one_keeps(one, other):
    low, high = sorted((one, other))
    assert kept(low, TRACES[:50]) <= kept(high, TRACES[:50])


@given(st.sampled_from(TRACES))
def test_all_records_of_a_trace_share_its_fate(trace):
    run = started(trace)
    child = started(trace, id="2", parent_id="1", span_id="2" * 16, kind="tool")
    score = Scored(trace_id=trace, name="s", value=1.0, at_ns=0, id="s")
    records = [run, child, Finished(run=child, outcome="error", seconds=1.0), Noted(run=run, kind="custom", at_ns=0), score]
    process = sample(0.5)
    answers = [process(record) for record in records]
    assert answers in ([None] * 5, records)
    assert all(answer is None or answer is record for answer, record in zip(answers, records, strict=True))


def test_only_the_random_part_of_the_trace_id_decides():
    process = sample(0.5)
    for trace in TRACES[:100]:
        other = "0" * 18 + trace[18:]
        assert (process(started(trace)) is None) == (process(started(other)) is None)
    assert kept(0.5, ["0" * 18 + "8" + "0" * 13, "f" * 18 + "7" + "f" * 13]) == {"0" * 18 + "8" + "0" * 13}


def test_another_process_decides_alike():
    code = (
        "import sys; from langgraph_observe.process.sample import sample; from langgraph_observe.records import Scored\n"
        "p = sample(0.3)\n"
        "for t in sys.stdin.read().split(): print(int(p(Scored(trace_id=t, name='', value=1.0, at_ns=0, id='')) is not None))"
    )
    told = subprocess.run([sys.executable, "-c", code], input="\n".join(TRACES[:200]), text=True, capture_output=True, check=True)
    here = kept(0.3)
    assert told.stdout.split() == [str(int(trace in here)) for trace in TRACES[:200]]


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_rate_outside_0_to_1_is_an_error(rate):
    with pytest.raises(ValueError, match="between 0 and 1"):
        sample(rate)
