from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import pytest
from django.utils.log import ServerFormatter

from fullduplex.management.access_log import DjangoServerAccessLog, server_time
from fullduplex.wire.http1_head import TLS_RECEIVED

HTTP: dict[str, Any] = {
    "type": "http",
    "method": "GET",
    "http_version": "1.1",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "client": ("127.0.0.1", 50_000),
}
SOCKET = {**HTTP, "type": "websocket", "path": "/chat/", "raw_path": b"/chat/"}


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[logging.LogRecord]:
    """What reaches the logger ``django.server``."""
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign, assignment]
    monkeypatch.setattr(logging.getLogger("django.server"), "handlers", [handler])
    return found


def test_a_request_line_has_djangos_arguments(records: list[logging.LogRecord]) -> None:
    DjangoServerAccessLog().http({**HTTP, "query_string": b"page=2"}, 200, 12_068, 0.01)
    [record] = records
    assert record.getMessage() == '"GET /?page=2 HTTP/1.1" 200 12068'
    assert record.args == ("GET /?page=2 HTTP/1.1", "200", "12068")
    assert record.__dict__["status_code"] == 200


def test_a_line_through_djangos_formatter(records: list[logging.LogRecord]) -> None:
    DjangoServerAccessLog().http(HTTP, 404, 5, 0.01)
    records[0].__dict__["server_time"] = "21/Nov/2026 12:00:00"
    line = ServerFormatter("[{server_time}] {message}", style="{").format(records[0])
    assert '[21/Nov/2026 12:00:00] "GET / HTTP/1.1" 404 5' in line


def test_https_gets_djangos_line(records: list[logging.LogRecord]) -> None:
    DjangoServerAccessLog().http_refuse({"client": None}, 400, TLS_RECEIVED)
    [record] = records
    text = "You're accessing the development server over HTTPS, but it only supports HTTP."
    assert (record.getMessage(), record.levelno, record.__dict__["status_code"]) == (text, logging.ERROR, 500)


def test_a_refused_request_says_why(records: list[logging.LogRecord]) -> None:
    log = DjangoServerAccessLog()
    log.http_refuse({"client": None}, 400, "nonsense")
    log.http_refuse({**HTTP, "method": "POST"}, 413, "too much")
    assert [record.getMessage() for record in records] == ['"-" 400 nonsense', '"POST / HTTP/1.1" 413 too much']


@pytest.mark.parametrize(
    ("status", "level"),
    [(200, logging.INFO), (302, logging.INFO), (404, logging.WARNING), (500, logging.ERROR)],
)
def test_the_level_follows_the_status(records: list[logging.LogRecord], status: int, level: int) -> None:
    log = DjangoServerAccessLog()
    log.http(HTTP, status, 0, 0.01)
    log.websocket_refuse(SOCKET, status)
    assert [record.levelno for record in records] == [level, level]


def test_the_lines_of_a_websocket(records: list[logging.LogRecord]) -> None:
    log = DjangoServerAccessLog()
    log.websocket_handshake(SOCKET)
    log.websocket_accept(SOCKET)
    log.websocket_close(SOCKET, 1001, "", "client", 12.34)
    assert [record.getMessage() for record in records] == [
        "WebSocket HANDSHAKING /chat/ [127.0.0.1:50000]",
        "WebSocket CONNECT /chat/ [127.0.0.1:50000]",
        "WebSocket DISCONNECT /chat/ 1001 by client after 12.3s [127.0.0.1:50000]",
    ]
    assert {record.levelno for record in records} == {logging.INFO}


def test_a_refused_and_a_lost_websocket(records: list[logging.LogRecord]) -> None:
    log = DjangoServerAccessLog()
    log.websocket_refuse(SOCKET, 403)
    log.websocket_close(SOCKET, 1006, "", "lost", 3.0)
    assert [record.getMessage() for record in records] == [
        "WebSocket REJECT /chat/ 403 [127.0.0.1:50000]",
        "WebSocket DISCONNECT /chat/ 1006 connection lost after 3.0s [127.0.0.1:50000]",
    ]


def test_a_client_cannot_forge_a_line(records: list[logging.LogRecord]) -> None:
    log = DjangoServerAccessLog()
    log.http({**HTTP, "raw_path": b'/"\n[x] "GET /'}, 200, 0, 0.01)
    log.websocket_close(SOCKET, 1000, "bye\r\nforged \u202e", "client", 1.0)
    for record in records:
        assert record.getMessage().isprintable()
        assert record.getMessage().isascii()


def test_server_time_is_english_in_every_locale() -> None:
    assert server_time(datetime(2026, 5, 1, 9, 8, 7)) == "01/May/2026 09:08:07"
