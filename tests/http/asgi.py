"""A server driven by hand: what an application sends and in what order, to the byte, and a client that leaves when it is told to."""

import asyncio

from web import SSE


class Visit:
    """One request, and the messages that were sent for it. `refuses`: after so many, `send` fails as it does in ASGI 2.4."""

    def __init__(self, path="/", *, headers=(), refuses=None):
        self.scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3" if refuses is None else "2.4"}, "http_version": "1.1",
            "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers], "server": ("test", 80), "client": ("test", 1),
        }  # fmt: skip
        self.sent = []
        self.left = asyncio.Event()
        self._refuses = refuses
        self._asked = False

    async def receive(self):
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if self._refuses is not None and len(self.sent) >= self._refuses:
            raise OSError("the client is not there")
        self.sent.append(message)
        await asyncio.sleep(0)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.left.set()

    async def of(self, app):
        await app(self.scope, self.receive, self.send)
        return self

    @property
    def body(self):
        return b"".join(bytes(message.get("body", b"")) for message in self.sent)


def streaming(*parts, headers=SSE, status=200, then=None):
    """A bare application that sends these parts, and then does `then`."""

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if then is not None:
            await then(scope, receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app
