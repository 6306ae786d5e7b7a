"""The layers on Redis: channels_redis and ours, on one real server."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from typing import Any

import pytest

from tests.channels.complaints.conftest import Side
from tests.layers.servers import Server

CORE, PUBSUB = "core.RedisChannelLayer", "pubsub.RedisPubSubChannelLayer"


@pytest.fixture
def prefix() -> str:
    return f"complaint{os.urandom(4).hex()}"


async def messages(layer: Any, channel: str, count: int, deadline_s: float) -> list[int]:
    """Return the numbers of the first ``count`` messages, or of those that came before one was too late."""
    numbers: list[int] = []
    try:
        while len(numbers) < count:
            numbers.append((await asyncio.wait_for(layer.receive(channel), deadline_s))["n"])
    except TimeoutError:
        pass
    return numbers


def test_rooms_of_a_process_share_no_capacity(side: Side, valkey: Server, prefix: str) -> None:
    """cr#109: ten rooms of 30 messages each, and a capacity of 100. channels_redis counts those of all together."""

    async def scenario() -> bool:
        layer = side.redis(CORE)(hosts=[valkey.url], prefix=prefix)
        channels = [await layer.new_channel() for _ in range(10)]
        for number, channel in enumerate(channels):
            await layer.group_add(f"room{number}", channel)
        for n in range(30):
            for number in range(10):
                await layer.group_send(f"room{number}", {"n": n})
        patience_s = side.of(ours=10, theirs=0.2)
        received = [await messages(layer, channel, 30, patience_s) for channel in channels]
        await layer.flush()
        return received == [list(range(30))] * 10

    assert side.run(scenario()) is side.of(ours=True, theirs=False)


