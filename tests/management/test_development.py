from __future__ import annotations

import dataclasses
import errno
import http.client
import logging
import os
import socket
import threading
from typing import Any

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.limits import WebSocketLimits
from fullduplex.management import development
from fullduplex.management.development import GRACEFUL_TIMEOUT_S, PATIENCE_S, DevelopmentServer, development_config
from fullduplex.server.config import ServerConfig


async def hello(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"  # lifespan: not supported
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def test_it_listens_before_it_serves() -> None:
    server = DevelopmentServer(("127.0.0.1", 0))
    with socket.create_connection(("127.0.0.1", server.server_port)), pytest.raises(OSError, match="in use") as busy:
        DevelopmentServer(("127.0.0.1", server.server_port))
    assert busy.value.errno == errno.EADDRINUSE
    server._socket.close()


def test_it_serves_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    monkeypatch.setattr(development, "EXIT_TIMEOUT_S", 60.0)  # longer than a busy machine takes to stop
    server = DevelopmentServer(("127.0.0.1", 0))
    server.set_app(hello)
    ended: list[BaseException] = []

    def serve() -> None:
        try:
            server.serve_forever()
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    client.request("GET", "/")
    assert client.getresponse().read() == b"hello"
    assert DevelopmentServer.running is server
    server.stop(3)
    thread.join(30)
    client.close()
    for guard in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
        guard.cancel()
    assert [type(error) for error in ended] == [KeyboardInterrupt]
    assert DevelopmentServer.running is None
    assert exits == []


def test_an_application_that_does_not_start_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    server = DevelopmentServer(("127.0.0.1", 0))
    server.set_app(failing)
    with caplog.at_level(logging.ERROR, "fullduplex.server"), pytest.raises(SystemExit) as ended:
        server.serve_forever()
    assert ended.value.code == 1
    assert "no database" in caplog.text


def test_no_deadline_but_that_of_stopping() -> None:
    config = development_config(ServerConfig(port=9000, workers=4), fd=3)
    assert (config.fd, config.port, config.workers) == (3, 8000, 1)
    assert config.graceful_timeout_s == GRACEFUL_TIMEOUT_S
    deadlines = [
        getattr(group, field.name)
        for group in (config.http1, config.websocket, config.connection)
        for field in dataclasses.fields(group)
        if field.name.endswith("_timeout_s")
    ]
    assert deadlines
    assert {*deadlines, config.startup_timeout_s} == {PATIENCE_S}


def test_the_limits_are_those_of_production() -> None:
    base = ServerConfig(websocket=WebSocketLimits(max_message_bytes=1000))
    config = development_config(base, fd=3)
    assert config.websocket.max_message_bytes == 1000


def test_certificates_are_left_to_production() -> None:
    base = ServerConfig(tls=dataclasses.replace(ServerConfig().tls, certfile="cert.pem"))
    assert development_config(base, fd=3).tls == ServerConfig().tls


def test_a_wrong_setting_is_the_callers_to_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLDUPLEX_WS_MAX_SIZE", "much")
    with pytest.raises(ConfigurationError, match="FULLDUPLEX_WS_MAX_SIZE"):
        DevelopmentServer(("127.0.0.1", 0))
