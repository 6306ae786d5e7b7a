"""Following the history of a group: every message once, in order, whatever becomes of what the layer hands out."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fullduplex.exceptions import LayerUnavailable
from fullduplex.layers.base import Delivered, data_of
from fullduplex.layers.history import Keep, Kept, Missed, Position
from fullduplex.layers.memory import MemoryLayer
from fullduplex.realtime import following
from fullduplex.realtime.following import Follower
from fullduplex.realtime.hub import Hub
from fullduplex.realtime.keeping import Keeping
from tests.realtime.client import FakeClient

GAP = "(gap)"


class Store(MemoryLayer):
    """A history of which the test says whether it can be read, and when.

    Attributes:
        is_down: it cannot.
        gate: reading waits for it.
        reads: how often it was asked.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_down = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.reads = 0

    async def aread(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 3, max_bytes: int = 1_048_576
    ) -> Missed:
        self.reads += 1
        await self.gate.wait()
        if self.is_down:
            raise LayerUnavailable("down")
        return self.read(group, keep, after=after, max_count=max_count, max_bytes=max_bytes)


class Road:
    """A follower, and what it has handed on; ``publish`` keeps a message and says what the layer would hand out."""

    def __init__(self, keep: Keep) -> None:
        self.store = Store()
        self.keep = keep
        self.seen: list[str] = []
        self.follower = Follower(
            "g", Keeping(self.store, keep), lambda kept: self.seen.append(str(kept.data)), lambda: self.seen.append(GAP)
        )

    def publish(self, text: str) -> Kept:
        return Kept(text, self.store.append("g", text, self.keep))

    def publish_many(self, texts: str) -> list[Kept]:
        return [self.publish(text) for text in texts]

    async def until(self, count: int) -> list[str]:
        async with asyncio.timeout(10):
            while len(self.seen) < count:
                await asyncio.sleep(0)
        return self.seen


@asynccontextmanager
async def begun(count: int = 100) -> AsyncIterator[Road]:
    road = Road(Keep(count, 60, 1_000_000))
    await road.follower.begin()
    yield road
    road.follower.close()
    await asyncio.sleep(0)


async def test_messages_are_handed_on_at_once_and_once() -> None:
    async with begun() as road:
        a, b, c = road.publish_many("abc")
        for message in (a, b, b, a, c):
            road.follower.take(message)
        assert road.seen == ["a", "b", "c"]
        assert road.follower.position == c.position
        assert road.store.reads == 1


async def test_a_hole_is_filled_before_what_comes_behind_it() -> None:
    async with begun() as road:
        a, *_, h = road.publish_many("abcdefgh")
        road.follower.take(a)
        road.follower.take(h)
        assert road.seen == ["a"]
        assert await road.until(8) == list("abcdefgh")
        road.follower.take(road.publish("i"))
        assert (await road.until(9))[8:] == ["i"]


async def test_what_comes_while_a_hole_is_filled_waits_behind_it() -> None:
    async with begun() as road:
        road.store.gate.clear()
        _, b, c = road.publish_many("abc")
        road.follower.take(b)
        await asyncio.sleep(0)
        road.follower.take(c)
        road.follower.take(road.publish("d"))
        assert road.seen == []
        road.store.gate.set()
        assert await road.until(4) == list("abcd")


async def test_few_read_at_the_same_time_and_all_get_their_turn() -> None:
    async with begun() as road:
        sent = road.publish_many("abcdef")
        store, reads = road.store, road.store.reads
        store.gate.clear()
        seen: list[tuple[int, str]] = []
        followers = []
        for number in range(20):
            follower = Follower(
                "g",
                Keeping(store, road.keep),
                lambda kept, number=number: seen.append((number, str(kept.data))),  # type: ignore[misc]  # of its loop
                lambda: seen.append((-1, GAP)),
            )
            follower.position = Position(0, sent[0].position.epoch)
            follower.look()
            followers.append(follower)
        for _ in range(10):
            await asyncio.sleep(0)
        assert store.reads - reads == following.READS_COUNT
        store.gate.set()
        async with asyncio.timeout(10):
            while len(seen) < 120:
                await asyncio.sleep(0)
        assert sorted(seen) == [(number, text) for number in range(20) for text in "abcdef"]


async def test_the_wait_for_a_turn_is_no_failure_of_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = following._Turns(asyncio.get_running_loop())
    for _ in range(following.READS_COUNT):
        assert await turns.take(5.0) == pytest.approx(5.0, abs=1e-3)
    behind = asyncio.create_task(turns.take(5.0))
    await asyncio.sleep(0.01)
    turns.give_back()
    assert await behind > 5.009
    failing = asyncio.create_task(turns.take(5.0))
    await asyncio.sleep(0.01)
    turns.note_failure()
    turns.give_back()
    assert await failing == 5.0, "nobody waits for longer than the history is waited for"


async def test_what_has_left_the_window_is_a_gap() -> None:
    async with begun(2) as road:
        a, *_, f = road.publish_many("abcdef")
        road.follower.take(a)
        road.follower.take(f)
        assert await road.until(4) == ["a", GAP, "e", "f"]


async def test_what_is_held_is_not_missing_though_it_has_left_the_window() -> None:
    async with begun(2) as road:
        road.store.gate.clear()
        a, _, c, d, e, f = road.publish_many("abcdef")
        road.follower.take(a)
        for message in (c, d, e, f):
            road.follower.take(message)
        road.store.gate.set()
        assert await road.until(6) == ["a", GAP, "c", "d", "e", "f"]


