"""The README keeps its word: its Python runs as it stands, its table of variables is the code's, its links lead somewhere.

Each ```` ```python ```` block is a program of its own; ```` ```python continued ```` goes on where the block before it ended.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from offline import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```python( continued)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"LANGGRAPH_OBSERVE_[A-Z0-9_]*[A-Z0-9]")
PROSE = re.sub(r"`[^`\n]+`", "code", FENCED.sub("", README))


@dataclass(frozen=True)
class Block:
    line: int
    code: str


def blocks():
    found = []
    for match in BLOCK.finditer(README):
        before = found[-1].code if match[1] else ""
        found.append(Block(README.count("\n", 0, match.start()) + 1, before + match[2]))
    return found


def anchors():
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ +(.+?) *$", FENCED.sub("", README), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links():
    return [link for link in re.findall(r"\]\(([^)\s]+)|(?:href|src)=\"([^\"]+)\"", PROSE) for link in link if link]


@pytest.mark.parametrize("block", [pytest.param(block, id=f"line_{block.line}") for block in blocks()])
def test_a_python_block_runs(block, tmp_path):
    script, place = tmp_path / f"readme_line_{block.line}.py", tmp_path / "place"
    script.write_text(block.code)
    place.mkdir()
    ran = run(script, place)
    assert (ran.code, ran.attempts) == (0, ""), ran.stderr
    assert not re.search(r"Traceback|Warning", ran.stderr), ran.stderr


def test_no_python_block_escapes():
    assert len(re.findall(r"^\s*(?:```|~~~)\s*(?:python|py)\b", README, re.MULTILINE)) == len(blocks())


def test_the_variables_in_the_table_are_those_of_the_code():
    listed = {name for row in re.findall(r"^\|[^|]*", README, re.MULTILINE) for name in VARIABLE.findall(row)}
    assert listed == {name for path in (ROOT / "langgraph_observe").rglob("*.py") for name in VARIABLE.findall(path.read_text())}
    assert listed >= set(VARIABLE.findall(README)), "spoken of, but not in the table"


def test_every_link_within_the_repository_leads_somewhere():
    relative = [link for link in links() if not re.match(r"[a-z]+:", link)]
    files = {link.partition("#")[0] for link in relative if not link.startswith("#")}
    assert [file for file in sorted(files) if not (ROOT / file).exists()] == []
    assert {link[1:] for link in relative if link.startswith("#")} <= anchors()
