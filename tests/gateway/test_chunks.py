"""How long one client keeps the loop: others have their turns."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fullduplex.wire.chunked import CALL_CHUNKS_COUNT
from tests.gateway.wired import Wired, ok

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
COUNT = 10 * CALL_CHUNKS_COUNT
CHUNKS = b"".join(b"1\r\n%c\r\n" % (97 + number % 26) for number in range(COUNT))
CONTENT = bytes(97 + number % 26 for number in range(COUNT))


async def echo(scope: Any, receive: Any, send: Any) -> None:
    content, more = b"", True
    while more:
        event = await receive()
        content += event.get("body", b"")
        more = event.get("more_body", False)
    await ok(content)(scope, receive, send)


async def test_others_have_their_turn_while_many_chunks_are_taken_apart() -> None:
    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    turns = 0
    wired = Wired(echo)
    other = asyncio.ensure_future(count_turns())
    wired.connection.data_received(POST + CHUNKS + b"0\r\n\r\n" + POST + b"1\r\nx\r\n0\r\n\r\n")
    assert not wired.transport.reading
    while wired.transport.written.count(b"HTTP/1.1 200 ") < 2:
        await asyncio.sleep(0)
    other.cancel()
    assert turns >= COUNT // CALL_CHUNKS_COUNT
    assert wired.transport.reading
    first, second = wired.transport.take().split(b"HTTP/1.1 200 ")[1:]
    assert first.endswith(b"\r\n\r\n" + CONTENT)
    assert second.endswith(b"\r\n\r\nx")
    await wired.finish()


@pytest.mark.parametrize("end", [b"", b"x\r\n"], ids=["no end", "a fault"])
async def test_what_is_wrong_behind_many_chunks_is_found(end: bytes) -> None:
    wired = Wired(echo)
    wired.connection.data_received(POST + CHUNKS + end)
    while not wired.transport.reading and not wired.transport.is_closing():
        await asyncio.sleep(0)
    if not end:
        await wired.eof()
    while b"HTTP/1.1 400 " not in wired.transport.written:
        await asyncio.sleep(0)
    await wired.finish()


async def test_chunks_that_nobody_reads_any_more_take_their_turns_as_well() -> None:
    wired = Wired(ok())
    wired.connection.data_received(
        POST + CHUNKS[: 6 * 3 * CALL_CHUNKS_COUNT] + b"0\r\n\r\n" + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    )
    while wired.transport.written.count(b"HTTP/1.1 200 ") < 2:
        await asyncio.sleep(0)
    await wired.finish()


async def test_a_client_that_vanishes_meanwhile() -> None:
    wired = Wired(echo)
    wired.connection.data_received(POST + CHUNKS)
    await wired.cut()
    await wired.finish()
