"""The current span, while user code runs: so that an HTTP or database span opened in a node is that node's child.

Attach at start and detach at end cannot work from callbacks: under asyncio the end runs in a copy of the context, every
detach fails, and the next request is glued to the old trace (traps t20, t21). Instead a proxy is attached and never
detached. It stands for the innermost of our runs that has not ended, and past the root for what was current before it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from opentelemetry import baggage, trace
from opentelemetry import context as otel
from opentelemetry.baggage import _BAGGAGE_KEY
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import format_span_id
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from langgraph_observe.payloads import text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator

    from opentelemetry.util.types import Attributes, AttributeValue


Argument = TypeVar("Argument")
Result = TypeVar("Result")

SESSION: Final = "session.id"
USER: Final = "user.id"
CARRIED: Final = ("traceparent", "tracestate")
"""Keys of a config's metadata: W3C trace context, as a queue's message has it."""
_INFERENCE: Final = {
    "opentelemetry.genai.client.inference.context": "opentelemetry.util.genai",
    "suppress_language_model_instrumentation": "opentelemetry.semconv_ai",
}
"""What OpenTelemetry's own instrumentations and OpenLLMetry's look for, and the module without which there is none of them.
OpenInference looks for nothing of the kind."""


def _variable() -> tuple[Callable[[], otel.Context], Callable[[otel.Context], object]]:
    """What reads the current context and what sets it: the variable itself, where OpenTelemetry keeps it in nothing but one.

    Its own functions are two calls each, for every chunk of a stream and every run.
    """
    runtime = otel._RUNTIME_CONTEXT  # noqa: SLF001 - the variable is told nowhere else
    variable = getattr(runtime, "_current_context", None)
    if type(runtime) is ContextVarsRuntimeContext and isinstance(variable, ContextVar):
        return variable.get, variable.set
    return otel.get_current, otel.attach


_now, _attach = _variable()


class Scope:
    """A run as the context sees it. Small, because a context may keep it long after the run has ended."""

    __slots__ = ("ambient", "around", "outer", "parent", "root", "says", "span")

    def __init__(self, parent: Scope | None) -> None:
        self.parent = parent
        self.root: Scope = parent.root if parent else self
        self.span: trace.Span | None = None
        """The run's span while it goes on; None before and after."""
        self.around: trace.Span | None = None
        """The user's own span, opened inside the parent, in which the run began: current again when it is over."""
        self.says: Mapping[str, object] = {}
        """Of a root: what is put into the baggage of its runs."""
        if parent is None:
            self.outer: trace.Span = trace.get_current_span()
            """Of a root: what was current when it began."""
            self.ambient: trace.Span = self.outer
            """Of a root: the caller's span when it began."""
            if isinstance(self.outer, Current):
                self._step_aside(self.outer)

    def _step_aside(self, current: Current) -> None:
        """A new root does not hang under a run that happens to be current: what it sees is the span that is not ours."""
        self.ambient = current.around(self) or current.root.ambient
        if current.target() is self.ambient:  # a proxy with nothing left to stand for need not be given back
            self.outer = self.ambient
        exchange(self.ambient)

    def attach(self, span: trace.Span, *, inference: bool = False, says: Mapping[str, object] | None = None) -> None:
        """Make the run current: until it ends, `span` is what the proxy stands for, and what it `says` is in the baggage.

        While it is the inference of a model, whoever traces that model's own client makes no second span of the same call.
        """
        if says:
            self.says = says
        before = exchange(Current(self))
        self.span = span
        if type(before) is Current:
            self.around = before.around(self.root)
        elif before is not self.root.ambient and before.get_span_context().is_valid:
            self.around = before
        asked = [key for key, module in _INFERENCE.items() if module in sys.modules] if inference and span.is_recording() else []
        if asked:
            _attach(otel.Context({**_now(), **dict.fromkeys(asked, Inference(self))}))

    def end(self) -> None:
        """The run is over. A root gives the caller its own span back, where the end still runs in its context."""
        self.span = None
        if self.parent is None and isinstance(current := trace.get_current_span(), Current) and current.root is self:
            exchange(self.outer)


def exchange(span: trace.Span) -> trace.Span:
    """Make this span current, and give back the one that was. Whatever else is in the context is the user's and stays."""
    context = _now()
    before = context.get(_SPAN_KEY)
    if type(before) is not Current and not isinstance(before, trace.Span):
        before = trace.INVALID_SPAN
    if span is not before:
        changed = otel.Context({**context, _SPAN_KEY: span})
        _attach(_saying(span, changed) if _BAGGAGE_KEY in context or (type(span) is Current and span.root.says) else changed)
    return before


