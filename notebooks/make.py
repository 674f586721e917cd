"""Execute the notebooks and keep what they show: `python notebooks/make.py [NAME …]`, all of them if none is named.

Each runs in a kernel of its own as for somebody who has just installed the package: an empty home, no keys, no network beyond
this machine, its clock in UTC. `from_langfuse` finds a stand-in for Langfuse on the loopback in its environment.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nbclient
import nbformat

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: Final = Path(__file__).parent
TESTS: Final = HERE.parent / "tests"
ATTEMPTS: Final = "attempts"
"""The file in a notebook's place that names, a line each, the addresses beyond the loopback that it tried."""


def executed(path: Path, place: Path) -> Any:
    """The notebook at `path` as it is after a run; `place` is an empty directory for all that it writes.

    Raises nbclient's CellExecutionError for a cell that fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with _environment(path.stem, place) as environment:
        client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", record_timing=False)
        client.execute(env=environment, cwd=str(place))
    return _of_any_machine(notebook, place)


def _of_any_machine(notebook: Any, place: Path) -> Any:
    """Without what is this machine's alone: its Python, and the directories before the names of files in tracebacks."""
    notebook.metadata.pop("language_info", None)
    paths = sysconfig.get_paths()
    told = nbformat.writes(notebook)
    for directory in (paths["purelib"], paths["platlib"], paths["stdlib"], str(HERE.parent), str(place)):
        told = told.replace(f"{directory}/", "")
    return nbformat.reads(re.sub(r"ipykernel_\d+/\d+\.py", "cell.py", told), as_version=4)


@contextmanager
def _environment(name: str, place: Path) -> Iterator[dict[str, str]]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "TMPDIR": str(place),
        "TZ": "UTC",
        "PYTHONPATH": str(TESTS / "seal"),
        "SEAL_ATTEMPTS": str(place / ATTEMPTS),
    }
    if name != "from_langfuse":
        yield environment
        return
    sys.path.insert(0, str(TESTS / "sinks"))
    from langfuse_server import PUBLIC, SECRET, Langfuse

    with Langfuse() as server:
        yield {**environment, "LANGFUSE_PUBLIC_KEY": PUBLIC, "LANGFUSE_SECRET_KEY": SECRET, "LANGFUSE_BASE_URL": server.url}


def main(names: list[str]) -> None:
    """Execute them and write them back."""
    for path in [HERE / f"{name}.ipynb" for name in names] or sorted(HERE.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as place:
            nbformat.write(executed(path, Path(place)), path)


if __name__ == "__main__":
    main([name.removesuffix(".ipynb") for name in sys.argv[1:]])
