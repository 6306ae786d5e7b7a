"""A run of publishers and subscribers of one group with a history, while something fails; and the count of it all.

Every subscriber is a hub on a layer of its own, as a process has it. What is asked of each: every message that was
acknowledged came to it exactly once, in one order, or it was told before the next one that something is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fullduplex.exceptions import LayerError
from fullduplex.layers.history import Keep, Position
from fullduplex.layers.redis import RedisLayer
from fullduplex.realtime.hub import Hub
from fullduplex.realtime.keeping import Keeping
from fullduplex.realtime.prepared import Prepared

GROUP = "g"
KEEP = Keep(count=100_000, age_s=3600.0, max_bytes=100_000_000)
DEADLINE_S = 300.0  # only ever reached by a hang
PUBLISHERS_COUNT = 12
PAUSE_S = 0.02  # of each publisher after a message, while a fault lasts: all of them shall see it

#: Done when so many messages are acknowledged.
Fault = Callable[[], Awaitable[None]]


class Member:
    """Writes down what it is handed, and None where it is told of a gap."""

    def __init__(self) -> None:
        self.groups: list[str] = []
        self.received: list[tuple[Position, str] | None] = []

    def deliver(self, prepared: Prepared) -> None:
        assert prepared.position is not None
        self.received.append((prepared.position, str(prepared.data)))

    def take(self, group: str, event: Any) -> None:
        raise AssertionError("nobody sends events")

    def note_gap(self, group: str) -> None:
        self.received.append(None)

    @property
    def gaps_count(self) -> int:
        return self.received.count(None)


class Run:
    """
    Args:
        publishing, subscribing: options of the layers.
        count: messages.
        subscribers_count: hubs.

    Attributes:
        acknowledged: what publishers were told of each message, by its text.
        refusals_count: appends that raised, and were made again with their key.
    """

    def __init__(
        self, publishing: dict[str, Any], subscribing: dict[str, Any], *, count: int, subscribers_count: int = 3
    ) -> None:
        self.acknowledged: dict[str, Position] = {}
        self.refusals_count = 0
        self.members = [Member() for _ in range(subscribers_count)]
        self._count = count
        self._rest_count = count // 10  # is published when the last fault is over
        self._pause_s = 0.0
        self._publishers = [RedisLayer(**publishing) for _ in range(2)]
        self._layers = [RedisLayer(**subscribing) for _ in self.members]
        self._hubs = [
            Hub(lambda layer=layer: layer, lambda group, layer=layer: Keeping(layer, KEEP))  # type: ignore[misc]
            for layer in self._layers
        ]

    async def go(self, faults: dict[int, Fault]) -> None:
        """Publish everything, with the faults at their times, and check what came of it."""
        async with asyncio.timeout(DEADLINE_S):
            for hub, member in zip(self._hubs, self.members, strict=True):
                await hub.join(GROUP, member)
            publishing = [asyncio.create_task(self._publish(who)) for who in range(PUBLISHERS_COUNT)]
            for number, fault in sorted(faults.items()):
                while len(self.acknowledged) < number:
                    await asyncio.sleep(0.001)
                self._pause_s = PAUSE_S
                await fault()
                self._pause_s = 0.0
            await asyncio.gather(*publishing)
            end = await self._settle()
        for hub, member in zip(self._hubs, self.members, strict=True):
            await hub.leave_all(member)
        for layer in (*self._publishers, *self._layers):
            await layer.close()
        for member in self.members:
            self._check(member, end)

    async def _publish(self, who: int) -> None:
        """Every third publisher is code without a loop."""
        layer = self._publishers[who % 2]
        for number in range(who, self._count, PUBLISHERS_COUNT):
            text = f"{who} {number}"
            while self._pause_s and len(self.acknowledged) > self._count - self._rest_count:
                await asyncio.sleep(0.001)
            await asyncio.sleep(self._pause_s)
            while text not in self.acknowledged:
                try:
                    if who % 3 == 0:
                        position = await asyncio.to_thread(layer.append, GROUP, text, KEEP, key=text)
                    else:
                        position = await layer.aappend(GROUP, text, KEEP, key=text)
                except LayerError:
                    self.refusals_count += 1
                    await asyncio.sleep(0.01)
                else:
                    self.acknowledged[text] = position

    async def _settle(self) -> Position:
        """Wait until all hubs are where the history ends."""
        while True:
            try:
                end = (await self._publishers[0].aread(GROUP, KEEP, after=None)).position
            except LayerError:
                continue
            if all(hub.position(GROUP) == end for hub in self._hubs):
                return end
            await asyncio.sleep(0.01)

    def _check(self, member: Member, end: Position) -> None:
        messages = [entry for entry in member.received if entry is not None]
        assert len({position for position, _ in messages}) == len(messages), "a position came twice"
        self._check_holes(member.received)
        texts = dict(messages)
        for text, position in self.acknowledged.items():
            assert texts.get(position, text) == text, "another message is at an acknowledged position"
        for epoch in {position.epoch for position in texts}:
            of_epoch = [text for position, text in messages if position.epoch == epoch]
            assert len(set(of_epoch)) == len(of_epoch), "a message was kept twice"
            for who in range(PUBLISHERS_COUNT):
                numbers = [int(text.split()[1]) for text in of_epoch if text.startswith(f"{who} ")]
                assert numbers == sorted(numbers), "the messages of a publisher changed places"
        missing = {text: position for text, position in self.acknowledged.items() if position not in texts}
        assert all(position.epoch != end.epoch for position in missing.values()) or member.gaps_count
        if member.gaps_count == 0:
            assert not missing
            assert [position.offset for position, _ in messages] == list(range(1, self._count + 1))
            assert len(messages) == self._count

    def _check_holes(self, received: list[tuple[Position, str] | None]) -> None:
        """Without a gap that was told, each position is the next one of the same epoch; the first is 1."""
        before: Position | None = None
        is_told = False
        for entry in received:
            if entry is None:
                is_told = True
                continue
            position = entry[0]
            if not is_told:
                expected = 1 if before is None else before.offset + 1
                assert position.offset == expected, f"{before} and then {position}, and nobody told"
                assert before is None or position.epoch == before.epoch
            before, is_told = position, False
        last = max((position for position in self.acknowledged.values()), key=lambda position: position.offset)
        assert is_told or before is None or before.epoch != last.epoch or before.offset >= last.offset

    def figures(self) -> str:
        received = [sum(entry is not None for entry in member.received) for member in self.members]
        gaps = [member.gaps_count for member in self.members]
        return (
            f"{len(self.acknowledged)} acknowledged, {self.refusals_count} refused and repeated; each got {received}, "
            f"told of gaps {gaps}"
        )
