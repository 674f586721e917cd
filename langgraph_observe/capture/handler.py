"""The callback handler: one short method for each thing LangChain and LangGraph tell. Read, ask the tracker, emit.

Sync with `run_inline`: 1-3 µs an event in both worlds, on the thread (and in the task) of the run it speaks of. The default
costs an executor hop under asyncio, an async handler a new event loop under sync code, and both lose the context.
Methods named `tap_output_iter` or `tap_output_aiter` must never appear here: they turn every `invoke` into a stream.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import uuid4

from langchain_core.messages import ToolMessage
from langgraph.callbacks import GraphCallbackHandler

from langgraph_observe import observer as own
from langgraph_observe.capture import caller, context, graph, naming, payload, tokens, usage
from langgraph_observe.capture.kept import Kept, conversation, generations, whole
from langgraph_observe.observer import Observer, checked, default
from langgraph_observe.payloads import text
from langgraph_observe.records import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import FrameType
    from uuid import UUID

    from langchain_core.documents import Document
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import LLMResult
    from langgraph.callbacks import GraphInterruptEvent, GraphResumeEvent
    from typing_extensions import Unpack

    from langgraph_observe.capture.run import Run
    from langgraph_observe.observer import Options
    from langgraph_observe.records import Link, Outcome, Processor, Sink

Method = TypeVar("Method", bound="Callable[..., None]")
HANDLED_TOOL_ERROR = "handled_tool_error"
"""`Failure.type` of a tool that failed and answered with a `ToolMessage(status="error")`: its exception is not told."""
_CONTENT_EVENTS = frozenset({"content-block-start", "content-block-delta"})


def _safely(method: Method) -> Method:
    """Whatever goes wrong in here, the agent does not notice. LangChain would catch it too, and log its text."""

    @functools.wraps(method)
    def call(self: CallbackHandler, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.observer.failed("capture", error)

    return cast("Method", call)


class CallbackHandler(GraphCallbackHandler):
    """Pass it in `callbacks=[CallbackHandler()]` to any runnable.

    With no sinks: the default Observer, made from the environment and shared by the process. One handler serves any
    number of threads, tasks and runs. Passed twice, at two levels or to an observed graph, it records each run once.
    """

    run_inline = True

    def __init__(
        self, *sinks: Sink, process: Iterable[Processor] | None = None, observer: Observer | None = None, **options: Unpack[Options]
    ) -> None:
        """Options are those of `observe`. `observer` instead of sinks: share one with other handlers and graphs.

        Make few: each with sinks of its own has an Observer, whose sinks have threads. Raises TypeError and ValueError for
        options that there are not.
        """
        self.observer = observer or (Observer(*sinks, process=process) if sinks else default())
        self.options = checked(options)
        self.tracker = self.observer.tracker
        policy = self.options.get("payloads", "delta")
        self._content = policy != "none"
        self._kept = Kept(policy if self.observer.payloads else "none")
        if not self.observer.sinks:  # with nobody to tell, LangChain need not call
            self.ignore_chain = self.ignore_llm = self.ignore_chat_model = self.ignore_agent = self.ignore_retriever = True
            self.ignore_custom_event = self.ignore_retry = True
            self.run_inline = False  # nor leave others out because of this one

    @property
    def raise_error(self) -> bool:  # type: ignore[override]  # a plain attribute there
        """Only in strict mode, which is for tests."""
        return own.strict

    # Properties there. LangChain reads one for every event, every token of a stream: a plain attribute costs a tenth.
    ignore_chain = ignore_llm = ignore_chat_model = ignore_agent = ignore_retriever = ignore_custom_event = ignore_retry = False

    def __eq__(self, other: object) -> bool:
        """LangChain puts equal handlers into a list once: two of one Observer would tell the same."""
        return isinstance(other, CallbackHandler) and other.observer is self.observer

    def __hash__(self) -> int:
        return hash(self.observer)

    def __copy__(self) -> CallbackHandler:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> CallbackHandler:
        """A graph that is deep-copied keeps its observer (trap t33)."""
        return self

    # -- chains, graphs, nodes

    @_safely
    def on_chain_start(
        self, serialized: dict[str, Any] | None, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None,
        tags: list[str] | None = None, metadata: dict[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """A graph, a node, or a plain runnable."""
        told = metadata or {}
        run = self.tracker.open(run_id, parent_run_id, told)
        if run is None:
            return
        name = naming.name_of(serialized, kwargs.get("name"), "chain")
        if tags and naming.HIDDEN in tags and graph.branch_of(run, name) is None:
            run.entry, run.checkpoint_ns = name == graph.START, told.get(naming.NAMESPACE) or run.checkpoint_ns
            self.tracker.silent(run)
        elif (namespace := told.get(naming.NAMESPACE)) is not None and (
            run.parent is None or namespace != run.parent.checkpoint_ns
        ):
            self._node(run, name, inputs, tags, told, namespace)
        elif (starting := graph.starting(starter := caller.starter(), told, root=run.parent is None)) is not None:
            pregel, given, frame, checkpointed = starting
            self._graph(run, name, inputs, tags, told, pregel, given, frame)
            if checkpointed and run.parent is None and run.record is not None:
                graph.remember(run, given)
        elif run.parent is not None and run.parent.kind == "node" and name == run.parent.node:
            self.tracker.silent(run)  # the runnable that a node consists of, under the node's own name: the same run again
        else:
            run.falls_back = caller.tries(starter)
            if run.parent is not None and (prompt := naming.prompt_of(told)) is not None:
                run.parent.prompt = prompt
            if graph.branch_of(run, name) is not None:
                name, taken = graph.NAMELESS.get(name, name), self._kept.state(run, inputs, None)
            else:
                taken = None if "defers_inputs" in kwargs else self._kept(whole, run, inputs)
            self.tracker.start(run, "chain", name, self.options, tags, told, input=taken)

    def _graph(
        self, run: Run, name: str, inputs: Any, tags: Sequence[str] | None, told: Mapping[str, Any],
        pregel: Any, given: Mapping[str, Any], frame: FrameType | None, **own: Any,
    ) -> None:  # fmt: skip
        name = graph.named(pregel, name)
        agent = graph.agent_name(pregel, told, name)
        run.become_graph(pregel, frame)
        run.graph, run.agent = name, agent or run.agent
        links: tuple[Link, ...] = ()
        if run.parent is None:  # `configurable` is not told to handlers but for thread_id and the like (trap t39)
            told = {**{key: given[key] for key in ("user_id", "session_id") if key in given}, **told}
            thread_id, checkpoint_id = naming.given(told, "thread_id"), told.get("checkpoint_id")
            links = self.tracker.resumed(thread_id, checkpoint_id, name, continues=graph.continues(inputs))
        self.tracker.start(
            run,
            "graph" if agent is None else "agent",
            name,
            self.options,
            tags,
            told,
            input=self._kept.state(run, inputs, -1),
            links=links,
            **own,
        )

    def _node(self, run: Run, name: str, inputs: Any, tags: Sequence[str] | None, told: Mapping[str, Any], namespace: str) -> None:
        run.node = text(told.get("langgraph_node") or name)
        run.step = told.get("langgraph_step")
        run.checkpoint_ns = namespace
        path = told.get("langgraph_path") or ("",)
        run.path, pushed = path, path[0] == graph.PUSH
        self.tracker.start(
            run, "node", name, self.options, tags, told,
            triggers=tuple(map(str, told.get("langgraph_triggers") or ())), attempt=self.tracker.attempt(run),
            links=tuple(graph.senders(run, name, path)) if pushed else (),
            input=self._kept.of_node(run, name, inputs, "process_inputs", run.step, own=pushed),
        )  # fmt: skip

    @_safely
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """An end that may be an interrupt: then the root ends normally and `on_interrupt` has told why."""
        if (run := self.tracker.take(run_id)) is None:
            return
        graph.route(run, outputs)
        streamed = run.told_later(kwargs)
        late = self._kept(whole, run, kwargs["inputs"]) if streamed else None
        if run.kind == "node":
            output = self._kept.of_node(run, str(run.node), outputs, "process_outputs", None)
        else:
            output = self._kept.state(run, outputs, None) if run.home is run else self._kept(whole, run, outputs)
        outcome: Outcome = "ok"
        if (reason := run.paused if run.home is run else None) is not None:
            outcome = "interrupted"
        elif streamed and caller.broke_off():
            outcome, reason = "cancelled", "stream_closed"
        self.tracker.finish(run, outcome, reason, input=late, output=output)

    @_safely
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A failure, or LangGraph's control flow."""
        if (run := self.tracker.take(run_id)) is None:
            return
        outcome, reason = naming.ending(error)
        output = None
        if reason == "handoff" and run.parent is None:
            outcome, reason = "error", None  # nobody is above to take it: the caller gets the exception
        elif reason == "interrupt":
            reason = run.paused = run.paused or graph.stopped(run) or reason
        elif reason == "drained" and run.parent is None:
            self.tracker.pause(run, reason, None)
        if run.paused is not None and outcome == "cancelled":
            outcome, reason = "interrupted", run.paused  # closed by its consumer when it had asked a human (trap t56)
            self.tracker.pause(run, run.paused, None)
        elif isinstance(error, GeneratorExit) and run.home is run and (known := graph.closed(run)) is not None:
            outcome, reason = known  # read to its last chunk and no further (trap t07), or closed after its task was cancelled
            output = self._kept.state(run, graph.left(run), None) if outcome == "ok" else None
        late = self._kept(whole, run, kwargs["inputs"]) if run.told_later(kwargs) else None
        graph.handed_over(run, error)
        failure = naming.failure_of(error, content=self._content) if outcome == "error" else None
        self.tracker.finish(run, outcome, reason, error, input=late, output=output, failure=failure)

    # -- what no callback tells

    @_safely
    def refused(
        self, pregel: Any, inputs: Any, config: Mapping[str, Any], parent_run_id: UUID | None, error: BaseException
    ) -> None:  # fmt: skip
        """A graph was called, and failed before LangGraph told anybody of it (trap t41)."""
        run_id = uuid4()
        if self._called(pregel, inputs, config, run_id, parent_run_id) is not None:
            self.on_chain_error(error, run_id=run_id)

    @_safely
    def calls(
        self, pregel: Any, inputs: Any, config: Mapping[str, Any], run_id: UUID, parent_run_id: UUID | None, headers: dict[str, str]
    ) -> None:  # fmt: skip
        """A remote graph is called. The headers get what its own spans are to be children of."""
        run = self._called(pregel, inputs, config, run_id, parent_run_id, remote=True, base_url=graph.url_of(pregel))
        if run is not None and run.record is not None:
            if run.record.links and self.tracker.resume(run, ""):
                self.tracker.note(run, "resume")
            context.carry(run.trace_id, run.span_id, headers)

    @_safely
    def answers(self, run_id: UUID, state: Any, asked: Sequence[Any]) -> None:
        """A remote graph has answered, or asks a human."""
        run = self.tracker.get(run_id)
        if run is not None and asked and self.tracker.pause(run, "interrupt", None):
            self.tracker.note(run, "interrupt", "interrupt", self._kept(whole, run, asked))
        self.on_chain_end(state, run_id=run_id)

    @_safely
    def answered_from_cache(self, task: Any, writes: Sequence[tuple[str, Any]]) -> None:
        """LangGraph had what a node or task would write, and did not run it (trap t14)."""
        parent, run_id = getattr(task.config.get("callbacks"), "parent_run_id", None), uuid4()
        if parent is None or self.tracker.get(parent) is None:
            return
        told, tags = dict(task.config.get("metadata") or {}), task.config.get("tags")
        self.on_chain_start(None, task.input, run_id=run_id, parent_run_id=parent, tags=tags, metadata=told, name=task.name)
        if (run := self.tracker.take(run_id)) is not None:
            output = self._kept.of_node(run, task.name, graph.written(writes), "process_outputs", None)
            self.tracker.finish(run, "ok", cached=True, output=output)

    def _called(
        self, pregel: Any, inputs: Any, config: Mapping[str, Any], run_id: UUID, parent_run_id: UUID | None, **own: Any
    ) -> Run | None:  # fmt: skip
        name, tags, told, configurable = graph.called(pregel, config)
        run = self.tracker.open(run_id, parent_run_id, told)
        if run is not None:
            self._graph(run, name, inputs, tags, told, pregel, configurable, None, **own)
        return run

    # -- models

    @_safely
    def on_chat_model_start(
        self, serialized: dict[str, Any], messages: list[list[BaseMessage]], *, run_id: UUID, parent_run_id: UUID | None = None,
        tags: list[str] | None = None, metadata: dict[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """A chat model is asked. Its input is whole: people debug prompts there."""
        flat = messages[0] if len(messages) == 1 else [message for batch in messages for message in batch]
        self._model(serialized, flat, run_id, parent_run_id, tags, metadata or {}, kwargs)

    @_safely
    def on_llm_start(
        self, serialized: dict[str, Any], prompts: list[str], *, run_id: UUID, parent_run_id: UUID | None = None,
        tags: list[str] | None = None, metadata: dict[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """A text completion model is asked.

        `agenerate` starts it in a task of its own, which is over at once; it does report that it was cancelled.
        """
        flat = [payload.user(prompt) for prompt in prompts]
        self._model(serialized, flat, run_id, parent_run_id, tags, metadata or {}, kwargs, watched=False)
        caller.tell_the_rest(
            self, serialized, prompts, run_id=run_id, parent_run_id=parent_run_id, tags=tags, metadata=metadata, **kwargs
        )

    def _model(
        self, serialized: dict[str, Any], messages: Sequence[Any], run_id: UUID, parent_run_id: UUID | None, tags: list[str] | None,
        told: Mapping[str, Any], kwargs: Mapping[str, Any], *, watched: bool = True,
    ) -> None:  # fmt: skip
        run = self.tracker.open(run_id, parent_run_id, told)
        if run is None:
            return
        run.task = run.task if watched else None
        invocation = kwargs.get("invocation_params") or {}
        offered = invocation.get("tools") or invocation.get("functions")
        self.tracker.start(
            run, "model", naming.name_of(serialized, kwargs.get("name"), "model"), self.options, tags, told,
            model=naming.model_of(told, invocation), provider=naming.provider_of(told), base_url=naming.base_url_of(serialized),
            parameters=naming.parameters_of(invocation), prompt=naming.prompt_of(told) or run.prompt_above(),
            tools=self._kept(whole, run, offered) if offered else None, input=self._kept(conversation, run, messages),
        )  # fmt: skip

    def on_llm_new_token(self, token: Any, *, run_id: UUID, chunk: Any = None, **kwargs: Any) -> None:
        """A piece of a streamed answer. No work here beyond its time and a counter; a counter needs no guard."""
        if token:
            self.tracker.token(run_id)
        elif (run := self.tracker.get(run_id)) is not None:
            self._wordless(run, chunk)

    @_safely
    def _wordless(self, run: Run, chunk: Any) -> None:
        self.tracker.piece(run, said=usage.has_content(chunk))

    @_safely
    def on_stream_event(self, event: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A piece of an answer in `stream_events(version="v3")`, where no token is told."""
        if (run := self.tracker.get(run_id)) is not None and event.get("event") in _CONTENT_EVENTS:
            self.tracker.piece(run)

    @_safely
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """A model has answered, or LangChain's cache has."""
        if (run := self.tracker.take(run_id)) is not None:
            self.tracker.finish(run, "ok", **self._answer(run, response, guess=True))

    @_safely
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A model call failed or was cut off: what had arrived by then is kept."""
        if (run := self.tracker.take(run_id)) is None:
            return
        outcome, reason = naming.ending(error)
        failure = naming.failure_of(error, content=self._content) if outcome == "error" else None
        partial = usage.arrived(kwargs.get("response"))
        told = self._answer(run, partial, guess=run.pieces is not None) if partial else {}
        self.tracker.finish(run, outcome, reason, error, failure=failure, **told)

    def _answer(self, run: Run, result: LLMResult, *, guess: bool) -> dict[str, Any]:
        answer = usage.answer(result)
        output = self._kept(generations, run, result)
        record = run.record
        if answer.silent and guess and record is not None:
            answer.measured.then(lambda _: tokens.estimate(record, output))
        return {
            "output": output, "measured": answer.measured, "model": answer.model, "response_id": answer.response_id,
            "finish_reasons": answer.finish_reasons, "cached": answer.cached,
        }  # fmt: skip

    # -- tools and retrievers

    @_safely
    def on_tool_start(
        self, serialized: dict[str, Any], input_str: str, *, run_id: UUID, parent_run_id: UUID | None = None,
        tags: list[str] | None = None, metadata: dict[str, Any] | None = None, inputs: dict[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """A tool is called, with the arguments that the model gave; injected ones are not among them."""
        run = self.tracker.open(run_id, parent_run_id, metadata or {})
        if run is None:
            return
        self.tracker.start(
            run, "tool", text((serialized or {}).get("name") or kwargs.get("name") or "tool"), self.options, tags, metadata or {},
            tool_call_id=(call := kwargs.get("tool_call_id")), attempt=self.tracker.tried(run, call), description=(serialized or {}).get("description"),
            input=self._kept(whole, run, input_str if inputs is None else inputs),
        )  # fmt: skip

    @_safely
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool has answered. One that failed and handled it says so in its message only (trap t44)."""
        if (run := self.tracker.take(run_id)) is None:
            return
        graph.route(run, output)
        content = self._kept(whole, run, output)
        if isinstance(output, ToolMessage) and output.status == "error":
            failure = Failure(HANDLED_TOOL_ERROR, text(output.content)[:4_096] if self._content else "")
            self.tracker.finish(run, "error", None, None, output=content, failure=failure)
        else:
            self.tracker.finish(run, "ok", output=content)

    @_safely
    def on_retriever_start(
        self, serialized: dict[str, Any] | None, query: str, *, run_id: UUID, parent_run_id: UUID | None = None,
        tags: list[str] | None = None, metadata: dict[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Documents are looked for."""
        run = self.tracker.open(run_id, parent_run_id, metadata or {})
        if run is not None:
            name = naming.name_of(serialized, kwargs.get("name"), "retriever")
            self.tracker.start(run, "retriever", name, self.options, tags, metadata or {}, input=self._kept(whole, run, query))

    @_safely
    def on_retriever_end(self, documents: Sequence[Document], *, run_id: UUID, **kwargs: Any) -> None:
        """Documents were found."""
        if (run := self.tracker.take(run_id)) is not None:
            self.tracker.finish(run, "ok", output=self._kept(whole, run, documents))

    on_tool_error = on_retriever_error = on_chain_error

    # -- moments

    @_safely
    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """The graph waits for a human: LangGraph's normal case, no error."""
        run = self.tracker.get(event.run_id) if event.run_id else None
        static = event.status if event.status.startswith("interrupt_") else None  # else one of a graph inside
        reason = "interrupt" if event.interrupts else static or (run.paused if run else None) or "interrupt"
        if run is not None and self.tracker.pause(run, reason, event.checkpoint_id):
            asked = [{"id": one.id, "value": one.value} for one in event.interrupts]
            self.tracker.note(run, "interrupt", reason, self._kept(whole, run, asked))

    @_safely
    def on_resume(self, event: GraphResumeEvent) -> None:
        """The graph goes on. Also told after a failure and for time travel: noted only if an interrupt is known (trap t58)."""
        run = self.tracker.get(event.run_id) if event.run_id else None
        if run is None or run.record is None:
            return
        if self.tracker.resume(run, event.checkpoint_id):
            self.tracker.note(run, "resume")
        elif run.parent is None and (link := graph.resumed_from(run)) is not None and link not in run.record.links:
            self.tracker.resume_elsewhere(run, link)
            self.tracker.note(run, "resume")

    @_safely
    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """What the agent's author wanted to be seen."""
        if (run := self.tracker.get(run_id)) is not None:
            self.tracker.note(run, "custom", name, self._kept(whole, run, data))

    @_safely
    def on_retry(self, retry_state: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """LangChain tries again."""
        if (run := self.tracker.get(run_id)) is not None:
            self.tracker.note(run, "retry", f"attempt {retry_state.attempt_number}")
