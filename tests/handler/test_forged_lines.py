"""What Django's loggers are told of a socket is one line, whatever is in its path."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.http import HttpResponse
from django.urls import path

from fullduplex.exceptions import RemoteProtocolError
from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from tests.handler.asgi_driver import websocket
from tests.handler.project import project

# As a server hands on /rooms/a%0aERROR%20forged%1b[2J%e2%80%ae/
PATH = "/rooms/a\nERROR forged\x1b[2J\u202e/"
ESCAPED = r"/rooms/a\x0aERROR forged\x1b[2J\u202e/"


@socket_view
async def numbers(socket: WebSocket, name: str) -> None:
    while True:
        await socket.receive_json()


@socket_view
async def of_its_own(socket: WebSocket, name: str) -> None:
    await socket.accept()
    raise RemoteProtocolError(f"not in {name}")


@socket_view
async def broken(socket: WebSocket, name: str) -> None:
    await socket.accept()
    raise LookupError("boom")


@socket_view
async def welcoming(socket: WebSocket, name: str) -> HttpResponse:
    return HttpResponse("welcome")


@socket_view
async def patient(socket: WebSocket, name: str) -> None:
    await asyncio.Event().wait()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    assert found
    assert all(line.isprintable() for line in found), found
    return found


@pytest.mark.parametrize("view", [numbers, of_its_own, broken])
async def test_of_an_open_socket(view: Any, caplog: pytest.LogCaptureFixture) -> None:
    with project(path("rooms/<str:name>/", view)) as application:
        async with websocket(application, PATH) as client:
            await client.accepted()
            client.send("{")
            await client.closed()
            await client.end()
    assert lines(caplog)[-1].endswith(ESCAPED)


async def test_of_an_answer_that_is_no_accept(caplog: pytest.LogCaptureFixture) -> None:
    with project(path("rooms/<str:name>/", welcoming)) as application:
        async with websocket(application, PATH) as client:
            assert (await client.refused()).status == 403
            await client.end()
    assert any(line.endswith(ESCAPED) for line in lines(caplog))


async def test_of_a_handshake_that_takes_too_long(caplog: pytest.LogCaptureFixture) -> None:
    with project(path("rooms/<str:name>/", patient), FULLDUPLEX={"HANDSHAKE_TIMEOUT_S": 0.01}) as application:
        async with websocket(application, PATH) as client:
            assert (await client.refused()).status == 504
            await client.end()
    assert "forged" in lines(caplog)[0]


async def test_of_a_route_that_does_not_exist(caplog: pytest.LogCaptureFixture) -> None:
    with project() as application:
        async with websocket(application, PATH) as client:
            assert (await client.refused()).status == 404
            await client.end()
    assert "forged" in lines(caplog)[0]
