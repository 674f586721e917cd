"""What LangGraph's own objects tell: the graph behind a run, its policies and routes, what its checkpoint remembers.

What no callback is told is read from the frame in which the graph runs, by the names of 1.2. Where LangGraph changes one,
nothing is found, and the records say what the callbacks alone tell.
"""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from langgraph.errors import NodeTimeoutError, ParentCommand
from langgraph.pregel import Pregel
from langgraph.types import Command, Send

from langgraph_observe.capture.caller import codes_of
from langgraph_observe.capture.context import CARRIED
from langgraph_observe.capture.payload import qualified
from langgraph_observe.payloads import text
from langgraph_observe.records import Failure, Link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import FrameType

    from langgraph_observe.capture.run import Run
    from langgraph_observe.records import Outcome

PUSH: Final = "__pregel_push"
START: Final = "__start__"
STREAMS: Final = codes_of(Pregel.stream, Pregel.astream)
_WHOLE: Final = ("__return__", "__root__")
_STEERING: Final = ("branch:to:", "__")
_DEFAULT_NAME: Final = "LangGraph"
_AGENT: Final = "langchain_create_agent"
_REMEMBERED: Final = "langgraph_observe_traceparent"
"""The key under which a checkpoint's metadata says whose it is: the one word of ours in the agent's own data."""
_NEAR: Final[Mapping[str, frozenset[str]]] = {"configurable": frozenset({_REMEMBERED}), "metadata": frozenset(CARRIED)}
_TRACEPARENT: Final = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_UNSEEN: Final = SimpleNamespace(nodes={}, config=None, builder=None)


def starting(
    starter: FrameType | None, told: Mapping[str, Any], *, root: bool
) -> tuple[Any, Mapping[str, Any], FrameType | None, bool] | None:
    """The graph whose `stream` is starting this very run, its `configurable`, its frame, whether it leaves checkpoints; None if no graph is.

    Nothing that a callback is told says whether a run is a graph's: metadata is inherited, the name is free. The frame of
    the starter says it. Should LangGraph move it, a root's metadata still tells.
    """
    if starter is not None and id(starter.f_code) in STREAMS:
        seen = starter.f_locals  # all of them, made anew each time
        return seen["self"], (seen.get("config") or {}).get("configurable") or {}, starter, bool(seen.get("checkpointer"))
    return (_UNSEEN, {}, None, False) if root and told.get("ls_integration") in ("langgraph", _AGENT) else None


def named(pregel: Any, name: str) -> str:
    """The graph's name. That of a functional graph, which LangGraph calls what it calls all, is its entrypoint's."""
    functional = name == _DEFAULT_NAME and getattr(pregel, "builder", None) is None and len(pregel.nodes) == 1
    return str(next(iter(pregel.nodes))) if functional else name


def agent_name(pregel: Any, told: Mapping[str, Any], name: str) -> str | None:
    """The agent's name if the graph is one of `create_agent`'s: by its own config, since metadata is inherited."""
    own = (pregel.config or {}).get("metadata") or ({} if pregel is not _UNSEEN else told)
    if own.get("ls_integration") != _AGENT and not own.get("lc_agent_name"):
        return None
    return str(own.get("lc_agent_name") or name)


def continues(inputs: Any) -> bool:
    """Whether this input goes on from where the thread stands: a `Command`, or None after a static interrupt."""
    return inputs is None or isinstance(inputs, Command)


def _answers(inputs: Any) -> bool:
    return isinstance(inputs, Command) and inputs.resume is not None


def remember(run: Run, configurable: Any) -> None:
    """Let the checkpoints of this root say whose they are, so that whoever resumes from one, anywhere, finds this run.

    Into `configurable`, of which LangGraph has made a copy: from there it goes into the checkpoint's metadata, and to no
    handler.
    """
    configurable[_REMEMBERED] = f"00-{run.trace_id}-{run.span_id}-01"


def forgotten(config: Any) -> Any:
    """The config without what is of this side only: what `remember` has put there, and whose child the run is here."""
    for part, own in _NEAR.items():
        given = config.get(part) if isinstance(config, dict) else None
        if given and not own.isdisjoint(given):
            config = {**config, part: {key: given[key] for key in given if key not in own}}
    return config


