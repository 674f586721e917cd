"""Real JupyterLab in a real browser: a trusted and an untrusted notebook, light and dark, and nbconvert, which runs nothing.

Needs jupyterlab, nbclient, nbconvert, playwright and a chromium. Leaves pictures in `JUPYTER_SHOTS`, if that is set.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("jupyterlab")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
nbconvert = pytest.importorskip("nbconvert")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")

SHOTS = os.environ.get("JUPYTER_SHOTS")
HERE = Path(__file__).parent
VIEWS = (
    "ts",
    "t",
    "t.graph()",
    "t.messages()",
    "t.run('ChatOpenAI')",
    "t.diff(other)",
    "ts.overview()",
    "bad",
    "bad.graph()",
    "bad.messages()",
    "bads",
    "bads.models()",
    "big",
)
SETUP = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from recorded import OTHER, agent, hostile, large, trace, traces
ts, t, other, bad, big = traces(agent(), agent(OTHER)), trace(agent()), trace(agent(OTHER, "Soon.", None)), trace(hostile()), trace(large())
bads = traces(hostile())
"""
SEEN = """() => [...document.querySelectorAll('.jp-OutputArea-output.jp-RenderedHTMLCommon, .jp-OutputArea-output .jp-RenderedHTMLCommon')]
    .map(output => [...output.querySelector('div').children].map(part => part.offsetHeight > 0 ? part.tagName : ''))"""
AS_TEXT = """() => ['<script>alert(1)</script></pre>', 'javascript:alert(1)', '\\\\x1b[31mred', '\\\\u202eevil\\\\u200b', '\\\\x00']
    .filter(text => !document.body.innerText.includes(text))"""
"""What of a hostile text is not to be read."""
HARM = "() => document.querySelectorAll('img[src=x], .jp-OutputArea script').length"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """Executed, with every view as an output; nobody has trusted it."""
    cells = [*map(nbformat.v4.new_code_cell, (SETUP, *VIEWS))]
    made = nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    nbclient.NotebookClient(made, timeout=120, kernel_name="python3").execute()
    path = tmp_path_factory.mktemp("notebooks") / "untrusted.ipynb"
    nbformat.write(made, path)
    shutil.copy(path, path.with_name("trusted.ipynb"))
    return path


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(notebook):
    """The address of a JupyterLab, and where its settings are."""
    home = notebook.parent / "home"
    places = {"HOME": home, "JUPYTER_CONFIG_DIR": home / "c", "JUPYTER_DATA_DIR": home / "d", "JUPYTERLAB_SETTINGS_DIR": home / "s"}
    environment = {**os.environ, **{name: str(place) for name, place in places.items()}}
    trust = [sys.executable, "-m", "jupyter", "trust", str(notebook.with_name("trusted.ipynb"))]
    subprocess.run(trust, env=environment, timeout=60, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token="]
    command = [sys.executable, "-m", "jupyter", "lab", *options, f"--ServerApp.root_dir={notebook.parent}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            listening(port)
            yield f"http://127.0.0.1:{port}", places["JUPYTERLAB_SETTINGS_DIR"]
        finally:
            server.terminate()
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:  # on a busy machine it now and then never ends by itself
                server.kill()


def listening(port):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("JupyterLab did not start")


def settings(where, theme):
    for plugin, chosen in (
        ("apputils-extension/themes", {"theme": f"JupyterLab {theme.title()}"}),
        ("apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False}),
        ("notebook-extension/tracker", {"windowingMode": "none"}),
    ):
        path = where / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(chosen))


def shoot(page, name):
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("trust", ["trusted", "untrusted"])
def test_each_view_is_seen_once_and_harms_nobody(lab, browser, theme, trust):
    address, where = lab
    settings(where, theme)
    page = browser.new_page(viewport={"width": 1280, "height": 6000})
    asked, dialogs = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(f"{address}/doc/tree/{trust}.ipynb?reset", timeout=90_000)
    page.wait_for_function(f"({SEEN})().length >= {len(VIEWS)}", timeout=90_000)
    seen, harm, unread = page.evaluate(SEEN), page.evaluate(HARM), page.evaluate(AS_TEXT)
    shoot(page, f"lab_{trust}_{theme}")
    page.close()
    assert seen == [["", "DIV"]] * len(VIEWS)
    assert (harm, dialogs, unread) == (0, [], [])
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


@pytest.mark.parametrize("sanitized", [False, True])
def test_nbconvert_shows_each_view_and_harms_nobody(notebook, browser, tmp_path, sanitized):
    """Sanitized, which nobody asks for unasked, it takes styles away and `hidden` as well: both representations are seen."""
    whole, _ = nbconvert.HTMLExporter(sanitize_html=sanitized, mathjax_url="", require_js_url="").from_filename(notebook)
    (tmp_path / "page.html").write_text(whole)
    page = browser.new_page(viewport={"width": 1100, "height": 6000})
    page.goto((tmp_path / "page.html").as_uri())
    seen = page.evaluate(SEEN)
    harm = page.evaluate("() => document.querySelectorAll('img[src=x]').length")
    shoot(page, f"nbconvert_{'sanitized' if sanitized else 'plain'}")
    page.close()
    assert harm == 0
    assert seen == [["PRE" if sanitized else "", "DIV"]] * len(VIEWS)