def test_what_is_over_capacity_is_a_warning(
    side: Side, valkey: Server, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """cr#109: lost at a level that nobody logs."""

    async def scenario() -> None:
        layer = side.redis(CORE)(hosts=[valkey.url], prefix=prefix, capacity=2)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        for n in range(3):
            await layer.group_send("room", {"n": n})
        await messages(layer, channel, 3, side.of(ours=1.0, theirs=0.2))
        await layer.flush()

    with caplog.at_level(logging.DEBUG):
        side.run(scenario())
    (record,) = [record for record in caplog.records if "over capacity in group room" in record.getMessage()]
    assert record.levelname == side.of(ours="WARNING", theirs="INFO")


def test_two_hosts_and_a_general_channel(side: Side, valkey: Server, prefix: str) -> None:
    """cr#221: each process sends to one host after the other, and looks on one after the other."""

    async def scenario() -> int:
        layers = [side.redis(CORE)(hosts=[valkey.url, f"{valkey.url}/1"], prefix=prefix) for _ in range(5)]
        for n, layer in enumerate(layers[:4]):
            await layer.send("jobs", {"n": n})
        count = len(await messages(layers[4], "jobs", 4, side.of(ours=10, theirs=1.0)))
        for layer in layers:
            await layer.flush()
        return count

    assert side.run(scenario()) == side.of(ours=4, theirs=1)


def test_a_lost_connection_is_told_and_what_was_sent_meanwhile_arrives(side: Side, valkey: Server, prefix: str) -> None:
    """cr#256"""
    told: list[str] = []

    async def scenario() -> list[int]:
        make = side.redis(PUBSUB)
        here = make(
            hosts=[valkey.url],
            prefix=prefix,
            on_disconnect=lambda: told.append("lost"),
            on_reconnect=lambda: told.append("back"),
        )
        there = make(hosts=[valkey.url], prefix=prefix)
        channel = await here.new_channel()
        await there.send(channel, {"n": 1})
        receiving = asyncio.ensure_future(messages(here, channel, 2, side.of(ours=10, theirs=2.0)))
        await asyncio.sleep(0.3)
        with valkey.client() as client:
            client.client_kill_filter(_type="pubsub")
        await there.send(channel, {"n": 2})
        received = await receiving
        await there.flush()
        await here.flush()
        return received

    assert side.run(scenario()) == side.of(ours=[1, 2], theirs=[1])
    assert told == side.of(ours=["lost", "back"], theirs=[])


def test_two_event_loops_receive(side: Side, valkey: Server, prefix: str) -> None:
    """One layer for a server's loop and that of a thread beside it."""
    layer = side.redis(CORE)(hosts=[valkey.url], prefix=prefix)
    ready, done = threading.Event(), threading.Event()

    async def wait_here() -> None:
        receiving = asyncio.ensure_future(layer.receive(await layer.new_channel()))
        await asyncio.sleep(0.1)
        ready.set()
        while not done.is_set():
            await asyncio.sleep(0.01)
        receiving.cancel()
        await asyncio.wait([receiving])

    async def receive_there() -> Any:
        channel = await layer.new_channel()
        await layer.send(channel, {"n": 1})
        return await asyncio.wait_for(layer.receive(channel), 10)

    thread = threading.Thread(target=lambda: asyncio.run(wait_here()))
    thread.start()
    try:
        assert ready.wait(10)
        assert side.run(side.outcome(receive_there())) == side.of(ours={"n": 1}, theirs="RuntimeError")
    finally:
        done.set()
        thread.join()


def test_what_nobody_reads_is_forgotten(side: Side, valkey: Server, prefix: str) -> None:
    """cr#384: it stays in the memory of the process when it has expired."""

    async def scenario() -> int:
        layer = side.redis(CORE)(hosts=[valkey.url], prefix=prefix, expiry=1)
        read, forgotten = await layer.new_channel(), await layer.new_channel()
        for channel in (read, forgotten):
            await layer.group_add("room", channel)
        await layer.group_send("room", {"n": 1})
        assert await layer.receive(read) == {"n": 1}
        await asyncio.sleep(1.5)
        await layer.send(read, {"n": 2})
        assert await layer.receive(read) == {"n": 2}
        held = layer.receive_buffer if side.is_theirs else layer._get_layer().mailboxes._boxes
        count = len(held)
        await layer.flush()
        return count

    assert side.run(scenario()) == side.of(ours=0, theirs=1)


def test_a_member_that_receives_stays(side: Side, valkey: Server, prefix: str) -> None:
    """A socket that is open for longer than group_expiry, by default a day, hears nothing any more."""

    async def scenario() -> list[int]:
        layer = side.redis(CORE)(hosts=[valkey.url], prefix=prefix, group_expiry=1)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        receiving = asyncio.ensure_future(messages(layer, channel, 1, side.of(ours=20, theirs=3.0)))
        await asyncio.sleep(2.1)
        await layer.group_send("room", {"n": 1})
        received = await receiving
        await layer.flush()
        return received

    assert side.run(scenario()) == side.of(ours=[1], theirs=[])


def test_a_receiver_that_is_stuck_is_bounded(side: Side, valkey: Server, prefix: str) -> None:
    """A consumer that awaits something else, while its room goes on."""

    async def scenario() -> int:
        layer = side.redis(PUBSUB)(hosts=[valkey.url], prefix=prefix)
        channel, other = await layer.new_channel(), await layer.new_channel()
        for member in (channel, other):
            await layer.group_add("room", member)
        for n in range(40):
            await layer.group_send("room", {"n": n, "data": b"x" * 100_000})
            await asyncio.wait_for(layer.receive(other), 10)
        count = len(await messages(layer, channel, 40, 0.5))
        await layer.flush()
        return count

    assert side.run(scenario()) == side.of(ours=10, theirs=40)


@pytest.mark.parametrize("kind", [CORE, PUBSUB])
def test_a_process_that_is_killed_leaves_nothing_in_redis(side: Side, valkey: Server, prefix: str, kind: str) -> None:
    """Its members stay, and messages are written for them, up to group_expiry: a day."""

    async def scenario() -> int:
        make = side.redis(kind)
        layer = make(hosts=[valkey.url], prefix=prefix)
        await layer.group_add("room", await layer.new_channel())
        return len(await asyncio.to_thread(keys))

    def keys() -> Any:
        with valkey.client() as client:
            return client.keys(f"{prefix}*")

    assert side.run(scenario()) == side.of(ours=0, theirs=1 if kind == CORE else 0)
