"""Calls that no scenario makes, for what they say: providers' own blocks and counts, documents, a graph that runs elsewhere."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langgraph.pregel.remote import RemoteGraph
from providers import Reply, anthropic, claude, gpt, openai
from ways import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from langgraph_observe import Observer

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
LOOK = {"name": "look", "description": "Look it up.", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}
CALLED = AIMessage("Let me look.", tool_calls=[{"id": "c1", "name": "look", "args": {"at": "it"}}])
ANSWER = ToolMessage([{"type": "text", "text": "a cat"}], tool_call_id="c1", name="look")
SEEN_BY_OPENAI = [
    SystemMessage("Be brief."),
    HumanMessage(
        [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
            {"type": "image", "url": "https://example.org/cat.png"},
            {"type": "audio", "base64": PIXEL, "mime_type": "audio/wav"},
            {"type": "file", "file_id": "file-1"},
        ],
        name="ada",
    ),
    CALLED,
    ANSWER,
]
SEEN_BY_CLAUDE = [
    SystemMessage([{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]),
    HumanMessage(
        [
            {"type": "text", "text": "What is it?"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a page"}},
        ]
    ),
    AIMessage(
        [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": "it"}},
        ],
        tool_calls=CALLED.tool_calls,
    ),
    ANSWER,
]
OPENAI_SAID = {
    "prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
    "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 20}, "completion_tokens_details": {"reasoning_tokens": 64, "audio_tokens": 9},
}  # fmt: skip
RESPONSES_SAID = {
    "input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100,
    "input_tokens_details": {"cached_tokens": 400}, "output_tokens_details": {"reasoning_tokens": 64},
}  # fmt: skip
CLAUDE_SAID = {"input_tokens": 50, "output_tokens": 30, "cache_read_input_tokens": 400, "cache_creation_input_tokens": 200}
ASKED = {"n": 1, "temperature": 0, "max_tokens": 100, "top_p": 1, "stop": ["END"], "seed": 7, "presence_penalty": 0.5}
HEARD = {"metadata": {"session_id": "s-1", "langfuse_prompt": SimpleNamespace(name="eyes", version=3, is_fallback=False)}}


def _asked(serve: Any, reply: Reply, model: Callable[[Any], Any], said: Sequence[Any]) -> Callable[[str, Observer], None]:
    def call(way: str, observer: Observer) -> None:
        with serve(reply) as server:
            run(way, model(server), said, HEARD | {"callbacks": [observer.handler]})

    return call


class Shelf(BaseRetriever):
    """Finds documents with and without a score."""

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [
            Document("a page", id="d1", metadata={"score": 0.5}),
            Document("another", metadata={"source": "b.txt"}),
            Document("?"),
        ]


def _found(way: str, observer: Observer) -> None:
    run(way, Shelf(), "what?", {"callbacks": [observer.handler]})


def _far(way: str, observer: Observer) -> None:
    def stream(**_: Any) -> Iterator[Any]:
        yield SimpleNamespace(event="values", data={"x": ["far"]})

    async def astream(**_: Any) -> Any:
        yield SimpleNamespace(event="values", data={"x": ["far"]})

    http = SimpleNamespace(client=SimpleNamespace(base_url="http://far.example:8123"))
    here, there = (SimpleNamespace(runs=SimpleNamespace(stream=one), http=http) for one in (stream, astream))
    graph = RemoteGraph("assistant", sync_client=here, client=there, name="far")
    run(way, observer.watch(graph), {"x": []}, {"configurable": {"thread_id": "t"}})


TOLD = Reply(usage=OPENAI_SAID, service_tier="default")
CALLS: dict[str, Callable[[str, Observer], None]] = {
    "OpenAI, all that can be asked": _asked(openai, TOLD, lambda server: gpt(server, **ASKED), SEEN_BY_OPENAI),
    "OpenAI, three choices": _asked(openai, TOLD, lambda server: gpt(server, n=3), "What is it?"),
    "OpenAI, a tool": _asked(
        openai,
        Reply(usage=OPENAI_SAID, finish="tool_calls", tool_call=("look", '{"at":"it"}')),
        lambda server: gpt(server).bind_tools([LOOK]),
        "What is it?",
    ),
    "OpenAI, a tool called in broken JSON": _asked(
        openai,
        Reply(finish="tool_calls", tool_call=("look", '{"at":')),
        lambda server: gpt(server).bind_tools([LOOK]),
        "What is it?",
    ),
    "OpenAI, an answer in JSON": _asked(
        openai, TOLD, lambda server: gpt(server).bind(response_format={"type": "json_object"}), "What is it, in JSON?"
    ),
    "OpenAI's responses": _asked(
        openai,
        Reply(usage=RESPONSES_SAID),
        lambda server: gpt(server, use_responses_api=True, reasoning={"effort": "low"}),
        "What is it?",
    ),
    "OpenAI, nothing counted": _asked(openai, Reply(finish="length"), gpt, "What is it?"),
    "Anthropic, a cache and thoughts": _asked(
        anthropic,
        Reply(usage=CLAUDE_SAID, model="claude-sonnet-4-5-20250929", finish="end_turn"),
        lambda server: claude(server, stop=["END"], top_k=5).bind_tools([LOOK]),
        SEEN_BY_CLAUDE,
    ),
    "a retriever": _found,
    "a graph elsewhere": _far,
}
"""Name → call in one of `ways.WAYS`."""
