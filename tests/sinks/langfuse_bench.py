"""One agent, two senders: our handler and sink, or the handler of Langfuse's own SDK, both against the same stand-in server.

The tests use `Ours`. `python tests/sinks/langfuse_bench.py` runs the same rows with `Theirs`, to see which of them still fail there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import langfuse as sdk
import pytest
from langfuse._client.resource_manager import LangfuseResourceManager
from langfuse.langchain import CallbackHandler
from langfuse_server import KEYS, PUBLIC, Langfuse
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from langgraph_observe import Observer, collect_runs
from langgraph_observe.process.redact import redact
from langgraph_observe.sinks import otel
from langgraph_observe.sinks.langfuse import Traces, others


class Ours:
    def __init__(self, server, provider):
        self.server, self.provider = server, provider
        self._client = None
        self.start()

    def start(self, *more, process=None):
        self.observer = Observer(Traces(base_url=self.server.url, **KEYS), *more, process=process)
        self.handler = self.observer.handler

    def masked(self, mask):
        self.start(process=[redact(callback=lambda _, value: mask(data=value))])

    def unmasked(self):
        """Without the search for secrets that Langfuse's handler does not make either."""
        self.start(process=[])

    def beside_the_sdk(self):
        """As in an application that uses Langfuse's SDK, too, and sends OpenTelemetry spans by the same provider."""
        self._client = sdk.Langfuse(
            **KEYS, base_url=self.server.url, tracer_provider=self.provider, should_export_span=others, flush_interval=60
        )
        self.start(otel.Spans(tracer_provider=self.provider))

    def config(self, **more):
        return {"callbacks": [self.handler], **more}

    async def trace_id(self, call):
        """Of the run that this awaitable makes."""
        with collect_runs() as runs:
            await call
        return runs[0].trace_id

    def seen(self):
        """What has arrived at the server."""
        assert self.observer.flush(20)
        if self._client:
            self._client.flush()
        return self.server.observations

    def close(self):
        self.observer.close()
        assert {name: counts for name, counts in self.observer.health().items() if any(counts.values())} == {}
        if self._client:
            self._client.shutdown()


class Theirs:
    def __init__(self, server, provider):
        self.server, self.provider = server, provider
        self.masked(None)

    def masked(self, mask):
        LangfuseResourceManager._instances.clear()
        self._client = sdk.Langfuse(
            **KEYS, base_url=self.server.url, tracer_provider=self.provider, mask=mask, flush_interval=60, timeout=20
        )
        self.handler = CallbackHandler(public_key=PUBLIC)

    def unmasked(self):
        """As it is."""

    def beside_the_sdk(self):
        """It is the SDK."""

    def config(self, **more):
        return {"callbacks": [self.handler], **more}

    async def trace_id(self, call):
        await call
        return self.handler.last_trace_id

    def seen(self):
        self._client.flush()
        return self.server.observations

    def close(self):
        self._client.shutdown()


Chosen = Ours


@pytest.fixture
def bench(monkeypatch):
    """A sender and its server; the process's tracer provider, the SDK's clients and the environment are this test's own."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    monkeypatch.setattr(LangfuseResourceManager, "_instances", {})
    with Langfuse() as server:
        made = sys.modules["langfuse_bench"].Chosen(server, trace.get_tracer_provider())
        yield made
        made.close()


class Rows:
    """Of pytest's reports, a line a row."""

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            print(f"{'ok  ' if report.passed else 'FAIL'} {report.nodeid.partition('::')[2]}")  # noqa: T201 - for whoever runs this
            if report.failed:
                print("     ", str(report.longrepr.reprcrash.message)[:300].replace("\n", " "))  # noqa: T201


if __name__ == "__main__":
    import langfuse_bench

    langfuse_bench.Chosen = langfuse_bench.Theirs
    here = Path(__file__).parent
    rows = sorted(map(str, here.glob("test_langfuse_rows*.py")))
    pytest.main([*rows, "-q", "-p", "no:randomly", "--no-header", "--tb=no", "-W", "ignore", *sys.argv[1:]], plugins=[Rows()])
