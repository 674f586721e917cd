"""Each notebook runs for a stranger (an empty home, no keys, no network) and shows what is saved in it, where scripts are not run."""

import base64
import re
import runpy
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("pandas")

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
MACHINE = re.compile(r"(?:/(?:home|root|usr|tmp|Users|private|opt|var)\b|[A-Z]:\\)[^\s\"'<]*")
SHOWS = {
    "quickstart": ("✓ graph travel_agent", "⏸ node approve", "resumed from", "Lisbon it was", "in run.otlp.json"),
    "debugging": ("✖ tool carrier", "KeyError", "out for delivery", "error → ok"),
    "cost_and_tokens": ("house-7b", "≥~$", "calls of unknown cost", "cost_usd"),
    "comparing": ("is Canberra", "+assistant: The capital of Australia is Sydney.", "liked", "0.833"),
    "from_langfuse": ('weather(city="Lisbon")', "True True True", "in Langfuse at http://127.0.0.1:", "holidays"),
}
"""What each is there to show."""


@pytest.fixture(scope="module")
def make():
    return runpy.run_path(str(NOTEBOOKS / "make.py"))


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def shown(notebook):
    """Of each output that is an object: what it is shown as, by MIME type."""
    return [output["data"] for output in outputs(notebook) if "data" in output]


def structure(notebook):
    """Of each cell the kinds of its outputs: text that was printed, or an object by its MIME types."""
    return [
        [(one.output_type, one.get("name"), sorted(one.get("data", ()))) for one in cell.get("outputs", ())]
        for cell in notebook.cells
    ]


def written(notebook):
    """All that is in its outputs as text; pictures are read."""
    texts = [output.get("text", "") for output in outputs(notebook)]
    for data in shown(notebook):
        pictures = re.findall(r"base64,([A-Za-z0-9+/=]+)", data["text/html"])
        texts += [data["text/plain"], data["text/html"], *(base64.b64decode(one).decode() for one in pictures)]
    return "\n".join(texts)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_it_runs_for_a_stranger_and_shows_what_is_saved_in_it(path, make, tmp_path):
    """One test, for it runs once. After a change: `python notebooks/make.py`."""
    saved, executed = nbformat.read(path, as_version=4), make["executed"](path, tmp_path)
    assert [one for one in outputs(executed) if one.output_type == "error" or one.get("name") == "stderr"] == []
    assert not (tmp_path / "attempts").exists(), "it turned to another machine"
    assert structure(saved) == structure(executed)
    for one in (saved, executed):
        assert [text for text in SHOWS[path.stem] if text not in written(one)] == []


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
class TestSaved:
    def test_every_object_is_there_as_html_and_as_text(self, path):
        objects = shown(nbformat.read(path, as_version=4))
        assert len(objects) >= 5
        assert {tuple(sorted(data)) for data in objects} == {("text/html", "text/plain")}

    def test_nothing_in_it_runs_and_nothing_is_loaded(self, path):
        for data in shown(nbformat.read(path, as_version=4)):
            loads = Loads()
            loads.feed(data["text/html"])
            assert loads.harm == []

    def test_no_machine_can_be_told_from_it(self, path):
        saved = nbformat.read(path, as_version=4)
        assert MACHINE.findall(written(saved)) == []
        assert [own for own in (sys.prefix, str(NOTEBOOKS.parent)) if own in written(saved)] == []
        assert [url for url in re.findall(r"https?://[\w.\-]+", written(saved)) if not allowed(url)] == []
        assert saved.metadata == {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}

    def test_it_begins_with_how_to_install_and_what_it_shows(self, path):
        first = nbformat.read(path, as_version=4).cells[0]
        assert first.cell_type == "markdown"
        assert re.match(r"# .+\n\n`pip install .+\bThis notebook ", first.source)


def allowed(url):
    return url in {"http://127.0.0.1", "http://www.w3.org"}  # the stand-in for Langfuse, and the name of SVG


class Loads(HTMLParser):
    """What of a page would run, or be fetched."""

    def __init__(self):
        super().__init__()
        self.harm = []

    def handle_starttag(self, tag, attrs):
        told = dict(attrs)
        if tag in {"script", "iframe", "link", "object", "embed"} or any(name.startswith("on") for name in told):
            self.harm.append((tag, told))
        if "url(" in (told.get("style") or "") or not (told.get("src") or "data:").startswith("data:"):
            self.harm.append((tag, told))


def test_every_notebook_has_something_to_show():
    assert sorted(SHOWS) == [path.stem for path in PATHS]


def test_a_machines_own_paths_are_left_out(make, tmp_path):
    """What a traceback says of this machine: where Python, the packages and the kernel's cells are."""
    told = f'File "{pytest.__file__}", File "{runpy.__file__}", File "{tmp_path}/x", File "{tmp_path}/ipykernel_12/34.py"'
    cell = nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("stream", text=told)])
    tidy = make["_of_any_machine"](nbformat.v4.new_notebook(cells=[cell], metadata={"language_info": {"name": "python"}}), tmp_path)
    assert tidy.cells[0].outputs[0].text == 'File "pytest/__init__.py", File "runpy.py", File "x", File "cell.py"'
    assert tidy.metadata == {}
