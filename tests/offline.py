"""Run a script as somebody does who has just installed the package: an empty home, no keys, and no network."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SEAL = Path(__file__).parent / "seal"


@dataclass(frozen=True)
class Ran:
    code: int
    stdout: str
    stderr: str
    attempts: str
    """Addresses beyond the loopback that it tried, a line each."""
    written: list[str]
    """Files left in its home and its working directory."""


def run(script, place, *arguments):
    """The script in a process of its own; `place` is an empty directory for all that it writes. Warnings are shown on stderr."""
    home, work, temporary, attempts = place / "home", place / "work", place / "temporary", place / "attempts"
    for directory in (home, work, temporary):
        directory.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_DATA_HOME": str(home / "data"),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(SEAL),
        "PYTHONWARNINGS": "default",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SEAL_ATTEMPTS": str(attempts),
    }
    done = subprocess.run(
        [sys.executable, script, *arguments], cwd=work, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return Ran(
        code=done.returncode,
        stdout=done.stdout,
        stderr=done.stderr,
        attempts=attempts.read_text() if attempts.exists() else "",
        written=sorted(str(file.relative_to(place)) for room in (home, work) for file in room.rglob("*") if file.is_file()),
    )
