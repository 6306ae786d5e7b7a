from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from typing import Any

import pytest

from fullduplex.gateway.access_log import LoggerAccessLog, client, log_failure
from fullduplex.gateway.forwarded import TrustedPeers
from fullduplex.gateway.request_id import RequestIds
from tests.gateway.test_session import Client
from tests.gateway.wired import Wired

SCOPE = {
    "method": "GET",
    "raw_path": b"/a%20b",
    "path": "/a b",
    "query_string": b"q=1",
    "http_version": "1.1",
    "client": ("192.0.2.1", 1234),
}


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "fullduplex.access")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_request_line_has_target_status_bytes_and_duration(lines):
    LoggerAccessLog().http(SCOPE, 200, 12, 0.0123)
    assert lines() == ['192.0.2.1:1234 "GET /a%20b?q=1 HTTP/1.1" 200 12 12.3ms']


def test_a_refused_request_has_the_reason_in_the_place_of_bytes_and_duration(lines):
    log = LoggerAccessLog()
    log.http_refuse(SCOPE, 408, "the content arrives too slowly")
    log.http_refuse({"client": None}, 400, "no request at all")
    assert lines() == [
        '192.0.2.1:1234 "GET /a%20b?q=1 HTTP/1.1" 408 refused: the content arrives too slowly',
        '- "-" 400 refused: no request at all',
    ]


def test_the_lines_of_a_socket(lines):
    log = LoggerAccessLog()
    log.websocket_handshake(SCOPE)
    log.websocket_accept(SCOPE)
    log.websocket_refuse(SCOPE, 403)
    log.websocket_close(SCOPE, 1001, "going away", "client", 1.55)
    assert lines() == [
        '192.0.2.1:1234 "WebSocket /a%20b?q=1" accepted',
        '192.0.2.1:1234 "WebSocket /a%20b?q=1" refused 403',
        '192.0.2.1:1234 "WebSocket /a%20b?q=1" closed 1001 "going away" by client after 1.6s',
    ]


def test_a_client_cannot_forge_a_line(lines):
    log = LoggerAccessLog()
    log.http({**SCOPE, "raw_path": b'/\r\n"GET / HTTP/1.1" 200\x1b[2J\x9b'}, 404, 0, 0)
    log.websocket_close(SCOPE, 1000, 'bye"\r\nforged', "client", 1)
    log.websocket_close(SCOPE, 1000, "bye \u202e\u2066\u200e\u061c\u2028", "client", 1)
    log.http_refuse(SCOPE, 400, "RFC 9112:\n\u2029\x1b[2J")
    log.http({**SCOPE, "client": ("/tmp/x\n\u202e", None)}, 200, 0, 0)  # a client may bind its end of a UNIX socket
    for line in lines():
        assert line.isprintable()
        assert "forged" not in line or '"bye\\x22\\x0d\\x0aforged"' in line
    assert r'"bye \u202e\u2066\u200e\u061c\u2028"' in lines()[2]
    assert lines()[4].startswith(r"/tmp/x\x0a\u202e ")


@pytest.mark.parametrize(
    ("address", "text"),
    [(("::1", 80), "[::1]:80"), (("127.0.0.1", 80), "127.0.0.1:80"), (None, "-")],
)
def test_addresses(address, text):
    assert client({"client": address}) == text


async def test_lines_are_logged_in_the_context_of_their_socket(lines, caplog):
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[str] = []

    class Noting(LoggerAccessLog):
        def websocket_close(self, *args: Any) -> None:
            seen.append(who.get())

    async def app(scope, receive, send):
        who.set("me")
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    socket = Client(app)
    socket.gateway.access_log = Noting()
    await socket.connect()
    await socket.cut()
    assert seen == ["me"]


async def test_what_an_application_does_wrong_is_told_with_the_names_of_its_request(caplog):
    async def app(scope, receive, send):
        raise RuntimeError("boom")

    wired = Wired(app)
    wired.gateway.amend = RequestIds(TrustedPeers([])).apply
    await wired.feed(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert re.fullmatch(r"Exception in the ASGI application: GET /a id=[0-9a-f]{32}", record.getMessage())
    assert record.getMessage().endswith(record.fields["request_id"])
    await wired.finish()


async def test_the_refusal_of_djangos_own_handler_names_ours(caplog: pytest.LogCaptureFixture) -> None:
    from django.core.handlers.asgi import ASGIHandler

    scope = {"type": "websocket", "path": "/ws/", "query_string": b""}

    async def never(*args: Any) -> Any:
        raise AssertionError

    async def own(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("the application's own")

    for application in (ASGIHandler(), own):
        try:
            await application(scope, never, never)
        except ValueError as error:
            log_failure("Exception in the ASGI application", scope, error)
    djangos, other = (logging.Formatter().format(record) for record in caplog.records)
    assert "`from fullduplex import get_asgi_application` in asgi.py" in djangos
    assert "get_asgi_application" not in other
