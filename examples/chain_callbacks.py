"""A LangChain chain, seen through a callback handler: one argument of `invoke`, and the chain stays as it is."""

import os
import tempfile

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langgraph_observe import CallbackHandler, traces
from langgraph_observe.testing import ScriptedModel

# Left unset, runs are kept in ~/.local/share/langgraph-observe/traces.db
os.environ.setdefault("LANGGRAPH_OBSERVE_STORE", f"{tempfile.mkdtemp()}/traces.db")

prompt = ChatPromptTemplate.from_messages([("system", "Answer in one sentence."), ("user", "{question}")])
model = ScriptedModel(respond=lambda _: "Because air scatters blue light the most.", model="gpt-4.1-mini", provider="openai")
chain = prompt | model | StrOutputParser()  # any chat model

handler = CallbackHandler(user_id="ada", tags=["example"])
print(chain.invoke({"question": "Why is the sky blue?"}, config={"callbacks": [handler]}), end="\n\n")

print(traces.last())
