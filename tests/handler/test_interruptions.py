"""A client that leaves, and a server that stops, at every step of a socket: nothing may be left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.signals import request_finished, request_started
from django.urls import path

from fullduplex.realtime.groups import Group
from fullduplex.realtime.hub import get_hub
from fullduplex.sockets.views import websocket as socket_view
from fullduplex.sockets.websocket import WebSocket
from fullduplex.threads.context import get_pool
from tests.handler.asgi_driver import DEADLINE_S, WebSocketConnection, websocket_scope
from tests.handler.project import project

MAX_STEP = 1_000_000


class Sync:
    """Sync middleware, so that cancellation has to cross threads."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)


@socket_view
async def view(socket: WebSocket) -> None:
    await sync_to_async(lambda: None)()
    await socket.join("lobby")
    await Group("lobby").asend("hello")
    async with asyncio.TaskGroup() as group:
        group.create_task(echo(socket))
        group.create_task(sync_to_async(lambda: None)())
    await socket.close(4000)


async def echo(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)
        if message == "enough":
            return


@contextmanager
def balanced_signals() -> Iterator[None]:
    counts = {"started": 0, "finished": 0}

    def started(**kwargs: Any) -> None:
        counts["started"] += 1

    def finished(**kwargs: Any) -> None:
        counts["finished"] += 1

    request_started.connect(started)
    request_finished.connect(finished)
    try:
        yield
    finally:
        request_started.disconnect(started)
        request_finished.disconnect(finished)
    # A request that is cancelled while ``request_started`` is on its way to a thread is finished all the same.
    assert counts["started"] <= counts["finished"] <= 1


@pytest.mark.parametrize("middleware", [[], [f"{__name__}.Sync"]], ids=["async", "sync"])
@pytest.mark.parametrize("how", ["leave", "cancel", "break", "leave and cancel", "cancel twice"])
async def test_at_every_step(how: str, middleware: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with project(path("", view), MIDDLEWARE=middleware, FULLDUPLEX={"IDLE_THREAD_S": 0}) as application:
        step = 0
        closed = False
        while not closed:  # on, until the interruption comes too late
            assert step < MAX_STEP
            client = WebSocketConnection(application, websocket_scope())
            with balanced_signals():
                closed = await interrupt(client, how, step)
            assert get_hub().groups == [], step
            assert asyncio.all_tasks() == {asyncio.current_task()}, step
            step += 1 + step // 10
        async with asyncio.timeout(DEADLINE_S):
            while get_pool().resting_count:  # a lease that nobody ends keeps its thread
                await asyncio.sleep(0.001)
    assert caplog.records == []


async def interrupt(client: WebSocketConnection, how: str, step: int) -> bool:
    """Interrupt a socket after ``step`` turns of the loop; return whether it had closed by itself."""
    client.connect()
    client.send("one")
    client.send("enough")
    for _ in range(step):
        await asyncio.sleep(0)
    closed = client.task.done()
    if how == "break":
        client.broken = True
    if how.startswith("leave") or how == "break":
        client.leave()
    if "cancel" in how:
        client.task.cancel()
    if how == "cancel twice":
        await asyncio.sleep(0)
        client.task.cancel()
    try:
        await client.end()
    except asyncio.CancelledError:
        assert "cancel" in how
    if how == "cancel twice":  # the second one ends the waiting; what was waited for ends by itself
        async with asyncio.timeout(DEADLINE_S):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0)
    return closed


async def test_a_second_cancellation_while_reading_stops_keeps_no_thread() -> None:
    """A call that waits for the server's ``receive`` to end is cancelled again, as ``asyncio.run`` does at its end."""
    called, stopping, may_stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Slow(WebSocketConnection):
        async def _receive(self) -> Any:
            try:
                return await super()._receive()
            except asyncio.CancelledError:
                stopping.set()
                await may_stop.wait()
                raise

    @socket_view
    async def undecided(socket: WebSocket) -> None:
        await sync_to_async(lambda: None)()
        called.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(DEADLINE_S):
        with project(path("", undecided), FULLDUPLEX={"IDLE_THREAD_S": 0}) as application:
            client = Slow(application, websocket_scope())
            client.connect()
            await called.wait()
            while not get_pool().resting_count:  # it answers before it rests
                await asyncio.sleep(0)
            client.task.cancel()
            await stopping.wait()
            client.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await client.task
            may_stop.set()
            while get_pool().resting_count or len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.001)
