"""LangSmith's client on a connection that takes everything: the client makes its requests, compressed, and nobody is asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
import requests
import zstandard
from langsmith import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from received import Received

PART = re.compile(rb'name="(post|patch)\.([0-9a-f-]+)(\.\w+)?"')
TOTAL = re.compile(rb'"total_tokens":(\d+)')


class Taking(requests.Session):
    def __init__(self, received: Received) -> None:
        super().__init__()
        self._received = received
        self._taken: list[tuple[bytes, bool]] = []
        self._models: set[bytes] = set()

    def request(self, method: Any, url: Any, *args: Any, data: Any = None, headers: Any = None, **kwargs: Any) -> requests.Response:
        body = data.read() if hasattr(data, "read") else data or b""
        self._received.sent += len(body)
        self._taken.append((body, "zstd" in str(headers)))
        response = requests.Response()
        response.status_code, response._content = 202, b"{}"
        return response

    def count(self) -> None:
        """What was taken since: nobody's time is measured now."""
        taken, self._taken = self._taken, []
        for body, packed in taken:
            plain = zstandard.ZstdDecompressor().decompressobj().decompress(body) if packed else body
            if self._received.keeping:
                self._received.bodies.append(plain)
            for kind, run, part, content in _parts(plain):
                self._part(kind, run, part, content)

    def _part(self, kind: bytes, run: bytes, part: bytes | None, content: bytes) -> None:
        if kind == b"post" and part is None:
            about = orjson.loads(content)
            self._received.spans += 1
            self._received.span(about["name"], {"gen_ai.operation.name": about["run_type"]})
            if about["run_type"] == "llm":
                self._models.add(run)
        elif part == b".outputs" and run in self._models and (total := TOTAL.search(content)):
            self._received.tokens += int(total[1])


def _parts(body: bytes) -> Iterator[tuple[bytes, bytes, bytes | None, bytes]]:
    boundary = body.partition(b"\r\n")[0]
    for part in body.split(boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        if named := PART.search(head):
            yield *named.groups(), content.removesuffix(b"\r\n")


def client(received: Received) -> tuple[Client, Taking]:
    taking = Taking(received)
    info = {"batch_ingest_config": {"use_multipart_endpoint": True, "size_limit": 100, "size_limit_bytes": 20_000_000,
            "scale_up_qsize_trigger": 1000, "scale_up_nthreads_limit": 16, "scale_down_nempty_trigger": 4},
            "instance_flags": {"zstd_compression_enabled": True}}  # fmt: skip
    return Client("http://127.0.0.1:9", api_key="ls-bench", session=taking, info=info), taking
