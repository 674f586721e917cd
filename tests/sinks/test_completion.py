from __future__ import annotations

import os
import sys
import threading
from hashlib import sha256

import pytest
from langchain_core.messages import HumanMessage
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_records import answered, chat, finished, started

from langgraph_observe import Observer
from langgraph_observe.payloads import Message, Payload
from langgraph_observe.sinks import completion
from langgraph_observe.sinks.otel import Spans
from langgraph_observe.testing import ScriptedModel

HOOK = """
import threading
calls, threads = [], []

class Hook:
    def on_completion(self, *, inputs, outputs, system_instruction, tool_definitions=None, span=None, log_record=None):
        threads.append(threading.current_thread())
        calls.append((inputs, outputs, system_instruction, tool_definitions))
        if any("fail" in part.content for one in inputs for part in one.parts if part.type == "text"):
            raise OSError("the bucket is gone")
        span.set_attribute("gen_ai.input.messages_ref", "memory://1")
"""


@pytest.fixture
def hook(tmp_path, monkeypatch):
    """An installed package with a hook, which the environment names; its module."""
    pytest.importorskip("opentelemetry.util.genai.completion_hook")
    (tmp_path / "hooked.py").write_text(HOOK)
    info = tmp_path / "hooked-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hooked\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[opentelemetry_genai_completion_hook]\nhooked = hooked:Hook\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(completion.SWITCH, "hooked")
    yield __import__("hooked")
    del sys.modules["hooked"]


class Bench:
    def __init__(self):
        self.memory = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.spans = Spans(tracer_provider=provider)

    def __call__(self, *records):
        for record in records:
            self.spans(record)
        assert self.spans.flush(5)
        return self.memory.get_finished_spans()


def told(things):
    """Dataclasses as text."""
    return "\n".join(map(str, things))


def test_the_hook_is_given_the_call_in_full_and_marks_the_span_that_shows_nothing(hook):
    many = "word " * 20_000
    blocks = [
        {"type": "text", "text": many},
        {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"},
        {"type": "novelty", "of": "tomorrow"},
    ]
    run = chat(
        input=Payload([Message({"role": "system", "content": "Be brief."}), Message({"role": "user", "content": blocks})]),
        tools=Payload([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]),
    )
    (span,) = Bench()(run, answered(run))
    ((inputs, outputs, system, tools),) = hook.calls
    assert told(inputs).replace(many, "MANY") == (
        "InputMessage(role='system', parts=[TextPart(content='Be brief.', type='text')], name=None)\n"
        "InputMessage(role='user', parts=[TextPart(content='MANY', type='text'), UriPart(mime_type='image/png', modality='image', "
        f"uri='sha256:{sha256(b'iVBORw0KGgo=').hexdigest()}', type='uri')], name=None)"
    )
    assert told(outputs) == (
        "OutputMessage(role='assistant', parts=[ToolCallRequestPart(arguments={'city': 'Paris'}, name='weather', id='c1', "
        "type='tool_call')], finish_reason='stop', name=None)"
    )
    assert told(tools) == "FunctionToolDefinition(name='weather', description=None, parameters={'type': 'object'}, type='function')"
    assert system == []
    assert span.attributes["gen_ai.input.messages_ref"] == "memory://1"
    assert "gen_ai.input.messages" not in span.attributes


def test_the_hook_is_called_on_a_thread_of_ours_after_redaction(hook):
    bench = Bench()
    said = [HumanMessage("my key is sk-abcdefghijklmnopqrstuvwxyz123456")]
    ScriptedModel(respond=lambda _: "done").invoke(said, {"callbacks": [Observer(bench.spans).handler]})
    bench()
    assert "my key is" in told(hook.calls[0][0])
    assert "sk-abc" not in told(hook.calls[0][0])
    assert threading.current_thread() not in hook.threads


def test_a_hook_that_fails_costs_nothing_but_its_mark(hook, caplog):
    run = chat(input=Payload("fail"))
    (span,) = Bench()(run, answered(run))
    assert span.attributes["gen_ai.usage.input_tokens"] == 100
    assert "gen_ai.input.messages_ref" not in span.attributes


def test_only_what_models_say_is_given(hook):
    run = started("agent", input=Payload([Message({"role": "user", "content": "hi"})]))
    Bench()(run, finished(run))
    assert hook.calls == []


def test_without_the_variable_the_package_is_not_asked_for(monkeypatch):
    monkeypatch.delenv(completion.SWITCH, raising=False)
    monkeypatch.setattr(completion, "find_spec", lambda _: pytest.fail("asked"))
    assert completion.hook() is None


def test_a_hook_without_the_package_is_said_once_and_left_out(monkeypatch, caplog):
    monkeypatch.setitem(os.environ, completion.SWITCH, "upload")
    monkeypatch.setattr(completion, "find_spec", lambda _: None)
    run = chat()
    (span,) = Bench()(run, answered(run))
    assert span.name == "chat gpt-4o"
    (line,) = caplog.records
    assert "opentelemetry-util-genai is not installed" in line.getMessage()
