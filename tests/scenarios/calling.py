"""The ways of calling a graph, and how a scenario is played in each of them."""

from __future__ import annotations

import asyncio
import gc
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scenarios.scenario import Gate, Move, Scenario, gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

THREADS, TASKS, FEW_TASKS, BATCH = 8, 200, 20, 3
MODES = ("values", "updates", "messages", "custom", "tasks", "checkpoints")
SEVERAL = ["values", "updates", "messages", "custom"]


@dataclass(frozen=True)
class Way:
    """`kind` is how what `open` returns is consumed: `call`, `await`, `iterate`, `aiterate`, or one of the crowds."""

    name: str
    kind: str
    open: Callable[..., Any]
    by_handler: bool = False
    sessions: int = 1

    @property
    def streams(self) -> bool:
        """Whether its caller may stop before the end."""
        return "iterate" in self.kind

    @property
    def is_async(self) -> bool:
        """Whether a task runs it, which may be cancelled."""
        return self.kind in ("await", "aiterate", "tasks", "abatch")


def _stream(**options: Any) -> Callable[..., Any]:
    return lambda graph, given, config, **more: graph.stream(given, config, **{**options, **more})


def _astream(**options: Any) -> Callable[..., Any]:
    return lambda graph, given, config, **more: graph.astream(given, config, **{**options, **more})


def _invoke(graph: Any, given: Any, config: Any, **options: Any) -> Any:
    return graph.invoke(given, config, **options)


def _ainvoke(graph: Any, given: Any, config: Any, **options: Any) -> Any:
    return graph.ainvoke(given, config, **options)


def _events(graph: Any, given: Any, config: Any, **options: Any) -> Any:
    return graph.astream_events(given, config, version="v2", **options)


async def _events_v3(graph: Any, given: Any, config: Any, **options: Any) -> AsyncIterator[Any]:
    async with await graph.astream_events(given, config, version="v3", **options) as run:
        async for event in run:
            yield event


def _stream_events_v3(graph: Any, given: Any, config: Any, **options: Any) -> Any:
    yield from graph.stream_events(given, config, version="v3", **options)


_ALL = (
    Way("invoke", "call", _invoke),
    Way("ainvoke", "await", _ainvoke),
    Way("invoke v2", "call", lambda *call, **options: _invoke(*call, version="v2", **options)),
    Way("ainvoke v2", "await", lambda *call, **options: _ainvoke(*call, version="v2", **options)),
    *(Way(f"stream {mode}", "iterate", _stream(stream_mode=mode)) for mode in MODES),
    Way("stream several", "iterate", _stream(stream_mode=SEVERAL, subgraphs=True)),
    Way("stream v2", "iterate", _stream(stream_mode=SEVERAL, version="v2")),
    *(Way(f"astream {mode}", "aiterate", _astream(stream_mode=mode)) for mode in MODES),
    Way("astream several", "aiterate", _astream(stream_mode=SEVERAL, subgraphs=True)),
    Way("astream v2", "aiterate", _astream(stream_mode=SEVERAL, version="v2")),
    Way("astream_events v2", "aiterate", _events),
    Way("astream_events v3", "aiterate", _events_v3),
    Way("stream_events v3", "iterate", _stream_events_v3),
    Way("invoke, callbacks", "call", _invoke, by_handler=True),
    Way("ainvoke, callbacks", "await", _ainvoke, by_handler=True),
    Way("stream, callbacks", "iterate", _stream(), by_handler=True),
    Way("astream, callbacks", "aiterate", _astream(), by_handler=True),
    Way("batch", "batch", lambda graph, *call, **options: graph.batch(*call, return_exceptions=True, **options), sessions=BATCH),
    Way("abatch", "abatch", lambda graph, *call, **options: graph.abatch(*call, return_exceptions=True, **options), sessions=BATCH),
    Way("threads", "threads", _invoke, sessions=THREADS),
    Way("tasks", "tasks", _ainvoke, sessions=TASKS),
)
WAYS: Mapping[str, Way] = {way.name: way for way in _ALL}
SYNC = tuple(way.name for way in _ALL if not way.is_async)
ASYNC = tuple(way.name for way in _ALL if way.is_async)
CALLS = tuple(way.name for way in _ALL if not way.streams)
STREAMS = tuple(way.name for way in _ALL if way.streams)
CROWDS = ("batch", "abatch", "threads", "tasks")
CHAIN = ("invoke, callbacks", "ainvoke, callbacks", "stream, callbacks", "astream, callbacks", "astream_events v2", *CROWDS)
"""The ways of a runnable that is no graph: it is watched by its callbacks only."""


def only(names: Iterable[str], reason: str) -> dict[str, str]:
    """`Scenario.absent` for what can be played in these ways alone."""
    return {name: reason for name in WAYS if name not in set(names)}


def without(names: Iterable[str], reason: str) -> dict[str, str]:
    """`Scenario.absent` for what cannot be played in these ways."""
    return dict.fromkeys(names, reason)


def play(way: Way, scenario: Scenario, graph: Any, callbacks: Iterable[Any] = ()) -> list[list[str]]:
    """Play every session; what the caller of each has seen, in order, as text."""
    configs = [session(number, callbacks) for number in range(sessions(way, scenario))]
    moves = scenario.moves
    match way.kind:
        case "threads":
            with ThreadPoolExecutor(way.sessions) as pool:
                seen = list(pool.map(lambda config: _sync_session(way, graph, moves, config), configs))
        case "tasks":
            seen = asyncio.run(_together(way, graph, moves, configs))
        case "batch" | "abatch":
            seen = _batches(way, graph, moves, configs)
        case "call" | "iterate":
            seen = [_sync_session(way, graph, moves, configs[0])]
        case _:
            seen = [asyncio.run(_session(way, graph, moves, configs[0]))]
    gc.collect() if any(move.drops == "forget" for move in moves) else None
    return [[told for line in lines if (told := scenario.same(without_ids(line)))] for lines in seen]


