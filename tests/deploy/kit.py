"""The shipped kit as the tests read it."""

import json
import shutil
import subprocess
from pathlib import Path

import promql_parser
import yaml

from langgraph_observe.deploy import KIT

PLACEHOLDERS = {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m"}


def parsed(name):
    """A YAML file of the kit."""
    return yaml.safe_load((KIT / name).read_text("utf-8"))


def rules(name):
    return [rule for group in parsed(f"prometheus/rules/langgraph-{name}.yml")["groups"] for rule in group["rules"]]


def boards():
    return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((KIT / "grafana/dashboards").glob("*.json"))}


def queries():
    """Every panel's queries: (board, panel's title, target)."""
    return [
        (uid, panel["title"], target)
        for uid, board in boards().items()
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]


def concrete(query, **values):
    """The query as Grafana would send it with everything chosen."""
    for name, value in PLACEHOLDERS.items():
        query = query.replace(name, value)
    for name in ("job", "graph", "model"):
        query = query.replace(f'"${name}"', f'"{values.get(name, ".*")}"')
    return query


def selectors(query):
    """The vector selectors of a query."""
    found, todo = [], [promql_parser.parse(query)]
    while todo:
        node = todo.pop()
        match node:
            case promql_parser.VectorSelector():
                found.append(node)
            case promql_parser.MatrixSelector():
                found.append(node.vector_selector)
            case promql_parser.AggregateExpr():
                todo += [node.expr, node.param]
            case promql_parser.BinaryExpr():
                todo += [node.lhs, node.rhs]
            case promql_parser.Call():
                todo += node.args
            case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
                todo.append(node.expr)
    return found


def tool(name, *arguments, cwd=None):
    """What a tool of Prometheus says; it must be content."""
    done = subprocess.run(
        [shutil.which(name), *map(str, arguments)], capture_output=True, text=True, timeout=100, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def secret_files(value):
    """The values of every key `*_file` in it."""
    match value:
        case dict():
            own = [one for key, one in value.items() if key.endswith("_file")]
            return own + [found for one in value.values() for found in secret_files(one)]
        case list():
            return [found for one in value for found in secret_files(one)]
    return []


def written(tmp_path: Path, name: str, value):
    path = tmp_path / name
    path.write_text(yaml.safe_dump(value), "utf-8")
    return path
