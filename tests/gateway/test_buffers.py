"""What clients can make a worker hold: of one socket, and of all together."""

from __future__ import annotations

import asyncio
import logging
import re
import zlib
from typing import Any

import pytest

from fullduplex.wire.events import Close
from fullduplex.wire.frames import BINARY, CONTINUATION, TEXT, encode_frame
from fullduplex.wire.websocket import AHEAD_BYTES
from tests.gateway.test_session import HANDSHAKE, Client, accept
from tests.gateway.wired import Wired, ok

DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    return encode_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=b"mask")


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Reader:
    """An application that takes messages when it is told to."""

    def __init__(self) -> None:
        self.may_read = asyncio.Event()
        self.messages: list[Any] = []
        self.end: dict[str, Any] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await self.may_read.wait()
        while (message := await receive())["type"] == "websocket.receive":
            self.messages.append(message.get("text", message.get("bytes")))
        self.end = message


# One socket -------------------------------------------------------------------------------------


async def test_messages_that_inflate_wait_on_the_wire_for_an_application_that_does_not_read() -> None:
    app = Reader()
    client = Client(app)
    await client.connect(DEFLATE)
    size, count = 100_000, 500
    data = frame(BINARY, deflated(bytes(size)), rsv1=True) * count
    await client.feed(data)
    assert not client.transport.reading
    assert client.connection.buffered_bytes < 65_536 + 2 * size + len(data)
    app.may_read.set()
    while not client.transport.reading:
        await client.settle()
    assert list(map(len, app.messages)) == [size] * count
    assert client.connection.buffered_bytes == 0
    await client.finish()


@pytest.mark.parametrize("fin", [True, False], ids=["whole", "in fragments"])
async def test_a_large_message_is_inflated_when_the_application_waits_for_it(fin: bool) -> None:
    app = Reader()
    client = Client(app)
    await client.connect(DEFLATE)
    size = 15_000_000
    data = deflated(bytes(size))
    begun = b"" if fin else frame(BINARY, data[:-100], fin=False, rsv1=True)
    rest = frame(BINARY, data, rsv1=True) if fin else frame(CONTINUATION, data[-100:])
    await client.feed(begun + rest + frame(TEXT, b"behind it") + frame(0x8, b"\x0f\xa0"))
    assert not client.transport.reading
    assert client.connection.buffered_bytes < AHEAD_BYTES + 2 * len(data)
    assert client.gateway._unfinished_bytes >= AHEAD_BYTES, "they count until then"
    app.may_read.set()
    while app.end is None:
        await client.settle()
    assert app.messages == [bytes(size), "behind it"]
    assert app.end["code"] == 4000
    assert (client.gateway._unfinished_bytes, client.gateway._unfinished) == (0, set())
    await client.finish()


async def test_a_large_message_that_nobody_takes_any_more_keeps_nobody_from_closing() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await receive()
        await send({"type": "websocket.close", "code": 4001})

    client = Client(app)
    await client.connect(DEFLATE)
    large = frame(BINARY, deflated(bytes(15_000_000)), rsv1=True)
    assert await client.raw(frame(TEXT, b"x") + large + frame(0x8, b"\x0f\xa1")) == [Close(4001)]
    assert client.transport.is_closing() or client.transport.eof_written
    await client.finish()


async def test_large_messages_that_nobody_takes_have_a_bound_for_all_sockets() -> None:
    app = Reader()
    first = Client(app, max_unfinished_bytes=2 * AHEAD_BYTES + 100_000)
    clients = [first, beside(first, app), beside(first, app)]
    for client in clients:
        await client.connect(DEFLATE)
        await client.feed(frame(BINARY, deflated(bytes(15_000_000)), rsv1=True))
    assert first.gateway._unfinished_bytes < 2 * AHEAD_BYTES + 100_000
    assert sum(client.transport.is_closing() or client.transport.eof_written for client in clients) == 1
    app.may_read.set()
    for client in clients:
        await client.cut()
    await first.finish()


async def test_text_counts_in_bytes() -> None:
    app = Reader()
    client = Client(app)
    await client.connect()
    await client.feed(frame(TEXT, ("€" * 100).encode()) * 200)
    assert not client.transport.reading
    app.may_read.set()
    await client.settle()
    assert client.transport.reading
    assert app.messages == ["€" * 100] * 200
    await client.finish()


async def test_others_have_their_turn_while_many_messages_of_one_socket_are_handed_out() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    app = Reader()
    app.may_read.set()
    client = Client(app)
    await client.connect()
    other = asyncio.ensure_future(count_turns())
    client.connection.data_received(frame(TEXT, b"x") * 20_000)
    while len(app.messages) < 20_000:
        await asyncio.sleep(0)
    other.cancel()
    assert turns >= 15
    await client.finish()


