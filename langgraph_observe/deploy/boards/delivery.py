"""Event streams over HTTP; and the health of the telemetry itself."""

from __future__ import annotations

from typing import Final

from langgraph_observe.deploy.grafana import Board, Panel, Query
from langgraph_observe.deploy.promql import SCREEN, increase, quantile, rate, ratio

_STREAM: Final = "langgraph_stream_duration_seconds"

STREAMS: Final = Board(
    uid="langgraph-streams",
    title="LangGraph · Streams",
    variables={},
    panels=(
        Panel(
            title="How streams end",
            says="`client_disconnect` is a user who left; `error` broke on our side, after the response had begun as 200.",
            queries=(Query("sum by (outcome) (job_route_outcome:langgraph_streams:rate5m)", "{{outcome}}"),),
            unit="per second",
        ),
        Panel(
            title="Open streams",
            says="By route.",
            queries=(Query("sum by (route) (langgraph_stream_connections_active)", "{{route}}"),),
        ),
        Panel(
            title="Time to the first event",
            says="From the request.",
            queries=(
                Query(quantile(0.5, "langgraph_stream_first_event_seconds", "route"), "{{route}} median"),
                Query(quantile(0.95, "langgraph_stream_first_event_seconds", "route"), "{{route}} 95 %"),
            ),
            unit="seconds",
        ),
        Panel(
            title="The longest gap",
            says="Between two events of a stream.",
            queries=(Query(quantile(0.95, "langgraph_stream_longest_gap_seconds", "route"), "{{route}} 95 %"),),
            unit="seconds",
        ),
        Panel(
            title="How long streams last",
            says="Two bands: short answers, and connections that a proxy cuts after its timeout.",
            queries=(Query(f"sum by (le) (increase({_STREAM}_bucket[{SCREEN}]))", "{{le}}"),),
            unit="seconds",
            type="heatmap",
        ),
        Panel(
            title="Events",
            says="By route and type, keep-alives apart.",
            queries=(
                Query(rate("langgraph_stream_events_total", "route, event"), "{{route}} {{event}}"),
                Query(rate("langgraph_stream_keepalives_total", "route"), "{{route}} keep-alives"),
            ),
            unit="per second",
        ),
        Panel(
            title="Clients that leave",
            says="The share of streams that the client ended.",
            queries=(Query(ratio(f'{_STREAM}_count{{outcome="client_disconnect"}}', f"{_STREAM}_count", "route"), "{{route}}"),),
            unit="ratio",
        ),
        Panel(
            title="Clients that come back",
            says="Requests with a Last-Event-ID. After a normal end each of them runs the graph anew.",
            queries=(Query(increase("langgraph_stream_reconnects_total", "route"), "{{route}}"),),
        ),
        Panel(
            title="Errors and stalls inside streams",
            says="`error` events in responses that began as 200, and gaps of more than five seconds.",
            queries=(
                Query(increase("langgraph_stream_error_events_total", "route"), "{{route}} errors"),
                Query(increase("langgraph_stream_stalls_total", "route"), "{{route}} stalls"),
            ),
        ),
        Panel(
            title="Bytes",
            says="Of the bodies.",
            queries=(Query(rate("langgraph_stream_bytes_total", "route"), "{{route}}"),),
            unit="bytes per second",
        ),
    ),
)

TELEMETRY: Final = Board(
    uid="langgraph-telemetry",
    title="LangGraph · Telemetry health",
    variables={},
    panels=(
        Panel(
            title="Processes",
            says="That expose our metrics.",
            queries=(Query("count(langgraph_build_info)"),),
            type="stat",
        ),
        Panel(
            title="Targets down",
            says="Of the jobs chosen.",
            queries=(Query('count(up{job=~"$job"} == 0) or vector(0)'),),
            type="stat",
            steps=((1, "red"),),
        ),
        Panel(
            title="Records lost",
            says="In the time shown.",
            queries=(Query(f"{increase('langgraph_dropped_total', window='$__range')} or vector(0)"),),
            type="stat",
            steps=((1, "red"),),
        ),
        Panel(
            title="Losses",
            says="By the component that lost them, and why.",
            queries=(Query(increase("langgraph_dropped_total", "component, reason"), "{{component}}: {{reason}}"),),
        ),
        Panel(
            title="Queues",
            says="Records that wait. A queue that grows will lose some.",
            queries=(Query("max by (component) (langgraph_export_queue_size)", "{{component}}"),),
        ),
        Panel(
            title="Labels with too many values",
            says="Samples that were counted under `__other__`.",
            queries=(Query(increase("langgraph_label_overflow_total", "label"), "{{label}}"),),
        ),
        Panel(
            title="How long scrapes take",
            says="By instance. Prometheus gives up after ten seconds.",
            queries=(Query('scrape_duration_seconds{job=~"$job"}', "{{instance}}"),),
            unit="seconds",
        ),
        Panel(
            title="Samples of a scrape",
            says="By instance: what the labels cost.",
            queries=(Query('scrape_samples_post_metric_relabeling{job=~"$job"}', "{{instance}}"),),
        ),
        Panel(
            title="Versions",
            says="What runs where.",
            queries=(Query("count by (job, version, langgraph, langchain_core) (langgraph_build_info)"),),
            type="table",
        ),
        Panel(
            title="How long rules take",
            says="Of this kit, by group. More than 30 seconds, and they are late.",
            queries=(
                Query(
                    'max by (rule_group) (prometheus_rule_group_last_duration_seconds{rule_group=~".*langgraph.*"})',
                    "{{rule_group}}",
                ),
            ),
            unit="seconds",
        ),
        Panel(
            title="Notifications that failed",
            says="By channel: alerts that nobody was told of.",
            queries=(Query("sum by (integration) (increase(alertmanager_notifications_failed_total[5m]))", "{{integration}}"),),
        ),
    ),
)
