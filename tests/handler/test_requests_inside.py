"""Requests that the project makes of itself inside a request, a task or a socket: each has one thread, to its end."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.signals import request_finished
from django.http import HttpRequest, HttpResponse
from django.urls import path

from fullduplex import WebSocket, release_thread
from fullduplex.sockets.views import websocket as socket_view
from fullduplex.threads.context import get_pool
from tests.handler.asgi_driver import DEADLINE_S, Connection, http_scope, websocket
from tests.handler.asgi_driver import request as ask
from tests.handler.project import project

local = threading.local()


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    get_pool().close()
    yield
    get_pool().close()


class Sync:
    """Sync middleware: the view behind it finds a sync caller."""

    sync_capable, async_capable = True, False

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        return self.get_response(request)


def mark(name: str) -> None:
    local.mark = name


def marked() -> tuple[str | None, str]:
    return getattr(local, "mark", None), threading.current_thread().name


@pytest.mark.parametrize("last", ["call", "none"])
async def test_a_request_of_a_task_keeps_its_thread_when_the_outer_one_needs_none(last: str) -> None:
    began, gate, go_on = asyncio.Event(), threading.Event(), asyncio.Event()
    tasks: list[asyncio.Task[Any]] = []
    seen: list[Any] = []

    async def inner(request: HttpRequest) -> HttpResponse:
        await sync_to_async(mark)("inner")
        began.set()
        await go_on.wait()
        seen.append(await sync_to_async(marked)())
        return HttpResponse()

    async def outer(request: HttpRequest) -> HttpResponse:
        tasks.append(asyncio.create_task(ask(application, "/inner/")))
        await began.wait()
        if last == "call":
            await sync_to_async(int)()
        return HttpResponse()

    def other(request: HttpRequest) -> HttpResponse:
        assert gate.wait(DEADLINE_S)
        return HttpResponse()

    outside = contextvars.copy_context()
    routes = [path("inner/", inner), path("outer/", outer), path("other/", other)]
    with project(*routes) as application:
        await ask(application, "/outer/")
        loop = asyncio.get_running_loop()
        others = [loop.create_task(ask(application, "/other/"), context=outside) for _ in range(4)]
        while get_pool().running_count < len(others):
            await asyncio.sleep(0.001)
        go_on.set()
        await tasks[0]
        gate.set()
        await asyncio.gather(*others)
    assert seen == [("inner", "fullduplex-thread")]


async def test_a_request_in_a_socket_behind_sync_middleware_has_a_thread_of_its_own() -> None:
    seen: list[Any] = []

    async def inner(request: HttpRequest) -> HttpResponse:
        for _ in range(2):
            await sync_to_async(mark)("inner")
            await asyncio.sleep(0.02)
            seen.append(await sync_to_async(marked)())
        return HttpResponse()

    @socket_view
    async def asking(socket: WebSocket) -> None:
        await socket.accept()
        await ask(application, "/inner/")
        await socket.send("done")

    @socket_view
    async def marking(socket: WebSocket) -> None:
        await socket.accept()
        async for message in socket:
            await sync_to_async(mark)(str(message))
            await socket.send(message)

    routes = [path("inner/", inner), path("asking/", asking), path("marking/", marking)]
    changes: dict[str, Any] = {
        "MIDDLEWARE": [f"{__name__}.Sync"],
        "FULLDUPLEX": {"THREADS_COUNT": 1, "THREADS_MAX_COUNT": 50},
    }
    with project(*routes, **changes) as application:
        async with websocket(application, "/marking/") as other, websocket(application, "/asking/") as socket:
            await other.accepted()
            await socket.accepted()
            done = asyncio.ensure_future(socket.message())
            while not done.done():
                other.send("other")
                await other.message()
                await asyncio.sleep(0.005)
            await done
    assert seen == [("inner", "fullduplex-thread")] * 2


async def test_release_thread_in_a_request_inside_leaves_the_outer_one_its_thread() -> None:
    def inner(request: HttpRequest) -> HttpResponse:
        release_thread()
        return HttpResponse()

    async def outer(request: HttpRequest) -> HttpResponse:
        await sync_to_async(mark)("outer")
        await ask(application, "/inner/")
        return HttpResponse(str((await sync_to_async(marked)())[0]))

    with project(path("inner/", inner), path("outer/", outer)) as application:
        assert (await ask(application, "/outer/")).body == b"outer"


# Without a thread after the answer ----------------------------------------------------------------


@pytest.mark.parametrize(("status", "is_watched"), [(200, True), (404, False)])
async def test_an_answer_stays_and_is_finished_where_no_thread_is_free(status: int, is_watched: bool) -> None:
    gate, finished = threading.Event(), []

    def block(request: HttpRequest) -> HttpResponse:
        assert gate.wait(DEADLINE_S)
        return HttpResponse()

    async def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=status)

    def finish(**kwargs: Any) -> None:
        finished.append(threading.current_thread().name)

    limits = {"THREADS_COUNT": 1, "THREADS_MAX_COUNT": 2, "THREADS_WAIT_S": 0.1}
    with project(path("block/", block), path("page/", page), FULLDUPLEX=limits) as application:
        if is_watched:
            request_finished.connect(finish)
        try:
            blocked = asyncio.ensure_future(ask(application, "/block/"))
            while not get_pool().running_count:
                await asyncio.sleep(0.001)
            connection = Connection(application, http_scope("/page/"))
            connection.put(type="http.request", body=b"", more_body=False)
            assert (await connection.event())["status"] == status
            await asyncio.sleep(0.3)
            gate.set()
            await connection.end()
            await blocked
        finally:
            request_finished.disconnect(finish)
    assert finished == ["fullduplex-thread"] * (2 * is_watched)