def sessions(way: Way, scenario: Scenario) -> int:
    """How many at a time. What ends well is played by 200 tasks, what does not by fewer: they cost the suite most."""
    return FEW_TASKS if way.kind == "tasks" and not scenario.ending.startswith("ok") else way.sessions


def session(number: int, callbacks: Iterable[Any]) -> dict[str, Any]:
    """What tells one session from another, in the records too."""
    config = {"configurable": {"thread_id": f"t{number}"}, "tags": [f"s{number}"]}
    return {**config, "callbacks": list(callbacks)} if callbacks else config


def _sync_session(way: Way, graph: Any, moves: Iterable[Move], config: dict[str, Any]) -> list[str]:
    seen: list[str] = []
    for move in moves:
        gate.set(Gate())
        try:
            opened = way.open(graph, _given(move, graph, config), _config(move, graph, config), **_options(move))
            if way.streams:
                _consume(opened, move, seen)
            else:
                seen.append(repr(opened))
        except Exception as error:
            seen.append(f"{type(error).__name__}: {error}")
    return seen


def _consume(stream: Any, move: Move, seen: list[str]) -> None:
    stream = iter(stream)
    for chunk in stream:
        seen.append(repr(chunk))
        if move.stop(chunk):
            break
    else:
        return
    if move.drops == "close":
        stream.close()
    elif move.drops == "forget":
        cycle: list[Any] = [stream]
        cycle.append(cycle)


async def _together(way: Way, graph: Any, moves: Iterable[Move], configs: Iterable[dict[str, Any]]) -> list[list[str]]:
    return await asyncio.gather(*(asyncio.create_task(_session(way, graph, moves, config)) for config in configs))


async def _session(way: Way, graph: Any, moves: Iterable[Move], config: dict[str, Any]) -> list[str]:
    seen: list[str] = []
    for move in moves:
        gate.set(Gate())
        try:
            await _ended(move, _call(way, graph, move, config, seen))
        except (Exception, asyncio.CancelledError) as error:
            seen.append(f"{type(error).__name__}: {error}")
    await asyncio.sleep(0)  # the last callbacks of tasks
    return seen


async def _ended(move: Move, call: Any) -> None:
    """Await it, unless it is to be cancelled: then as soon as a node hangs."""
    if move.cancel is None:
        await call
        return
    held = gate.get()
    try:
        if move.cancel == "timeout":
            async with asyncio.timeout(None) as limit:
                watching = asyncio.create_task(_when(held, lambda: limit.reschedule(0)))
                await call
            await watching
        else:
            task = asyncio.create_task(call)
            await _when(held, task.cancel)
            await task
    finally:
        held.opened.set()


async def _when(held: Gate, act: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not held.reached.is_set():  # noqa: ASYNC110 - it may be set in a thread
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)  # the chunks that are on their way arrive
    act()


async def _call(way: Way, graph: Any, move: Move, config: dict[str, Any], seen: list[str]) -> None:
    opened = way.open(graph, _given(move, graph, config), _config(move, graph, config), **_options(move))
    if not way.streams:
        seen.append(repr(await opened))
        return
    async for chunk in opened:
        seen.append(repr(chunk))
        if move.stop(chunk):
            break
    else:
        return
    if move.drops == "close":
        await opened.aclose()
    else:
        cycle: list[Any] = [opened] if move.drops == "forget" else []
        cycle.append(cycle)
        del opened
        gc.collect()
        await asyncio.sleep(0.02)  # the loop finalises a forgotten generator in a task of its own


def _batches(way: Way, graph: Any, moves: Iterable[Move], configs: list[dict[str, Any]]) -> list[list[str]]:
    seen: list[list[str]] = [[] for _ in configs]
    for move in moves:
        gate.set(Gate())
        given = [_given(move, graph, config) for config in configs], [_config(move, graph, config) for config in configs]
        results = way.open(graph, *given, **_options(move))
        results = asyncio.run(results) if way.is_async else results
        for lines, result in zip(seen, results, strict=True):
            lines.append(f"{type(result).__name__}: {result}" if isinstance(result, Exception) else repr(result))
    return seen


def _given(move: Move, graph: Any, config: dict[str, Any]) -> Any:
    return move.given if move.answers is None else move.answers(graph, config)


def _options(move: Move) -> dict[str, Any]:
    return {**move.options, **{name: make() for name, make in move.anew.items()}}


def _config(move: Move, graph: Any, config: dict[str, Any]) -> dict[str, Any]:
    chosen = move.before(graph, config)
    addressed = {**config["configurable"], **chosen["configurable"]} if chosen else config["configurable"]
    return {**config, **move.config, "configurable": addressed}


_NOISE = (
    (r"(, )?'langgraph_observe_traceparent': '[^']*'", ""),  # the one word of ours in a checkpoint's metadata
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
    (r"\b[0-9a-f]{32}\b", "<id>"),
    (r"\d{4}-\d\d-\d\dT[0-9:.]+(\+00:00|Z)?", "<time>"),
    (r"'seq': \d+", "'seq': <number>"),
    (r"'timestamp': \d+", "'timestamp': <time>"),
    (r"0x[0-9a-f]+", "<address>"),
)


def without_ids(text: str) -> str:
    """What the caller saw, without what is made anew for each call: ids, times, addresses."""
    for pattern, name in _NOISE:
        text = re.sub(pattern, name, text)
    return text
