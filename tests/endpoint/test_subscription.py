"""From a position on, without a hole: while others publish, for slow clients, and when the history fails."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from fullduplex import Group, Position
from fullduplex.endpoint import reads, subscription
from fullduplex.endpoint.envelopes import envelopes
from fullduplex.endpoint.subscription import Subscription
from fullduplex.exceptions import LayerUnavailable
from fullduplex.layers import get_layer
from fullduplex.layers.history import Kept
from fullduplex.realtime.hub import get_hub
from fullduplex.realtime.prepared import Prepared

GROUP = "long.1"


class SlowWay:
    """A client that takes what is sent when it is asked to be ``drained``.

    Attributes:
        told: all messages, in order.
        most_waiting_bytes: that ever waited.
    """

    def __init__(self, piece_bytes: int = 262_144) -> None:
        self.told: list[Any] = []
        self.turn = asyncio.Lock()
        self.held_bytes = 0
        self.piece_bytes = piece_bytes
        self.waiting_bytes = self.most_waiting_bytes = 0
        self.is_slow = False

    def deliver(self, prepared: Prepared) -> None:
        self.told.append(json.loads(prepared.data))
        self.waiting_bytes += prepared.size_bytes
        self.most_waiting_bytes = max(self.most_waiting_bytes, self.waiting_bytes)

    async def drained(self) -> None:
        await asyncio.sleep(0.001 if self.is_slow else 0)
        self.waiting_bytes = 0

    async def send_large(self, prepared: Prepared) -> None:
        self.deliver(prepared)
        await self.drained()

    @property
    def offsets(self) -> list[int]:
        return [told["offset"] for told in self.told if told["type"] == "message"]

    def kinds(self) -> list[str]:
        return [told["type"] for told in self.told if told["type"] != "message"]


class Client:
    """One subscription of a :class:`SlowWay`."""

    def __init__(self, **options: Any) -> None:
        self.way = SlowWay(**options)
        self.ended: list[str] = []
        self.subscription = Subscription(GROUP, self.way, lambda _, code, reason: self.ended.append(code))

    async def start(self, after: Position | None = None) -> None:
        await self.subscription.start(1, after)

    async def caught_up(self, offset: int) -> None:
        async with asyncio.timeout(10):
            while not self.way.offsets or self.way.offsets[-1] < offset:
                await asyncio.sleep(0.001)


async def publish(count: int, size: int = 10) -> None:
    for number in range(count):
        await Group(GROUP).asend({"n": number, "text": "x" * size})


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 30))])
async def test_clients_come_at_any_moment_and_miss_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hold so little that they must read again."""
    luck = random.Random(seed)
    monkeypatch.setattr(subscription, "MAX_HELD_BYTES", luck.choice((0, 300, 100_000)))
    monkeypatch.setattr(reads, "PIECE_COUNT", luck.choice((1, 7, 1_000)))
    start = (await Group(GROUP).ahistory()).position
    publishing = asyncio.create_task(publish(300))
    clients = []
    while not publishing.done():
        for _ in range(luck.randrange(20)):
            await asyncio.sleep(0)
        client = Client()
        client.way.is_slow = luck.random() < 0.5
        clients.append((client, start if luck.random() < 0.5 else None))
        await client.start(clients[-1][1])
    await publishing
    await publish(1)
    for client, after in clients:
        await client.caught_up(301)
        begins = client.way.told[0]["position"]["offset"]
        assert client.way.offsets == [*range(begins + 1, 302)]
        assert after is None or begins == 0
        assert client.way.kinds() == ["subscribed"]
        await client.subscription.stop()
        assert client.way.held_bytes == 0
    assert get_hub().groups == []


async def test_a_slow_client_that_missed_much_costs_no_memory() -> None:
    start = (await Group(GROUP).ahistory()).position
    await publish(80, size=50_000)  # four times what may wait
    client = Client()
    client.way.is_slow = True
    await client.start(start)
    publishing = asyncio.create_task(publish(20, size=50_000))
    await publishing
    await client.caught_up(100)
    assert client.way.offsets == [*range(1, 101)]
    assert client.way.most_waiting_bytes < 1_000_000
    await client.subscription.stop()


async def test_what_is_longer_than_a_piece_goes_alone() -> None:
    start = (await Group(GROUP).ahistory()).position
    await publish(3, size=500_000)
    client = Client(piece_bytes=1_000)
    await client.start(start)
    await client.caught_up(3)
    assert client.way.most_waiting_bytes < 600_000
    await client.subscription.stop()


