"""A run while it is open, and the ids that runs are given."""

from __future__ import annotations

import asyncio
import os
import random
import time
import weakref
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_OID, UUID, uuid5

from langgraph_observe.capture.payload import Memory, View

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from langgraph_observe.capture.collect import Root
    from langgraph_observe.capture.context import Scope
    from langgraph_observe.capture.pieces import Pieces
    from langgraph_observe.records import Failure, Kind, Outcome, Prompt, Started


class Run:
    """An open run: what its end needs, and what its children inherit."""

    __slots__ = (
        "agent", "attempts", "blame", "blamed", "bound", "checkpoint_ns", "children", "dropped", "elsewhere", "entry", "failed", "falls_back", "frame", "goto", "graph", "held", "home", "id",
        "keeper", "key", "kind", "known_to", "labels", "memory", "metadata", "node", "outcome", "parent", "path", "paused", "pieces", "pregel", "prompt", "record", "root", "scope", "seen",
        "senders", "sends", "session_id", "span_id", "started_ns", "step", "tags", "task", "thread_id", "trace_id", "trace_name", "user_id", "view",
        "wall_ns", "watch",
    )  # fmt: skip

    def __init__(self, key: int, parent: Run | None, now: int) -> None:
        self.key = key
        self.parent = parent
        """The run it hangs under, ended or not."""
        self.keeper = parent
        """The open run whose end looks after this one."""
        self.root: Run = parent.root if parent else self
        self.started_ns = now
        self.pieces: Pieces | None = None
        """Of what is streamed."""
        self.known_to: set[int] | None = None
        """In whose tables it stands under the same ids, if in more than one."""
        self.bound = 1
        """How many times each of its events is told."""
        self.children: dict[int, Run] = {}
        self.goto: tuple[str, ...] = ()
        self.sends: tuple[str, ...] = ()
        """Of a node: the nodes that it sent tasks to, one for each task."""
        self.path: Sequence[Any] = ()
        """Of a node: LangGraph's task path, by which the tasks of a step are ordered."""
        self.paused: str | None = None
        """Of a graph: why it, or a node of it, was interrupted."""
        self.outcome: Outcome | None = None
        self.falls_back = False
        """Whether it is a `with_fallbacks`: its children are attempts."""
        self.failed: tuple[str, str] | None = None
        """The child that failed last: its span id, and with what."""
        self.record: Started | None = None
        self.prompt: Prompt | None = None
        """Told by a template inside; the next model inside takes it."""
        self.entry = False
        """LangGraph's hidden run at START, which calls the branch there."""
        self.pregel: Any = None
        self.frame: FrameType | None = None
        """Of a graph: where it runs. A frame does not keep its generator alive, so a forgotten stream is still found."""
        self.elsewhere = False
        """Begun by the process that this one was forked from: that one tells its end."""
        self.seen: Root | None = None
        """Of a root: what `collect_runs` shows of it."""
        self.view: View | None = None
        self.scope: Scope | None = None
        self.kind: Kind = "chain"
        self.watch: Callable[[object], None] | None = None
        self.task = asyncio.current_task() if asyncio._get_running_loop() else None  # noqa: SLF001 - the cheap test, exported
        if parent is None:
            self.inherit_nothing(now)
        else:
            self.inherit(parent)

    def inherit_nothing(self, now: int) -> None:
        """A root."""
        self.memory: Memory | None = Memory()
        self.wall_ns = time.time_ns() - now
        self.dropped = False
        self.home: Run | None = None
        """The nearest graph run that it is, or is inside of."""
        self.id = self.span_id = self.trace_id = ""
        self.graph: str | None = None
        self.node: str | None = None
        self.agent: str | None = None
        self.step: int | None = None
        self.checkpoint_ns: str | None = None
        self.thread_id: str | None = None
        self.session_id: str | None = None
        self.user_id: str | None = None
        self.trace_name: str | None = None
        self.tags: tuple[str, ...] = ()
        self.labels: Mapping[str, str] = {}
        self.metadata: Mapping[str, object] = {}

    def inherit(self, parent: Run) -> None:
        """A child. Session, user, tags and thread come from the tree, never from context variables."""
        self.memory, self.wall_ns, self.dropped, self.home = parent.memory or Memory(), parent.wall_ns, parent.dropped, parent.home
        self.id, self.span_id, self.trace_id = parent.id, parent.span_id, parent.trace_id
        self.graph, self.node, self.agent, self.step = parent.graph, parent.node, parent.agent, parent.step
        self.thread_id, self.session_id, self.user_id = parent.thread_id, parent.session_id, parent.user_id
        self.trace_name, self.tags, self.labels, self.metadata = parent.trace_name, parent.tags, parent.labels, parent.metadata
        self.checkpoint_ns = parent.checkpoint_ns

    def become_graph(self, pregel: Any, frame: FrameType | None) -> None:
        """Its children are nodes: count their attempts, compare their states, remember who sent whom."""
        self.view = View(self.home.view if self.home else None)
        self.home = self
        self.pregel = pregel
        self.frame = frame
        self.attempts: dict[str, int] = {}
        self.held: list[tuple[Run, dict[str, Any]]] = []
        self.blame: tuple[str | None, str | None, Failure | None] | None = None
        """What ended the graph if its own error tells: the node, None for a whole step, the reason, and the failure that is the node's."""
        self.blamed: str | None = None
        """Which task of that node it was, once it is known."""
        self.senders: dict[int, list[Run]] = {}
        """Nodes that have ended by step, of the last two."""

    def told_later(self, end: Mapping[str, Any]) -> bool:
        """Whether its end tells its input: a streamed LCEL chain learns it as it goes (trap t29)."""
        return self.record is not None and self.record.input is None and "inputs" in end

    def prompt_above(self) -> Prompt | None:
        """The prompt of the template before this model in their chain: `langfuse_prompt` is put on the template."""
        if self.parent is None:
            return None
        prompt, self.parent.prompt = self.parent.prompt, None
        return prompt

    def release(self) -> None:
        """Keep what a late child inherits; let go of payloads, graphs and tasks."""
        self.record = self.memory = self.pregel = self.prompt = self.view = self.task = self.keeper = self.watch = None
        self.frame = self.seen = self.pieces = None
        self.children = {}
        if self.home is self:
            self.senders = {}