def _turns() -> Callable[[trace.Span], trace.Span]:
    """`exchange`, turn by turn between the same two contexts, each of which is made once."""
    here, there = otel.Context(), otel.Context()
    ours: trace.Span = trace.INVALID_SPAN
    theirs: trace.Span = trace.INVALID_SPAN

    def turn(span: trace.Span) -> trace.Span:
        nonlocal here, there, ours, theirs
        now = _now()
        if now is here and span is theirs:  # nobody has attached anything since the last turn
            here, there, ours, theirs = there, here, theirs, ours
            _attach(here)
            return theirs
        ours, theirs, there = span, exchange(span), now
        here = _now()
        return theirs

    return turn


def _saying(span: trace.Span, context: otel.Context) -> otel.Context:
    """The baggage that goes with the span: what the root says in its runs, and nothing of it where the consumer goes on."""
    said = context.get(_BAGGAGE_KEY)
    if type(span) is Current:
        says = span.root.says
        if says and not says.items() <= baggage.get_all(context).items():
            return otel.set_value(_BAGGAGE_KEY, Baggage(span.root, says, dict(baggage.get_all(context))), context)
    elif type(said) is Baggage:
        return otel.set_value(_BAGGAGE_KEY, said.outer, context)
    return context


class Inference:
    """In the context while a model run of ours goes on, for those who trace the clients of the providers.

    Ended, it says no, because like the current span it is never detached. OpenTelemetry's own ask for an `InferenceData`, of
    opentelemetry-util-genai, and put what they know of the call into it (`merge`); OpenLLMetry asks for anything that is true.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __bool__(self) -> bool:
        return self._scope.span is not None

    @property  # type: ignore[misc]  # what `isinstance` asks, so that nothing of theirs need be imported or there
    def __class__(self) -> Any:
        module = sys.modules.get("opentelemetry.util.genai.invocation")
        return getattr(module, "InferenceData", Inference) if self else Inference

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__class__(), name)  # empty, and forgotten: LangChain has told us all of it


class Baggage(Mapping[str, object]):
    """The caller's baggage and, while the run goes on, what it says: like the current span, this is never detached.

    OpenTelemetry asks for a dict, and reads and copies it.
    """

    def __init__(self, scope: Scope, own: Mapping[str, object], outer: Mapping[str, object]) -> None:
        self._scope, self._own, self.outer = scope, own, outer

    @property  # type: ignore[misc]  # as above
    def __class__(self) -> Any:
        return dict

    def _now(self) -> Mapping[str, object]:
        return self.outer if self._scope.span is None else {**self.outer, **self._own}

    def __getitem__(self, name: str) -> object:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def copy(self) -> dict[str, object]:
        """What it is at this moment."""
        return dict(self._now())


class Current(trace.Span):
    """A span that is whatever the innermost live run's span is at the moment it is asked, or a span of the user's in that run."""

    def __init__(self, scope: Scope) -> None:
        self._scope: Scope | None = scope
        self.root = scope.root

    def target(self) -> trace.Span:
        """The innermost live run's span, or the user's own in which a run that has ended began, or the caller's."""
        while (scope := self._scope) is not None:
            if (found := scope.span or scope.around) is not None:
                return found
            self._scope = scope.parent  # what has ended stays ended
        return self.root.ambient

    def around(self, root: Scope) -> trace.Span | None:
        """The user's own span that is current now, or that would be but for a run of another tree (another Observer sees it too)."""
        self.target()
        scope = self._scope
        return None if scope is None or (scope.span is not None and scope.root is root) else scope.around

    def get_span_context(self) -> trace.SpanContext:
        return self.target().get_span_context()

    def is_recording(self) -> bool:
        return self.target().is_recording()

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self.target().set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self.target().set_attributes(attributes)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self.target().add_event(name, attributes, timestamp)

    def add_link(self, context: trace.SpanContext, attributes: Attributes = None) -> None:
        self.target().add_link(context, attributes)

    def update_name(self, name: str) -> None:
        self.target().update_name(name)

    def set_status(self, status: trace.Status | trace.StatusCode, description: str | None = None) -> None:
        self.target().set_status(status, description)

    def record_exception(
        self, exception: BaseException, attributes: Attributes = None, timestamp: int | None = None, escaped: bool = False
    ) -> None:
        self.target().record_exception(exception, attributes, timestamp, escaped)

    def end(self, end_time: int | None = None) -> None:
        """Not the borrower's to end."""

    def __getattr__(self, name: str) -> object:
        if "_scope" not in vars(self):  # not yet: it is being copied
            raise AttributeError(name)
        return getattr(self.target(), name)


Streaming: TypeAlias = "tuple[Any, Callable[[Any], None] | None, Callable[[BaseException], None], bool]"
"""What `start` gives: the chunks, who is told of each that is taken (None: no code of the consumer's runs between two), who of what
is raised, whether anybody asks for the current span."""


