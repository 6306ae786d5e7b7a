"""Requests at the limits of the pool, inside one another, given up, left: nobody hangs or has a stranger's thread."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.signals import request_finished, request_started
from django.db import connections
from django.http import HttpResponse
from django.urls import path
from django.utils.decorators import sync_only_middleware
from django.utils.deprecation import MiddlewareMixin

from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from fullduplex.threads.context import get_pool
from fullduplex.threads.hop import arelease_thread, hop_on
from fullduplex.threads.lease import Lease
from fullduplex.threads.pool import ThreadPool
from tests.handler.asgi_driver import DEADLINE_S, Connection, http_scope, refusal, websocket
from tests.handler.asgi_driver import request as ask
from tests.handler.project import project

local = threading.local()
FEW = {"THREADS_COUNT": 1, "THREADS_MAX_COUNT": 2, "THREADS_WAIT_S": 0.05}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    get_pool().close()
    yield
    get_pool().close()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():
            await asyncio.sleep(0.001)


def begun(application: Any, where: str) -> Connection:
    connection = Connection(application, http_scope(where))
    connection.put(type="http.request", body=b"", more_body=False)
    return connection


def page(request: Any) -> HttpResponse:
    return HttpResponse(str(getattr(local, "owner", None)))


def mark() -> str | None:
    """What was left here by the call before it."""
    found, local.mark = getattr(local, "mark", None), threading.current_thread().name
    return found


class Owner(MiddlewareMixin):
    """Sets its owner for the time of a request, as a middleware of tenants."""

    def process_request(self, request: Any) -> None:
        if "owner" in request.GET:
            local.owner = request.GET["owner"]

    def process_response(self, request: Any, response: Any) -> Any:
        if "owner" in request.GET:
            local.owner = None
        return response


# At the limits -------------------------------------------------------------------------------


async def test_where_all_threads_rest_who_waits_gets_503() -> None:
    gate = asyncio.Event()

    async def rests(request: Any) -> HttpResponse:
        await sync_to_async(int)()
        await gate.wait()
        return HttpResponse()

    with project(path("rests/", rests), path("page/", page), FULLDUPLEX=FEW) as application:
        resting = [begun(application, "/rests/") for _ in range(2)]
        await until(lambda: get_pool().resting_count == 2)
        assert (await ask(application, "/page/")).status == 503
        gate.set()
        for one in resting:
            await one.end()
        await until(lambda: get_pool().resting_count == get_pool().running_count == 0)
        assert (await ask(application, "/page/")).status == 200


@pytest.mark.parametrize("has_receiver", [False, True])
async def test_whatever_waits_for_the_thread_the_answer_is_503(has_receiver: bool) -> None:
    """The first sync call may be a receiver of ``request_started``; a handshake is refused."""
    gate = threading.Event()

    def blocks(request: Any) -> HttpResponse:
        assert gate.wait(DEADLINE_S)
        return HttpResponse()

    @socket_view
    async def view(socket: WebSocket) -> None:
        await sync_to_async(int)()
        await socket.accept()

    def receiver(**kwargs: Any) -> None: ...

    routes = path("blocks/", blocks), path("page/", page), path("socket/", view)
    with project(*routes, FULLDUPLEX=FEW) as application:
        blocking = begun(application, "/blocks/")
        await until(lambda: get_pool().running_count == 1)
        if has_receiver:
            request_started.connect(receiver)
        try:
            answer = await ask(application, "/page/")
            refused = await refusal(application, "/socket/")
        finally:
            request_started.disconnect(receiver)
            gate.set()
        await blocking.end()
    assert (answer.status, refused.status) == (503, 503)


async def test_a_failed_query_of_a_socket_keeps_no_thread(
    django_db_blocker: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error and its frame refer to each other, and to the cursor, until the garbage collection."""
    options = {**connections.settings["default"], "NAME": str(tmp_path / "db")}
    monkeypatch.setitem(connections.settings, "other", options)

    def fails() -> None:
        connections["other"].cursor().execute("SELECT nothing FROM nowhere")

    @socket_view
    async def view(socket: WebSocket) -> None:
        async for _ in socket:
            try:
                await sync_to_async(fails)()
            except Exception:
                await socket.send("failed")

    one = {"THREADS_COUNT": 1, "THREADS_MAX_COUNT": 1, "IDLE_THREAD_S": 0}
    gc.disable()
    try:
        with django_db_blocker.unblock(), project(path("s/", view), path("p/", page), FULLDUPLEX=one) as application:
            async with websocket(application, "/s/") as socket:
                await socket.accepted()
                socket.send("query")
                assert await socket.message() == "failed"
                assert (await ask(application, "/p/")).status == 200
        get_pool().close()
    finally:
        gc.enable()


