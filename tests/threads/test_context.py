"""The thread of the current context: the hop there and back, the sockets' calls, one pool for each process."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from asgiref.local import Local
from asgiref.sync import async_to_sync, sync_to_async
from django.urls import path

from fullduplex.exceptions import ThreadsExhausted
from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from fullduplex.threads.context import HandshakeExecutor, enter_lease, get_pool
from fullduplex.threads.hop import hop
from fullduplex.threads.lease import Lease
from fullduplex.threads.pool import ThreadPool
from tests.handler.asgi_driver import websocket
from tests.handler.project import project
from tests.threads.leases import DEADLINE_S, LONG_S, Blocker, settled


# Python warns of every fork beside threads, from 3.15 on also of those of the test runner; this is about such forks.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_process_has_a_pool_of_its_own() -> None:
    here = get_pool()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        os.write(write, b"new" if get_pool() is not here else b"old")
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 3) == b"new"
    os.close(read)
    os.close(write)
    assert get_pool() is here


# The hop -------------------------------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
local = Local()


async def test_a_hop_takes_the_context_along_and_brings_it_back() -> None:
    lease = enter_lease()
    assert lease is not None
    variable.set("loop")
    local.name = "loop"

    def sync(argument: str) -> tuple[str, str, str]:
        seen = variable.get(), local.name, argument
        variable.set("thread")
        local.name = "thread"
        return seen

    assert await hop(sync, "argument") == ("loop", "loop", "argument")
    assert (variable.get(), local.name) == ("thread", "thread")
    lease.end()


async def test_a_request_inside_a_sync_caller_uses_its_thread_and_not_that_of_the_request_outside() -> None:
    outside = enter_lease()
    assert outside is not None
    await hop(int)  # its thread rests now

    async def request() -> list[int]:
        assert enter_lease() is None
        return [await hop(threading.get_ident), await sync_to_async(threading.get_ident)()]

    def caller() -> tuple[int, list[int]]:
        return threading.get_ident(), async_to_sync(request)()

    ident, inside = await sync_to_async(caller, thread_sensitive=False)()
    assert inside == [ident, ident]
    outside.end()


async def test_hops_and_sync_to_async_share_the_thread() -> None:
    lease = enter_lease()
    assert lease is not None
    first = await hop(threading.get_ident)
    assert await sync_to_async(threading.get_ident)() == first
    assert await hop(threading.get_ident) == first != threading.get_ident()
    lease.end()


async def test_a_hop_raises_what_the_code_raises() -> None:
    lease = enter_lease()
    assert lease is not None
    with pytest.raises(ZeroDivisionError):
        await hop(lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await hop(next, iter(()))
    lease.end()


async def test_async_to_sync_inside_a_hop_runs_on_the_loop_and_comes_back_to_the_thread() -> None:
    lease = enter_lease()
    assert lease is not None
    loop = asyncio.get_running_loop()

    async def inside() -> tuple[bool, int]:
        return asyncio.get_running_loop() is loop, await sync_to_async(threading.get_ident)()

    def sync() -> bool:
        same_loop, thread = async_to_sync(inside)()
        return same_loop and thread == threading.get_ident()

    assert await hop(sync)
    lease.end()


async def test_a_cancelled_hop_that_has_not_started_never_runs() -> None:
    lease = enter_lease()
    assert lease is not None
    blocker, ran = Blocker(lease), []
    task = asyncio.create_task(hop(ran.append, True))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    blocker.end()
    await hop(int)
    assert ran == []
    lease.end()


async def test_a_cancelled_hop_that_runs_is_waited_for() -> None:
    lease = enter_lease()
    assert lease is not None
    started, go_on, ended = threading.Event(), threading.Event(), []

    def sync() -> None:
        started.set()
        assert go_on.wait(DEADLINE_S)
        ended.append(True)

    task = asyncio.create_task(hop(sync))
    await asyncio.to_thread(started.wait, DEADLINE_S)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
    lease.end()


@pytest.mark.parametrize("absorbs", [False, True])
async def test_a_cancellation_reaches_async_code_inside_a_hop(absorbs: bool) -> None:
    lease = enter_lease()
    assert lease is not None
    started = asyncio.Event()
    heard: list[bool] = []

    async def inside() -> str:
        started.set()
        try:
            await asyncio.sleep(LONG_S)
        except asyncio.CancelledError:
            heard.append(True)
            if not absorbs:
                raise
        return "absorbed"

    task = asyncio.create_task(hop(async_to_sync(inside)))
    await started.wait()
    task.cancel()
    if absorbs:
        assert await task == "absorbed"
    else:
        with pytest.raises(asyncio.CancelledError):
            await task
    assert heard == [True]
    lease.end()


async def test_a_hop_that_waits_too_long_is_told(settings: Any) -> None:
    settings.FULLDUPLEX = {"THREADS_WAIT_S": 0.01, "THREADS_COUNT": 1}
    get_pool().close()
    blocker = Blocker(Lease(get_pool()))
    lease = enter_lease()
    assert lease is not None
    with pytest.raises(ThreadsExhausted):
        await hop(int)
    blocker.end()
    assert await hop(int) == 0
    lease.end()


def test_in_the_thread_of_a_sync_caller_no_lease_is_taken() -> None:
    async def inside() -> tuple[Any, int]:
        return enter_lease(), await hop(threading.get_ident)

    assert async_to_sync(inside)() == (None, threading.get_ident())


# Sockets -------------------------------------------------------------------------------------


def test_behind_sync_middleware_calls_go_to_it_until_it_refuses() -> None:
    class During(Executor):
        open = True

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if not self.open:
                raise RuntimeError("CurrentThreadExecutor already quit or is broken")
            future: Future[Any] = Future()
            future.set_result("during")
            return future

    pool = ThreadPool(lambda: 1)
    during, after = During(), Lease(pool)
    executor = HandshakeExecutor(during, after)
    assert executor.submit(lambda: "after").result() == "during"
    during.open = False
    assert executor.submit(lambda: "after").result(DEADLINE_S) == "after"
    pool.close()


async def test_an_idle_socket_holds_no_thread() -> None:
    @socket_view
    async def view(socket: WebSocket) -> None:
        async for _ in socket:
            await sync_to_async(int)()
            await socket.send("done")

    with project(path("", view), FULLDUPLEX={"IDLE_THREAD_S": 0, "THREADS_COUNT": 1}) as application:
        get_pool().close()
        async with websocket(application) as client, websocket(application) as other:
            for socket in (client, other):
                await socket.accepted()
            for socket in (client, other, client, other):
                socket.send("go")
                await socket.message()
        assert settled(get_pool())


async def test_sync_code_of_three_sockets_runs_at_the_same_time() -> None:
    together = threading.Barrier(3)

    @socket_view
    async def view(socket: WebSocket) -> None:
        async for _ in socket:
            await sync_to_async(together.wait)(DEADLINE_S)
            await socket.send("done")

    with project(path("", view), FULLDUPLEX={"THREADS_COUNT": 3}) as application:
        get_pool().close()
        async with websocket(application) as a, websocket(application) as b, websocket(application) as c:
            for socket in (a, b, c):
                await socket.accepted()
                socket.send("go")
            for socket in (a, b, c):
                assert await socket.message() == "done"


async def test_a_task_that_outlives_the_socket_may_still_call_sync_code() -> None:
    go_on = asyncio.Event()
    tasks: list[asyncio.Task[str]] = []

    async def later() -> str:
        await go_on.wait()
        return await sync_to_async(lambda: "still works")()

    @socket_view
    async def view(socket: WebSocket) -> None:
        await socket.accept()
        tasks.append(asyncio.create_task(later()))

    with project(path("", view)) as application:
        async with websocket(application) as client:
            await client.accepted()
            await client.closed()
            await client.end()
        go_on.set()
        assert await tasks[0] == "still works"
