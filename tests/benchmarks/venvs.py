"""Venvs for the rivals, one each, so that none of them is a dependency of ours and none meets another."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from rivals import RIVALS

VENVS = Path(tempfile.gettempdir()) / "bench-venvs"
HOST = ("langgraph", "langchain-core")
EXPORTER = "opentelemetry-exporter-otlp-proto-http"
"""What our exporter encodes with; Langfuse and OpenLIT bring it."""
OURS = "ours"
IMPORTS = {
    OURS: ("langgraph_observe",),
    "langfuse": ("langfuse", "langfuse.langchain"),
    "genai": ("opentelemetry.instrumentation.genai.langchain",),
    "openinference": ("openinference.instrumentation.langchain",),
    "openllmetry": ("opentelemetry.instrumentation.langchain",),
    "openlit": ("openlit",),
    "langsmith": ("langsmith", "langchain_core.tracers.langchain"),
    "mlflow": ("mlflow.langchain",),
}
TIMED = "import langgraph.graph, langgraph.prebuilt, time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def python(arm: str) -> Path | None:
    """What an arm runs on: a rival's venv, if there is one, or this."""
    if arm not in RIVALS:
        return Path(sys.executable)
    found = VENVS / RIVALS[arm][1] / "bin" / "python"
    return found if found.exists() else None


def setup(arms: list[str]) -> None:
    """Make the venvs that are not there: of the arms, of the host alone and of us."""
    repo = str(Path(__file__).parents[2])
    needs = {"bare": (), OURS: (repo,)} | {RIVALS[arm][1]: (*RIVALS[arm][2], *_exporter(arm)) for arm in arms if arm in RIVALS}
    for name, packages in needs.items():
        if name == OURS or not (VENVS / name / "bin" / "python").exists():  # ours changes
            _made(name, packages)


def _exporter(arm: str) -> tuple[str, ...]:
    return (EXPORTER,) if arm in ("OpenTelemetry", "OpenInference", "OpenLLMetry") else ()


def _made(name: str, packages: tuple[str, ...]) -> None:
    print(f"making {VENVS / name}", file=sys.stderr)  # noqa: T201 - progress
    subprocess.run([sys.executable, "-m", "venv", VENVS / name], check=True)
    pinned = [f"{host}=={version(host)}" for host in HOST]
    command = [VENVS / name / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *pinned, *packages]
    if subprocess.run(command, check=False).returncode:
        print(f"{name} cannot be installed beside {' '.join(pinned)}: left out", file=sys.stderr)  # noqa: T201 - progress
        (VENVS / name / "bin" / "python").rename(VENVS / name / "bin" / "python-incomplete")


def megabytes(name: str) -> float | None:
    """What is installed beyond LangChain's core and LangGraph."""
    sizes = [_bytes(VENVS / one) for one in (name, "bare")]
    return (sizes[0] - sizes[1]) / 1e6 if all(sizes) else None


def _bytes(venv: Path) -> int:
    return sum(
        file.stat().st_size for file in venv.glob("lib/*/site-packages/**/*") if file.is_file() and "__pycache__" not in file.parts
    )


def milliseconds(name: str, repeats: int = 3) -> float | None:
    """Of an import, after LangGraph's. The median, in processes of their own."""
    found = VENVS / name / "bin" / "python"
    if not found.exists():
        return None
    command = [found, "-W", "ignore", "-c", TIMED.format(", ".join(IMPORTS[name]))]
    told = [subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(repeats + 1)][1:]
    return statistics.median(float(one.stdout) for one in told) * 1000 if not told[0].returncode else None
