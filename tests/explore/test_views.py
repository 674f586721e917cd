"""The talk, one run, two traces beside each other, many traces at a glance."""

from dataclasses import replace
from decimal import Decimal

import pytest
from recorded import ANSWER, CALL, FOUND, OTHER, QUESTION, SYSTEM, agent, large, message, run, trace, traces

from langgraph_observe.explore.charts import Latency, Outcomes, Spending
from langgraph_observe.payloads import Payload
from langgraph_observe.records import Stream, Usage


def test_a_talk_has_each_message_once_in_order_with_who_said_it():
    chat = trace(agent()).messages()
    assert [(said.role, said.by) for said in chat] == [
        ("system", None), ("user", None), ("assistant", "agent"), ("tool", "find"), ("assistant", "agent"),
    ]  # fmt: skip
    assert str(chat).startswith(
        "system\nBe brief.\n\nuser\nWhere is order 4711?\n\nassistant · agent\nI look it up.\nfind(order=4711)"
    )
    assert chat[-1].text == ANSWER


def test_what_is_said_twice_in_one_conversation_is_shown_twice():
    yes = message("user", "yes")
    asked = [SYSTEM, yes, message("assistant", "sure?"), yes]
    one = trace([run("a1", None, "model", "m", input=Payload({"messages": asked}))])
    assert [said.text for said in one.messages()] == ["Be brief.", "yes", "sure?", "yes"]


def test_an_id_that_langgraph_adds_later_makes_no_second_message():
    answer = message("assistant", "hello")
    model = run("b1", "a1", "model", "m", input=Payload({"messages": [QUESTION]}), output=Payload({"messages": [answer]}))
    graph = run("a1", None, "graph", "g", output=Payload({"messages": [QUESTION, message("assistant", "hello", id="x")]}))
    assert [said.text for said in trace([graph, model]).messages()] == ["Where is order 4711?", "hello"]


def test_a_talk_from_plain_data_is_one_too():
    plain = [dict(one.plain) for one in (SYSTEM, QUESTION, CALL, FOUND)]
    assert len(trace([run("a1", None, "model", "m", input=Payload({"messages": plain}))]).messages()) == 4


def test_no_talk_is_said():
    chat = trace([run("a1", None, "graph", "g", input=Payload({"x": 1}))]).messages()
    assert (len(chat), str(chat)) == (0, "no messages")
    assert "no messages" in chat._repr_html_()


def test_of_a_long_talk_the_beginning_and_the_end_are_shown():
    many = [message("user", f"number {i}") for i in range(1_000)]
    page = trace([run("a1", None, "model", "m", input=Payload({"messages": many}))]).messages()._repr_html_()
    assert all(text in page for text in ("number 0<", "number 999<", "⋯ 920 messages"))
    assert "number 500" not in page


def test_a_run_tells_all_that_is_known_of_it():
    told = str(trace(agent()).run("d1"))
    assert told.splitlines()[:8] == [
        "✓ model ChatOpenAI · 1.05 s · d1", "duration: 1.05 s", "model: gpt-4.1", "provider: openai", "tokens: 1,812→45",
        "cache read: 1,024", "cost: $0.0031", "node: agent",
    ]  # fmt: skip
    assert "stream: 45 pieces · first after 420 ms · 75.9 pieces/s · longest gap 200 ms" in told
    assert "── output ──\nassistant: I look it up.\nfind(order=4711)" in told
    assert repr(trace(agent()).run("d1")) == "<✓ model ChatOpenAI · 1.05 s · d1>"


def test_a_run_is_found_by_name_and_by_the_beginning_of_an_id():
    one = trace(agent())
    found = [one.run(key).span_id for key in ("ChatOpenAI", "tools", "f1", "run-f1", "c2")]
    assert found == ["d1", "e1", "f1", "f1", "c2"]
    with pytest.raises(LookupError, match="no run"):
        one.run("nobody")
    with pytest.raises(LookupError, match="several runs"):
        one.run("c")


def test_errors_begin_with_what_began_it():
    one = trace([
        run("a1", None, "graph", "g", outcome="error"), run("b1", "a1", "node", "n", 1, outcome="error"),
        run("c1", "b1", "tool", "t", 2, outcome="error"), run("d1", "a1", "tool", "fine", 3),
    ])  # fmt: skip
    assert [failed.name for failed in one.errors()] == ["t", "g", "n"]


def test_a_stream_is_drawn_with_its_wait_its_stalls_and_who_hung_up():
    stream = Stream(pieces=9, timeline=((1.0, 1), (2.0, 5), (9.0, 9)), stalls=1, keepalives=2, resumed=True, kinds={"token": 9})
    hung_up = {"outcome": "cancelled", "reason": "client_disconnect", "first_token_seconds": 1.0, "stream": stream}
    told = str(run_of := trace([run("a1", None, "stream", "/chat", 0, 10, **hung_up)]).run("a1"))
    assert "9 pieces · first after 1.00 s · 1 stalls · 2 keep-alives · resumed by the client · client_disconnect · token 9" in told
    from langgraph_observe.explore import sparkline

    drawn = sparkline.drawn(run_of)
    assert 'x="92.0" y="4" width="322.0"' in drawn  # from second 2 to 9 of 10, on 460 pixels
    assert "client_disconnect 10.00 s" in drawn
    assert sparkline.drawn(trace([run("a1", None, "model", "m")]).run("a1")) is None


