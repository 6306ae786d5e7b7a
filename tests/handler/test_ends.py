"""Signals come in pairs, and an end that nobody could foresee is no error."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.signals import request_finished, request_started
from django.http import FileResponse, Http404, HttpResponse
from django.urls import path

from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from fullduplex.threads.context import get_pool
from tests.handler.asgi_driver import (
    DEADLINE_S,
    Connection,
    WebSocketConnection,
    http_scope,
    request,
    websocket,
    websocket_scope,
)
from tests.handler.project import project

ONE_THREAD = {"THREADS_COUNT": 1, "THREADS_MAX_COUNT": 1}
of_both_flavours = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@contextmanager
def receivers(asynchronous: bool = False) -> Iterator[list[str]]:
    """Return a list of what ``request_started`` and ``request_finished`` are told of."""
    told: list[str] = []

    def begin(**kwargs: Any) -> None:
        told.append("started")

    def finish(**kwargs: Any) -> None:
        told.append("finished")

    async def begin_async(**kwargs: Any) -> None:
        told.append("started")

    async def finish_async(**kwargs: Any) -> None:
        told.append("finished")

    pair = (begin_async, finish_async) if asynchronous else (begin, finish)
    request_started.connect(pair[0])
    request_finished.connect(pair[1])
    try:
        yield told
    finally:
        request_started.disconnect(pair[0])
        request_finished.disconnect(pair[1])


@pytest.mark.parametrize("kind", ["websocket", "http"])
async def test_a_request_that_never_got_a_thread_to_begin_in_is_not_finished(kind: str) -> None:
    begins, goes_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def busy(request: Any) -> HttpResponse:
        loop.call_soon_threadsafe(begins.set)
        assert goes_on.wait(DEADLINE_S)
        return HttpResponse()

    @socket_view
    async def socket(socket: WebSocket) -> None:
        raise NotImplementedError

    with project(path("busy/", busy), path("", socket), FULLDUPLEX=ONE_THREAD) as application, receivers() as told:
        first = asyncio.ensure_future(request(application, "/busy/"))
        await begins.wait()
        assert told == ["started"]
        if kind == "websocket":
            connection = WebSocketConnection(application, websocket_scope())
            connection.connect()
        else:
            connection = Connection(application, http_scope("/busy/"))
            connection.put(type="http.request", body=b"", more_body=False)
        while not get_pool().waiting_count:
            await asyncio.sleep(0)
        if kind == "websocket":
            connection.put(type="websocket.disconnect", code=1001)
        else:
            connection.task.cancel()
        for _ in range(100):  # enough to end it, which takes no thread
            await asyncio.sleep(0)
        goes_on.set()
        await asyncio.wait({connection.task})
        assert (await first).status == 200
    assert told == ["started", "finished"], "both of the first, and none of the other"


@of_both_flavours
async def test_a_request_whose_receiver_raises_has_begun(asynchronous: bool) -> None:
    @socket_view
    async def socket(socket: WebSocket) -> None:
        raise NotImplementedError

    def fails(**kwargs: Any) -> None:
        raise LookupError("a receiver")

    async def fails_async(**kwargs: Any) -> None:
        raise LookupError("a receiver")

    receiver = fails_async if asynchronous else fails
    with project(path("", socket)) as application, receivers(asynchronous) as told:
        request_started.connect(receiver)
        try:
            async with websocket(application) as client:
                with pytest.raises(LookupError):
                    await client.end()
            connection = Connection(application, http_scope())
            connection.put(type="http.request", body=b"", more_body=False)
            with pytest.raises(LookupError):
                await connection.end()
        finally:
            request_started.disconnect(receiver)
    assert told == ["started", "finished"] * 2


@of_both_flavours
@pytest.mark.parametrize("accepts", [True, False], ids=["accepted", "refused"])
async def test_a_socket_survives_what_a_receiver_of_request_finished_raises(
    accepts: bool, asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    @socket_view
    async def echo(socket: WebSocket) -> HttpResponse | None:
        if not accepts:
            return HttpResponse("no", status=403)
        async for message in socket:
            await socket.send(message)
        return None

    def fails(**kwargs: Any) -> None:
        raise LookupError("a receiver")

    async def fails_async(**kwargs: Any) -> None:
        raise LookupError("a receiver")

    receiver = fails_async if asynchronous else fails
    request_finished.connect(receiver)
    try:
        with project(path("", echo)) as application:
            async with websocket(application) as client:
                if accepts:
                    await client.accepted()
                    client.send("still here")
                    assert await client.message() == "still here"
                    client.leave()
                else:
                    assert (await client.refused()).body == b"no"
                await client.end()
    finally:
        request_finished.disconnect(receiver)
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert record.name == "django.request"
    assert record.getMessage() == "Exception at the end of a handshake: /"
    assert isinstance(record.exc_info[1], LookupError)  # type: ignore[index]
    assert record.request.path == "/"  # type: ignore[attr-defined]


@pytest.mark.parametrize("answer", ["response", "file", "404", "none"])
async def test_a_refusal_is_no_error_when_the_client_leaves_in_the_same_turn(
    answer: str, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    waits, goes_on = asyncio.Event(), asyncio.Event()
    (tmp_path / "page").write_text("no")
    opened: list[Any] = []

    @socket_view
    async def view(socket: WebSocket) -> Any:
        waits.set()
        await goes_on.wait()
        if answer == "404":
            raise Http404
        if answer == "file":
            opened.append((tmp_path / "page").open("rb"))
            return FileResponse(opened[0], status=403)
        return HttpResponse("no", status=403) if answer == "response" else None

    with project(path("", view)) as application, receivers() as told:
        async with websocket(application, tells=True) as client:
            await waits.wait()
            goes_on.set()
            client.leave()
            await client.end()
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert told == ["started", "finished"]
    assert all(file.closed for file in opened)
