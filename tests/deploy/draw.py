"""Draw a board without Grafana: its own queries, asked of a real Prometheus, as an HTML page.

`python tests/deploy/draw.py DIR [SECONDS]` runs agents for a while, and writes a page for each board into DIR. With chromium
installed, a picture of each beside it. It shows that queries, units and legends are right, not how Grafana would look.
"""

import html
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kit import boards, concrete
from servers import prometheus
from traffic import Agents

from langgraph_observe.sinks.prometheus import serve

COLORS = ("#3274d9", "#e0752d", "#299c46", "#8f3bb8", "#e02f44", "#b7a900", "#1f9e9e", "#7a6ff0", "#c15c93", "#6d6d6d")
CELL = (56, 38)
"""Pixels of a cell of the grid."""
STYLE = (
    "body{margin:16px;background:#f4f5f5;font:13px system-ui,sans-serif;color:#222}main{position:relative}"
    "section{position:absolute;background:#fff;border:1px solid #ddd;border-radius:3px;padding:6px 8px;box-sizing:border-box;overflow:hidden}"
    "h2{font-size:13px;margin:0 0 2px}p{margin:0;color:#777;font-size:11px;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}"
    "b{font-size:30px;font-weight:600;display:block;text-align:center;margin-top:14px}i{font-style:normal;margin-right:10px;white-space:nowrap}"
    "div.bar{background:#cfe0f7;margin:3px 0;padding:1px 4px;white-space:nowrap}"
)


def shown(value, unit):
    """A number as a reader wants it."""
    match unit:
        case "percentunit":
            return f"{value:.1%}"
        case "s":
            return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
        case "currencyUSD":
            return f"${value:.4f}" if value < 1 else f"${value:.2f}"
        case "cps":
            return f"{value:.2f}/s"
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def named(legend, metric):
    text = ", ".join(f"{key}={value}" for key, value in metric.items()) if legend == "__auto" else legend
    for key, value in metric.items():
        text = text.replace(f"{{{{{key}}}}}", value)
    return html.escape(re.sub(r"\{\{\w+\}\}", "", text) or "value")


def series(server, panel, start, end):
    """(name, [(time, number)]) of every query of a panel, asked as Grafana asks it: once, or over time."""
    for target in panel["targets"]:
        query = concrete(target["expr"]).replace("[5m]", "[30s]")  # a minute's traffic, seen closely
        if target["instant"]:
            found = [(one["metric"], [one["value"]]) for one in server.query(query)]
        else:
            found = [
                (one["metric"], one["values"])
                for one in server.ask("query_range", query=query, start=start, end=end, step=1)["result"]
            ]
        for metric, values in found:
            if points := [(at, float(value)) for at, value in values if math.isfinite(float(value))]:
                yield named(target["legendFormat"], metric), points


def cells(found, start, end, width, height):
    """A heatmap: of each bucket what is not in the one below, the darker the more."""
    buckets = sorted(found, key=lambda one: float(one[0]))
    below, drawn, high = {}, [], height / len(buckets)
    most = max((value for _, points in buckets for _, value in points), default=1) or 1
    for row, (_, points) in enumerate(buckets):
        for at, value in points:
            x, y = (at - start) / (end - start) * width, height - (row + 1) * high
            drawn.append(
                f'<rect x="{x:.0f}" y="{y:.0f}" width="{width / (end - start) + 1:.0f}" height="{high:.0f}" fill="#3274d9" '
                f'fill-opacity="{max(value - below.get(at, 0), 0) / most:.2f}"/>'
            )
        below = dict(points)
    return f'<p>up to {buckets[-2][0]} s</p><svg width="{width}" height="{height}" style="border-bottom:1px solid #aaa">{"".join(drawn)}</svg>'


def lines(found, unit, start, end, width, height):
    top = max((value for _, points in found for _, value in points), default=0) or 1

    def path(points):
        return " ".join(f"{(at - start) / (end - start) * width:.1f},{height - value / top * height:.1f}" for at, value in points)

    drawn = "".join(
        f'<polyline fill="none" stroke="{COLORS[n % len(COLORS)]}" stroke-width="1.5" points="{path(points)}"/>'
        for n, (_, points) in enumerate(found)
    )
    legend = "".join(
        f'<i style="color:{COLORS[n % len(COLORS)]}">― {name} {shown(points[-1][1], unit)}</i>'
        for n, (name, points) in enumerate(found[:12])
    )
    return f'<p>{shown(top, unit)}</p><svg width="{width}" height="{height}" style="border-bottom:1px solid #aaa">{drawn}</svg><div>{legend}</div>'


def bars(found, unit):
    latest = [(points[-1][1], name) for name, points in found]
    most = max((value for value, _ in latest), default=0) or 1
    return "".join(
        f'<div class="bar" style="width:{max(value, 0) / most * 95:.0f}%">{name} {shown(value, unit)}</div>'
        for value, name in latest
    )


def section(server, panel, start, end):
    place, unit = panel["gridPos"], panel["fieldConfig"]["defaults"]["unit"]
    width, height = place["w"] * CELL[0] - 6, place["h"] * CELL[1] - 6
    found = list(series(server, panel, start, end))
    if not found:
        body = "<b>no data</b>"
    elif panel["type"] == "stat":
        body = f"<b>{shown(found[0][1][-1][1], unit)}</b>"
    elif panel["type"] in {"bargauge", "table"}:
        body = bars(found, unit)
    elif panel["type"] == "heatmap":
        body = cells(found, start, end, width - 20, height - 80)
    else:
        body = lines(found, unit, start, end, width - 20, height - 110)
    style = f"left:{place['x'] * CELL[0]}px;top:{place['y'] * CELL[1]}px;width:{width}px;height:{height}px"
    return (
        f'<section style="{style}"><h2>{html.escape(panel["title"])}</h2><p>{html.escape(panel["description"])}</p>{body}</section>'
    )


def page(server, board, start, end):
    """A board's page, and its height in pixels."""
    sections = [section(server, panel, start, end) for panel in board["panels"] if panel["type"] != "text"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) * CELL[1] + 80
    title = html.escape(board["title"])
    body = f'<h1>{title}</h1><main style="height:{height}px">{"".join(sections)}</main>'
    return f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>{body}', height


def picture(source, height):
    command = ("chromium", "--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={24 * CELL[0] + 40},{height}")
    if shutil.which("chromium"):
        subprocess.run(
            [*command, f"--screenshot={source.with_suffix('.png')}", source.as_uri()], check=True, timeout=90, capture_output=True
        )


def main(directory, seconds=60.0):
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        Agents() as agents,
        serve(port=0, registry=agents.registry) as endpoint,
        prometheus(Path(scratch), endpoint.port) as server,
    ):
        start = time.time() + 5
        time.sleep(seconds)
        for uid, board in boards().items():
            text, height = page(server, board, start, time.time())
            path = directory / f"{uid}.html"
            path.write_text(text, "utf-8")
            picture(path.resolve(), height)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:]))
