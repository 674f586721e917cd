"""Every board of the kit."""

from __future__ import annotations

from typing import Final

from langgraph_observe.deploy.boards.delivery import STREAMS, TELEMETRY
from langgraph_observe.deploy.boards.graphs import GRAPHS, TOOLS
from langgraph_observe.deploy.boards.models import MODELS
from langgraph_observe.deploy.boards.overview import OVERVIEW
from langgraph_observe.deploy.boards.slo import SLO

BOARDS: Final = (OVERVIEW, GRAPHS, TOOLS, MODELS, STREAMS, SLO, TELEMETRY)
