"""What waits is to be seen from outside: by name, and down to the view where only coroutines stand between."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import translation

from fullduplex import WebSocket
from fullduplex.handler.tasks import ContextUse
from fullduplex.sockets.views import websocket as socket_view
from tests.gateway.wired import Wired
from tests.handler.asgi_driver import DEADLINE_S
from tests.handler.project import project

HANDSHAKE = (
    b"GET /socket/ HTTP/1.1\r\nHost: testserver\r\nOrigin: http://testserver\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def awaited(task: asyncio.Task[Any]) -> Iterator[str]:
    """The coroutines that await each other, as ``asyncio.format_call_graph`` of Python 3.14 follows them."""
    coroutine: Any = task.get_coro()
    while hasattr(coroutine, "cr_await"):
        yield coroutine.cr_code.co_name
        coroutine = coroutine.cr_await


def task_of(name: str) -> asyncio.Task[Any]:
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
    return task


@pytest.mark.parametrize("middleware", [[], ["django.middleware.common.CommonMiddleware"]])
async def test_a_waiting_view_is_seen_from_the_server(middleware: list[str]) -> None:
    waiting, go_on = asyncio.Event(), asyncio.Event()

    async def waits_here(request: HttpRequest) -> HttpResponse:
        waiting.set()
        await go_on.wait()
        return HttpResponse("ok")

    with project(path("slow/", waits_here), MIDDLEWARE=middleware, ALLOWED_HOSTS=["*"]) as application:
        wired = Wired(application)
        await wired.feed(b"GET /slow/?q=1 HTTP/1.1\r\nHost: testserver\r\n\r\n")
        await asyncio.wait_for(waiting.wait(), DEADLINE_S)
        assert "waits_here" in awaited(task_of("GET /slow/"))
        go_on.set()
        await wired.settle()
        await wired.finish()


async def test_a_waiting_socket_is_seen_by_the_name_of_its_path() -> None:
    reads = asyncio.Event()

    @socket_view
    async def reads_here(socket: WebSocket) -> None:
        async for _ in socket:
            reads.set()

    with project(path("socket/", reads_here), ALLOWED_HOSTS=["*"]) as application:
        wired = Wired(application)
        await wired.feed(HANDSHAKE, b"\x81\x82\0\0\0\0ok")
        await asyncio.wait_for(reads.wait(), DEADLINE_S)
        assert list(awaited(task_of("Socket view of /socket/")))[:2] == ["reads_here", "__anext__"]
        assert task_of("WebSocket /socket/ 127.0.0.1:50000") in wired.gateway.tasks
        await wired.finish()


async def test_two_requests_in_one_call_of_the_server_have_a_context_each() -> None:
    between: contextvars.ContextVar[str] = contextvars.ContextVar("between", default="not yet")
    seen: list[tuple[str, str]] = []

    async def speaks(request: HttpRequest) -> HttpResponse:
        seen.append((translation.get_language(), between.get()))
        translation.activate("de")
        return HttpResponse()

    with project(path("", speaks), ALLOWED_HOSTS=["*"]) as application:

        async def twice(scope: Any, receive: Any, send: Any) -> None:
            async def empty() -> dict[str, Any]:
                return {"type": "http.request"}

            async def discard(event: Any) -> None:
                pass

            await application(dict(scope), empty, discard)
            between.set("set")
            await application(scope, receive, send)

        wired = Wired(twice)
        await wired.feed(b"GET / HTTP/1.1\r\nHost: testserver\r\n\r\n")
        await wired.finish()
    assert seen == [("en-us", "not yet"), ("en-us", "set")]


def test_the_context_of_a_request_is_no_garbage_to_collect() -> None:
    class Value:
        pass

    variable: contextvars.ContextVar[Value] = contextvars.ContextVar("variable")

    def serve() -> weakref.ref[Value]:
        use, value = ContextUse.begin(), Value()
        variable.set(value)
        use.end()
        return weakref.ref(value)

    gc.disable()
    try:
        left = contextvars.Context().run(serve)
        assert left() is None
    finally:
        gc.enable()
