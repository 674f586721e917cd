"""One trace on a page: its head, a line for each run with its bar; of a large one, the lines that matter, and what is left out."""

import re
from dataclasses import replace

import pytest
from recorded import TIMEOUT, agent, large, message, run, trace

from langgraph_observe.explore import excerpt, values, waterfall
from langgraph_observe.explore.excerpt import Omitted
from langgraph_observe.payloads import Payload
from langgraph_observe.records import Failure


def page(*records):
    return trace(records)._repr_html_()


def shown(records, limit=excerpt.LINES):
    return [line for line, _ in excerpt.lines(trace(records), limit)]


def test_the_head_says_what_the_trace_was_and_why_it_failed():
    told = re.sub(r"<[^>]+>", "", page(*agent()))
    assert "support✓ ok3.40 s · 3,714 tokens · $0.0062 · 8 runs · thread customer-42 · helpful 1.0 · " in told
    assert "✖ httpx.ReadTimeout no answer within 750 ms in tool find" in told
    assert "ReadTimeout" not in page(*agent(failure=None))


def test_of_a_trace_that_failed_the_run_where_that_began_is_unfolded():
    handled, fatal = Failure("ValueError", "handled"), Failure("KeyError", "fatal")
    ended = {"outcome": "error", "failure": fatal}
    told = page(
        run("a1", None, "graph", "g", 0, 9, **ended), run("b1", "a1", "tool", "first", 1, outcome="error", failure=handled),
        run("c1", "a1", "node", "n", 2, **ended), run("d1", "c1", "tool", "second", 3, **ended),
    )  # fmt: skip
    assert "✖ KeyError" in told
    assert re.findall(r'<details open="open">(?:(?!<details).)*?<b>(\w+)</b></bdi>', told) == ["second"]
    assert "<details open" not in page(*agent())


def test_bars_stand_where_the_time_was_spent():
    one = trace(
        [
            run("a1", None, "graph", "g", 0, 10),
            run("b1", "a1", "node", "n", 2.5, 5),
            replace(run("c1", "a1", "node", "m", 9, 0).run),
        ]
    )
    scale = waterfall.Scale(one)
    assert [scale.place(each) for each in one] == [(0, 100), (25, 50), (90, 10)]  # the last one goes on
    assert scale.seconds == 10


def test_the_wait_for_the_first_token_is_a_part_of_the_bar():
    assert "width:40.0%;background:rgba(127,127,127,.62)" in page(run("a1", None, "model", "m", 0, 10, first_token_seconds=4.0))


def test_a_line_unfolds_what_its_run_holds():
    told = page(*agent())
    folded = re.search(r"<details>(?:(?!</details>).)*<b>find</b>(.*?)</details>", told, re.DOTALL)[1]
    assert "&quot;order&quot;: 4711" in folded
    assert "Traceback" in folded


def test_of_many_runs_of_one_name_the_first_and_the_slowest_are_shown_and_the_rest_is_counted():
    siblings = [run(f"b{i}", "a1", "tool", "search", i, 9.0 if i == 30 else 0.5) for i in range(40)]
    lines = shown([run("a1", None, "graph", "g", 0, 50), *siblings])
    assert [line.span_id for line in lines[:-1]] == ["a1", "b0", "b1", "b2", "b30"]
    assert str(lines[-1]) == "36 × tool search · 500 ms to 500 ms"


def test_a_few_runs_of_one_name_are_all_shown():
    siblings = [run(f"b{i}", "a1", "tool", "search") for i in range(excerpt.REPEATS)]
    assert len(shown([run("a1", None, "graph", "g"), *siblings])) == 1 + excerpt.REPEATS


def test_the_way_to_a_failure_is_always_shown():
    records = large()
    deep = [run("x0", "g", "node", "search", 50), *(run(f"x{i}", f"x{i - 1}", "chain", "c", 50) for i in range(1, 6))]
    failed = run("bad", "x5", "tool", "t", 50, outcome="error", failure=TIMEOUT)
    records = [one for one in records if one.outcome == "ok"]
    assert [line.span_id for line in shown([*records, *deep, failed]) if not isinstance(line, Omitted)][-7:-1] == [
        f"x{i}" for i in range(6)
    ]