def between(start: Callable[..., Streaming]) -> Callable[..., Generator[Any, Any, Any]]:
    """The method that streams what `start` does; between two chunks the consumer's current span is its own, not the graph's.

    Only where anybody asks for the current span is it exchanged, and nothing but the span ever is. The method is a generator
    function, as LangGraph's is: LangChain asks, and takes `RunnableLambda(graph.astream)` for something else where it is none.
    """

    def stream(self: Any, input: Any, config: Any = None, *more: Any, **options: Any) -> Generator[Any, Any, Any]:  # noqa: A002 - LangGraph's name
        chunks, taken, failed, swap = start(self, input, config, *more, **options)
        if not inspect.isgenerator(chunks):  # a class of the user's own may return anything that can be iterated
            chunks = (chunk for chunk in chunks)
        back = _turns() if swap else _leave
        current = back if taken else _leave
        inner = trace.get_current_span()
        step = forward = chunks.__next__
        try:
            while True:
                outer = current(inner)
                try:
                    chunk = step()
                except StopIteration as stop:
                    return stop.value
                except BaseException as error:
                    failed(error)
                    raise
                inner = current(outer)
                if taken:
                    taken(chunk)
                try:
                    yield chunk
                    step = forward
                except GeneratorExit:  # wherever it is closed: in a span of the consumer's, or anywhere by the garbage collector
                    outer = current(inner) if taken else trace.get_current_span()
                    raise
                except BaseException as error:  # what the consumer throws into the stream is the graph's to handle
                    step = partial(chunks.throw, error)
        finally:
            chunks.close()
            back(outer)

    return stream


def abetween(start: Callable[..., Streaming]) -> Callable[..., AsyncGenerator[Any, Any]]:
    """`between` for an asynchronous stream."""

    async def astream(self: Any, input: Any, config: Any = None, *more: Any, **options: Any) -> AsyncGenerator[Any, Any]:  # noqa: A002 - as above
        chunks, taken, failed, swap = start(self, input, config, *more, **options)
        if not inspect.isasyncgen(chunks):
            chunks = (chunk async for chunk in chunks)
        back = _turns() if swap else _leave
        current = back if taken else _leave
        inner = trace.get_current_span()
        step: Callable[[], Awaitable[Any]] = partial(unheard, chunks)
        forward = chunks.__anext__
        try:
            while True:
                outer = current(inner)
                try:
                    chunk = await step()
                except StopAsyncIteration:
                    return
                except BaseException as error:
                    failed(error)
                    raise
                inner = current(outer)
                if taken:
                    taken(chunk)
                try:
                    yield chunk
                    step = forward
                except GeneratorExit:  # wherever it is closed: in a span of the consumer's, or anywhere by the garbage collector
                    outer = current(inner) if taken else trace.get_current_span()
                    raise
                except BaseException as error:  # as above
                    step = partial(chunks.athrow, error)
        finally:
            await chunks.aclose()
            back(outer)

    return astream


def unheard(chunks: AsyncGenerator[Any, Any]) -> Awaitable[Any]:
    """The first step of a stream of which the event loop does not hear: at its end it would close it while we are closing it.

    Nor is it closed by the garbage collector, which without a hook throws into it at once: ours, around it, does that.
    """
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, lambda _: None)
    try:
        return chunks.__anext__()
    finally:
        sys.set_asyncgen_hooks(*hooks)


def _leave(span: trace.Span) -> trace.Span:
    """`exchange` where nobody asks for the current span."""
    return span


def sender(metadata: Mapping[str, Any]) -> trace.Span | None:
    """The span whose `traceparent` (and `tracestate`) came with the config: of a message's or a job's sender, elsewhere."""
    carrier = {key: metadata[key] for key in CARRIED if isinstance(metadata.get(key), str)}
    if not carrier:
        return None
    span = trace.get_current_span(TraceContextTextMapPropagator().extract(carrier, otel.Context()))
    return span if span.get_span_context().is_valid else None


def under(span: trace.Span, call: Callable[[Argument], Result], argument: Argument) -> Result:
    """Call it where this span is current, so that whoever makes a child takes its sampling decision and its state over."""
    token = otel.attach(trace.set_span_in_context(span))
    try:
        return call(argument)
    finally:
        otel.detach(token)


def heard() -> dict[str, str]:
    """Session and user in the caller's baggage, by OpenTelemetry's names for them."""
    found = {key: baggage.get_baggage(key) for key in (SESSION, USER)}
    return {key: text(value) for key, value in found.items() if isinstance(value, str) and value}


def said(session_id: str | None, user_id: str | None) -> dict[str, object]:
    """The same, to be put there."""
    return {key: value for key, value in ((SESSION, session_id), (USER, user_id)) if value is not None}


def carry(trace_id: str, span_id: str, headers: dict[str, str]) -> None:
    """Put this span into the headers of a request, as OpenTelemetry's propagator has it (`traceparent`, unless set otherwise)."""
    from opentelemetry import propagate

    current = trace.get_current_span().get_span_context()
    sampled = current.trace_flags if format_span_id(current.span_id) == span_id else trace.TraceFlags(trace.TraceFlags.SAMPLED)
    span = trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=sampled)
    propagate.inject(headers, trace.set_span_in_context(trace.NonRecordingSpan(span)))