async def test_others_have_their_turn_while_many_sockets_hold_input() -> None:
    longest = 0

    async def watch() -> None:
        """The most messages that are handed out in one turn of the loop."""
        nonlocal longest
        while True:
            before = len(app.messages)
            await asyncio.sleep(0)
            longest = max(longest, len(app.messages) - before)

    count, sockets = 5_000, 20
    app = Reader()
    first = Client(app)
    first.gateway.going_on_s = 0.0  # one of them in each turn
    clients = [first, *(beside(first, app) for _ in range(sockets - 1))]
    for client in clients:
        await client.connect()
        client.connection.data_received(frame(TEXT, b"x") * count)
    app.may_read.set()
    while len(app.messages) < sockets * 1_024:  # what the first call gave each
        await asyncio.sleep(0)
    other = asyncio.ensure_future(watch())
    while len(app.messages) < sockets * count:
        await asyncio.sleep(0)
    other.cancel()
    assert longest <= 2 * 1_025
    for client in clients:
        await client.cut()
    await first.finish()


@pytest.mark.parametrize("reads", [True, False], ids=["reads", "does not read"])
async def test_the_client_s_close_is_found_behind_what_is_held(reads: bool) -> None:
    app = Reader()
    client = Client(app)
    await client.connect()
    if reads:
        app.may_read.set()
    await client.feed(frame(TEXT, b"x") * 5_000 + frame(0x8, b"\x0f\xa0bye"))
    app.may_read.set()
    while app.end is None:
        await client.settle()
    assert (len(app.messages), app.end["code"], app.end["reason"]) == (5_000, 4000, "bye")
    await client.finish()


async def test_our_close_goes_out_although_messages_are_held_and_its_answer_is_found_behind_them() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await receive()
        await send({"type": "websocket.close", "code": 4001})

    client = Client(app)
    await client.connect()
    events = await client.raw(frame(TEXT, b"x") * 5_000)
    assert events == [Close(4001)]
    assert client.transport.reading
    await client.raw(frame(0x8, b"\x0f\xa1"))
    assert client.transport.is_closing() or client.transport.eof_written
    await client.finish()


async def test_an_unfinished_message_ends_with_its_deadline() -> None:
    app = Reader()
    app.may_read.set()
    client = Client(app, message_timeout_s=30.0, ping_interval_s=0.0)
    await client.connect(DEFLATE)
    await client.feed(frame(BINARY, deflated(bytes(15_000_000))[:10_000], fin=False, rsv1=True))
    assert AHEAD_BYTES <= client.connection.buffered_bytes <= AHEAD_BYTES + 10_000
    assert client.gateway._unfinished_bytes == client.connection.buffered_bytes
    assert await client.tick(29) == b""
    (close,) = client.read(await client.tick(2))
    assert close == Close(1008, "the rest of a message does not come")
    assert (client.gateway._unfinished_bytes, client.gateway._unfinished) == (0, set())
    await client.finish()


# All together -----------------------------------------------------------------------------------


def beside(client: Client, app: Any, **limits: Any) -> Client:
    """Another connection to the same worker."""
    other = Client(app, **limits)
    other.gateway = other.connection._gateway = client.gateway
    return other


async def test_unfinished_messages_of_all_sockets_have_one_bound_and_the_largest_has_to_go() -> None:
    app = Reader()
    app.may_read.set()
    first = Client(app, max_unfinished_bytes=100_000)
    clients = [first, beside(first, app), beside(first, app)]
    for client, size in zip(clients, (40_000, 50_000, 5_000), strict=True):
        await client.connect()
        assert await client.raw(frame(BINARY, bytes(size), fin=False)) == []
    assert await clients[2].raw(frame(CONTINUATION, bytes(10_000), fin=False)) == []
    assert clients[1].read(clients[1].transport.take()) == [Close(1009, "too much is held of unfinished messages")]
    assert first.gateway._unfinished_bytes == 55_000
    await first.raw(frame(CONTINUATION, b""))
    assert app.messages == [bytes(40_000)]
    assert first.gateway._unfinished_bytes == 15_000
    await clients[2].cut()
    assert (first.gateway._unfinished_bytes, first.gateway._unfinished) == (0, set())
    for client in clients:
        await client.cut()
    await first.finish()


