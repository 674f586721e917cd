"""Prometheus' own programs on the loopback: the server, the Pushgateway, promtool; and uvicorn with workers."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time

import httpx
import pytest

CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: agents
    static_configs: [{{targets: ["127.0.0.1:{target}"]}}]
"""


def needs(program, package):
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed (Debian: {package})")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(said, seconds=30):
    """What `said()` says at last, asked again until it is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if (answer := said()) not in (None, False, [], {}):
                return answer
        time.sleep(0.1)
    raise TimeoutError(said)


@contextlib.contextmanager
def running(*command, log, ready, **options):
    """A program, once its address `ready` answers; killed at the end."""
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, **options) as process:
        try:
            until(lambda: httpx.get(ready).is_success)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def prometheus_server(place, target):
    """A real Prometheus that scrapes a port each second. Gives the address of its API."""
    url, config = f"http://127.0.0.1:{free_port()}", place / "prometheus.yml"
    config.write_text(CONFIG.format(target=target))
    command = (
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={place / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}",
        "--enable-feature=exemplar-storage",
    )
    with running(*command, log=place / "prometheus.log", ready=f"{url}/-/ready"):
        yield f"{url}/api/v1"


@contextlib.contextmanager
def pushgateway(place):
    url = f"http://127.0.0.1:{free_port()}"
    command = (
        "prometheus-pushgateway",
        f"--web.listen-address={url.removeprefix('http://')}",
        f"--persistence.file={place / 'pushgateway.data'}",  # Debian's default is one file for the machine
    )
    with running(*command, log=place / "pushgateway.log", ready=f"{url}/-/ready"):
        yield url
