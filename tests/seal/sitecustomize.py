"""Python imports this at its start: from then on, whoever turns to another machine is written down and refused."""

import os
import sys
from pathlib import Path

TOLD_AT = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
"""Which argument of an audit event is the address."""


def _seal(event, arguments):
    if event not in TOLD_AT:
        return
    address = arguments[TOLD_AT[event]]
    host = address[0] if isinstance(address, tuple) else address if TOLD_AT[event] == 0 else None  # None: a Unix socket
    host = host.decode() if isinstance(host, bytes) else host
    if host and host not in {"localhost", "::1"} and not host.startswith("127."):
        with Path(os.environ["SEAL_ATTEMPTS"]).open("a") as attempts:
            attempts.write(f"{event} {address}\n")
        raise ConnectionRefusedError(f"sealed: {event} {address}")


sys.addaudithook(_seal)