async def test_another_epoch_is_a_gap_and_nothing_of_the_old_one_follows() -> None:
    async with begun() as road:
        late = road.publish_many("abc")
        road.follower.take(late[0])
        road.store._forget_history()
        x, y = road.publish_many("xy")
        road.follower.take(y)
        assert await road.until(4) == ["a", GAP, "x", "y"]
        road.follower.take(late[1])
        road.follower.take(x)
        road.follower.take(road.publish("z"))
        assert (await road.until(5))[4:] == ["z"]


async def test_looking_hands_on_what_was_missed_without_a_word() -> None:
    async with begun() as road:
        road.publish_many("abcdefg")
        road.follower.look()
        assert await road.until(7) == list("abcdefg")
        road.follower.look()
        await asyncio.sleep(0.01)
        assert len(road.seen) == 7


async def test_a_store_that_is_back_in_time() -> None:
    async with begun() as road:
        road.store.is_down = True
        _, b = road.publish_many("ab")
        road.follower.take(b)
        for _ in range(5):
            await asyncio.sleep(0)
        road.store.is_down = False
        assert await road.until(2) == ["a", "b"]


async def test_a_store_that_is_not_back_in_time_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FILL_S", 0.02)
    monkeypatch.setattr(following, "PAUSE_S", 0.01)
    async with begun() as road:
        road.store.is_down = True
        _, b, _, d = road.publish_many("abcd")
        road.follower.take(b)
        road.follower.take(d)
        assert await road.until(3) == [GAP, "b", "d"]
        road.store.is_down = False
        road.follower.take(road.publish("e"))
        assert road.seen[3:] == ["e"]


async def test_a_message_that_the_store_never_gets_is_handed_on_behind_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FILL_S", 0.02)
    monkeypatch.setattr(following, "PAUSE_S", 0.01)
    async with begun() as road:
        position = road.publish("a").position
        road.follower.take(Kept("z", Position(position.offset + 5, position.epoch)))
        assert await road.until(3) == ["a", GAP, "z"]


async def test_what_waits_behind_a_hole_is_bounded_and_nothing_of_it_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "HELD_BYTES", 3 * (1 + following.ENTRY_BYTES))
    async with begun() as road:
        road.store.gate.clear()
        for message in road.publish_many("abcdefghijk")[1:]:
            road.follower.take(message)
            assert road.follower._held_bytes <= following.HELD_BYTES
        road.store.gate.set()
        assert await road.until(11) == list("abcdefghijk")


async def test_messages_of_nothing_that_wait_behind_a_hole_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "HELD_BYTES", 3 * following.ENTRY_BYTES)
    async with begun() as road:
        road.store.gate.clear()
        for kept in road.publish_many("abcdefgh")[1:]:
            kept.data = ""
            road.follower.take(kept)
            assert len(road.follower._held) <= 3
        road.store.gate.set()
        assert len(await road.until(8)) == 8


@pytest.mark.parametrize("seed", range(5))
async def test_a_bad_road_loses_and_repeats_nothing(seed: int) -> None:
    async with begun(10000) as road:
        chance = random.Random(seed)
        late: list[Kept] = []
        for number in range(2_000):
            message = road.publish(str(number))
            late.append(message)
            if chance.random() < 0.3:
                chance.shuffle(late)
            while late and chance.random() < 0.7:
                message = late.pop()
                for _ in range(chance.choice((0, 1, 1, 1, 2))):
                    road.follower.take(message)
            if chance.random() < 0.1:
                await asyncio.sleep(0)
        road.follower.look()
        assert await road.until(2_000) == [str(number) for number in range(2_000)]


# Through the hub ---------------------------------------------------------------------------------


class LossyLayer(MemoryLayer):
    """Hands out one message of three; tells of a gap when the test says so."""

    reports_gaps = True

    async def subscribe(self, group, deliver, on_gap=None) -> None:  # type: ignore[no-untyped-def]
        self.on_gap = on_gap
        count = 0

        def lossy(message: Delivered) -> None:
            nonlocal count
            count += 1
            if count % 3 == 0:
                deliver(message)

        await super().subscribe(group, lossy)


async def test_members_miss_nothing_of_what_the_layer_loses() -> None:
    layer, keep = LossyLayer(), Keep(100, 60, 100_000)
    hub = Hub(lambda: layer, lambda group: Keeping(layer, keep))
    await layer.aappend("g", "before", keep)
    members = [FakeClient(extension=True), FakeClient(extension=False)]
    for member in members:
        await hub.join("g", member.outbox)
    assert hub.position("g") == (await layer.aread("g", keep, after=None)).position
    wanted: list[str | bytes] = [str(number) for number in range(20)]
    for text in wanted:
        await layer.aappend("g", text, keep)
    layer.on_gap()
    async with asyncio.timeout(10):
        while not all(len(member.received) == 20 for member in members):
            await asyncio.sleep(0)
    for member in members:
        assert member.received == wanted
        assert member.outbox.gaps == 0
        await hub.leave_all(member.outbox)
    assert hub.position("g") is None


class DataAlone(MemoryLayer):
    """A layer that carries no positions; the store is another one."""

    supports_history = False

    async def apublish_kept(self, group: str, kept: Kept) -> None:
        await self.apublish(group, data_of(kept))


async def test_a_layer_without_positions_says_that_there_is_something_in_the_store() -> None:
    layer, store, keep = DataAlone(), MemoryLayer(), Keep(100, 60, 100_000)
    hub = Hub(lambda: layer, lambda group: Keeping(store, keep))
    member = FakeClient(extension=True)
    await hub.join("g", member.outbox)
    for number in range(10):
        kept = Kept(str(number), await store.aappend("g", str(number), keep))
        await layer.apublish_kept("g", kept)
    async with asyncio.timeout(10):
        while len(member.received) < 10:
            await asyncio.sleep(0)
    assert member.received == [str(number) for number in range(10)]
    await hub.leave_all(member.outbox)