def test_a_loop_that_has_stopped_leaves_nobody_waiting() -> None:
    pool = ThreadPool(lambda: 1, lambda: 50)
    loop, gate = asyncio.new_event_loop(), threading.Event()
    first, waiting = Lease(pool), Lease(pool)
    blocking = first.submit(gate.wait, DEADLINE_S)

    async def main() -> None:
        waiting.submit(int)

    loop.run_until_complete(main())  # stopped, and not closed
    gate.set()
    blocking.result(DEADLINE_S)
    deadline_s = time.monotonic() + DEADLINE_S
    while pool.waiting_count and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert pool.waiting_count == 0
    loop.close()
    pool.close()


async def test_a_call_behind_the_end_of_its_request_is_looked_after() -> None:
    pool = ThreadPool(lambda: 1, lambda: 50)
    ended, other, gate = Lease(pool), Lease(pool), threading.Event()
    first = asyncio.create_task(hop_on(ended, gate.wait, DEADLINE_S))
    await until(lambda: pool.running_count == 1)
    behind = asyncio.create_task(hop_on(ended, threading.get_ident))
    await asyncio.sleep(0)
    ended.end()
    gate.set()
    await first
    assert await asyncio.wait_for(behind, DEADLINE_S)
    other.end()
    await asyncio.to_thread(pool.close)


# Inside one another --------------------------------------------------------------------------


async def test_a_request_inside_a_sockets_view_has_a_thread_of_its_own() -> None:
    """Those of sockets serve others between two calls."""
    found: list[Any] = []
    other_called = asyncio.Event()

    async def inner(request: Any) -> HttpResponse:
        for _ in range(3):
            found.append(await sync_to_async(mark)())
            other_called.clear()
            await other_called.wait()
        return HttpResponse()

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        await ask(application, "/inner/")
        await socket.send("done")

    @socket_view
    async def other(socket: WebSocket) -> None:
        async for _ in socket:
            await sync_to_async(setattr)(local, "mark", "another's")
            other_called.set()
            await socket.send("called")

    routes = path("inner/", inner), path("s/", view), path("o/", other)
    with project(*routes, FULLDUPLEX={"THREADS_COUNT": 1}) as application:
        async with websocket(application, "/o/") as stranger, websocket(application, "/s/") as socket:
            await stranger.accepted()
            await socket.accepted()
            done = asyncio.ensure_future(socket.message())
            while not done.done():
                stranger.send("call")
                await stranger.message()
            assert await done == "done"
    assert found == [None, "fullduplex-thread", "fullduplex-thread"]


@pytest.mark.parametrize("outlives", [False, True])
async def test_a_request_inside_another_keeps_the_thread_of_that_one(outlives: bool) -> None:
    """Also where the outer one has come to its end meanwhile."""
    found: list[Any] = []
    outer_over, inside = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[Any]] = []

    async def inner(request: Any) -> HttpResponse:
        for _ in range(3):
            found.append(await sync_to_async(mark)())
            inside.set()
            if outlives:
                await outer_over.wait()
        return HttpResponse()

    async def outer(request: Any) -> HttpResponse:
        tasks.append(asyncio.create_task(ask(application, "/inner/")))
        await inside.wait()
        if not outlives:
            await tasks[0]
        return HttpResponse()

    with project(path("inner/", inner), path("outer/", outer)) as application:
        await ask(application, "/outer/")
        outer_over.set()
        await tasks[0]
    assert found == [None, "fullduplex-thread", "fullduplex-thread"]


