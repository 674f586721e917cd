"""A server that takes whatever it is sent, for as long as its process lives. Prints its port."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Accepting(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    http = ThreadingHTTPServer(("127.0.0.1", 0), Accepting)
    print(http.server_address[1], flush=True)  # noqa: T201 - whoever started it reads this
    http.serve_forever()
