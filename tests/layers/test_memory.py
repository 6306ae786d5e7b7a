"""The in-process layer: the public suite, and what only it has: its bound, and its slices of time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import weakref

import pytest

from fullduplex.exceptions import ChannelFull
from fullduplex.layers.base import BaseLayer
from fullduplex.layers.memory import MemoryLayer
from fullduplex.testing.histories import HistoryConformance
from fullduplex.testing.layers import Inbox, LayerConformance


class TestMemoryLayer(LayerConformance):
    def make_layer(self) -> BaseLayer:
        return MemoryLayer()


class TestMemoryHistory(HistoryConformance):
    short_age_s = 0.05

    def make_layer(self) -> BaseLayer:
        self.layer = MemoryLayer()
        return self.layer

    async def end_epoch(self) -> None:
        self.layer._forget_history()


async def test_a_publisher_faster_than_the_loop_hears_of_it() -> None:
    layer = MemoryLayer(max_pending_bytes=10_000, publish_timeout_s=0)
    inbox = Inbox(1.0)
    await layer.subscribe("a", inbox)
    accepted: list[str] = []

    def flood() -> None:
        for number in range(1000):
            message = f"{number:0999}"
            layer.publish("a", message)
            accepted.append(message)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        error = pool.submit(flood).exception()  # blocks the loop, which is the point
    assert isinstance(error, ChannelFull)
    assert "10000 bytes wait for an event loop" in str(error)
    assert 9 <= len(accepted) <= 11
    assert await inbox.take_many(len(accepted)) == accepted
    await layer.close()


async def test_a_publisher_waits_for_room() -> None:
    layer = MemoryLayer(max_pending_bytes=1_000, publish_timeout_s=10)
    inbox = Inbox(10.0)
    await layer.subscribe("a", inbox)
    await asyncio.gather(*(asyncio.to_thread(_publish_many, layer, 200) for _ in range(3)))
    assert len(await inbox.take_many(600)) == 600
    await layer.close()


def _publish_many(layer: MemoryLayer, count: int) -> None:
    for number in range(count):
        layer.publish("a", f"{number:0500}")


async def test_a_task_waits_for_room_in_another_loop() -> None:
    layer = MemoryLayer(max_pending_bytes=1_000, publish_timeout_s=0.01)
    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_until_complete, args=(layer.subscribe("a", Inbox(1.0)),))
    thread.start()
    thread.join()  # that loop does not run any more, and takes nothing
    await layer.apublish("a", "x" * 1000)
    with pytest.raises(ChannelFull):
        await layer.apublish("a", "no room")
    other.close()
    await layer.apublish("a", "nobody is left")


async def test_messages_that_wait_when_a_subscription_ends_are_not_delivered() -> None:
    layer, inbox = MemoryLayer(), Inbox(1.0)
    await layer.subscribe("a", inbox)
    thread = threading.Thread(target=layer.publish, args=("a", "waits"))
    thread.start()
    thread.join()
    await layer.unsubscribe("a")
    await asyncio.sleep(0)
    assert inbox.empty


async def test_other_work_has_its_turn_between_slices() -> None:
    layer, seen = MemoryLayer(slice_s=0), []
    await layer.subscribe("a", lambda message: seen.append(message))
    thread = threading.Thread(target=lambda: [layer.publish("a", str(number)) for number in range(5)])
    thread.start()
    thread.join()
    counts = []
    while len(seen) < 5:
        await asyncio.sleep(0)
        counts.append(len(seen))
    assert counts[-1] == 5
    assert len(counts) >= 5
    await layer.close()


async def test_a_subscriber_that_fails_is_logged_and_does_not_disturb(caplog: pytest.LogCaptureFixture) -> None:
    layer, inbox = MemoryLayer(), Inbox(1.0)

    def fail(message: object) -> None:
        raise ZeroDivisionError

    await layer.subscribe("bad", fail)
    await layer.subscribe("good", inbox)
    await layer.apublish("bad", "x")
    await layer.apublish("good", "y")
    assert await inbox.take() == "y"
    assert [record.message for record in caplog.records] == ["A subscriber failed to take a message"]
    await layer.close()


def test_a_closed_loop_is_forgotten() -> None:
    layer = MemoryLayer()

    async def vanish() -> weakref.ref[asyncio.AbstractEventLoop]:
        await layer.subscribe("a", lambda message: None)
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(vanish())
    asyncio.run(layer.subscribe("b", lambda message: None))
    gc.collect()
    assert loop() is None
