"""A worker process, as the one who asks it sees it: never hangs, and says when it has died."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
QUIET = {"PYTHONWARNINGS": "ignore", "LANGGRAPH_OBSERVE_STORE": "off", "PYTHONPATH": ""}


class Asked:
    """`ask(method, …)` gives the answer, which has an `error` where there is none."""

    def __init__(self, python: Path, arm: str, log: IO[str], *, seconds: float = 120.0) -> None:
        self.arm, self._seconds, self._rest = arm, seconds, b""
        self._folder = tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [python, HERE / "worker.py", arm],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **QUIET, "TMPDIR": self._folder.name},
            cwd=self._folder.name,
        )
        self.lost = ""

    def begun(self) -> Mapping[str, Any]:
        """Wait until it is ready: to be called once, before anything is asked. They start side by side."""
        return self._answer()

    def ask(self, *request: object) -> Mapping[str, Any]:
        if self.lost:
            return {"error": self.lost}
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.lost = "crashed"
        return self._answer()

    def _answer(self) -> Mapping[str, Any]:
        line = None if self.lost else self._line()
        if line is None:
            self.lost = self.lost or ("crashed" if self._process.poll() is not None else "hangs")
            self._process.kill()
            return {"error": self.lost}
        return json.loads(line)

    def _line(self) -> bytes | None:
        """None if it has ended, or has said nothing for too long."""
        assert self._process.stdout
        deadline = time.monotonic() + self._seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not ready.select(max(0.0, deadline - time.monotonic())):
                    return None
                if not (more := os.read(self._process.stdout.fileno(), 65_536)):
                    self._process.wait(5)
                    return None
                self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._folder.cleanup()