def resumed_from(run: Run) -> Link | None:
    """The interrupted run that left the checkpoint from which this one goes on; None after a failure, and for time travel."""
    seen = run.frame.f_locals if run.frame is not None else {}
    loop = seen.get("loop")
    left = _TRACEPARENT.fullmatch(str(getattr(loop, "checkpoint_metadata", {}).get(_REMEMBERED)))
    if left is None or loop is None:
        return None
    return Link(left[1], left[2], "resumed_from") if _answers(seen.get("input")) or _stopped(loop, seen) else None


def _stopped(loop: Any, seen: Mapping[str, Any]) -> bool:
    """Whether the graph stands where it was stopped: the last step did not fail, and there is something to do."""
    travels = loop._addressed  # noqa: SLF001 - nothing else says that a checkpoint was chosen
    if travels or seen.get("input") is not None or any(channel == "__error__" for _, channel, _ in loop.checkpoint_pending_writes):
        return False
    return not {*loop.trigger_to_nodes, "__pregel_tasks"}.isdisjoint(loop.checkpoint.get("updated_channels") or ())


def closed(run: Run) -> tuple[Outcome, str | None] | None:
    """How a graph ended whose consumer stopped reading: well, if nothing was left to do; else why, if that is known.

    A task that was cancelled while its consumer held a chunk closes the stream later, from somewhere else.
    """
    loop = run.frame.f_locals.get("loop") if run.frame is not None else None
    if getattr(loop, "status", None) == "done":
        return "ok", None
    if run.task is not None and (run.task.cancelled() or run.task.cancelling()):
        return "cancelled", "task_cancelled"
    return None


def stopped(run: Run) -> str | None:
    """The static interrupt at which a graph inside another one has stopped: it raises what a question raises, and asks nothing."""
    loop = run.frame.f_locals.get("loop") if run.frame is not None and run.home is run else None
    status = str(getattr(loop, "status", ""))
    return status if status.startswith("interrupt_") else None


def left(run: Run) -> Any:
    """The state that a graph had when its consumer stopped reading."""
    return getattr(run.frame.f_locals.get("loop"), "output", None) if run.frame is not None else None


def called(pregel: Any, config: Mapping[str, Any]) -> tuple[str, list[str], dict[str, Any], Mapping[str, Any]]:
    """What a call says of itself where no callback does: name, tags, metadata and `configurable`."""
    own, configurable = pregel.config or {}, config.get("configurable") or {}
    told = {key: configurable[key] for key in ("thread_id", "checkpoint_id") if key in configurable}
    told |= {**(own.get("metadata") or {}), **(config.get("metadata") or {})}
    return (
        text(config.get("run_name") or pregel.get_name()),
        [*(own.get("tags") or ()), *(config.get("tags") or ())],
        told,
        configurable,
    )


def began(pregel: Any, error: BaseException) -> bool:
    """Whether this call of the graph had told its handlers that it runs before it failed; yes if that cannot be seen."""
    trace = error.__traceback__
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if id(frame.f_code) in STREAMS and (seen := frame.f_locals).get("self") is pregel:
            return "run_manager" not in frame.f_code.co_varnames or seen.get("run_manager") is not None
    return True


def url_of(pregel: Any) -> str | None:
    """Where a remote graph is served."""
    client = pregel.sync_client or pregel.client
    found = getattr(getattr(getattr(client, "http", None), "client", None), "base_url", None)
    return None if found is None else str(found)


def written(writes: Iterable[tuple[str, Any]]) -> Any:
    """What a node or task has returned, from what it wrote: without what only steers the graph."""
    given = dict(writes)
    returned = [given[channel] for channel in _WHOLE if channel in given]
    return returned[0] if returned else {channel: given[channel] for channel in given if not channel.startswith(_STEERING)}


def policy(run: Run, name: str, part: str) -> Callable[[Any], Any] | None:
    """The node's `TracePolicy` for `process_inputs` or `process_outputs`. LangGraph applies it to its own tracers only."""
    graph = run.home.pregel if run.home else None
    node = graph.nodes.get(name) if graph is not None else None
    return getattr(getattr(node, "trace_policy", None), part, None)


def limited(pregel: Any, name: str | None) -> bool:
    """Whether the node has a limit of time of its own."""
    return getattr(getattr(pregel, "nodes", {}).get(name), "timeout", None) is not None


