"""Benches for spans: one that shows no content, and one that does. A collector."""

from __future__ import annotations

import pytest
from otlp_server import Collector
from span_bench import Bench


@pytest.fixture
def collector():
    with Collector() as made:
        yield made


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.spans.close()
    assert made.spans.health() == {"queued": 0, "dropped": 0, "errors": 0, "open": 0}


@pytest.fixture
def talking():
    made = Bench(content="SPAN_ONLY")
    yield made
    made.spans.close()
    assert made.spans.health()["errors"] == 0
