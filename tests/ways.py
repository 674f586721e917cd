"""The five ways of calling a runnable, as one function: `run(way, runnable, input, config)`."""

import asyncio

WAYS = ("invoke", "stream", "ainvoke", "astream", "batch")


def run(way, runnable, given, config=None):
    """Call it and give back what the caller sees: the result, or the list of chunks."""
    match way:
        case "invoke":
            return runnable.invoke(given, config)
        case "stream":
            return list(runnable.stream(given, config))
        case "ainvoke":
            return asyncio.run(runnable.ainvoke(given, config))
        case "astream":
            return asyncio.run(_collect(runnable.astream(given, config)))
        case "batch":
            return runnable.batch([given], config)
    raise ValueError(way)


async def _collect(chunks):
    return [chunk async for chunk in chunks]
