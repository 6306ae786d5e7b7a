"""Members and subscriptions: they agree, however joins, leaves, failures and cancellation overlap."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import weakref
from typing import Any

import pytest
from django.test import override_settings

from fullduplex.exceptions import LayerUnavailable
from fullduplex.layers.base import BaseLayer, Deliver, Gap, Message
from fullduplex.layers.memory import MemoryLayer
from fullduplex.realtime import hub as hub_module
from fullduplex.realtime.groups import Group
from fullduplex.realtime.hub import Hub, get_hub
from fullduplex.realtime.outbox import Outbox, totals
from fullduplex.realtime.prepared import Prepared
from tests.realtime.client import FakeClient


class SlowLayer(BaseLayer):
    """A layer that takes its time: the test says when, and with what result.

    Attributes:
        calls: of ``subscribe`` and ``unsubscribe``, in order.
        faults: what the hub did wrong with them.
        subscribed: what the broker believes.
    """

    def __init__(self, *, turns: int = 0) -> None:
        self.calls: list[str] = []
        self.subscribed: dict[str, Deliver] = {}
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.turns = turns
        self.running = 0
        self.faults: list[str] = []

    def publish(self, group: str, message: Message) -> None:
        raise NotImplementedError

    async def apublish(self, group: str, message: Message) -> None:
        if group in self.subscribed:
            self.subscribed[group](message)

    async def subscribe(self, group: str, deliver: Deliver) -> None:
        await self._work(f"subscribe {group}")
        if group in self.subscribed:
            self.faults.append(f"{group} subscribed twice")
        self.subscribed[group] = deliver

    async def unsubscribe(self, group: str) -> None:
        await self._work(f"unsubscribe {group}")
        del self.subscribed[group]

    async def _work(self, call: str) -> None:
        """Note an overlap instead of raising: the hub would take that for a failure of the broker."""
        self.calls.append(call)
        self.running += 1
        if self.running > 1:
            self.faults.append(f"{call} during another call")
        try:
            await self.gate.wait()
            for _ in range(self.turns):
                await asyncio.sleep(0)
            if self.error is not None:
                raise self.error
        finally:
            self.running -= 1


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def empty(hub: Hub) -> bool:
    return not hub._rooms


@pytest.fixture
def hub() -> Hub:
    layer = MemoryLayer()
    return Hub(lambda: layer)


def client(**options: Any) -> FakeClient:
    return FakeClient(**{"extension": True, **options})


async def test_join_deliver_leave(hub: Hub) -> None:
    one, two = client(), client()
    await hub.join("a", one.outbox)
    await hub.join("a", two.outbox)
    await hub.join("b", two.outbox)
    assert hub.groups == ["a", "b"]
    assert hub.member_count("a") == 2
    hub.deliver("a", "to a")
    hub.deliver("b", b"to b")
    hub.deliver("c", "to nobody")
    await hub.leave("a", one.outbox)
    hub.deliver("a", "after")
    assert one.received == ["to a"]
    assert two.received == ["to a", b"to b", "after"]
    await hub.leave_all(two.outbox)
    assert empty(hub)
    assert hub.member_count("a") == 0


async def test_joining_twice_is_joining_once(hub: Hub) -> None:
    member = client()
    await hub.join("a", member.outbox)
    await hub.join("a", member.outbox)
    hub.deliver("a", "once")
    assert member.received == ["once"]
    await hub.leave("a", member.outbox)
    await hub.leave("a", member.outbox)
    await hub.leave_all(member.outbox)
    assert empty(hub)


async def test_one_subscription_for_each_group() -> None:
    layer = SlowLayer()
    hub, members = Hub(lambda: layer), [client() for _ in range(10)]
    for member in members:
        await hub.join("a", member.outbox)
    for member in members:
        await hub.leave_all(member.outbox)
    assert layer.calls == ["subscribe a", "unsubscribe a"]
    assert empty(hub)


async def test_a_message_is_prepared_once(hub: Hub) -> None:
    seen: list[Any] = []
    for _ in range(3):
        member = client()
        member.outbox._write = lambda prepared: seen.append(prepared) or 0  # type: ignore[func-returns-value]
        await hub.join("a", member.outbox)
    hub.deliver("a", "x")
    assert len(seen) == 3
    assert len({id(prepared) for prepared in seen}) == 1


async def test_a_thousand_members(hub: Hub) -> None:
    members = [client(extension=number % 2 == 0) for number in range(1000)]
    await asyncio.gather(*(hub.join("room", member.outbox) for member in members))
    for number in range(20):
        hub.deliver("room", str(number))
    await turns(60)
    assert all(member.received == [str(number) for number in range(20)] for member in members)
    await asyncio.gather(*(hub.leave_all(member.outbox) for member in members))
    assert empty(hub)


@pytest.mark.parametrize("extension", [True, False], ids=["prepared", "send"])
async def test_a_slow_member_does_not_hold_up_the_others(hub: Hub, extension: bool) -> None:
    slow, fast = client(extension=extension, max_bytes=4096), client(extension=extension)
    slow.slow = True
    for member in (slow, fast):
        await hub.join("a", member.outbox)
    for number in range(100):
        hub.deliver("a", f"{number:0200}")
        await turns(5)
        assert len(fast.received) == number + 1
        assert slow.buffered_bytes + slow.outbox.waiting_bytes <= 4096 + 264
    assert slow.overflow == [(1013, "too slow")]
    for member in (slow, fast):
        await hub.leave_all(member.outbox)
        await member.outbox.close()


async def test_a_member_that_fails_does_not_affect_the_others(
    hub: Hub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [client() for _ in range(3)]
    for member in members:
        await hub.join("a", member.outbox)
    deliver = Outbox.deliver

    def fail_for_one(outbox: Outbox, prepared: Prepared) -> None:
        if outbox is members[1].outbox:
            raise ZeroDivisionError
        deliver(outbox, prepared)

    monkeypatch.setattr(Outbox, "deliver", fail_for_one)
    hub.deliver("a", "x")
    assert members[0].received == members[2].received == ["x"]
    assert len(caplog.records) == 1


async def test_leaving_while_a_message_is_delivered(hub: Hub) -> None:
    """What a callback of one member does to the group does not disturb the delivery to the others."""
    members = [client(max_bytes=0) for _ in range(4)]
    for member in members:
        await hub.join("a", member.outbox)
    members[0].slow = True
    left: list[asyncio.Task[None]] = []

    def leave_and_join(code: int, reason: str) -> None:
        hub._remove("a", members[0].outbox)
        hub._remove("a", members[3].outbox)
        left.append(asyncio.ensure_future(hub.join("a", client().outbox)))

    members[0].outbox._on_overflow = leave_and_join
    hub.deliver("a", "x")
    assert members[1].received == members[2].received == ["x"]
    await asyncio.gather(*left)
    assert hub.member_count("a") == 3


# Races ---------------------------------------------------------------------------------------


async def test_two_joins_at_once_wait_for_one_subscription() -> None:
    layer = SlowLayer()
    hub, one, two = Hub(lambda: layer), client(), client()
    layer.gate.clear()
    joins = [asyncio.ensure_future(hub.join("a", member.outbox)) for member in (one, two)]
    await turns()
    assert not any(join.done() for join in joins)
    layer.gate.set()
    await asyncio.gather(*joins)
    assert layer.calls == ["subscribe a"]
    await layer.apublish("a", "x")
    assert one.received == two.received == ["x"]


async def test_a_join_while_the_last_leave_unsubscribes() -> None:
    layer = SlowLayer()
    hub, one, two = Hub(lambda: layer), client(), client()
    await hub.join("a", one.outbox)
    layer.gate.clear()
    leave = asyncio.ensure_future(hub.leave("a", one.outbox))
    await turns()
    join = asyncio.ensure_future(hub.join("a", two.outbox))
    await turns()
    assert not join.done()
    layer.gate.set()
    await asyncio.gather(leave, join)
    assert layer.calls == ["subscribe a", "unsubscribe a", "subscribe a"]
    await layer.apublish("a", "x")
    assert (one.received, two.received) == ([], ["x"])


async def test_a_leave_while_the_join_subscribes() -> None:
    layer = SlowLayer()
    hub, member = Hub(lambda: layer), client()
    layer.gate.clear()
    join = asyncio.ensure_future(hub.join("a", member.outbox))
    await turns()
    leave = asyncio.ensure_future(hub.leave_all(member.outbox))
    await turns()
    layer.gate.set()
    await asyncio.gather(join, leave)
    assert layer.subscribed == {}
    assert empty(hub)


async def test_a_join_after_a_leave_while_the_first_join_subscribes() -> None:
    layer = SlowLayer()
    hub, one, two = Hub(lambda: layer), client(), client()
    layer.gate.clear()
    join = asyncio.ensure_future(hub.join("a", one.outbox))
    await turns()
    leave = asyncio.ensure_future(hub.leave_all(one.outbox))
    await turns()
    again = asyncio.ensure_future(hub.join("a", two.outbox))
    await turns()
    layer.gate.set()
    await asyncio.gather(join, leave, again)
    assert (layer.calls, layer.faults) == (["subscribe a"], [])
    await layer.apublish("a", "x")
    assert (one.received, two.received) == ([], ["x"])


@pytest.mark.parametrize("after_turns", range(8))
async def test_a_join_that_is_cancelled(after_turns: int) -> None:
    layer = SlowLayer(turns=3)
    hub, member = Hub(lambda: layer), client()
    join = asyncio.ensure_future(hub.join("a", member.outbox))
    await turns(after_turns)
    cancelled = join.cancel()
    await asyncio.gather(join, return_exceptions=True)
    if cancelled:
        assert hub.member_count("a") == 0
    else:
        await hub.leave_all(member.outbox)
    await turns(20)
    assert layer.subscribed == {}
    assert empty(hub)


async def test_a_cancelled_join_does_not_take_another_one_with_it() -> None:
    layer = SlowLayer()
    hub, one, two = Hub(lambda: layer), client(), client()
    layer.gate.clear()
    joins = [asyncio.ensure_future(hub.join("a", member.outbox)) for member in (one, two)]
    await turns()
    joins[0].cancel()
    await turns()
    layer.gate.set()
    await joins[1]
    await layer.apublish("a", "x")
    assert (one.received, two.received) == ([], ["x"])


@pytest.mark.parametrize("after_turns", range(6))
async def test_a_leave_that_is_cancelled(after_turns: int) -> None:
    layer = SlowLayer(turns=2)
    hub, member = Hub(lambda: layer), client()
    await hub.join("a", member.outbox)
    leave = asyncio.ensure_future(hub.leave_all(member.outbox))
    await turns(after_turns)
    leave.cancel()
    await asyncio.gather(leave, return_exceptions=True)
    await turns(20)
    if after_turns:
        assert layer.subscribed == {}
        assert empty(hub)


@pytest.mark.parametrize("after_turns", range(1, 8))
async def test_a_cancelled_leave_of_all_groups_ends_every_subscription(after_turns: int) -> None:
    layers: dict[str, SlowLayer] = {}

    class Router(SlowLayer):
        async def subscribe(self, group: str, deliver: Deliver) -> None:
            layers[group] = SlowLayer(turns=1)
            await layers[group].subscribe(group, deliver)

        async def unsubscribe(self, group: str) -> None:
            await layers[group].unsubscribe(group)

    layer = Router()
    hub, member = Hub(lambda: layer), client()
    for group in "abc":
        await hub.join(group, member.outbox)
    leave = asyncio.ensure_future(hub.leave_all(member.outbox))
    await turns(after_turns)
    leave.cancel()
    await asyncio.gather(leave, return_exceptions=True)
    await turns(20)
    assert [group for group, layer in layers.items() if layer.subscribed] == []
    assert empty(hub)


async def test_random_churn_agrees_in_the_end() -> None:
    generator = random.Random(1)
    layers: dict[str, SlowLayer] = {}

    class Router(SlowLayer):
        """One slow layer for each group, so that calls for different groups may overlap."""

        async def subscribe(self, group: str, deliver: Deliver) -> None:
            layer = layers.setdefault(group, SlowLayer())
            layer.turns = generator.randrange(4)
            await layer.subscribe(group, deliver)

        async def unsubscribe(self, group: str) -> None:
            layers[group].turns = generator.randrange(4)
            await layers[group].unsubscribe(group)

    router = Router()
    hub = Hub(lambda: router)

    async def live(member: FakeClient) -> None:
        for _ in range(60):
            group = f"g{generator.randrange(4)}"
            task = asyncio.ensure_future(generator.choice([hub.join, hub.leave])(group, member.outbox))
            await turns(generator.randrange(4))
            if generator.random() < 0.3:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            hub.deliver(group, "x")
        await hub.leave_all(member.outbox)

    await asyncio.gather(*(live(client()) for _ in range(12)))
    await turns(20)
    assert len(layers) == 4
    assert all((layer.subscribed, layer.faults) == ({}, []) for layer in layers.values())
    assert empty(hub)


# Failures of the layer -----------------------------------------------------------------------


async def test_a_layer_that_cannot_subscribe() -> None:
    layer = SlowLayer()
    hub, one, two = Hub(lambda: layer), client(), client()
    layer.error = LayerUnavailable("down")
    results = await asyncio.gather(*(hub.join("a", m.outbox) for m in (one, two)), return_exceptions=True)
    assert [type(result) for result in results] == [LayerUnavailable, LayerUnavailable]
    assert empty(hub)
    layer.error = None
    await hub.join("a", one.outbox)
    await layer.apublish("a", "x")
    assert one.received == ["x"]


async def test_no_layer_at_all() -> None:
    def none() -> BaseLayer:
        raise LayerUnavailable("none")

    hub = Hub(none)
    with pytest.raises(LayerUnavailable):
        await hub.join("a", client().outbox)
    assert empty(hub)


async def test_a_layer_that_cannot_unsubscribe_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    layer = SlowLayer()
    hub, member = Hub(lambda: layer), client()
    await hub.join("a", member.outbox)
    layer.error = LayerUnavailable("down")
    await hub.leave_all(member.outbox)
    assert [record.message for record in caplog.records] == [
        "The layer failed to end the subscription to the group 'a'"
    ]
    assert empty(hub)


async def test_a_leave_does_not_get_the_error_of_a_join() -> None:
    layer = SlowLayer()
    hub, one, two = Hub(lambda: layer), client(), client()
    layer.gate.clear()
    first = asyncio.ensure_future(hub.join("a", one.outbox))
    second = asyncio.ensure_future(hub.join("a", two.outbox))
    await turns()
    leave = asyncio.ensure_future(hub.leave("a", one.outbox))
    await turns()
    layer.error = LayerUnavailable("down")
    layer.gate.set()
    results = await asyncio.gather(first, second, leave, return_exceptions=True)
    assert [type(result) for result in results] == [LayerUnavailable, LayerUnavailable, type(None)]
    assert empty(hub)


# The process ---------------------------------------------------------------------------------


class GapLayer(SlowLayer):
    """A layer that has a broker to lose."""

    reports_gaps = True

    async def subscribe(self, group: str, deliver: Deliver, on_gap: Gap | None = None) -> None:
        await super().subscribe(group, deliver)
        assert on_gap is not None
        self.tell = on_gap


async def test_a_gap_ends_the_sockets_of_the_group() -> None:
    layer = GapLayer()
    hub = Hub(lambda: layer)
    member, other = client(), client()
    await hub.join("a", member.outbox)
    await hub.join("b", other.outbox)
    gaps = totals.gaps
    with override_settings(FULLDUPLEX={"GAP_SPREAD_S": 0.0}):
        layer.tell()  # of the group that was subscribed last
    assert totals.gaps == gaps + 1
    while not other.overflow:
        await asyncio.sleep(0)
    assert other.overflow == [(1012, "messages may be missing")]
    assert member.overflow == []
    for outbox in (member.outbox, other.outbox):
        await hub.leave_all(outbox)
    layer.tell()  # nobody is there any more


async def test_a_gap_may_be_told_by_a_message_instead() -> None:
    layer = GapLayer()
    hub = Hub(lambda: layer)
    member = client()
    await hub.join("a", member.outbox)
    with override_settings(FULLDUPLEX={"GAP_POLICY": "continue"}):
        layer.tell()
        assert member.received == []
    with override_settings(FULLDUPLEX={"GAP_POLICY": "continue", "GAP_MESSAGE": '{"type":"gap"}'}):
        layer.tell()
    assert member.received == ['{"type":"gap"}']
    assert member.overflow == []
    await hub.leave_all(member.outbox)


async def test_one_hub_for_each_loop() -> None:
    hub = get_hub()
    assert get_hub() is hub

    async def other() -> Hub:
        return get_hub()

    assert await asyncio.to_thread(asyncio.run, other()) is not hub


def test_no_hub_without_a_loop() -> None:
    with pytest.raises(RuntimeError):
        get_hub()


async def test_members_on_several_loops_hear_the_same() -> None:
    received: list[list[str | bytes]] = []
    ready, published = threading.Barrier(4), threading.Event()

    async def live() -> None:
        member = client()
        await get_hub().join("everywhere", member.outbox)
        await asyncio.to_thread(ready.wait, 10)
        await asyncio.to_thread(published.wait, 10)
        async with asyncio.timeout(30):
            while len(member.received) < 50:
                await asyncio.sleep(0)
        await get_hub().leave_all(member.outbox)
        received.append(member.received)

    threads = [threading.Thread(target=lambda: asyncio.run(live())) for _ in range(3)]
    for thread in threads:
        thread.start()

    def publish() -> None:
        ready.wait(30)
        for number in range(50):
            Group("everywhere").send(str(number))
        published.set()

    await asyncio.to_thread(publish)
    for thread in threads:
        await asyncio.to_thread(thread.join, 10)
    assert received == [[str(number) for number in range(50)]] * 3


async def test_nothing_is_left_of_a_member(hub: Hub) -> None:
    member = client()
    await hub.join("a", member.outbox)
    await hub.join("b", member.outbox)
    hub.deliver("a", "x")
    await hub.leave_all(member.outbox)
    await member.outbox.close()
    outbox: weakref.ref[Outbox] = weakref.ref(member.outbox)
    del member
    gc.collect()
    assert outbox() is None


def test_nothing_is_left_of_a_loop() -> None:
    async def live() -> weakref.ref[Hub]:
        member = client()
        await get_hub().join("a", member.outbox)
        await Group("a").asend("x")
        await get_hub().leave_all(member.outbox)
        return weakref.ref(get_hub())

    hub = asyncio.run(live())
    gc.collect()
    assert hub() is None


async def test_a_subscription_that_could_not_be_settled_is_settled_once_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hub_module, "PAUSE_S", 0.0)
    layer = SlowLayer()
    hub, member = Hub(lambda: layer), client()
    await hub.join("a", member.outbox)
    unsubscribe, failures = hub._unsubscribe, [LookupError("a fault of ours")]

    async def fail_once(room: Any) -> None:
        if failures:
            raise failures.pop()
        await unsubscribe(room)

    monkeypatch.setattr(hub, "_unsubscribe", fail_once)
    await hub.leave("a", member.outbox)
    async with asyncio.timeout(30):
        while layer.subscribed:
            await asyncio.sleep(0)
    await turns()
    assert empty(hub)
    assert "The subscription to the group 'a' does not agree with its members" in caplog.text
