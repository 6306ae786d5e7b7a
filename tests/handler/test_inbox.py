"""Reading ahead within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fullduplex.handler.inbox import Inbox


class Server:
    """A server's receive: what it has put, then silence."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.taken_count = 0

    async def receive(self) -> Any:
        event = await self.queue.get()
        self.taken_count += 1
        if isinstance(event, Exception):
            raise event
        return event

    def message(self, text: str) -> None:
        self.queue.put_nowait({"type": "websocket.receive", "text": text})


@asynccontextmanager
async def pumped(server: Server, max_bytes: int = 10_000) -> AsyncIterator[Inbox]:
    inbox = Inbox(server.receive, max_bytes, lambda code, reason: None)
    pump = asyncio.ensure_future(inbox.pump())
    try:
        yield inbox
    finally:
        pump.cancel()
        await asyncio.wait({pump})


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_messages_come_in_order_and_then_the_disconnect_each_time() -> None:
    server = Server()
    async with pumped(server) as inbox:
        server.message("one")
        server.message("")
        server.queue.put_nowait({"type": "websocket.disconnect", "code": 1001, "reason": "bye"})
        assert [(await inbox.receive())["text"] for _ in range(2)] == ["one", ""]
        for _ in range(2):
            assert await inbox.receive() == {"type": "websocket.disconnect", "code": 1001, "reason": "bye"}


async def test_a_disconnect_behind_unread_messages_is_noticed() -> None:
    server = Server()
    async with pumped(server) as inbox:
        server.message("unread")
        server.queue.put_nowait({"type": "websocket.disconnect"})
        await settle()
        assert inbox.left is not None
        assert inbox.left.code == 1005


async def test_reading_ahead_stops_at_the_bound_and_goes_on_below_it() -> None:
    server = Server()
    async with pumped(server, max_bytes=5_000) as inbox:
        for _ in range(10):
            server.message("x" * 2_000)
        await settle()
        assert server.taken_count == 3  # the one that passes the bound is the last
        await inbox.receive()
        await settle()
        assert server.taken_count == 4


async def test_empty_messages_are_not_free() -> None:
    server = Server()
    async with pumped(server, max_bytes=5_000):
        for _ in range(1_000):
            server.message("")
        await settle()
        for _ in range(50):
            await settle()
        assert server.taken_count < 50


async def test_a_receive_that_is_cancelled_loses_no_message() -> None:
    server = Server()
    async with pumped(server) as inbox:
        waiting = asyncio.ensure_future(inbox.receive())
        await settle()
        server.message("kept")
        waiting.cancel()
        await settle()
        assert (await inbox.receive())["text"] == "kept"


async def test_a_lost_connection_is_a_disconnect_with_1006() -> None:
    server = Server()
    async with pumped(server) as inbox:
        server.queue.put_nowait(OSError("reset"))
        assert (await inbox.receive())["code"] == 1006


async def test_a_failing_server_is_a_disconnect_too_and_the_pump_says_so() -> None:
    server = Server()
    news: list[tuple[int, str]] = []
    inbox = Inbox(server.receive, 10_000, lambda code, reason: news.append((code, reason)))
    server.queue.put_nowait(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await inbox.pump()
    assert news == [(1006, "")]


async def test_the_first_news_counts() -> None:
    news: list[tuple[int, str]] = []
    inbox = Inbox(Server().receive, 10_000, lambda code, reason: news.append((code, reason)))
    inbox.lost(4000, "first")
    inbox.lost()
    assert inbox.left is not None
    assert (inbox.left.code, inbox.left.reason) == (4000, "first")
    assert news == [(4000, "first")]