async def test_a_hole_in_what_comes_live_is_filled() -> None:
    client = Client()
    await client.start()
    (epoch,) = {client.way.told[0]["position"]["epoch"]}
    await publish(2)
    await client.caught_up(2)
    layer = get_layer()
    room = get_hub()._rooms[GROUP]
    await layer.unsubscribe(GROUP)
    await publish(3)
    assert room.layer is layer
    client.subscription.deliver(Prepared('{"n":5}', GROUP, Position(5, epoch)))
    await client.caught_up(5)
    assert client.way.offsets == [1, 2, 3, 4, 5]
    await client.subscription.stop()


async def test_a_hole_that_nobody_can_fill_is_told() -> None:
    client = Client()
    await client.start()
    epoch = client.way.told[0]["position"]["epoch"]
    client.subscription.deliver(Prepared('{"n":9}', GROUP, Position(9, epoch)))
    await client.caught_up(9)
    assert client.way.told[1] == {"type": "gap", "group": GROUP, "position": {"offset": 8, "epoch": epoch}}
    await client.subscription.stop()


async def test_a_history_that_fails_ends_the_subscription(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    await client.start()
    epoch = client.way.told[0]["position"]["epoch"]

    async def fail(*args: Any, **kwargs: Any) -> Any:
        raise LayerUnavailable("gone")

    monkeypatch.setattr(type(get_layer()), "aread", fail)
    client.subscription.deliver(Prepared('{"n":9}', GROUP, Position(9, epoch)))
    while not client.ended:
        await asyncio.sleep(0)
    assert client.ended == ["unavailable"]
    await client.subscription.stop()
    with pytest.raises(LayerUnavailable):
        await Client().start(Position(1, epoch))
    assert get_hub().groups == []


async def test_what_was_held_before_a_start_that_fails_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()

    async def fail(*args: Any, **kwargs: Any) -> Any:
        client.subscription.deliver(Prepared('{"n":1}', GROUP, Position(1, "e")))
        assert client.way.held_bytes
        raise LayerUnavailable("gone")

    monkeypatch.setattr(reads.Reads, "read", fail)
    with pytest.raises(LayerUnavailable):
        await client.start(Position(0, "e"))
    assert client.way.held_bytes == 0


async def test_many_who_miss_the_same_share_reads_and_envelopes(monkeypatch: pytest.MonkeyPatch) -> None:
    start = (await Group(GROUP).ahistory()).position
    await publish(50)
    read_count = 0
    layer = type(get_layer())
    aread = layer.aread

    async def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal read_count
        read_count += 1
        await asyncio.sleep(0.01)
        return await aread(self, *args, **kwargs)

    monkeypatch.setattr(layer, "aread", counted)
    clients = [Client() for _ in range(100)]
    await asyncio.gather(*(client.start(start) for client in clients))
    for client in clients:
        await client.caught_up(50)
        await client.subscription.stop()
    assert read_count <= 4


async def test_so_many_reads_are_under_way_and_what_nobody_waits_for_is_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []
    goes_on = asyncio.Event()
    layer = type(get_layer())
    aread = layer.aread

    async def slow(self: Any, *args: Any, after: Position, **kwargs: Any) -> Any:
        asked.append(after.offset)
        await goes_on.wait()
        return await aread(self, *args, after=after, **kwargs)

    monkeypatch.setattr(layer, "aread", slow)
    many = [asyncio.ensure_future(reads.reads().read(GROUP, Position(n, "e"))) for n in range(20)]
    while len(asked) < reads.READS_COUNT:
        await asyncio.sleep(0)
    gone = many.pop()
    gone.cancel()
    await asyncio.wait({gone})
    goes_on.set()
    await asyncio.gather(*many)
    assert asked[: reads.READS_COUNT] == [*range(reads.READS_COUNT)]
    assert asked == [*range(19)]


async def test_what_was_missed_waits_in_the_history_while_another_group_is_sent() -> None:
    start = (await Group(GROUP).ahistory()).position
    await publish(5)
    client = Client()
    async with client.way.turn:
        await client.start(start)
        for _ in range(10):
            await asyncio.sleep(0)
        assert client.way.offsets == []
    await client.caught_up(5)
    await client.subscription.stop()


async def test_kept_messages_have_one_envelope_however_they_come() -> None:
    kept = Kept('{"n":1}', Position(1, "e"))
    assert envelopes().of("a", kept) is envelopes().of("a", kept)
    assert envelopes().of("b", kept) is not envelopes().of("a", kept)
