"""Threads: leased with the first call, kept in a transaction, given back clean, waited for in order."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from asgiref.local import Local
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.urls import path

from fullduplex.exceptions import ThreadsExhausted
from fullduplex.handler.threads import HandshakeExecutor, Lease, ThreadPool, enter_lease, get_pool, hop
from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from tests.handler.asgi_driver import websocket
from tests.handler.project import project

LONG_S = 60.0
DEADLINE_S = 10.0


@pytest.fixture
def pool() -> Iterator[ThreadPool]:
    pool = ThreadPool(lambda: 2)
    yield pool
    pool.close()
    assert pool.thread_count == 0


def thread_of(lease: Lease) -> threading.Thread:
    thread: threading.Thread = lease.submit(threading.current_thread).result(DEADLINE_S)
    return thread


def settled(pool: ThreadPool) -> bool:
    """Wait until no thread of the pool runs a call."""
    deadline_s = time.monotonic() + DEADLINE_S
    while pool.leased_count and time.monotonic() < deadline_s:
        time.sleep(0.001)  # a thread goes back just after its result has arrived
    return not pool.leased_count


class Blocker:
    """A call that lasts until it is let go."""

    def __init__(self, lease: Lease) -> None:
        self.running, self._go = threading.Event(), threading.Event()
        self.future = lease.submit(self._run)

    def _run(self) -> None:
        self.running.set()
        assert self._go.wait(DEADLINE_S)

    def end(self) -> None:
        self._go.set()
        self.future.result(DEADLINE_S)


# Calls ---------------------------------------------------------------------------------------


def test_calls_of_a_lease_run_in_order_in_one_thread_and_return_or_raise(pool: ThreadPool) -> None:
    lease = Lease(pool, LONG_S)
    order: list[int] = []
    futures = [lease.submit(order.append, number) for number in range(50)]
    assert [future.result(DEADLINE_S) for future in futures] == [None] * 50
    assert order == list(range(50))
    assert thread_of(lease) is thread_of(lease)
    with pytest.raises(ZeroDivisionError):
        lease.submit(lambda: 1 / 0).result(DEADLINE_S)
    lease.end()


def test_a_cancelled_call_does_not_run(pool: ThreadPool) -> None:
    lease = Lease(pool)
    first, ran = Blocker(lease), []
    second = lease.submit(ran.append, "second")
    assert second.cancel()
    first.end()
    thread_of(lease)
    assert ran == []


def test_two_leases_run_at_the_same_time(pool: ThreadPool) -> None:
    one, other = Blocker(Lease(pool)), Blocker(Lease(pool))
    assert one.running.wait(DEADLINE_S)
    assert other.running.wait(DEADLINE_S)
    one.end()
    other.end()


def test_a_thread_serves_one_lease_after_the_other(pool: ThreadPool) -> None:
    threads = set()
    for _ in range(20):
        lease = Lease(pool, LONG_S)
        threads.add(thread_of(lease))
        lease.end()
        assert settled(pool)
    assert len(threads) == 1


def test_a_lease_that_has_ended_takes_a_thread_for_each_call(pool: ThreadPool) -> None:
    lease = Lease(pool, LONG_S)
    lease.shutdown()
    assert thread_of(lease).is_alive()
    assert settled(pool)
    assert lease.worker is None


def test_a_resting_thread_is_taken_when_another_lease_needs_it(pool: ThreadPool) -> None:
    leases = [Lease(pool, LONG_S) for _ in range(5)]
    threads = {thread_of(lease) for lease in leases}
    assert len(threads) == 2
    assert pool.waits.count == 0 or pool.waits.total_s < DEADLINE_S
    for lease in leases:
        lease.end()


def test_a_resting_thread_goes_back_after_a_while(pool: ThreadPool) -> None:
    lease = Lease(pool, 0.01)
    thread_of(lease)
    deadline_s = time.monotonic() + DEADLINE_S
    while lease.worker is not None and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert lease.worker is None
    assert settled(pool)


def test_give_back_lets_a_resting_thread_go_and_a_running_one_alone(pool: ThreadPool) -> None:
    lease = Lease(pool, LONG_S)
    blocker = Blocker(lease)
    assert blocker.running.wait(DEADLINE_S)
    lease.give_back()
    assert lease.worker is not None
    blocker.end()
    while not lease.worker.rests:
        time.sleep(0.001)
    lease.give_back()
    assert lease.worker is None


# Waiting -------------------------------------------------------------------------------------


def test_leases_wait_in_order_and_the_wait_is_measured(pool: ThreadPool) -> None:
    blockers = [Blocker(Lease(pool)) for _ in range(2)]
    order: list[int] = []
    futures = [Lease(pool).submit(order.append, number) for number in range(10)]
    assert pool.waiting_count == 10
    blockers[0].end()
    for future in futures:
        future.result(DEADLINE_S)
    blockers[1].end()
    assert order == list(range(10))
    assert pool.waits.count == 10
    assert 0 < pool.waits.longest_s <= pool.waits.total_s
    assert pool.waiting_count == 0


async def test_a_call_that_blocks_holds_up_the_next_one_for_a_moment_only(pool: ThreadPool) -> None:
    together = threading.Barrier(2)
    first = Lease(pool).submit(together.wait, DEADLINE_S)
    second = Lease(pool).submit(together.wait, DEADLINE_S)  # waits for the first, until it is seen to block
    assert pool.waiting_count == 1
    await asyncio.gather(asyncio.wrap_future(first), asyncio.wrap_future(second))
    assert pool.thread_count == 2
    assert pool.waits.count == 1


async def test_short_calls_share_a_thread(pool: ThreadPool) -> None:
    leases = [Lease(pool) for _ in range(20)]
    idents = await asyncio.gather(*(asyncio.wrap_future(lease.submit(threading.get_ident)) for lease in leases))
    assert len(set(idents)) <= 2


async def test_past_the_limit_a_call_fails_and_the_log_names_the_setting(
    pool: ThreadPool, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.FULLDUPLEX = {"THREADS_WAIT_S": 0.01}
    blockers = [Blocker(Lease(pool)) for _ in range(2)]
    lease = Lease(pool)
    with pytest.raises(ThreadsExhausted):
        await asyncio.wrap_future(lease.submit(int))
    assert pool.waits.exhausted_count == 1
    assert "THREADS_WAIT_S" in caplog.text
    assert pool.waiting_count == 0
    for blocker in blockers:
        blocker.end()
    assert await asyncio.wrap_future(lease.submit(lambda: "later")) == "later"


async def test_a_thread_that_comes_in_time_ends_the_wait(pool: ThreadPool, settings: Any) -> None:
    settings.FULLDUPLEX = {"THREADS_WAIT_S": LONG_S}
    blockers = [Blocker(Lease(pool)) for _ in range(2)]
    waits = asyncio.wrap_future(Lease(pool).submit(lambda: "done"))
    for blocker in blockers:
        await asyncio.to_thread(blocker.end)
    assert await waits == "done"
    assert pool.waits.exhausted_count == 0


# Clean threads -------------------------------------------------------------------------------


@pytest.fixture
def database(transactional_db: None) -> None:
    """The threads share the in-memory database of the tests."""


def begin() -> None:
    connection.ensure_connection()
    transaction.set_autocommit(False)


@pytest.mark.usefixtures("database")
def test_a_thread_in_a_transaction_is_kept_even_when_others_wait(pool: ThreadPool) -> None:
    lease, other = Lease(pool), Lease(pool)
    lease.submit(begin).result(DEADLINE_S)
    other.submit(begin).result(DEADLINE_S)
    waiting = Lease(pool).submit(int)
    assert pool.waiting_count == 1
    lease.give_back()
    assert pool.waiting_count == 1
    assert lease.submit(lambda: connection.autocommit).result(DEADLINE_S) is False
    lease.submit(lambda: (transaction.rollback(), transaction.set_autocommit(True))).result(DEADLINE_S)
    assert waiting.result(DEADLINE_S) == 0
    other.end()


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("leak", [begin, lambda: transaction.atomic().__enter__()])
def test_a_transaction_that_is_left_open_is_rolled_back_and_logged(
    pool: ThreadPool, leak: Any, caplog: pytest.LogCaptureFixture
) -> None:
    lease = Lease(pool)

    def leave() -> None:
        leak()
        Group.objects.create(name="leaked")

    lease.submit(leave).result(DEADLINE_S)
    lease.end()
    assert settled(pool)

    def state() -> tuple[bool, bool, int]:
        return connection.in_atomic_block, connection.get_autocommit(), Group.objects.count()

    assert Lease(pool).submit(state).result(DEADLINE_S) == (False, True, 0)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


class Old:
    """A connection past CONN_MAX_AGE."""

    alias = "old"
    connection = object()
    in_atomic_block = False
    autocommit = True
    errors_occurred = False
    close_at = 0.0
    settings_dict = {"AUTOCOMMIT": True}  # noqa: RUF012
    run_on_commit: list[Any] = []  # noqa: RUF012
    queries_log: list[Any] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.closed_by: list[threading.Thread] = []

    def close(self) -> None:
        self.closed_by.append(threading.current_thread())
        raise ZeroDivisionError  # logged, and it does not stop the thread


def test_old_connections_are_closed_on_their_thread_when_the_lease_ends(
    pool: ThreadPool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = Old()
    monkeypatch.setattr("fullduplex.handler.connections._initialized", lambda: [old])
    lease = Lease(pool, LONG_S)
    thread = thread_of(lease)
    lease.end()
    assert settled(pool)
    assert old.closed_by == [thread]
    assert "could not be cleaned" in caplog.text


def test_close_ends_the_threads_and_the_next_call_starts_another() -> None:
    pool = ThreadPool(lambda: 2)
    lease = Lease(pool, LONG_S)
    first = thread_of(lease)
    pool.close()
    assert not first.is_alive()
    second = thread_of(Lease(pool))
    assert second is not first
    pool.close()


def test_fewer_threads_by_setting_take_effect() -> None:
    size = [2]
    pool = ThreadPool(lambda: size[0])
    blockers = [Blocker(Lease(pool)) for _ in range(2)]
    size[0] = 1
    for blocker in blockers:
        blocker.end()
    assert settled(pool)
    deadline_s = time.monotonic() + DEADLINE_S
    while pool.thread_count > 1 and time.monotonic() < deadline_s:
        time.sleep(0.001)
    assert pool.thread_count == 1
    pool.close()


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


def test_behind_sync_middleware_calls_go_to_it_until_it_refuses(pool: ThreadPool) -> None:
    class During(Executor):
        open = True

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if not self.open:
                raise RuntimeError("CurrentThreadExecutor already quit or is broken")
            future: Future[Any] = Future()
            future.set_result("during")
            return future

    during, after = During(), Lease(pool)
    executor = HandshakeExecutor(during, after)
    assert executor.submit(lambda: "after").result() == "during"
    during.open = False
    assert executor.submit(lambda: "after").result(DEADLINE_S) == "after"


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
