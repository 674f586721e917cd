"""The runbook: one section for each alert, from the same table as the alert."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langgraph_observe.deploy.alerts import Alert

_HEAD: Final = """# Runbook

Written by `langgraph-observe deploy`; what you change here is lost when it is written anew.

*critical* wakes somebody, *warning* is for working hours, *info* is for the channel. In a notebook beside the agent's store:

```python
from langgraph_observe import traces

traces.filter(outcome="error", since="1h").last()  # the tree of the last run that failed
```

In a shell: `langgraph-observe traces`, then `langgraph-observe show TRACE_ID`. Exemplars on the duration panels have the trace id.
"""


def runbook(alerts: Sequence[Alert]) -> str:
    """The page, its headings' anchors being the alerts' names in lower case, as GitHub and Grafana make them."""
    areas = groupby(alerts, key=lambda one: one.area)
    return _HEAD + "".join(f"\n## {area.capitalize()}\n" + "".join(map(_section, found)) for area, found in areas)


def _section(one: Alert) -> str:
    wait = "" if one.wait == "0s" else f", for {one.wait}"
    return f"""
### {one.name}

**{one.severity}**{wait}. {one.means}

**Look.** {one.look}

**Do.** {one.do}

```promql
{one.expr}
```
"""