async def test_nothing_is_counted_any_more_of_a_socket_that_was_lost_while_it_was_closing() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close"})

    client = Client(app)
    await client.connect()
    await client.raw(frame(BINARY, bytes(1_000), fin=False))
    await client.cut()
    assert (client.gateway._unfinished_bytes, client.gateway._unfinished) == (0, set())
    await client.finish()


async def test_near_the_bound_of_all_buffers_new_sockets_get_503(caplog: Any) -> None:
    app = Reader()
    client = Client(app, max_buffers_bytes=100_000)
    await client.connect()
    await client.feed(frame(BINARY, bytes(80_000)))
    client.gateway.weigh(client.connections)
    client.gateway.weigh(client.connections)
    assert caplog.text.count("new WebSockets get 503") == 1
    assert (await beside(client, app).feed(HANDSHAKE + b"\r\n")).startswith(b"HTTP/1.1 503 ")
    assert client.log.lines[-1][:3] == ("http refuse", "/ws", 503)
    await client.cut()
    client.gateway.weigh(client.connections)
    other = beside(client, app)
    assert (await other.feed(HANDSHAKE + b"\r\n")).startswith(b"HTTP/1.1 101 ")
    app.may_read.set()
    await other.cut()
    await client.finish()


async def test_above_the_bound_of_all_buffers_those_that_hold_most_are_dropped(caplog: Any) -> None:
    app = Reader()
    first = Client(app, max_buffers_bytes=200_000)
    clients = [first, beside(first, app), beside(first, app)]
    for client, size in zip(clients, (70_000, 90_000, 80_000), strict=True):
        await client.connect()
        await client.feed(frame(BINARY, bytes(size)))
    with caplog.at_level(logging.WARNING):
        first.gateway.weigh([client.connection for client in clients])
    assert [client.transport.is_closing() for client in clients] == [False, True, False]
    assert re.match(
        r"The buffers of all connections hold 240\d\d\d bytes: the 1 that hold most are", caplog.messages[0]
    )
    app.may_read.set()
    for client in clients:
        await client.cut()
    await first.finish()


async def test_all_buffers_are_weighed_as_soon_as_much_has_come() -> None:
    app = Reader()
    first = Client(app, max_buffers_bytes=1_000_000)
    clients = [first, *(beside(first, app) for _ in range(30))]
    first.gateway.connections = [client.connection for client in clients]
    for client in clients:
        await client.connect()
        await client.feed(frame(BINARY, bytes(70_000)))
    held = sum(client.connection.buffered_bytes for client in clients if not client.transport.is_closing())
    assert held <= 1_000_000 + 1_000_000 // 8 + 70_064
    app.may_read.set()
    for client in clients:
        await client.cut()
    await first.finish()


async def test_reading_goes_on_when_the_application_wants_more() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await may_go_on.wait()
        while (await receive())["more_body"]:
            pass
        await ok()(scope, receive, send)

    may_go_on = asyncio.Event()
    wired = Wired(app)
    await wired.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + bytes(100_000))
    assert not wired.transport.reading, "it has taken what came, and is busy"
    may_go_on.set()
    await wired.settle()
    assert wired.transport.reading
    assert (await wired.feed(bytes(100_000))).startswith(b"HTTP/1.1 200 ")
    assert wired.transport.reading
    await wired.finish()


async def test_content_in_tiny_pieces_counts_for_what_it_takes() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await may_read.wait()
        content = b""
        more = True
        while more:
            event = await receive()
            content += event["body"]
            more = event["more_body"]
        await ok(b"%d" % len(content))(scope, receive, send)

    may_read = asyncio.Event()
    wired = Wired(app)
    count = 1_500
    wired.connection.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 * count))
    taken = 0
    while wired.transport.reading and taken < count:
        wired.connection.data_received(b"ab")
        taken += 1
    assert taken < count, "an object each"
    may_read.set()
    while taken < count:
        await wired.settle()
        assert wired.transport.reading
        wired.connection.data_received(b"ab")
        taken += 1
    await wired.settle()
    assert wired.transport.take().endswith(b"3000")
    assert wired.connection.buffered_bytes == 0
    await wired.finish()


@pytest.mark.http1_only(reason="it counts the bytes of a head")
async def test_what_waits_for_the_client_counts_and_what_came_of_a_head() -> None:
    wired = Wired(ok(b"x" * 10_000))
    assert wired.connection.buffered_bytes == 0
    head = b"GET / HTTP/1.1\r\nHost: a\r\n"
    await wired.feed(head)
    assert wired.connection.buffered_bytes == len(head)
    wired.transport.stalled = True
    answer = await wired.feed(b"\r\n")
    assert wired.connection.buffered_bytes == len(answer) > 10_000
    await wired.finish()
