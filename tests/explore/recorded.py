"""Traces made of records by hand: an agent that fails and goes on, a large one, one that means harm."""

from decimal import Decimal
from functools import cache

from langgraph_observe.explore import Memory, Trace, Traces
from langgraph_observe.payloads import Lazy, Message, Payload
from langgraph_observe.records import Failure, Finished, Noted, Scored, Started, Stream, Usage

NOW = 1_800_000_000 * 10**9
HOSTILE = (
    "<script>alert(1)</script></pre></details><img src=x onerror=alert(1)> \"' https://evil.example/ javascript:alert(1) "
    "var(--x) \x1b[31mred\x1b[0m \u202eevil\u200b \x00 \ud800 &amp;"
)
AGENT, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "5af92f3577b34da6a3ce929d0e0e4736"
ENDED = {"outcome", "failure", "first_token_seconds", "goto", "output", "reason", "finish_reasons", "stream", "cached"}


def message(role, content, **more):
    return Message({"role": role, "content": content, **more})


def run(span, parent, kind, name, at=0.0, seconds=1.0, *, trace=AGENT, usage=None, **more):
    """A finished run; its times in seconds."""
    end = {key: more.pop(key) for key in ENDED & more.keys()}
    identity = {
        "id": f"run-{span}",
        "parent_id": parent,
        "root_id": "r",
        "trace_id": trace,
        "span_id": span,
        "parent_span_id": parent,
    }
    started = Started(**identity, kind=kind, name=name, at_ns=NOW + round(at * 1e9), **more)
    return Finished(run=started, seconds=seconds, measured=Lazy(usage), **{"outcome": "ok"} | end)


def node(span, parent, name, step, at=0.0, seconds=1.0, **more):
    return run(span, parent, "node", name, at, seconds, node=name, step=step, **more)


SYSTEM = message("system", "Be brief.")
QUESTION = message("user", "Where is order 4711?")
CALL = message("assistant", "I look it up.", tool_calls=[{"name": "find", "args": {"order": 4711}, "id": "c1"}])
FOUND = message("tool", "lost", name="find", tool_call_id="c1")
ANSWER = "It is lost; you get your 42 € back."
TIMEOUT = Failure("httpx.ReadTimeout", "no answer within 750 ms", "Traceback …\nhttpx.ReadTimeout")
SPENT = Usage(input_tokens=1812, output_tokens=45, cache_read_tokens=1024, cost=Decimal("0.0031"))


def agent(trace=AGENT, answer=ANSWER, failure=TIMEOUT, slower=1.0):
    """route → agent ⇄ tools; a tool fails, and the agent answers all the same."""
    stream = Stream(pieces=45, timeline=((0.4, 1), (0.6, 20), (1.0, 45)), last_seconds=1.0, longest_gap_seconds=0.2)
    said, inner = message("assistant", answer, id="a1"), {"trace": trace, "model": "gpt-4.1", "provider": "openai", "node": "agent"}
    told = {"input": Payload({"messages": [QUESTION]}), "output": Payload({"messages": [QUESTION, CALL, FOUND, said]})}
    tool = {"outcome": "error", "failure": failure} if failure else {"output": Payload(FOUND)}
    records = [
        run("a1", None, "graph", "support", 0, 3.4 * slower, trace=trace, graph="support", thread_id="customer-42", **told),
        node("b1", "a1", "route", 1, 0.01, 0.02, trace=trace, goto=("agent",)),
        node("c1", "a1", "agent", 2, 0.05, 1.1 * slower, trace=trace, goto=("tools",)),
        run(
            "d1", "c1", "model", "ChatOpenAI", 0.06, 1.05, first_token_seconds=0.42, usage=SPENT, stream=stream,
            input=Payload({"messages": [SYSTEM, QUESTION]}), output=Payload({"messages": [CALL]}), **inner,
        ),
        node("e1", "a1", "tools", 3, 1.2, 0.8, trace=trace, goto=("agent",)),
        run("f1", "e1", "tool", "find", 1.21, 0.31, trace=trace, node="tools", input=Payload({"order": 4711}), **tool),
        node("c2", "a1", "agent", 4, 2.05, 1.2 * slower, trace=trace, goto=("__end__",)),
        run(
            "d2", "c2", "model", "ChatOpenAI", 2.06, 1.18, usage=SPENT,
            input=Payload({"messages": [SYSTEM, QUESTION, CALL, FOUND]}), output=Payload({"messages": [said]}), **inner,
        ),
    ]  # fmt: skip
    noted = Noted(run=records[5].run, kind="retry", at_ns=records[5].run.at_ns + 10**8, name="attempt 2")
    return [*records, noted, Scored(trace_id=trace, name="helpful", value=1.0, at_ns=NOW, id=f"s-{trace}")]


def hostile(text=HOSTILE):
    """Every text of a trace is this one."""
    content, stream = Payload({"messages": [message("user", text, name=text)], text: text}), Stream(pieces=1, kinds={text: 1})
    root = {"failure": Failure(text, text, text), "thread_id": text, "trace_name": text, "outcome": "error", "reason": text}
    inner = {"model": text, "provider": text, "parameters": {text: text}, "metadata": {text: text}, "finish_reasons": (text,)}
    records = [
        run("a1", None, "graph", text, 0, 1, graph=text, input=content, output=Payload(text), stream=stream, **root),
        run("b1", "a1", "node", text, 0.1, 0.5, step=1, node=text, goto=(text,)),
        run("c1", "b1", "model", text, 0.1, 0.2, input=content, output=content, stream=stream, usage=SPENT, **inner),
    ]
    scored = Scored(trace_id=AGENT, name=text, value=text, comment=text, at_ns=NOW, id="s")
    return [*records, Noted(run=records[1].run, kind=text, at_ns=NOW, name=text, payload=content), scored]


@cache
def large(size=5_000):
    """A map over many pages: a fifth of the runs are nodes, each with four runs inside; some of these fail."""
    records = [run("g", None, "graph", "mapper", 0, 60, graph="mapper")]
    for i in range(size // 5):
        records.append(
            node(f"n{i}", "g", "search" if i % 3 else "summarise", 1, i * 0.05, 0.05 + i % 17 * 0.1, input=Payload("word " * 400))
        )
        for j, (kind, name) in enumerate((("tool", "fetch"), ("model", "gpt"), ("chain", "parse"), ("tool", "store"))):
            ended = {"outcome": "error", "failure": TIMEOUT} if i % 97 == 5 and j == 0 else {"output": Payload("<b>y</b>" * 500)}
            records.append(run(f"n{i}-{j}", f"n{i}", kind, name, i * 0.05, 0.02 * (j + 1), **ended))
    return tuple(records)


def trace(records):
    return Trace.of(AGENT, records)


def traces(*groups):
    return Traces(Memory([record for group in groups for record in group], capacity=10**6))