class Runs(dict[int, Run]):
    """The open runs of one Observer, by key."""

    __slots__ = ("__weakref__",)

    def __init__(self) -> None:
        super().__init__()
        _ALL.append(weakref.ref(self, _ALL.remove))

    def twin(self, run: Run) -> Run | None:
        """The same run in the same place, as another Observer knows it. Both give it the same ids, so that it is one span.

        Once: a caller may use a run id again, while what another Observer has under it is open still.
        """
        if len(_ALL) == 1:
            return None
        for other in [other for known in list(_ALL) if (other := known()) is not None and other is not self]:
            twin = other.get(run.key)
            if twin is not None and twin.span_id and _alike(twin, run):
                known = twin.known_to or {id(other)}
                if id(self) not in known:
                    known.add(id(self))
                    twin.known_to = run.known_to = known
                    return twin
        return None


_ALL: Final[list[weakref.ref[Runs]]] = []


def _leave_to_parent() -> None:
    """After a fork: here, what is open lends its ids to what begins inside of it, and is told no second time."""
    for runs in [runs for known in list(_ALL) if (runs := known()) is not None]:
        for run in list(runs.values()):
            run.elsewhere = True


def _alike(twin: Run, run: Run) -> bool:
    return twin.parent is None if run.parent is None else twin.parent is not None and twin.trace_id == run.trace_id


def key_of(run_id: UUID) -> int:
    """The run's key in the tracker's table. LangGraph hands on whatever `config["run_id"]` is: a text, too."""
    try:
        return run_id.int
    except AttributeError:
        given = str(run_id)
    try:
        return UUID(given).int
    except ValueError:
        return uuid5(NAMESPACE_OID, given).int


class Ids:
    """W3C ids from a generator of our own: a program that seeds `random` would get the same traces every day."""

    def __init__(self) -> None:
        self._random = random.Random()  # noqa: S311 - identifiers, no secrets

    def trace_id(self) -> str:
        """32 hex digits, never all zero."""
        return f"{self._random.getrandbits(128) or 1:032x}"

    def span_id(self) -> str:
        """16 hex digits, never all zero."""
        return f"{self._random.getrandbits(64) or 1:016x}"

    def reseed(self) -> None:
        """After a fork: the child must not go on where its parent is."""
        self._random.seed()


IDS: Final = Ids()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=IDS.reseed)
    os.register_at_fork(after_in_child=_leave_to_parent)
