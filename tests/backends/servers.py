"""The servers of other people that take our spans, started on the loopback with nothing that is not theirs.

`TEST_BACKENDS` names the directory of their programs (the `bin` of a virtual environment with `mlflow` and
`arize-phoenix`); without it they are looked for in PATH. Neither is a dependency of ours: together they are 1.3 GB.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from backends.shown import Backend

VARIABLE = "TEST_BACKENDS"
PATIENCE = 120
"""Seconds. Phoenix makes a hundred tables before it answers, MLflow imports for as long as that."""
SHORT = 30
"""Until what was sent is shown."""
SEAL = Path(__file__).parents[1] / "seal"


def program(name: str) -> str | None:
    """Where this server is, if it is anywhere."""
    return shutil.which(name, path=os.environ.get(VARIABLE) or os.environ["PATH"])


@dataclass(frozen=True)
class Server:
    """One that was started; it takes its time."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def answering(self, path: str) -> None:
        """Until it answers there."""
        until(lambda: self.process.poll() is not None or _answers(self.url + path))
        assert self.process.poll() is None, self.log.read_text()


@contextmanager
def serving(backend: Backend, place: Path) -> Iterator[Server]:
    """The server, with its data and its log in `place`."""
    port = free_port()
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [program(backend.program), *backend.arguments(port, place)],
            cwd=place,
            env=_environment(place) | backend.environment(port, place),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # MLflow has workers
        )
        try:
            yield Server(f"http://127.0.0.1:{port}", process, place / "log")
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(PATIENCE)


def _environment(place: Path) -> dict[str, str]:
    """No keys, no home; and whoever turns to another machine is refused."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "PYTHONPATH": str(SEAL),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SEAL_ATTEMPTS": str(place / "attempts"),
        "DO_NOT_TRACK": "true",
    }


def until(holds: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What it gives, once it gives anything."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "nothing came in time"
        time.sleep(0.1)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            return response.status == 200
    except OSError:
        return False


def asked(url: str, body: Mapping[str, Any] | None = None) -> Any:
    """The JSON that it answers; with a body, to a POST."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return json.load(response)
