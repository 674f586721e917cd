"""A FastAPI service that streams an agent's words as server-sent events, asked once. Needs fastapi, langchain and uvicorn."""

import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage

from langgraph_observe import observe
from langgraph_observe.explore import Memory, Traces
from langgraph_observe.testing import ScriptedModel

model = ScriptedModel(respond=lambda _: "Take the train, it is quicker.", seconds=0.05)  # any chat model
memory = Memory()
graph = observe(create_agent(model, name="assistant"), memory)
app = FastAPI()


@app.get("/ask", response_class=EventSourceResponse)
async def ask(question: str, user: str) -> AsyncIterator[str]:
    """One event a word. The user is known here only, so LangChain's own config tells it."""
    config: Any = {"metadata": {"user_id": user}}
    async for chunk, _ in graph.astream({"messages": [HumanMessage(question)]}, config, stream_mode="messages"):
        if chunk.text:
            yield chunk.text


listener = socket.create_server(("127.0.0.1", 0))  # it listens from here on: the client need not wait for the server
server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
thread = threading.Thread(target=server.run, args=([listener],))
thread.start()

url = f"http://127.0.0.1:{listener.getsockname()[1]}/ask"
with httpx.stream("GET", url, params={"question": "Train or plane?", "user": "ada"}) as response:
    print(*filter(None, response.iter_lines()), sep="\n")
server.should_exit = True
thread.join()

trace = Traces(memory).last()
print(f"{trace.root.started.user_id} asked:", trace, sep="\n")