def test_a_difference_is_told_by_place_in_the_tree():
    diff = trace(agent()).diff(trace(agent(OTHER, "It is on its way.", None, slower=2)))
    assert [(pair.sign, pair.run.name) for pair in diff if pair.sign] == [("~", "support"), ("~", "find"), ("~", "ChatOpenAI")]
    lines = [line.split() for line in str(diff).splitlines()]
    assert ["all", "6.80", "s", "+3.40", "s", "3,714", "=", "$0.0062", "=", "ok"] in lines
    assert f"-assistant: {ANSWER}" in str(diff)
    assert "+assistant: It is on its way." in str(diff)
    assert "error → ok" in str(diff)


def test_the_same_trace_differs_in_nothing():
    assert not [pair.sign for pair in trace(agent()).diff(trace(agent())) if pair.sign]


def test_what_only_one_of_two_has_stands_where_it_would_be():
    first = [run("a1", None, "graph", "g"), *(run(f"b{n}", "a1", "node", n, i) for i, n in enumerate("xyz"))]
    second = [run("a1", None, "graph", "g"), *(run(f"b{i}{n}", "a1", "node", n, i) for i, n in enumerate("xwzz"))]
    assert [(pair.sign, pair.run.name) for pair in trace(first).diff(trace(second))] == [
        ("", "g"), ("", "x"), ("+", "w"), ("-", "y"), ("", "z"), ("+", "z"),
    ]  # fmt: skip


def test_unknown_numbers_have_no_difference():
    one, other = (trace([run("a1", None, "model", "m", usage=usage)]) for usage in (None, Usage(input_tokens=5, cost=Decimal(1))))
    assert str(one.diff(other)).splitlines()[-1].split() == ["model", "m", "1.00", "s", "=", "5", "$1.00", "ok"]


def test_outcomes_are_counted():
    failed = [replace(one, outcome="error") if one.run.parent_id is None else one for one in agent()[:8]]
    assert str(traces(agent(OTHER), failed).outcomes()) == "✓ ok 1 (50%) · ✖ error 1 (50%)"
    assert str(Outcomes.of([])) == ""


def test_latency_is_told_by_what_took_most():
    latency = traces(large(1_000)).latency()
    assert str(latency).splitlines()[0].split() == ["kind", "name", "count", "p50", "p95", "max", "errors"]
    assert [line.split()[:2] for line in str(latency).splitlines()[1:]] == [
        ["node", "search"], ["node", "summarise"], ["tool", "store"], ["model", "gpt"], ["tool", "fetch"],
    ]  # fmt: skip
    assert str(latency).splitlines()[-1].split() == ["tool", "fetch", "200", "20", "ms", "20", "ms", "20", "ms", "3"]


def test_percentiles_are_nearest_ranks():
    runs = [run(f"b{i:03}", None, "node", "n", i, float(i + 1)) for i in range(100)]
    assert "50.00 s" in str(Latency.of([trace(runs)]))
    assert "1 min 35 s" in str(Latency.of([trace(runs)]))


def test_what_is_estimated_or_has_no_price_is_marked_in_the_spending():
    calls = [
        run("m", None, "model", "m", usage=Usage(input_tokens=3, estimated=True, cost=Decimal("0.5"))),
        run("n", None, "model", "n", usage=Usage(output_tokens=4)),
    ]
    spending = traces(calls).spending()
    assert (spending.unknown, spending.estimated) == (1, 1)
    assert str(spending).endswith("traces with calls of unknown cost: 1\ntraces with estimated tokens: 1")
    assert "~7 tokens" in spending._repr_html_()
    assert "≥~$0.5000 cost" in spending._repr_html_()


def test_spending_is_told_over_time():
    later = [replace(one, run=replace(one.run, at_ns=one.run.at_ns + 3600 * 10**9)) for one in agent(OTHER)[:8]]
    spending = traces(agent(), later).spending()
    assert list(spending.tokens) == [3714, 3714]
    assert sum(spending.cost) == Decimal("0.0124")
    assert spending.unknown == 0
    assert Spending.of([])._repr_html_().count("no traces") == 1


def test_the_overview_says_of_how_many_it_speaks():
    assert str(traces(agent(), agent(OTHER)).overview(limit=1)).endswith("1 of 2 in memory")


def test_what_is_known_to_cost_nothing_costs_nothing_and_what_is_not_known_is_unknown():
    free, unknown = (Usage(input_tokens=3, cost=cost) for cost in (Decimal(0), None))
    for usage, told in ((free, "$0.00"), (unknown, "—")):
        spending = traces([run("m", None, "model", "m", usage=usage)]).spending()
        assert str(spending).splitlines()[1].split()[-1] == told
        assert f"{told} cost" in spending._repr_html_().replace("≥", "")