def explain(node: Run, fields: dict[str, Any]) -> None:
    """Why a node was cancelled. It only saw that it was; its graph, which has ended, knows (traps t09, t48).

    In a graph that went on, only the node's own limit of time can have done it: what followed was another try, or its handler.
    """
    graph = node.home
    if graph is None:
        return
    name, reason, failure = graph.blame or (None, "sibling_failed", None)
    if graph.outcome in ("ok", "interrupted") and limited(graph.pregel, node.node):
        fields |= {"outcome": "error", "reason": "timeout", "failure": Failure(qualified(NodeTimeoutError), "")}
    elif graph.outcome == "error" and name is not None:
        if name == node.node and graph.blamed in (None, node.checkpoint_ns):
            graph.blamed = node.checkpoint_ns  # another task of this node is not to blame: it was cancelled after that
            fields |= {"outcome": "error", "reason": reason, "failure": failure}
        else:
            fields["reason"] = "sibling_failed"
    elif graph.outcome == "error":
        fields["reason"] = reason


def route(run: Run, outputs: Any) -> None:
    """Remember where this run sends the graph: a node by its `Command`, a branch function by what it returns.

    An odd destination is LangGraph's to refuse; the run has been taken from the table and must end all the same.
    """
    if type(outputs) is dict and run.kind == "node":
        return  # what most nodes return sends nobody anywhere
    try:  # noqa: SIM105 - `suppress` takes three calls, for each run
        _route(run, outputs)
    except Exception:  # noqa: S110 - as said
        pass


def _route(run: Run, outputs: Any) -> None:
    if run.kind in ("node", "tool"):
        _sent(run, [to for item in _each(outputs) if isinstance(item, Command) for to in _each(item.goto)])
    elif run.record is not None and run.home is not None and (branch := branch_of(run, run.record.name)) is not None:
        ends = branch.ends or {}
        sender = run.home if run.parent is None or run.parent.record is None else run.parent  # START has no run of its own
        _sent(sender, [to if isinstance(to, Send) else ends.get(to, to) for to in _each(outputs)])


NAMELESS: Final = {"RunnableCallable": "condition", "chain": "condition"}
"""The name of a run whose function is a lambda, or has none → the one under which LangGraph keeps such a branch."""


def branch_of(run: Run, name: str) -> Any:
    """The conditional edge whose function this run would be, by its name, of the node that it is told to be inside of."""
    above, builder = run.parent, getattr(run.home.pregel, "builder", None) if run.home else None
    node = None if above is None else above.node if above.kind == "node" else START if above.entry else None
    branches = getattr(builder, "branches", {}).get(node, {})
    return branches.get(name) or branches.get(NAMELESS.get(name))


def handed_over(run: Run, error: BaseException) -> None:
    """A handoff to the parent graph travels as an exception (trap t06)."""
    if isinstance(error, ParentCommand):
        _sent(run, list(_each(error.args[0].goto)))


def _each(value: Any) -> Iterable[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _sent(run: Run, targets: list[Any]) -> None:
    names = [to.node if isinstance(to, Send) else to for to in targets]
    if names:
        run.goto = (*run.goto, *(name for name in names if isinstance(name, str)))
        run.sends = (*run.sends, *(to.node for to in targets if isinstance(to, Send)))


def senders(run: Run, name: str, path: Sequence[Any]) -> list[Link]:
    """The node of the step before that sent this task; where that cannot be told, those that sent one to this node, or the only one.

    A task's path has its number among all that were sent in the step, in the order in which LangGraph applies their writes.
    """
    graph = run.home
    if graph is None or run.step is None:
        return []
    before = sorted(graph.senders.get(run.step - 1, []), key=lambda sender: _order(sender.path))
    sent = [(to, _link(sender)) for sender in before for to in sender.sends]
    number = path[1] if len(path) > 1 else None
    if isinstance(number, int) and number < len(sent) and sent[number][0] == name:
        return [sent[number][1]]
    told = list(dict.fromkeys(link for to, link in sent if to == name))
    return told or ([_link(before[0])] if len(before) == 1 else [])


def _link(sender: Run) -> Link:
    return Link(sender.trace_id, sender.span_id, "triggered_by")


def _order(path: Sequence[Any]) -> str:
    """The place of a task among those of its step, as LangGraph orders them (`_algo.task_path_str`)."""
    return ", ".join(f"{part:010d}" if isinstance(part, int) else str(part) for part in path)
