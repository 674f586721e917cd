"""The extension in a real IPython shell: the trace under the cell that made it."""

import contextlib
import re

import pytest

pytest.importorskip("IPython", reason="the magics need a shell: pip install ipython")

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

import langgraph_observe
from langgraph_observe import Observer
from langgraph_observe.capture.collect import collect_runs, collecting
from langgraph_observe.everywhere import instrument, uninstrument
from langgraph_observe.explore import Memory, Traces
from langgraph_observe.explore.magics import Magics, as_line

GRAPH = """
from langgraph.graph import MessagesState, StateGraph
def build(name):
    return StateGraph(MessagesState).add_node('a', lambda s: s).set_entry_point('a').compile(name=name)
"""


class Shell:
    """An IPython shell with the extension, and what its cells show."""

    def __init__(self):
        self.memory = Memory()
        self.observer = Observer(self.memory)
        self.ipython = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
        self.magics = Magics(self.ipython, Traces(self.memory), collect=collect_runs, everything=self._everything)
        self.ipython.user_ns["observer"] = self.observer
        self.run(GRAPH)
        self.magics.load()

    @contextlib.contextmanager
    def _everything(self, **options):
        instrument(observer=self.observer, **options)
        try:
            yield
        finally:
            uninstrument()

    def run(self, cell):
        """The text of each output that the cell displayed. Raises what the cell raised."""
        with capture_output() as captured:
            result = self.ipython.run_cell(cell)
        result.raise_error()
        return [output.data["text/plain"] for output in captured.outputs], captured.stdout


@pytest.fixture
def shell():
    shell = Shell()
    yield shell
    shell.observer.close()
    InteractiveShell.clear_instance()


CALL = "_ = observer.watch(build('g{}')).invoke({{'messages': []}});"


def test_a_cell_that_makes_a_trace_shows_it(shell):
    (shown,), _ = shell.run(CALL.format(1))
    assert shown.startswith("✓ g1 · ")
    assert shell.run("x = 1") == ([], "")


def test_it_is_shown_as_html_too(shell):
    with capture_output() as captured:
        shell.ipython.run_cell(CALL.format(1))
    assert captured.outputs[0].data["text/html"].startswith('<div><pre style="display:none">✓ g1')


def test_of_many_traces_the_last_ones_are_shown(shell):
    shown, told = shell.run("\n".join(CALL.format(n) for n in range(5)))
    assert [text.split()[1] for text in shown] == ["g2", "g3", "g4"]
    assert "… and 2 more: traces.last(5)" in told


def test_traces_of_others_are_not_shown(shell):
    """The store is everybody's: another process may write to it while the cell runs."""
    import threading

    shell.ipython.user_ns["Thread"] = threading.Thread
    assert shell.run(f"def other():\n    {CALL.format(1)}\nt = Thread(target=other); t.start(); t.join()") == ([], "")
    assert len(Traces(shell.memory)) == 1


def test_off_and_on(shell):
    shell.run("%observe off")
    assert shell.run(CALL.format(1)) == ([], "")
    shell.run("%observe on")
    assert len(shell.run(CALL.format(2))[0]) == 1
    assert "traces are shown under their cells, from memory" in shell.run("%observe")[1]


def test_a_word_that_it_does_not_know_is_answered_with_those_it_knows(shell):
    with pytest.raises(ValueError, match="%observe on · off"):
        shell.run("%observe sideways")


def test_a_cell_that_fails_shows_its_trace_all_the_same(shell):
    with capture_output() as captured:
        shell.ipython.run_cell(f"{CALL.format(1)}\n1/0")
    assert [output.data["text/plain"][:4] for output in captured.outputs] == ["✓ g1"]


def test_a_whole_cell_is_observed_and_named_with_no_word_in_its_code(shell):
    (shown,), _ = shell.run("%%observe name=exp1\n_ = build('g').invoke({'messages': []})")
    assert shown.startswith("✓ exp1 · ")
    assert shell.run("_ = build('g').invoke({'messages': []})") == ([], "")


def test_a_whole_cell_may_wait(shell):
    (shown,), _ = shell.run("%%observe\n_ = await build('g').ainvoke({'messages': []})")
    assert shown.startswith("✓ g · ")


def test_a_trace_that_cannot_be_shown_costs_a_line(shell):
    shell.magics._traces.before = lambda: 1 / 0
    assert re.fullmatch(r"trace [0-9a-f]{8} cannot be shown: ZeroDivisionError: .*\n", shell.run(CALL.format(1))[1])


def test_unloaded_it_shows_nothing(shell):
    shell.magics.unload()
    assert shell.run(CALL.format(1)) == ([], "")
    assert as_line not in shell.ipython.input_transformers_cleanup
    assert shell.ipython.find_line_magic("observe") is None


@pytest.mark.parametrize(
    ("cell", "line"),
    [("%%observe\n", "%observe cell\n"), ("%%observe name=x\n", "%observe cell name=x\n"), ("%%observer\n", "%%observer\n")],
)
def test_the_magic_of_a_cell_becomes_a_line_and_the_others_keep_their_numbers(cell, line):
    assert as_line([cell, "x\n"]) == [line, "x\n"]
    assert as_line([]) == []


def test_the_package_is_the_extension(shell, tmp_path, monkeypatch):
    monkeypatch.setattr(langgraph_observe.observer, "_default", shell.observer)
    shell.magics.unload()
    shell.run("%load_ext langgraph_observe")
    assert "under their cells" in shell.run("%observe")[1]
    shell.run("%unload_ext langgraph_observe")
    assert collecting.get() == ()


def test_a_cell_that_loads_the_extension_cannot_be_observed_and_says_so(shell, monkeypatch):
    monkeypatch.setattr(langgraph_observe.observer, "_default", shell.observer)
    shell.magics.unload()
    with pytest.raises(RuntimeError, match="in a cell after the one that loads"):
        shell.run("%load_ext langgraph_observe\n%observe cell")
    shell.run("%unload_ext langgraph_observe")
