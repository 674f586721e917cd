"""What happened, as data: the one language that capture speaks and that every processor and sink understands.

Records are frozen. Their payloads and their usage are lazy (`payloads.py`): redaction, JSON, token estimates and prices
are paid for by the first sink that reads them, on its own thread.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypeVar

from langgraph_observe.payloads import Lazy, Message, Payload, Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

__all__ = [
    "Failure",
    "Finished",
    "Kind",
    "Lazy",
    "Link",
    "Message",
    "Noted",
    "Outcome",
    "Payload",
    "Processor",
    "Prompt",
    "Record",
    "Redactor",
    "Scored",
    "Sink",
    "Started",
    "Stream",
    "Usage",
    "totals",
]

Kind: TypeAlias = Literal["graph", "node", "agent", "model", "tool", "retriever", "chain", "stream"]
Outcome: TypeAlias = Literal["ok", "error", "interrupted", "cancelled", "abandoned"]
STALL_SECONDS: Final = 5.0
"""A gap between two pieces of a stream that is longer is a stall."""
R = TypeVar("R")


def _quick(record: type[R]) -> type[R]:
    """A frozen dataclass that is built in a third of the time: its own `__init__` pays `object.__setattr__` for each field.

    A new record is of a class that has the same slots and is not frozen, until its fields are set.
    """
    draft = type(f"_{record.__name__}", (), {"__slots__": record.__slots__})  # type: ignore[attr-defined]  # slots=True
    given: dict[str, Any] = {"MISSING": MISSING, "draft": draft, "record": record, "become": object.__setattr__}
    head, body = ["self", "*"], ["become(self, '__class__', draft)"]
    for one in fields(record):  # type: ignore[arg-type]  # a dataclass
        made = one.default_factory is not MISSING
        given[f"_{one.name}"] = one.default_factory if made else one.default
        required = not made and one.default is MISSING
        head.append(one.name if required else f"{one.name}={'MISSING' if made else f'_{one.name}'}")
        body.append(f"self.{one.name} = " + (f"_{one.name}() if {one.name} is MISSING else {one.name}" if made else one.name))
    body.append("self.__class__ = record")
    exec(f"def __init__({', '.join(head)}):\n " + "\n ".join(body), given)  # noqa: S102 - as dataclasses does
    record.__init__ = given["__init__"]  # type: ignore[method-assign]
    return record


@dataclass(frozen=True, slots=True)
class Link:
    """A run of this or another trace that led to this one."""

    trace_id: str
    span_id: str
    kind: Literal["resumed_from", "triggered_by"]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A managed prompt that a model call used."""

    name: str
    version: int


