"""Loopback servers that speak a provider's protocol, so that the real langchain-openai and langchain-anthropic run offline.

`with openai(Reply(...)) as server: ChatOpenAI(base_url=server.url, ...)`. What is faked is the remote server's answer; the
client, its parsing and its retries are the real ones.
"""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
import pytest
from anthropic import AnthropicError
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from openai import OpenAIError

from langgraph_observe import CallbackHandler
from langgraph_observe.process.price import price
from langgraph_observe.testing import strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from langchain_core.runnables import Runnable

    from langgraph_observe.records import Finished, Record, Started

STREAMS = ("stream", "astream")
WHOLES = ("invoke", "ainvoke", "batch")
QUESTION = "What is it?"


@pytest.fixture(autouse=True)
def one_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each client reads all of certifi's authorities, twice, 40 ms; nobody here speaks TLS."""
    first, end, _ = Path(certifi.where()).read_text("utf-8").partition("-----END CERTIFICATE-----")
    file = tmp_path_factory.mktemp("tls") / "one.pem"
    file.write_text(first + end, "utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


def gpt(server: Server, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        **{"model": "gpt-5.2", "base_url": server.url, "api_key": "none", "max_retries": 0, "stream_usage": True} | more
    )


def claude(server: Server, **more: Any) -> ChatAnthropic:
    return ChatAnthropic(**{"model": "claude-sonnet-4-5", "base_url": server.url, "api_key": "none", "max_retries": 0} | more)


async def ask(model: Runnable[Any, Any], way: str, config: Any) -> None:
    """Call the model in this way, once."""
    match way:
        case "invoke":
            model.invoke(QUESTION, config)
        case "stream":
            list(model.stream(QUESTION, config))
        case "ainvoke":
            await model.ainvoke(QUESTION, config)
        case "astream":
            [_ async for _ in model.astream(QUESTION, config)]
        case "batch":
            model.batch([QUESTION], config)


async def call(model: Runnable[Any, Any], way: str, **options: Any) -> Finished:
    """Ask once; the record of how it ended. `options` are those of `price`."""
    seen: list[Record] = []
    with strict():
        await ask(model, way, {"callbacks": [CallbackHandler(seen.append, process=[price(**options)])]})
    return ended(seen)


async def failure(model: Runnable[Any, Any], way: str) -> Finished:
    """Ask once, in vain."""
    seen: list[Record] = []
    with strict(), pytest.raises((OpenAIError, AnthropicError)):
        await ask(model, way, {"callbacks": [CallbackHandler(seen.append, process=[price()])]})
    return ended(seen)


def ended(seen: list[Record]) -> Finished:
    """The end of the one run that was seen, whose beginning was seen before."""
    start: Started
    start, end = seen
    assert end.run is start
    return end


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server answers to every request."""

    words: tuple[str, ...] = ("Hello", " big", " world")
    """Content; one streamed piece each."""
    usage: Mapping[str, Any] | None = None
    """In the provider's own words; None says nothing."""
    model: str = "gpt-5.2"
    finish: str = "stop"
    service_tier: str | None = None
    tool_call: tuple[str, str] | None = None
    """Name and JSON arguments of a tool that the model wants called."""
    status: int = 200
    """Other than 200: an error instead of an answer."""
    breaks_after: int | None = None
    """Streaming: after so many words, an error event; the connection ends."""
    stalls_after: int | None = None
    """After so many words, silence until the server is closed; not streaming, at once."""


@dataclass
class Server:
    """A running server. `requests` holds the bodies it was sent; `asked` is set once there is one."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    asked: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def serve(handler: type[_Handler], reply: Reply, path: str) -> Iterator[Server]:
    requests: list[dict[str, Any]] = []
    asked, over = threading.Event(), threading.Event()
    bound = type(handler.__name__, (handler,), {"reply": reply, "requests": requests, "asked": asked, "over": over})
    http = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{http.server_address[1]}{path}", requests, asked)
    finally:
        over.set()
        http.shutdown()
        http.server_close()
        thread.join()


def openai(reply: Reply) -> contextlib.AbstractContextManager[Server]:
    """OpenAI: POST /v1/chat/completions and /v1/responses."""
    return serve(_OpenAI, reply, "/v1")


def anthropic(reply: Reply) -> contextlib.AbstractContextManager[Server]:
    """Anthropic: POST /v1/messages."""
    return serve(_Anthropic, reply, "")


class _Handler(BaseHTTPRequestHandler):
    reply: Reply
    requests: list[dict[str, Any]]
    asked: threading.Event
    over: threading.Event

    def log_message(self, *args: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.requests.append({"path": self.path, **body})
        self.asked.set()
        if self.reply.status != 200:
            self._json(self.reply.status, self.error())
        elif body.get("stream"):
            with contextlib.suppress(ConnectionError):  # the client went away
                self._stream(self.events(body))
        elif self.reply.stalls_after is not None:
            self.over.wait()
        else:
            self._json(200, self.whole(body))

    def error(self) -> dict[str, Any]:
        return {"error": {"message": "refused by the test server", "type": "test_error", "code": "test"}}

    def whole(self, body: Mapping[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def events(self, body: Mapping[str, Any]) -> Iterator[tuple[str | None, dict[str, Any] | str]]:
        raise NotImplementedError

    def _json(self, status: int, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: Iterator[tuple[str | None, dict[str, Any] | str]]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()  # HTTP/1.0: the end of the connection is the end of the stream
        for name, data in events:
            head = f"event: {name}\n" if name else ""
            self.wfile.write(f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode())
            self.wfile.flush()


class _OpenAI(_Handler):
    def whole(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._response() if self.path.endswith("/responses") else self._completion(body)

    def events(self, body: Mapping[str, Any]) -> Iterator[tuple[str | None, dict[str, Any] | str]]:
        return self._response_events() if self.path.endswith("/responses") else self._chunks(body)

    # -- chat completions

    def _completion(self, body: Mapping[str, Any]) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.reply.words)}
        if self.reply.tool_call:
            message |= {"content": None, "tool_calls": [self._tool_call()]}
        choices = [{"index": i, "message": message, "finish_reason": self.reply.finish} for i in range(body.get("n") or 1)]
        return self._envelope("chat.completion") | {"choices": choices} | ({"usage": self.reply.usage} if self.reply.usage else {})

    def _chunks(self, body: Mapping[str, Any]) -> Iterator[tuple[None, dict[str, Any] | str]]:
        def chunk(delta: Mapping[str, Any], finish: str | None = None) -> tuple[None, dict[str, Any]]:
            return None, self._envelope("chat.completion.chunk") | {
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]
            }

        yield chunk({"role": "assistant", "content": ""})
        if self.reply.tool_call:
            yield chunk({"tool_calls": [{"index": 0, **self._tool_call()}]})
        for number, word in enumerate(() if self.reply.tool_call else self.reply.words):
            if number == self.reply.breaks_after:
                yield None, self.error()
                return
            if number == self.reply.stalls_after:
                self.over.wait()
                return
            yield chunk({"content": word})
        yield chunk({}, self.reply.finish)
        if self.reply.usage and (body.get("stream_options") or {}).get("include_usage"):
            yield None, self._envelope("chat.completion.chunk") | {"choices": [], "usage": self.reply.usage}
        yield None, "[DONE]"

    def _envelope(self, kind: str) -> dict[str, Any]:
        tier = {"service_tier": self.reply.service_tier} if self.reply.service_tier else {}
        return {"id": "chatcmpl-test", "object": kind, "created": 1, "model": self.reply.model, "system_fingerprint": "fp"} | tier

    def _tool_call(self) -> dict[str, Any]:
        name, arguments = self.reply.tool_call or ("", "")
        return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}

    # -- responses

    def _response(self, status: str = "completed") -> dict[str, Any]:
        part = {"type": "output_text", "text": "".join(self.reply.words), "annotations": []}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": [part]}
        return {
            "id": "resp_test", "object": "response", "created_at": 1, "status": status, "model": self.reply.model, "output": [item],
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None,
            "instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0,
            "usage": self.reply.usage, "service_tier": self.reply.service_tier,
        }  # fmt: skip

    def _response_events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": self._response("in_progress") | {"output": [], "usage": None}},
            {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}},
            *({"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": word, "logprobs": []} for word in self.reply.words),
            {"type": "response.completed", "response": self._response()},
        ]  # fmt: skip
        for number, event in enumerate(events):
            yield event["type"], event | {"sequence_number": number}


class _Anthropic(_Handler):
    """`usage` is Anthropic's: `input_tokens` without the cache."""

    def error(self) -> dict[str, Any]:
        return {"type": "error", "error": {"type": "overloaded_error", "message": "refused by the test server"}}

    def _message(self, content: list[dict[str, Any]], finish: str | None, usage: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "id": "msg_test", "type": "message", "role": "assistant", "model": self.reply.model, "content": content,
            "stop_reason": finish, "stop_sequence": None, "usage": dict(usage),
        }  # fmt: skip

    def whole(self, body: Mapping[str, Any]) -> dict[str, Any]:
        usage = self.reply.usage or {"input_tokens": 0, "output_tokens": 0}
        return self._message([{"type": "text", "text": "".join(self.reply.words)}], self.reply.finish, usage)

    def events(self, body: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        usage = dict(self.reply.usage or {"input_tokens": 0, "output_tokens": 0})
        yield "message_start", {"type": "message_start", "message": self._message([], None, usage | {"output_tokens": 1})}
        yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        for number, word in enumerate(self.reply.words):
            if number == self.reply.breaks_after:
                yield "error", self.error()
                return
            if number == self.reply.stalls_after:
                self.over.wait()
                return
            delta = {"type": "text_delta", "text": word}
            yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
        yield "content_block_stop", {"type": "content_block_stop", "index": 0}
        stop = {"stop_reason": self.reply.finish, "stop_sequence": None}
        yield "message_delta", {"type": "message_delta", "delta": stop, "usage": usage}
        yield "message_stop", {"type": "message_stop"}
