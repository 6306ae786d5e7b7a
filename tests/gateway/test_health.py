"""Health checks of proxies, answered without the application."""

from __future__ import annotations

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.gateway.health import CheckedGateway, checked_paths
from tests.gateway.wired import Wired, ok

pytestmark = pytest.mark.http1_only


class Checked(Wired):
    gateway_class = CheckedGateway

    def __init__(self) -> None:
        super().__init__(ok(b"the site"))
        self.gateway.checked_paths = checked_paths(["/", "/healthz"])


async def ask(request: bytes, *, is_leaving: bool = False) -> tuple[bytes, int]:
    """The answer, and how many access lines it left."""
    wired = Checked()
    wired.gateway.is_leaving = is_leaving
    answer = await wired.feed(request)
    await wired.finish()
    return answer, len(wired.log.lines)


@pytest.mark.parametrize(
    "request_",
    [
        b"OPTIONS / HTTP/1.0\r\n\r\n",
        b"OPTIONS /healthz HTTP/1.0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: 10.0.0.7:8000\r\n\r\n",
        b"GET /healthz?full=1 HTTP/1.1\r\nHost: not-allowed.example\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    ],
)
async def test_a_check_is_answered_without_the_application_and_leaves_no_line(request_: bytes) -> None:
    answer, lines_count = await ask(request_)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\nalive\n")
    assert not lines_count


async def test_head_has_no_content() -> None:
    answer, lines_count = await ask(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\n")
    assert not lines_count


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /healthz/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://other.example\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
async def test_everything_else_is_the_site_s(request_: bytes) -> None:
    answer, lines_count = await ask(request_)
    assert answer.endswith(b"the site")
    assert lines_count == 1


async def test_a_connection_goes_on_after_a_check() -> None:
    wired = Checked()
    answer = await wired.feed(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.endswith(b"the site")
    assert not wired.transport.is_closing()
    await wired.finish()


async def test_a_service_that_stops_says_so() -> None:
    answer, _ = await ask(b"OPTIONS / HTTP/1.0\r\n\r\n", is_leaving=True)
    assert answer.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("path", ["healthz", "", "/a b", "/é", "/a?b"])
def test_what_is_no_path_is_one_clear_line(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^--health-path "):
        checked_paths([path])
