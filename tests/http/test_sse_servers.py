"""Servers in processes of their own: shut down while they stream, with several workers, and read by a real EventSource."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from web import KINDS, PATIENCE, ending, observing, resumable, served, streams, until

HERE = Path(__file__).parent
NODE = shutil.which("node")
EVENT_SOURCE = """
const source = new EventSource(process.argv.at(-1));
let opened = 0, heard = 0;
source.onopen = () => { opened += 1; };
source.addEventListener('number', () => { heard += 1; if (heard === 6) { console.log(opened, heard); process.exit(); } });
setTimeout(() => process.exit(), 20000);
"""


class Site:
    """A server's process, and the lines that it has left."""

    def __init__(self, process, url, file):
        self.process, self.url, self.file = process, url, file

    def ended(self):
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)
        return self.ended()


def command(server, fd, workers):
    if server == "hypercorn":
        return ["hypercorn", "child:app", "--bind", f"fd://{fd}", "--graceful-timeout", "1", "--workers", str(workers)]
    known = ["--fd", str(fd), "--timeout-graceful-shutdown", "1", "--log-level", "critical"]
    return ["uvicorn", "child:app", *known, "--http", server, "--workers", str(workers)]


@contextlib.contextmanager
def site(tmp_path, server="h11", *, workers=1, through=False):
    missing = {"hypercorn": "hypercorn", "httptools": "httptools"}.get(server, "uvicorn")
    if importlib.util.find_spec(missing) is None:
        pytest.skip(f"needs {missing}")
    file = tmp_path / "records"
    environment = {
        **os.environ,
        "RECORDS": str(file),
        "THROUGH": "yes" * through,
        "PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent))),
    }
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fd = listening.fileno()
        run = [sys.executable, "-m", *command(server, fd, workers)]
        process = subprocess.Popen(run, env=environment, pass_fds=[fd], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield Site(process, f"http://127.0.0.1:{listening.getsockname()[1]}", file)
        finally:
            process.kill()
            process.wait(PATIENCE)


@contextlib.contextmanager
def reading(url, paths):
    """Streams of which the first event has come, and that go on."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(httpx.Client(timeout=PATIENCE))
        bodies = [stack.enter_context(client.stream("GET", f"{url}/{path}")).iter_bytes() for path in paths]
        yield [next(body) for body in bodies]


@pytest.mark.parametrize("through", [False, True], ids=["bare", "through"])
def test_a_server_that_is_shut_down_has_ended_what_it_still_streamed(tmp_path, through):
    with site(tmp_path, through=through) as running, reading(running.url, [f"{kind}/idle" for kind in KINDS]):
        endings = {end["name"].split("/")[1]: end["ending"] for end in running.end()}
    # sse-starlette ends its streams itself, and Through, inside of us, makes a proper end of that
    assert endings == dict.fromkeys(KINDS, "server_shutdown") | ({"sse-starlette": "completed"} if through else {})


@pytest.mark.parametrize(("server", "workers"), [("h11", 2), ("httptools", 1), ("hypercorn", 2)])
def test_whatever_the_server_and_however_many_workers_each_response_ends_once(tmp_path, server, workers):
    with site(tmp_path, server, workers=workers) as running:
        for kind in KINDS:
            for case in ("normal", "error"):
                with contextlib.suppress(httpx.RemoteProtocolError):
                    httpx.get(f"{running.url}/{kind}/{case}", timeout=PATIENCE)
        with reading(running.url, [f"{kind}/sending" for kind in KINDS]):
            pass
        until(lambda: len(running.ended()) == 9)
        assert Counter(end["ending"] for end in running.end()) == {"completed": 3, "error": 3, "client_disconnect": 3}


@pytest.mark.parametrize("server", ["h11", "hypercorn"])
def test_an_application_that_listens_to_nobody_is_cancelled_and_it_was_the_shutdown(tmp_path, server):
    """The server cancels first, and tells of its shutdown a few turns of its loop later."""
    with site(tmp_path, server) as running, reading(running.url, ["deaf"]):
        [end] = running.end()
    assert end["ending"] == "server_shutdown"


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_an_event_source_comes_again_and_says_that_it_does():
    observer, records = observing()
    with served(resumable(observer)) as url:
        flags = ["--experimental-eventsource", "--no-warnings", "-e", EVENT_SOURCE]
        done = subprocess.run([NODE, *flags, f"{url}/numbers"], capture_output=True, text=True, timeout=60, check=False)
        if "bad option" in done.stderr or "not defined" in done.stderr:
            pytest.skip("needs a node with EventSource")
        assert done.stdout.split() == ["2", "6"]
        first, second = until(lambda: len(streams(records)) == 2 and streams(records))
    assert (first.stream.resumed, second.stream.resumed) == (False, True)
    assert ending(first) == "completed"
    assert first.run.name == "/numbers"
