"""How a response ended, by the order of what happened: three ways to stream, a real server, with and without a BaseHTTPMiddleware.

The scenarios of a server that is shut down are in `test_sse_shutdown`.
"""

import contextlib

import httpx
import pytest
from web import CASES, KINDS, application, ending, observing, served, streams, until

EXPECTED = {"normal": "completed", "error": "error", "sending": "client_disconnect", "idle": "client_disconnect"}


@pytest.fixture(scope="module", params=["bare", "through"])
def site(request):
    observer, records = observing()
    with served(application(observer=observer, through=request.param == "through")) as url:
        yield url, records


def visit(url, path, *, enough=3):
    """Read to the end, or until three events have come, and leave. How many have come."""
    lines = []
    with contextlib.suppress(httpx.RemoteProtocolError), httpx.stream("GET", f"{url}/{path}", timeout=20) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            lines.append(line)
            if path.endswith(("sending", "idle")) and sum(line.startswith("data") for line in lines) == enough:
                break
    return sum(line.startswith("data") for line in lines)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_response_ends_as_it_ended(site, kind, case):
    url, records = site
    records.clear()
    received = visit(url, f"{kind}/{case}")
    [end] = until(lambda: streams(records))
    assert ending(end) == EXPECTED[case]
    assert end.run.name == f"/{kind}/{{case}}"
    assert end.stream.kinds == {"number": end.stream.pieces}
    assert end.stream.pieces == received or (case == "sending" and end.stream.pieces > received)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_in_a_stream_is_named_without_the_task_groups_wrapping(site, kind):
    url, records = site
    records.clear()
    visit(url, f"{kind}/error")
    [end] = until(lambda: streams(records))
    assert (end.failure.type, end.failure.message) == ("RuntimeError", "secret words")


@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.parametrize("case", CASES)
def test_uvicorns_parsers_make_no_difference(http, case):
    if http == "httptools":
        pytest.importorskip("httptools")
    observer, records = observing()
    with served(application(observer=observer), http=http) as url:
        visit(url, f"plain/{case}")
        [end] = until(lambda: streams(records))
    assert ending(end) == EXPECTED[case]