async def test_a_request_inside_another_that_is_cancelled_takes_the_thread_along() -> None:
    async def inner(request: Any) -> HttpResponse:
        await asyncio.sleep(DEADLINE_S)
        return HttpResponse()

    async def outer(request: Any) -> HttpResponse:
        body = [{"type": "http.request", "body": b""}]

        async def receive() -> Any:
            return body.pop() if body else await asyncio.Event().wait()

        try:
            async with asyncio.timeout(0.05):
                await application(http_scope("/inner/?owner=alice"), receive, None)
        except TimeoutError:
            pass
        return HttpResponse()

    routes = path("inner/", inner), path("outer/", outer), path("page/", page)
    with project(*routes, MIDDLEWARE=[f"{__name__}.Owner"]) as application:
        await ask(application, "/outer/")
        assert (await ask(application, "/page/")).body == b"None"


# Given up, and left --------------------------------------------------------------------------


async def test_a_thread_that_is_given_up_in_the_middle_of_a_request_is_nobody_elses() -> None:
    """What its middleware has set is undone by the end of the request only, on another thread."""
    outside = contextvars.copy_context()
    seen: list[bytes] = []

    async def view(request: Any) -> HttpResponse:
        await arelease_thread()
        loop = asyncio.get_running_loop()
        seen.extend([(await loop.create_task(ask(application, "/page/"), context=outside)).body for _ in range(3)])
        return HttpResponse()

    routes = path("view/", view), path("page/", page)
    with project(*routes, MIDDLEWARE=[f"{__name__}.Owner"]) as application:
        await ask(application, "/view/?owner=alice")
    assert seen == [b"None"] * 3


@sync_only_middleware
def around(get_response: Any) -> Any:
    return lambda request: get_response(request)


@pytest.mark.parametrize("how", ["leave", "cancel"])
async def test_behind_sync_middleware_whoever_begins_is_finished_at_every_step(how: str) -> None:
    """asgiref leaves the executor of a cancelled call behind, which has quit: the end of the request needs another."""
    counts = {"begun": 0, "finished": 0}

    def begin(**kwargs: Any) -> None:
        counts["begun"] += 1

    def finish(**kwargs: Any) -> None:
        counts["finished"] += 1

    async def view(request: Any) -> HttpResponse:
        for _ in range(3):
            await sync_to_async(int)()
            await asyncio.sleep(0)
        return HttpResponse()

    request_started.connect(begin)
    request_finished.connect(finish)
    settings: dict[str, Any] = {"MIDDLEWARE": [f"{__name__}.around"], "FULLDUPLEX": {"DISCONNECT_WATCH_S": 0}}
    try:
        with project(path("", view), **settings) as application:
            for step in range(150):
                client = begun(application, "/")
                for _ in range(step):
                    await asyncio.sleep(0)
                if how == "leave":
                    client.put(type="http.disconnect")
                else:
                    client.task.cancel()
                try:
                    await client.end()
                except asyncio.CancelledError:
                    assert how == "cancel"
                assert counts["begun"] == counts["finished"], step
    finally:
        request_started.disconnect(begin)
        request_finished.disconnect(finish)


async def test_the_end_of_one_application_takes_no_thread_from_the_requests_of_another() -> None:
    found: list[Any] = []
    begins, goes_on = asyncio.Event(), asyncio.Event()

    async def view(request: Any) -> HttpResponse:
        for _ in range(3):
            found.append(await sync_to_async(mark)())
            begins.set()
            await goes_on.wait()
        return HttpResponse()

    with project(path("", view)) as application:
        client = begun(application, "/")
        await begins.wait()
        await application.shutdown()
        goes_on.set()
        await client.end()
    assert found == [None, "fullduplex-thread", "fullduplex-thread"]
