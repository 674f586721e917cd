"""The kit at work: a real Prometheus scrapes real agents, every panel shows something, a fault becomes a message."""

import pytest
from kit import boards, concrete, queries
from servers import MISSING, alertmanager, port, prometheus, until, webhook
from traffic import Agents

from langgraph_observe.sinks.prometheus import serve

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} is not installed")


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Agents that run, their metrics, Prometheus, Alertmanager, and the webhook that it tells."""
    directory, at = tmp_path_factory.mktemp("live"), port()
    with Agents() as agents, webhook() as (inbox, arrived), alertmanager(directory, at, inbox):
        endpoint = serve(port=0, registry=agents.registry)
        with prometheus(directory, endpoint.port, alertmanager=at) as server:
            yield agents, server, arrived
        endpoint.close()


@pytest.fixture(scope="module")
def server(live):
    return live[1]


@pytest.mark.parametrize(
    ("uid", "title", "target"), [pytest.param(*one, id=f"{one[0]}: {one[1]} {one[2]['refId']}") for one in queries()]
)
def test_every_panel_shows_something(uid, title, target, server):
    query = concrete(target["expr"])
    until(lambda: numbers(server.query(query)), query)


def numbers(result):
    """The series with a number: NaN and infinity are drawn as nothing."""
    return [one for one in result if one["value"][1] not in {"NaN", "+Inf", "-Inf"}]


def test_choosing_one_graph_leaves_the_others_out(server):
    (panel,) = (one for one in boards()["langgraph-overview"]["panels"] if one["title"] == "Errors by graph")
    expr = concrete(panel["targets"][0]["expr"], graph="reader", job="langgraph")

    found = until(lambda: server.query(expr), expr)

    assert [one["metric"] for one in found] == [{"graph": "reader"}]


def test_the_values_that_can_be_chosen_are_the_graphs_that_ran(server):
    graphs = until(
        lambda: server.ask("label/graph/values", **{"match[]": 'langgraph_run_duration_seconds_count{job=~".*"}'}), "graphs"
    )
    assert {"reader", "travel_agent"} <= set(graphs)


def test_every_rule_is_evaluated_without_a_complaint(server):
    def evaluated():
        rules = [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]
        return rules if all(rule["health"] != "unknown" for rule in rules) else None

    assert [rule["lastError"] for rule in until(evaluated, "rules") if rule["health"] != "ok"] == []


def test_a_spike_leads_to_its_trace(server):
    query = 'langgraph_run_duration_seconds_bucket{graph="reader"}'

    found = until(
        lambda: server.ask("query_exemplars", query=query, start="2020-01-01T00:00:00Z", end="2100-01-01T00:00:00Z"), query
    )

    assert all(len(exemplar["labels"]["trace_id"]) == 32 for one in found for exemplar in one["exemplars"])


def test_a_fault_becomes_a_message_to_the_right_people_that_says_what_to_do(live):
    agents, _, arrived = live

    def told():
        return [
            (path, alert)
            for path, body in arrived
            for alert in body["alerts"]
            if alert["labels"]["alertname"] == "LangGraphRecursionLimit"
        ]

    assert told() == []
    agents.failing.set()
    path, alert = until(told, arrived)[0]

    assert path == "/warning"
    assert alert["labels"]["name"] == "circles"
    assert alert["annotations"]["summary"] == "circles runs in circles"
    assert alert["annotations"]["runbook_url"].endswith("#langgraphrecursionlimit")


def test_what_is_critical_is_told_and_what_follows_from_it_is_not(live):
    """The run objective burns: the page arrives, the slow burn of the same objective stays silent."""
    _, _, arrived = live

    def told():
        return [
            (path, alert["labels"]["alertname"])
            for path, body in arrived
            for alert in body["alerts"]
            if alert["labels"].get("graph") == "reader"
        ]

    until(lambda: ("/critical", "LangGraphRunSuccessBudgetBurn") in told(), told)
    assert "/warning" not in {path for path, name in told() if name == "LangGraphRunSuccessBudgetLeak"}