def test_every_run_is_shown_or_counted():
    for records in (large(), agent()[:8], [run(f"r{i}", None, "graph", "g") for i in range(500)]):
        lines = shown(records)
        left = [line for line in lines if isinstance(line, Omitted)]
        assert len(lines) - len(left) + sum(len(one.runs) + one.below for one in left) == len(records)
        assert len(lines) < 2 * excerpt.LINES


def test_a_chain_too_deep_for_the_page_is_cut_and_counted():
    deep = [run("r0", None, "graph", "g"), *(run(f"r{i}", f"r{i - 1}", "chain", "c") for i in range(1, 3_000))]
    *some, last = shown(deep)
    assert len(some) == excerpt.LINES
    assert str(last) == f"1 × chain c · {2_999 - excerpt.LINES:,} runs below · 1.00 s to 1.00 s"
    assert page(*deep)


def test_a_failure_too_deep_for_the_page_does_not_fill_it():
    deep = [run("r0", None, "graph", "g"), *(run(f"r{i}", f"r{i - 1}", "chain", "c") for i in range(1, 3_000))]
    deep[-1] = replace(deep[-1], outcome="error")
    assert len(shown(deep)) <= excerpt.LINES + 1


def test_the_page_says_how_much_it_leaves_out():
    assert re.search(r"\d+ of 5,001 runs: the failed, the first and the slowest", page(*large()))
    assert "runs: the failed" not in page(*agent())


def test_the_tree_of_a_large_trace_as_text_is_whole_when_printed_and_short_when_shown():
    one = trace(large())
    assert str(one).count("\n") == 5_001
    assert repr(one).count("\n") < 200
    assert "⋯ " in repr(one)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (Payload("plain"), "plain"),
        (Payload({"a": [1, None]}), '{"a": [1, null]}'),
        (Payload({"a": 1, "b": "y" * 80}), '{\n  "a": 1,\n  "b": "' + "y" * 80 + '"\n}'),
        (
            Payload({"messages": [message("user", "hi"), message("assistant", "", tool_calls=[{"name": "f", "args": {"x": 1}}])]}),
            "user: hi\nassistant: f(x=1)",
        ),
        (
            Payload(message("tool", [{"type": "text", "text": "a"}, {"type": "image", "url": "u"}])),
            'tool: a\n{"type": "image", "url": "u"}',
        ),
        (Payload({"messages": []}), '{"messages": []}'),
        (Payload({"messages": [("user", "hi"), message("assistant", "ho")]}), "user: hi\nassistant: ho"),
        (Payload([["user", "ada"], ["rows", "2"]]), '[["user", "ada"], ["rows", "2"]]'),
        (
            Payload({"a": 1}, omitted={"messages": 3, "plan": None}),
            '(3 earlier messages as before; plan as before)\n{"a": 1}',
        ),
        (None, None),
    ],
)
def test_payloads_as_text(payload, text):
    assert values.text(payload) == text


def test_a_payload_of_ten_megabytes_is_cut_and_its_size_is_named():
    for payload in (Payload("x" * 10_000_000), Payload({"rows": [{"n": "y" * 95}] * 100_000}), Payload([12345678] * 1_200_000)):
        told = values.text(payload, 1_000)
        assert len(told) < 1_100
        assert re.search(r"…\n\[cut: 1\d\.\d MB in all\]$", told)


def test_content_that_cannot_be_read_costs_itself_only():
    class Gone(Payload):
        def fold(self, message):
            raise OSError("secret path")

    told = page(run("a1", None, "graph", "g", input=Gone(None), output=Payload("here")))
    assert "&lt;unreadable: OSError&gt;" in told
    assert "here" in told
    assert "secret" not in told


def test_what_runs_hold_is_shown_as_far_as_the_page_goes_the_failed_first():
    calls = [run(f"b{i}", "a1", "tool", f"t{i}", output=Payload("<" * 2_000)) for i in range(60)]
    failed = run("bad", "a1", "chain", "late", 59, outcome="error", failure=TIMEOUT, output=Payload("why"))
    told = page(run("a1", None, "graph", "g", 0, 60), *calls, failed)
    assert "why" in told
    assert "t.run(&#x27;b59&#x27;) shows what it holds" in told
    assert len(told) < 300_000
