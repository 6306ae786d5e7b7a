"""What messages look like on their channels: positions, and parts of long ones, which the server counts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fullduplex.layers.history import Keep, Kept, Position
from fullduplex.layers.redis import RedisLayer
from fullduplex.layers.redis.envelopes import MAX_BYTES, Parts, read_position, with_position
from fullduplex.testing.layers import Inbox
from tests.layers.servers import Server, wait_until

DEADLINE_S = 30.0
KEEP = Keep(count=10, age_s=60.0, max_bytes=1_000_000)


def test_positions_are_read_as_they_were_written() -> None:
    for sealed in (b"", b"ttext", b"b\n \n"):
        assert read_position(with_position(sealed, Position(41, "an.epoch-1_"))) == (
            Position(41, "an.epoch-1_"),
            sealed,
        )
    assert read_position(b"ttext") == (None, b"ttext")
    assert read_position(b"") == (None, b"")
    for foreign in (b"k", b"kepoch 1", b"kepoch x\nttext"):
        with pytest.raises(ValueError):
            read_position(foreign)


def test_parts_whose_beginning_or_end_was_missed_are_dropped() -> None:
    parts = Parts()
    taken = [
        parts.take(data) for data in (b"=b", b">c", b"tone", b"<ta", b"=b", b"<tA", b"=B", b">C", b">d", b"", b"ttwo")
    ]
    assert [data for data in taken if data is not None] == [b"tone", b"tABC", b"", b"ttwo"]


@pytest.mark.parametrize("size", [0, 1, MAX_BYTES - 1, MAX_BYTES, 2 * MAX_BYTES - 2, 2 * MAX_BYTES - 1, 5 * MAX_BYTES])
async def test_messages_of_any_length_arrive_and_nothing_long_is_published(size: int, valkey: Server) -> None:
    layer, inbox = RedisLayer(hosts=[valkey.url], prefix=f"parts{size}"), Inbox(DEADLINE_S)
    await layer.subscribe("g", inbox)
    data = bytes(number % 251 for number in range(size))
    with valkey.client() as client, client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(f"parts{size}:g")
        listener.get_message(timeout=DEADLINE_S)
        await layer.apublish("g", data)
        await asyncio.to_thread(layer.publish, "g", data)
        position = await layer.aappend("g", data, KEEP, key="k" * 128)
        await layer.apublish_kept("g", Kept(data, Position(7, "other")))
        await layer.apublish("g", "the end")
        lengths = []
        while (message := listener.get_message(timeout=DEADLINE_S)) is None or message["data"] != b"tthe end":
            lengths += [len(message["data"])] if message else []
    assert max(lengths) <= MAX_BYTES + 1
    assert await inbox.take_many(4) == [data, data, Kept(data, position, "k" * 128), Kept(data, Position(7, "other"))]
    await layer.close()


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Server]:
    """A server that lets a subscriber fall behind by 2 MB."""
    server = Server(tmp_path)
    try:
        with server.start().client() as client:
            client.config_set("client-output-buffer-limit", "pubsub 2mb 2mb 60")
        yield server
    finally:
        server.kill()


@pytest.mark.parametrize("kept", [False, True])
async def test_a_subscriber_that_stands_still_is_cut_off_whatever_the_messages_are_long(
    kept: bool, strict: Server
) -> None:
    """Valkey 9 does not count messages of 16 KiB and more: as a whole, they would be kept for it without a bound."""
    layer = RedisLayer(hosts=[strict.url])
    message = "x" * 100_000
    with socket.socket() as still, strict.client() as client:
        still.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        still.connect(("127.0.0.1", strict.port))
        still.sendall(b"SUBSCRIBE fullduplex:g\r\n")
        wait_until(lambda: client.pubsub_numsub("fullduplex:g")[0][1] == 1)
        for _ in range(500):  # the kernel takes some, too
            if kept:
                await layer.aappend("g", message, KEEP)
            else:
                await layer.apublish("g", message)
            if client.pubsub_numsub("fullduplex:g")[0][1] == 0:
                break
        assert client.pubsub_numsub("fullduplex:g") == [(b"fullduplex:g", 0)]
    await layer.close()


async def test_who_may_not_run_scripts_publishes_long_messages_as_a_whole(strict: Server) -> None:
    with strict.client() as client:
        client.execute_command("ACL", "SETUSER", "plain", "on", ">x", "~*", "&*", "+publish", "+subscribe", "+ping")
    layer, inbox = RedisLayer(hosts=[f"redis://plain:x@127.0.0.1:{strict.port}"]), Inbox(DEADLINE_S)
    await layer.subscribe("g", inbox)
    await layer.apublish("g", "x" * 100_000)
    await asyncio.to_thread(layer.publish, "g", b"y" * 100_000)
    assert await inbox.take_many(2) == ["x" * 100_000, b"y" * 100_000]
    await layer.close()
