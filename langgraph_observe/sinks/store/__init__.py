"""Store: every record in one SQLite file that needs no server, and that a notebook reads while the agent runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from langgraph_observe.sinks.deferred import Deferred
from langgraph_observe.sinks.store.schema import StoreError, default_path
from langgraph_observe.sinks.store.writer import Writer

if TYPE_CHECKING:
    import os

    from langgraph_observe.records import Record

__all__ = ["Store", "StoreError", "default_path"]

GIBIBYTE: Final = 2**30
BATCH: Final = 2_048
"""Records of one transaction at most: the more are waiting, the fewer statements for each (see `bulk`)."""


class Store:
    """Keep records in an embedded file. Several processes may write it, and any may read it meanwhile.

    The agent's thread pays for a queue's put. A kill -9 loses the last batch at most (0.1 s), a power cut perhaps the last
    few. A file or a disk that cannot be used costs a warning, and the records until it can: see `health()`.
    The file holds prompts: it is made with mode 0600, its directory, if missing, with 0700.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        keep_days: float | None = 30,
        keep_bytes: int | None = GIBIBYTE,
        capacity: int = 20_000,
        busy_seconds: float = 5.0,
    ) -> None:
        """Whole traces are forgotten, oldest first, `keep_days` after their start or when the file holds `keep_bytes`; None keeps.

        `capacity` in records; `busy_seconds`: how long a batch waits for another program's lock on the file.
        """
        self.path = Path(path or default_path()).expanduser()
        self._writer = Writer(self.path, keep_days=keep_days, keep_bytes=keep_bytes, busy_seconds=busy_seconds)
        self._deferred = Deferred(self._writer, capacity=capacity, batch=BATCH, name="store")

    def __call__(self, record: Record) -> None:
        """Queue a record. Never waits, never raises."""
        self._deferred(record)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until what came before is in the file. False after `timeout` seconds."""
        return self._deferred.flush(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Write what is left and close the file. What comes later is counted as dropped."""
        self._deferred.close(timeout)
        self._writer.close()

    def health(self) -> dict[str, int]:
        """Counts since the start. `dropped`: for a full queue, an unusable file or disk, an unreadable record."""
        counts = self._deferred.health()
        return {**counts, "dropped": counts["dropped"] + self._writer.dropped}
