"""Records made by hand, for the span sinks' tests."""

from __future__ import annotations

import itertools

from langgraph_observe.records import Failure, Finished, Lazy, Message, Noted, Payload, Started, Usage

TRACE = "0af7651916cd43dd8448eb211c80319c"
NOW = 1_790_000_000_000_000_000
_numbers = itertools.count(1)


def started(kind="graph", parent=None, **over):
    number = next(_numbers)
    run = {
        "id": f"run-{number}",
        "parent_id": parent.id if parent else None,
        "root_id": parent.root_id if parent else f"run-{number}",
        "trace_id": parent.trace_id if parent else TRACE,
        "span_id": f"{number:016x}",
        "parent_span_id": parent.span_id if parent else None,
        "kind": kind,
        "name": {"model": "ChatOpenAI", "graph": "LangGraph"}.get(kind, kind),
        "at_ns": NOW,
    }
    return Started(**run | over)


def finished(run, outcome="ok", seconds=1.5, usage=None, **over):
    return Finished(run=run, outcome=outcome, seconds=seconds, measured=Lazy(usage), **over)


def chat(**over):
    """A model call with everything on it."""
    return started(
        "model",
        **{
            "model": "gpt-4o",
            "provider": "openai",
            "base_url": "https://user:secret@api.openai.com/v1?key=secret",
            "parameters": {"temperature": 0, "max_tokens": 100, "stop": "END", "n": 1, "reasoning_effort": "low"},
            "thread_id": "thread-1",
            "input": Payload([system(), question()]),
        }
        | over,
    )


def answered(run, **over):
    return finished(
        run,
        **{
            "usage": Usage(input_tokens=100, output_tokens=20, cache_read_tokens=60, cache_write_tokens=10, reasoning_tokens=5),
            "model": "gpt-4o-2024-08-06",
            "response_id": "chatcmpl-1",
            "finish_reasons": ("stop",),
            "output": Payload(answer()),
        }
        | over,
    )


def system():
    return Message({"role": "system", "content": "Be brief."})


def question():
    return Message({"role": "user", "content": "What is the weather in Paris?"})


def answer():
    return Message({"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "name": "weather", "args": {"city": "Paris"}}]})


def failed(message="the prompt was: my secret diary", **over):
    return {"outcome": "error", "failure": Failure("openai.RateLimitError", message, "Traceback …\nboom"), **over}


def quoting(words):
    """A failure that says them twice."""
    return Failure("ValueError", words, f"Traceback …\nValueError: {words}")


def noted(run, kind="interrupt", payload=None, name=None):
    return Noted(run=run, kind=kind, at_ns=run.at_ns + 1000, name=name, payload=Payload(payload) if payload is not None else None)
