"""A sink is any callable that takes a record, a processor any that returns one: here a list, two functions, no class."""

import hashlib
from dataclasses import replace

from langchain_core.messages import HumanMessage

from langgraph_observe import Finished, Record, Started, observe
from langgraph_observe.demo import travel_agent
from langgraph_observe.process.price import price
from langgraph_observe.process.redact import redact
from langgraph_observe.testing import tree


def pseudonymous(record: Record) -> Record:
    """Processor: no user by name. What a run ends with is what it began with, so the beginning is enough."""
    if isinstance(record, Started) and record.user_id:
        return replace(record, user_id=hashlib.sha256(record.user_id.encode()).hexdigest()[:12])
    return record


def receipt(record: Record) -> None:
    """Sink: a line for each model call. It runs on the agent's thread; `Deferred(receipt)` would give it one of its own."""
    match record:
        case Finished(run=Started(kind="model", user_id=user), model=model, usage=usage) if usage:
            print(f"{user} spent {usage.input_tokens} + {usage.output_tokens} tokens of {model} for ${usage.cost}")


seen: list[Record] = []
graph = observe(
    travel_agent(),  # its model is scripted: any chat model will do
    seen.append,
    receipt,
    process=[pseudonymous, redact(), price()],
    user_id="ada@example.org",
)
graph.invoke({"messages": [HumanMessage("Lisbon or Oslo this weekend?")]})

print(tree(seen))
