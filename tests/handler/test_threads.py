"""The thread of a socket: taken with a call, given back when idle."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction
from django.urls import path

from fullduplex.handler.threads import HandshakeExecutor, IdleThreadExecutor
from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from tests.handler.asgi_driver import websocket
from tests.handler.project import project

LONG_S = 60.0


def thread_of(executor: IdleThreadExecutor) -> threading.Thread:
    thread: threading.Thread = executor.submit(threading.current_thread).result()
    return thread


def test_calls_run_in_order_in_one_thread_and_return_or_raise() -> None:
    executor = IdleThreadExecutor(LONG_S)
    try:
        order: list[int] = []
        futures = [executor.submit(order.append, number) for number in range(50)]
        assert [future.result() for future in futures] == [None] * 50
        assert order == list(range(50))
        assert thread_of(executor) is thread_of(executor)
        with pytest.raises(ZeroDivisionError):
            executor.submit(lambda: 1 / 0).result()
    finally:
        executor.shutdown(wait=True)


def test_an_idle_thread_ends_and_the_next_call_starts_another() -> None:
    executor = IdleThreadExecutor(0)
    first = thread_of(executor)
    first.join(10)
    assert not first.is_alive()
    second = thread_of(executor)
    second.join(10)
    assert not second.is_alive()
    assert first is not second


def test_shutdown_ends_the_thread_after_the_last_call_and_a_later_call_still_runs() -> None:
    executor = IdleThreadExecutor(LONG_S)
    thread = thread_of(executor)
    executor.shutdown(wait=True)
    assert not thread.is_alive()
    late = thread_of(executor)
    late.join(10)
    assert not late.is_alive()


def test_a_thread_given_back_ends_at_once_and_the_next_call_lingers_again() -> None:
    executor = IdleThreadExecutor(LONG_S)
    first = thread_of(executor)
    executor.give_back()
    first.join(10)
    assert not first.is_alive()
    second = thread_of(executor)
    assert thread_of(executor) is second
    executor.shutdown(wait=True)


def test_a_call_that_waits_is_run_before_the_thread_ends() -> None:
    executor = IdleThreadExecutor(LONG_S)
    gate = threading.Event()
    executor.submit(gate.wait)
    waiting = executor.submit(lambda: "done")
    executor.give_back()
    gate.set()
    assert waiting.result() == "done"
    executor.shutdown(wait=True)


def test_a_cancelled_call_does_not_run() -> None:
    executor = IdleThreadExecutor(LONG_S)
    gate = threading.Event()
    ran: list[str] = []
    first = executor.submit(gate.wait)
    second = executor.submit(ran.append, "second")
    assert second.cancel()
    gate.set()
    first.result()
    executor.shutdown(wait=True)
    assert ran == []


def test_the_connections_of_the_thread_are_closed_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []

    class Connection:
        connection = object()
        in_atomic_block = False
        autocommit = True
        run_on_commit: list[Any] = []  # noqa: RUF012

        def close(self) -> None:
            closed.append(threading.get_ident())
            raise ZeroDivisionError  # logged, and it does not hold up the end

    class Connections:
        def all(self, initialized_only: bool = False) -> list[Any]:
            return [Connection()]

    monkeypatch.setattr("fullduplex.handler.threads.connections", Connections())
    executor = IdleThreadExecutor(LONG_S)
    ident = executor.submit(threading.get_ident).result()
    executor.shutdown(wait=True)
    assert closed == [ident]


@pytest.mark.django_db(transaction=True)
def test_a_thread_in_a_transaction_is_kept() -> None:
    executor = IdleThreadExecutor(0)
    try:
        executor.submit(connection.ensure_connection).result()
        first = executor.submit(lambda: (transaction.set_autocommit(False), threading.current_thread())[1]).result()
        assert thread_of(executor) is first
        executor.submit(lambda: (transaction.rollback(), transaction.set_autocommit(True))).result()
        first.join(10)
        assert not first.is_alive()
    finally:
        executor.shutdown(wait=True)


def test_behind_sync_middleware_calls_go_to_it_until_it_refuses() -> None:
    class During(Executor):
        open = True

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if not self.open:
                raise RuntimeError("CurrentThreadExecutor already quit or is broken")
            future: Future[Any] = Future()
            future.set_result("during")
            return future

    during, after = During(), IdleThreadExecutor(LONG_S)
    executor = HandshakeExecutor(during, after)
    assert executor.submit(lambda: "after").result() == "during"
    during.open = False
    assert executor.submit(lambda: "after").result() == "after"
    after.shutdown(wait=True)


async def test_an_idle_socket_holds_no_thread() -> None:
    threads: list[threading.Thread] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        async for _ in socket:
            threads.append(await sync_to_async(threading.current_thread)())
            await socket.send("done")

    with project(path("", view), FULLDUPLEX={"IDLE_THREAD_S": 0}) as application:
        async with websocket(application) as client:
            await client.accepted()
            for _ in range(2):
                client.send("go")
                await client.message()
                threads[-1].join(10)
                assert not threads[-1].is_alive()


async def test_the_thread_of_the_handshake_ends_with_it() -> None:
    threads: list[threading.Thread] = []

    @socket_view
    async def view(socket: WebSocket) -> None:
        threads.append(await sync_to_async(threading.current_thread)())
        await socket.send("open")
        await socket.receive()

    with project(path("", view), FULLDUPLEX={"IDLE_THREAD_S": LONG_S}) as application:
        async with websocket(application) as client:
            await client.accepted()
            await client.message()
            threads[0].join(10)
            assert not threads[0].is_alive()


async def test_a_task_that_outlives_the_socket_may_still_call_sync_code() -> None:
    import asyncio

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


# Under a sync caller: Django's TestCase, whose transaction lives in the thread of the test --------


@pytest.mark.django_db
@pytest.mark.parametrize("middleware", [[], ["tests.handler.test_threads.SyncOnly"]])
def test_under_async_to_sync_all_sync_code_runs_in_the_callers_thread_and_transaction(middleware: list[str]) -> None:
    from django.contrib.auth.models import User

    User.objects.create_user("ada")

    @socket_view
    async def view(socket: WebSocket) -> None:
        before = await User.objects.acount()
        await socket.accept()
        ident = await sync_to_async(threading.get_ident)()
        await socket.send([before, await User.objects.acount(), ident == threading.main_thread().ident])

    async def handshake() -> str | bytes:
        async with websocket(application) as client:
            await client.accepted()
            return await client.message()

    with project(path("", view), MIDDLEWARE=middleware) as application:
        assert async_to_sync(handshake)() == "[1,1,true]"


class SyncOnly:
    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)
