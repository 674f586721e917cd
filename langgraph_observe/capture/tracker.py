"""The open runs: identity, parents, clocks, first token, orphans. The only mutable state of the write side.

No lock is taken: each step is one operation on a dict, which is atomic, and a callback may come out of the garbage
collector in the middle of any other. Whoever takes a run out of the table ends it, so it ends once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables.config import var_child_runnable_config
from langgraph.errors import NodeCancelledError, NodeTimeoutError

from langgraph_observe.capture import caller, context, naming, served
from langgraph_observe.capture.collect import Root, collecting
from langgraph_observe.capture.context import Scope
from langgraph_observe.capture.graph import explain
from langgraph_observe.capture.pieces import Pieces
from langgraph_observe.capture.run import IDS, Ids, Run, Runs, key_of
from langgraph_observe.records import Finished, Link, Noted, Payload, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

    from opentelemetry.trace import Span

    from langgraph_observe.observer import Observer, Options
    from langgraph_observe.records import Kind, Outcome

PENDING: Final = 1_024
"""Interrupted threads remembered, so that a resume can be linked to what it resumes."""
GHOSTS: Final = 256
"""Ended runs remembered, so that a child that starts late is still put into their trace."""
OPEN_ROOTS: Final = 10_000
"""Roots open at once. Beyond it the oldest, surely forgotten by their consumers, are abandoned."""


class Tracker:
    """One for each Observer, shared by all its handlers: a run that two of them report is one run."""

    def __init__(self, observer: Observer, *, clock: Callable[[], int] = time.perf_counter_ns, ids: Ids | None = None) -> None:
        self._observer = observer
        self._emit = observer.emit
        self._span = observer.span
        self._in_context = observer.in_context
        self.now = self._clock = clock
        """Nanoseconds on the clock of all runs."""
        self._ids = ids or IDS
        self._runs = Runs()
        self._nodes: dict[str, Run] = {}
        self._roots: dict[int, Run] = {}
        self._pending: dict[str, tuple[str | None, Link, str | None]] = {}
        self._ghosts: deque[Run] = deque(maxlen=GHOSTS)

    def __len__(self) -> int:
        """Runs open now."""
        return len(self._runs)

    def get(self, run_id: UUID) -> Run | None:
        """The open run of this id."""
        return self._runs.get(key_of(run_id))

    def has(self, run: Run) -> bool:
        """Whether this very run is open, here."""
        return self._runs.get(run.key) is run

    def take(self, run_id: UUID) -> Run | None:
        """The open run of this id, for the one caller that ends it."""
        return self._runs.pop(key_of(run_id), None)

    # -- start

    def open(self, run_id: UUID, parent_run_id: UUID | None, metadata: Mapping[str, Any]) -> Run | None:
        """A new run with what it inherits. None if its start was delivered before (the handler is bound twice)."""
        key = key_of(run_id)
        if (known := self._runs.get(key)) is not None:
            known.bound += 1
            return None
        parent = self._inside(self._parent(parent_run_id, metadata))
        run = Run(key, parent, self._clock())
        while run.keeper is not None and run.keeper.outcome is not None:
            run.keeper = run.keeper.parent
        self._runs[key] = run
        if run.keeper is not None:
            run.keeper.children[key] = run
        else:
            self._roots[key] = run
            if len(self._roots) > OPEN_ROOTS:
                self._abandon(list(self._roots.values())[0], "forgotten")  # noqa: RUF015 - a list is made in one step, next(iter()) not
        return run

    def _parent(self, parent_run_id: UUID | None, metadata: Mapping[str, Any]) -> Run | None:
        """The parent by its id, open or just ended; for a call that was given callbacks of its own, the node it is made in."""
        if parent_run_id is None:
            namespace = metadata.get(naming.NAMESPACE)
            return self._nodes.get(namespace) if namespace else None
        key = key_of(parent_run_id)
        return self._runs.get(key) or next((ghost for ghost in list(self._ghosts)[::-1] if ghost.key == key), None)

    def _inside(self, told: Run | None) -> Run | None:
        """The run in whose context the call is made, if it goes on below the one that is told.

        What is told comes with the config, and code may hand on a config from further up: `with_fallbacks` does (trap t27),
        a node or tool that takes `config` and passes it on, `create_react_agent`.
        """
        callbacks = (var_child_runnable_config.get() or {}).get("callbacks")
        current = getattr(callbacks, "parent_run_id", None)
        if current is None:
            return told
        found = above = self._runs.get(key_of(current))
        while above is not None and above is not told:
            above = above.parent
        return found if above is told else told

    def start(
        self, run: Run, kind: Kind, name: str, options: Options, tags: Sequence[str] | None, metadata: Mapping[str, Any], **own: Any
    ) -> None:
        """Give the run its identity and tell the world. `own` are fields of `Started` that are not inherited."""
        run.kind, parent, sender = kind, run.parent, None
        if parent is None:
            parent_id, parent_span_id, sender = self._rooted(run, options, tags, metadata)
        else:
            parent_id, parent_span_id = run.id or None, run.span_id or None
            self._extend(run, parent, tags, metadata)
        self._identify(run)
        if run.keeper is None and run.task is not None and kind in ("model", "tool", "retriever"):
            self._watch(run)
        if run.dropped:
            return
        if "attempt" not in own:
            again = kind == "model" and parent is not None and parent.failed is not None
            own["attempt"] = max(naming.attempt(tags), caller.attempt() if again else 1)
        record = (self._emit if sender is None else functools.partial(context.under, sender, self._emit))(
            Started(
                id=run.id, parent_id=parent_id, root_id=run.root.id, trace_id=run.trace_id, span_id=run.span_id, parent_span_id=parent_span_id,
                kind=kind, name=name, at_ns=run.wall_ns + run.started_ns, graph=run.graph, node=run.node, agent=run.agent, step=run.step,
                checkpoint_ns=run.checkpoint_ns, thread_id=run.thread_id, session_id=run.session_id, user_id=run.user_id,
                trace_name=run.trace_name, tags=run.tags, labels=run.labels, metadata=run.metadata,
                **own,
            )
        )  # fmt: skip
        if not isinstance(record, Started):
            run.dropped = True
            return
        run.record = record
        if parent is None and (lists := collecting.get()):
            run.seen = Root(record, self._observer)
            for roots in lists:
                roots.append(run.seen)
        if self._in_context:
            self._enter(run, record, options)
        if parent is not None and parent.failed is not None and (parent.falls_back or (kind == "model" and caller.stands_in())):
            failed, error = parent.failed
            self.note(run, "fallback", error, Payload({"failed": failed}))

    def _rooted(
        self, run: Run, options: Options, tags: Sequence[str] | None, metadata: Mapping[str, Any]
    ) -> tuple[str | None, str | None, Span | None]:
        """What it is a child of all the same: the parent's ids, its own or those of its sender, which comes third."""
        stream = served.around(self) if run.kind != "stream" else None
        run.scope, sender = Scope(None), context.sender(metadata)
        parent_span_id = self._root(run, sender or run.scope.ambient, options, tags, metadata)
        if stream is not None and sender is None:
            return (*served.hold(run, stream), None)
        return None, parent_span_id, sender

    def _identify(self, run: Run) -> None:
        """Its ids: those by which another Observer knows it in the same tree, else new ones."""
        digits = f"{run.key:032x}"
        run.id = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"  # as a UUID says it, in half the time
        twin = self._runs.twin(run)
        if twin is None:
            run.span_id = self._ids.span_id()
        else:
            run.trace_id, run.span_id = twin.trace_id, twin.span_id

    def _root(
        self, run: Run, above: Span, options: Options, tags: Sequence[str] | None, metadata: Mapping[str, Any]
    ) -> str | None:  # fmt: skip
        """What a root says about itself, for its whole tree. Its parent's span id is that of its sender or caller."""
        heard = context.heard() if options.get("baggage") in ("read", "both") else {}
        run.thread_id = naming.given(metadata, "thread_id")
        run.session_id = (
            naming.given(metadata, "langfuse_session_id", "session_id") or heard.get(context.SESSION) or options.get("session_id")
        )
        run.user_id = naming.given(metadata, "langfuse_user_id", "user_id") or heard.get(context.USER) or options.get("user_id")
        run.trace_name = naming.given(metadata, "langfuse_trace_name") or options.get("trace_name")
        run.tags = tuple(
            dict.fromkeys(
                (*naming.user_tags(options.get("tags")), *naming.user_tags(tags), *naming.user_tags(metadata.get("langfuse_tags")))
            )
        )
        run.labels = options.get("labels", {})
        run.metadata = {**options.get("metadata", {}), **naming.user_metadata(metadata)}
        caller = above.get_span_context()
        if caller.is_valid:
            run.trace_id = f"{caller.trace_id:032x}"
            return f"{caller.span_id:016x}"
        run.trace_id = self._ids.trace_id()
        return None

    def _extend(self, run: Run, parent: Run, tags: Sequence[str] | None, metadata: Mapping[str, Any]) -> None:
        """What a child says beyond its tree's. Mostly nothing, and then it shares its parent's."""
        if (told := naming.user_tags(tags)) and (new := [tag for tag in told if tag not in parent.tags]):
            run.tags = (*parent.tags, *new)
        if not naming.INTERNAL.issuperset(metadata) and any(
            key not in parent.metadata or parent.metadata[key] is not metadata[key] for key in metadata.keys() - naming.INTERNAL
        ):
            run.metadata = {**parent.metadata, **naming.user_metadata(metadata)}

    def _enter(self, run: Run, record: Started, options: Options) -> None:
        span = self._span(record)
        if run.scope is None:
            run.scope = Scope(run.parent.scope if run.parent else None)
        if span is not None:
            written = run.parent is None and options.get("baggage") in ("write", "both")
            says = context.said(record.session_id, record.user_id) if written else None
            run.scope.attach(span, inference=run.kind == "model", says=says)

    def silent(self, run: Run) -> None:
        """Leave the run out of the records: its children hang under its parent."""
        run.scope = run.parent.scope if run.parent else Scope(None)

    def attempt(self, run: Run) -> int:
        """1 for a node's first try, more for what its retry policy runs again: same graph run, same task."""
        graph, namespace = run.home, run.checkpoint_ns
        if graph is None or namespace is None:
            return 1
        self._nodes[namespace] = run
        return _counted(graph, namespace)

    def tried(self, run: Run, tool_call_id: str | None) -> int:
        """1 for the first time that a model's call is made, more for what is made again in the same task of the graph."""
        graph, namespace = run.home, run.checkpoint_ns
        return 1 if graph is None or tool_call_id is None else _counted(graph, f"{namespace} {tool_call_id}")

    def resumed(self, thread_id: str | None, checkpoint_id: object, graph: str, *, continues: bool) -> tuple[Link, ...]:
        """A link to the interrupted run of this thread, unless another checkpoint is addressed (time travel).

        New input to the graph gives up what it had asked; another graph of the same thread does not.
        """
        found = self._pending.get(thread_id) if thread_id else None
        if found is None or (checkpoint_id and checkpoint_id != found[0]):
            return ()
        if continues:
            return (found[1],)
        if found[2] == graph:
            self._pending.pop(str(thread_id), None)
        return ()

    # -- moments

    def note(self, run: Run, kind: str, name: str | None = None, payload: Payload | None = None) -> None:
        """Something happened inside the run, or inside one that is left out of the records, below it."""
        visible: Run | None = run
        while visible is not None and visible.record is None:
            visible = visible.parent
        if visible is not None and visible.record is not None and not visible.dropped:
            at_ns = visible.wall_ns + self._clock()
            self._emit(Noted(run=visible.record, kind=kind, at_ns=at_ns, name=name, payload=payload))

    def token(self, run_id: UUID) -> None:
        """A piece of an answer has come that says something: `piece`, in the fewest steps, for there are thousands."""
        try:
            run = self._runs.get(run_id.int)
        except AttributeError:  # see `key_of`
            run = self.get(run_id)
        if run is not None:
            if run.pieces is None:
                run.pieces = Pieces()
            run.pieces.add(self._clock())

    def piece(self, run: Run, *, said: bool = True) -> None:
        """A piece of what it streams has come, one that says something or none."""
        if run.pieces is None:
            run.pieces = Pieces()
        if said:
            run.pieces.add(self._clock())

    def pause(self, run: Run, reason: str, checkpoint_id: str | None) -> bool:
        """The graph stopped for a human. False if that is known already (the handler is bound twice)."""
        if run.paused is not None and (run.thread_id is None or self._pending.get(run.thread_id, ("",))[0] == checkpoint_id):
            return False
        run.paused = reason
        if run.thread_id is not None:
            self._pending.pop(run.thread_id, None)
            self._pending[run.thread_id] = (checkpoint_id, Link(run.trace_id, run.span_id, "resumed_from"), run.graph)
            for oldest in list(self._pending)[: max(0, len(self._pending) - PENDING)]:
                self._pending.pop(oldest, None)
        return True

    def resume(self, run: Run, checkpoint_id: str) -> bool:
        """The graph goes on from where a human was asked, who may have edited the state since, which makes another checkpoint.

        False for any other restart (trap t58).
        """
        found = self._pending.get(run.thread_id) if run.thread_id else None
        if found is None or not (found[0] == checkpoint_id or (run.record is not None and found[1] in run.record.links)):
            return False
        self._pending.pop(str(run.thread_id), None)
        return True

    def resume_elsewhere(self, run: Run, link: Link) -> None:
        """The graph goes on from an interrupt of another process, or one that is forgotten here: the checkpoint tells."""
        if run.record is not None:
            run.record = replace(run.record, links=(*run.record.links, link))

    # -- end

    def finish(
        self, run: Run, outcome: Outcome, reason: str | None = None, error: BaseException | None = None, **fields: Any
    ) -> None:
        """End a run that was taken from the table. `fields` are those of `Finished`, and `ended_ns` if it was over before now."""
        run.outcome = outcome
        if outcome == "error" and run.parent is not None:
            run.parent.failed = run.span_id, failure.type if (failure := fields.get("failure")) else ""
        ended_ns = fields.pop("ended_ns", None) or self._clock()
        fields |= {"outcome": outcome, "reason": reason, "seconds": (ended_ns - run.started_ns) / 1e9}
        if run.children:
            self._sweep(run)
        if run.scope is not None and run.record is not None:
            run.scope.end()
        graph = run.home
        if run.kind == "node" and graph is not None:
            self._leave(run, graph, reason)
            if reason == "task_cancelled":
                if graph.outcome is None:
                    graph.held.append((run, fields))  # only the graph will know whether it timed out or a sibling failed
                    return
                explain(run, fields)
        if outcome == "interrupted" and run.kind in ("graph", "agent") and run.parent is not None and run.parent.outcome is None:
            run.parent.paused = run.parent.paused or reason  # a node, or a tool, in which the graph runs
        if graph is run:
            self._settle(run, error)
            fields["reason"] = reason or (graph.blame[1] if graph.blame else None)
        self._finished(run, fields)

    def _leave(self, run: Run, graph: Run, reason: str | None) -> None:
        if run.checkpoint_ns is not None and self._nodes.get(run.checkpoint_ns) is run:
            del self._nodes[run.checkpoint_ns]
        if run.outcome == "interrupted":
            graph.paused = graph.paused or reason or "interrupt"
        if run.step is not None:
            graph.senders.setdefault(run.step, []).append(run)
            graph.senders.pop(run.step - 2, None)

    def _settle(self, graph: Run, error: BaseException | None) -> None:
        """Give the nodes that were cancelled their reason, now that it is known."""
        match error:
            case NodeTimeoutError():
                graph.blame = error.node, "timeout", naming.failure_of(error)
            case NodeCancelledError():
                graph.blame = error.node, None, naming.failure_of(error)
            case TimeoutError() if getattr(graph.pregel, "step_timeout", None) and (graph.failed or ("", ""))[1] != "TimeoutError":
                graph.blame = None, "timeout", None  # of the step: no node has raised it
        for run, fields in graph.held:
            explain(run, fields)
            self._finished(run, fields)
        graph.held = []

    def _finished(self, run: Run, fields: dict[str, Any]) -> None:
        if run.keeper is not None:
            run.keeper.children.pop(run.key, None)
        else:
            self._roots.pop(run.key, None)
        if run.watch is not None and run.task is not None:
            run.task.remove_done_callback(run.watch)
        record = run.record
        if record is not None and not (run.dropped or run.elsewhere):
            first = None if run.pieces is None or run.pieces.first_ns is None else (run.pieces.first_ns - run.started_ns) / 1e9
            stream = None if run.pieces is None else run.pieces.told(run.started_ns, run.bound if run.kind == "model" else 1)
            end = self._emit(Finished(run=record, first_token_seconds=first, stream=stream, goto=run.goto, **fields))
            if run.seen is not None and isinstance(end, Finished):
                run.seen.finished = end
        run.release()
        self._ghosts.append(run)

    # -- orphans

    def _sweep(self, run: Run) -> None:
        """Look after what is still open below a run that ends.

        A cancelled `ainvoke` of a model, tool or retriever reports no end (traps t01-t04). It is over when its task is,
        or when it ran in the task of the run that ends. Whatever else is open (a thread, a background task) still goes on
        and will report; it is passed to the next open run above.
        """
        for child in list(run.children.values()):
            if child.task is not None and (child.task is run.task or child.task.done()):
                self._lost(child)
            else:
                self._pass_on(child, run.keeper)

    def _pass_on(self, child: Run, keeper: Run | None) -> None:
        child.keeper = keeper
        if keeper is not None:
            keeper.children[child.key] = child
        else:
            self._roots[child.key] = child
            if child.task is not None:
                self._watch(child)

    def _lost(self, run: Run) -> None:
        if self._runs.pop(run.key, None) is not None:
            self.finish(run, "cancelled", "task_cancelled" if run.kind != "node" else None)

    def _watch(self, run: Run) -> None:
        """Nobody above will notice the end: ask the task."""
        task = run.task
        if task is None:
            return

        def over(_: object) -> None:
            self._lost(run)

        run.watch = over
        loop = task.get_loop()
        if asyncio._get_running_loop() is loop:  # noqa: SLF001 - exported; add_done_callback is not thread-safe
            task.add_done_callback(over)
        elif loop.is_closed():
            self._lost(run)
        else:
            with contextlib.suppress(RuntimeError):  # closed in this very moment: close() will find the run
                loop.call_soon_threadsafe(task.add_done_callback, over)

    def _abandon(self, run: Run, reason: str) -> None:
        for child in list(run.children.values()):
            self._abandon(child, reason)
        if self._runs.pop(run.key, None) is not None:
            self.finish(run, "abandoned", reason)

    def close(self) -> None:
        """Abandon whatever is open, deepest first."""
        while self._runs:
            before = len(self._runs)
            for root in list(self._roots.values()):
                self._abandon(root, "closed")
            if len(self._runs) == before:
                break


def _counted(graph: Run, what: str) -> int:
    graph.attempts[what] = count = graph.attempts.get(what, 0) + 1
    return count
