"""A server that traces are read from: its answers as JSON, its troubles as errors that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS: Final = 10.0
"""For one answer."""
REFUSED: Final = frozenset({401, 403})
PAGE: Final = 1_000
LATEST: Final = 1_000
"""Traces of a server that are looked through, the latest first."""


class Server:
    """`name` is what people call it, `address` its base URL."""

    def __init__(self, name: str, address: str, *, timeout: float = SECONDS) -> None:
        self.name, self.address = name, address.rstrip("/")
        self._timeout = timeout

    def get(self, path: str, parameters: Mapping[str, Any]) -> Any:
        """The JSON that it answers. Raises ConnectionError and PermissionError."""
        return self._asked("GET", path, params={key: value for key, value in parameters.items() if value is not None})

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The same for a body of JSON."""
        return self._asked("POST", path, json=body)

    def _asked(self, method: str, path: str, **what: Any) -> Any:
        import httpx

        try:
            answer = httpx.request(method, self.address + path, timeout=self._timeout, **what)
            if answer.is_success:
                return answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise silent(self.name, self.address, error) from error
        raise refused(self.name, self.address, answer.status_code)


def silent(name: str, address: str, error: Exception) -> ConnectionError:
    """Nothing came that can be read. No word of the error: it may quote a URL with a key in it."""
    return ConnectionError(f"{name} does not answer at {shown(address)} ({type(error).__name__}): is it up, and the address right?")


def refused(name: str, address: str, status: int | None, keys: str = "its credentials") -> OSError:
    """An answer that is none."""
    if status in REFUSED:
        return PermissionError(f"{name} at {shown(address)} does not let us in ({status}): look at {keys}")
    return ConnectionError(f"{name} at {shown(address)} answers with status {status}: is it the right address and version?")


def shown(address: str) -> str:
    """The address without a name, a password or a query."""
    scheme, mark, rest = address.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2].partition('?')[0]}"