@_quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A run has begun. Everything known at that moment; `Finished` carries it again."""

    id: str
    """LangChain's run id, a UUID as text. May repeat over time (a caller may choose it); `span_id` never does."""
    parent_id: str | None = None
    root_id: str
    trace_id: str
    """W3C trace id, 32 hex digits: the same in OpenTelemetry, Langfuse, the store, log lines and exemplars."""
    span_id: str
    """W3C span id, 16 hex digits."""
    parent_span_id: str | None = None
    """The parent run's span, or for a root the caller's current OpenTelemetry span."""
    kind: Kind
    name: str
    at_ns: int
    """Wall clock, nanoseconds since the epoch; inside one root it advances with the monotonic clock."""
    graph: str | None = None
    """The graph that this run is or is inside of."""
    node: str | None = None
    """The node that this run is or is inside of."""
    agent: str | None = None
    """The agent that this run is or is inside of."""
    step: int | None = None
    attempt: int = 1
    """1 for the first try; 2 and more for what is tried again: a node by its policy, a runnable by `with_retry`, a model or a tool
    by an agent's middleware."""
    checkpoint_ns: str | None = None
    triggers: tuple[str, ...] = ()
    thread_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    trace_name: str | None = None
    tags: tuple[str, ...] = ()
    model: str | None = None
    """The model asked for."""
    provider: str | None = None
    """LangChain's `ls_provider`, lower case."""
    base_url: str | None = None
    """Where the model, or the remote graph, is served."""
    remote: bool = False
    """Of a graph that runs in another process (`RemoteGraph`): what is seen here is the call."""
    parameters: Mapping[str, object] = field(default_factory=dict)
    """Of a model call: temperature, max_tokens, stop, … Scalars and lists of them."""
    tools: Payload | None = None
    """Tool definitions offered to the model."""
    tool_call_id: str | None = None
    description: str | None = None
    prompt: Prompt | None = None
    streaming: bool = False
    input: Payload | None = None
    links: tuple[Link, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    """Low cardinality, fit for a metric."""
    metadata: Mapping[str, object] = field(default_factory=dict)
    """Anything; never in a metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens and money of one model call. None is unknown, never 0.

    `input_tokens` and `output_tokens` are totals; the others are parts of them, never to be added again.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    input_audio_tokens: int | None = None
    output_audio_tokens: int | None = None
    service_tier: str | None = None
    estimated: bool = False
    """Counted here because the provider said nothing."""
    method: str | None = None
    """How an estimate was made, as `o200k_base×1.18`."""
    cost: Decimal | None = None
    """US dollars, exact to the nano-dollar."""
    cost_source: str | None = None
    """Which price list said so, with its revision; `cache` for a hit in LangChain's own LLM cache."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as text. Never the exception: a traceback keeps every frame's locals alive."""

    type: str
    """Qualified class name, `builtins` left out."""
    message: str
    stack: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Pieces over time: what a model streamed, what the caller of a graph's stream took, the events of an HTTP response."""

    pieces: int
    """Of a model, those that hold something; of a graph, chunks; of an event stream, events, keep-alives left out."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Pieces of a graph by stream mode, of an event stream by event type (`message` where none is named, `__other__` for those
    beyond the first 32 types)."""
    bytes: int | None = None
    """Of an HTTP body."""
    keepalives: int | None = None
    """Comments in an event stream."""
    last_seconds: float | None = None
    """When the last piece came, since the start."""
    longest_gap_seconds: float | None = None
    """Between two pieces."""
    stalls: int = 0
    """Gaps of more than `STALL_SECONDS`."""
    errors: int = 0
    """Events of type `error`: a failure told in a response that began as 200."""
    resumed: bool = False
    """The client has read this stream before: it sent `Last-Event-ID`."""
    timeline: tuple[tuple[float, int], ...] = ()
    """Seconds since the start and pieces by then, at most 64 points, the last piece always among them: tokens over time."""


@_quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run has ended, exactly once, with the beginning it had."""

    run: Started
    """The beginning. Its links may be more than at the start: what is resumed is known once the checkpoint is loaded."""
    outcome: Outcome
    seconds: float
    """Monotonic."""
    reason: str | None = None
    """What kind of an ending, where `outcome` alone does not tell: `interrupt`, `interrupt_before`, `interrupt_after`,
    `handoff`, `drained`, `stream_closed`, `task_cancelled`, `sibling_failed`, `timeout`, `process_stopped`, `forgotten`, `closed`,
    `client_disconnect`, `server_shutdown`, `not_streamed` (an event stream was expected, and something else answered)."""
    first_token_seconds: float | None = None
    """To the first piece of a stream: a model's first content, the first chunk that a graph's caller took, the first event."""
    stream: Stream | None = None
    """Of what was streamed; None of what was called for its result."""
    measured: Lazy[Usage | None] | None = None
    """Of a model: `usage`, before it is read. A processor may add a step to it."""
    model: str | None = None
    """The model that answered."""
    response_id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    cached: bool = False
    """Of a model, answered from LangChain's LLM cache: tokens are those of the first call, nothing was spent. Of a node or a
    task, from LangGraph's cache: it did not run, the output is that of the time when it did."""
    goto: tuple[str, ...] = ()
    """Where a node's `Command` or its branch sent the graph; of a graph, the branch at its start."""
    input: Payload | None = None
    """The real input, where it was known only at the end (a streamed LCEL chain); else that of the run."""
    output: Payload | None = None
    failure: Failure | None = None

    @property
    def usage(self) -> Usage | None:
        """Tokens and cost. The first reader pays for an estimate and for the price."""
        return None if self.measured is None else self.measured.value

    @property
    def at_ns(self) -> int:
        """When it ended, on the clock of `run.at_ns`."""
        return self.run.at_ns + round(self.seconds * 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A moment inside a run, by `kind`: interrupt, resume, retry, custom, and so on.

    `fallback`: the run was made because one before it failed; `name` says with what, the payload's `failed` which.
    """

    run: Started
    kind: str
    at_ns: int
    name: str | None = None
    payload: Payload | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Feedback or an evaluation of a run that has ended or still goes on."""

    trace_id: str
    name: str
    value: float | str | bool
    span_id: str | None = None
    """None scores the whole trace."""
    run_id: str | None = None
    comment: str | None = None
    source: str = "api"
    at_ns: int
    id: str
    """Idempotency key: the same id replaces."""


Record: TypeAlias = Started | Finished | Noted | Scored


class Sink(Protocol):
    """Any callable that takes a record: `seen.append` is a sink.

    Optional attributes, read once when the Observer is built: `payloads = False` (this sink reads no input or output),
    `flush(timeout: float) -> bool` and `close(timeout: float) -> None`, in seconds, `health() -> Mapping[str, int]` (counts such
    as `dropped`), `watch(health: Callable[[], Mapping])` (is given the Observer's `health` at the start),
    `expect(graph: str, nodes: Sequence[str], labels: Mapping[str, str] | None)` (a graph that is watched from now on), `context = True`
    (user code is to find the run it is in as OpenTelemetry's current span) and then `span(run: Started) -> Span | None`
    (the live span; without this method, one that has the record's ids stands in).
    """

    def __call__(self, record: Record, /) -> object:
        """Take a record. Should not wait; what it raises never reaches the agent."""


class Processor(Protocol):
    """`record -> record | None`. None drops it; a Started that is dropped takes its whole tree with it.

    A Finished cannot be dropped alone, since every run that started ends: it goes on without input, output and message.
    """

    def __call__(self, record: Record, /) -> Record | None:
        """Return the record itself when there is nothing to change."""


def totals(finished: Iterable[Finished]) -> Usage:
    """Tokens and cost of model calls together. A sum over an unknown is what is known, marked `estimated` if any part is.

    Calls answered by the LLM cache spent nothing and are left out.
    """
    from decimal import Decimal

    tokens: dict[str, Any] = {}
    cost: Decimal | None = None
    estimated = False
    for one in finished:
        usage = one.usage
        if usage is None or one.cached:
            continue
        estimated |= usage.estimated
        for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"):
            if (count := getattr(usage, name)) is not None:
                tokens[name] = tokens.get(name, 0) + count
        if usage.cost is not None:
            cost = (cost or Decimal(0)) + usage.cost
    return replace(Usage(cost=cost, estimated=estimated), **tokens)
