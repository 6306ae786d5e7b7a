"""The in-process channel layer."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from fullduplex.exceptions import ChannelFull
from fullduplex.layers import channels_memory
from fullduplex.layers.channels_memory import InMemoryChannelLayer


class Clock:
    """In the place of the module ``time``."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(channels_memory, "time", clock)
    return clock


@pytest.fixture
def layer() -> InMemoryChannelLayer:
    return InMemoryChannelLayer(capacity=3)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_in_order_and_nothing_is_left_behind(layer: InMemoryChannelLayer) -> None:
    for number in range(3):
        await layer.send("c", {"n": number})
    assert [(await layer.receive("c"))["n"] for _ in range(3)] == [0, 1, 2]
    assert layer.channels == {}


async def test_a_receiver_that_was_woken_gets_its_message_though_the_channel_be_dropped(
    layer: InMemoryChannelLayer,
) -> None:
    receiving = asyncio.ensure_future(layer.receive("c"))
    await settle()
    await layer.send("c", {"n": 1})
    del layer.channels["c"]
    assert await asyncio.wait_for(receiving, 30) == {"n": 1}
    assert layer.channels == {}


async def test_what_is_no_message(layer: InMemoryChannelLayer) -> None:
    for call in (layer.send("c", "text"), layer.group_send("g", ["list"])):  # type: ignore[arg-type]
        with pytest.raises(AssertionError, match="a message is a dict"):
            await call


async def test_every_receiver_has_a_copy(layer: InMemoryChannelLayer) -> None:
    message = {"list": [1, {"a": {1}}], "tuple": ([],)}
    await layer.group_add("g", "a")
    await layer.group_add("g", "b")
    await layer.group_send("g", message)
    message["list"].append(2)  # type: ignore[attr-defined]
    first, second = await layer.receive("a"), await layer.receive("b")
    first["list"][1]["a"].add(2)
    first["tuple"][0].append(1)
    assert second == {"list": [1, {"a": {1}}], "tuple": ([],)}


async def test_a_full_channel(layer: InMemoryChannelLayer) -> None:
    for _ in range(3):
        await layer.send("c", {})
    with pytest.raises(ChannelFull, match="3 messages wait on the channel 'c'"):
        await layer.send("c", {})


async def test_a_full_member_is_logged_once_and_delays_others_only_once(
    layer: InMemoryChannelLayer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(channels_memory, "_PATIENCE_S", 0.0)
    await layer.group_add("g", "slow")
    for _ in range(3):
        await layer.group_send("g", {})
    await layer.group_add("g", "quick")
    for _ in range(3):
        await layer.group_send("g", {})
        assert await layer.receive("quick") == {}
    assert layer.dropped_count == 3
    assert [record.message for record in caplog.records if "'slow' is full (capacity 3)" in record.message]
    assert len(caplog.records) == 1
    await layer.receive("slow")
    await layer.group_send("g", {"n": 1})
    assert [len(await layer.receive("slow")) for _ in range(3)] == [0, 0, 1]


async def test_a_loop_that_only_publishes_loses_nothing(layer: InMemoryChannelLayer) -> None:
    async def member(name: str) -> list[int]:
        return [(await layer.receive(name))["n"] for _ in range(100)]

    names = [f"c{number}" for number in range(5)]
    for name in names:
        await layer.group_add("g", name)
    tasks = [asyncio.ensure_future(member(name)) for name in names]
    for number in range(100):
        await layer.group_send("g", {"n": number})
    assert await asyncio.gather(*tasks) == [list(range(100))] * 5
    assert layer.dropped_count == 0


async def test_a_receiver_that_is_cancelled_loses_nothing(layer: InMemoryChannelLayer) -> None:
    first, second = (asyncio.ensure_future(layer.receive("c")) for _ in range(2))
    await settle()
    await layer.send("c", {"n": 1})
    first.cancel()
    assert await second == {"n": 1}
    waiting = asyncio.ensure_future(layer.receive("c"))
    await settle()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert layer.channels == {}


async def test_messages_expire_and_that_is_told(
    layer: InMemoryChannelLayer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await layer.send("old", {"n": 1})
    await layer.send("old", {"n": 2})
    clock.now_s += 59
    await layer.send("young", {"n": 3})
    clock.now_s += 1
    assert await layer.receive("young") == {"n": 3}
    assert layer.channels == {}
    assert layer.dropped_count == 2
    assert "2 messages on the channel 'old' have expired" in caplog.text


async def test_memberships_end_after_a_day_unless_renewed(layer: InMemoryChannelLayer, clock: Clock) -> None:
    await layer.group_add("g", "a")
    await layer.group_add("g", "b")
    clock.now_s += 86_000
    await layer.group_add("g", "b")
    clock.now_s += 400
    await layer.group_send("g", {"n": 1})
    assert list(layer.groups["g"]) == list(layer.channels) == ["b"]


async def test_leaving(layer: InMemoryChannelLayer) -> None:
    await layer.group_add("g", "a")
    await layer.group_add("h", "a")
    await layer.group_discard("g", "a")
    await layer.group_discard("g", "never")
    assert list(layer.groups) == ["h"]
    await layer.send("a", {})
    await layer.discard_channel("a")
    await layer.discard_channel("never")
    assert (layer.groups, layer.channels, layer._groups_of) == ({}, {}, {})


async def test_flush(layer: InMemoryChannelLayer) -> None:
    receiver = asyncio.ensure_future(layer.receive("waiting"))
    await layer.group_add("g", "a")
    await layer.send("a", {})
    await settle()
    await layer.flush()
    await layer.close()
    assert (layer.groups, list(layer.channels)) == ({}, ["waiting"])
    await layer.send("waiting", {"n": 1})
    assert await receiver == {"n": 1}


async def test_names_of_new_channels_are_their_own(layer: InMemoryChannelLayer) -> None:
    names = {await layer.new_channel() for _ in range(100)}
    assert len(names) == 100
    assert all(layer.require_valid_channel_name(name) for name in names)
    assert (await layer.new_channel("chat")).startswith("chat.inmemory!")


async def test_from_another_thread_and_its_loop(layer: InMemoryChannelLayer) -> None:
    receiver = asyncio.ensure_future(layer.receive("c"))
    await settle()
    thread = threading.Thread(target=async_to_sync(layer.send), args=("c", {"n": 1}))
    thread.start()
    async with asyncio.timeout(30):
        assert await receiver == {"n": 1}
    thread.join()


def test_a_receiver_whose_loop_is_closed_is_passed_over(layer: InMemoryChannelLayer) -> None:
    async def leave_one_behind() -> Any:
        task = asyncio.ensure_future(layer.receive("c"))
        await settle()
        return task

    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(leave_one_behind())
    loop.close()
    asyncio.run(layer.send("c", {"n": 1}))
    assert asyncio.run(layer.receive("c")) == {"n": 1}
    task._log_destroy_pending = False
    task.get_coro().close()


async def test_a_thousand_idle_channels_cost_a_receiver_nothing(layer: InMemoryChannelLayer) -> None:
    """Channels looks through all channels in each ``receive``."""
    for number in range(1000):
        await layer.group_add("g", f"c{number}")
    begin_s = time.process_time()
    await layer.group_send("g", {"type": "x"})
    for number in range(1000):
        await layer.receive(f"c{number}")
    assert time.process_time() - begin_s < 1
