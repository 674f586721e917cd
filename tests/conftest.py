"""Nothing of the machine's own set-up reaches a test, and nothing of a test stays on the machine."""

import os
import tempfile

for variable in [
    name for name in os.environ if name.startswith(("LANGFUSE_", "OTEL_", "LANGGRAPH_OBSERVE_", "LANGSMITH_", "LANGCHAIN_"))
]:
    del os.environ[variable]
os.environ["LANGSMITH_TRACING"] = "false"
os.environ["LANGGRAPH_OBSERVE_STORE"] = os.path.join(tempfile.mkdtemp(prefix="langgraph-observe-"), "traces.db")  # noqa: PTH118 - before all imports

import pytest  # noqa: E402 - after the environment is clean
from hypothesis import HealthCheck, settings  # noqa: E402
from opentelemetry import context  # noqa: E402

# How long an example takes says nothing here; and a check that passed must not fail on the next clean checkout.
settings.register_profile(
    "ours", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=bool(os.environ.get("CI"))
)
settings.load_profile("ours")


@pytest.fixture(autouse=True)
def _nothing_is_current():
    """What a test before this one has left in the main thread's context (a stream that nobody closed) is gone."""
    context.attach(context.Context())
