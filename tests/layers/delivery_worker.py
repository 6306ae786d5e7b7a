"""One of the processes of test_redis_delivery.py: members that come and go, publishers, and a record of it all.

Run as ``python -m tests.layers.delivery_worker '{"hosts": [...], ...}'``; prints what was found as JSON. Before it
publishes, and before it ends, it prints a line and waits for one, until the others are as far.
Times are those of ``time.monotonic()``, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, field
from typing import Any

LOBBY = "lobby"
ROOMS_COUNT = 10  # churn here makes subscriptions come and go on the server; in the lobby somebody always stays


@dataclass
class Plan:
    hosts: list[Any]
    cluster: bool
    number: int
    prefix: str
    duration_s: float
    members_count: int
    publishers_count: int
    messages_per_s: float
    churn_per_s: float


class Member:
    """Records what one socket gets: by publisher and group the numbers, in order."""

    def __init__(self) -> None:
        from fullduplex.realtime.outbox import Outbox

        extension = {"version": 1, "write": self._write, "on_drain": lambda callback: callback()}
        self.outbox = Outbox({"extensions": {"fullduplex.prepared": extension}}, self._send, self._overflow)
        self.received: dict[str, list[int]] = {}
        self.caught_up: dict[str, asyncio.Event] = {}
        self.joined_s: dict[str, float] = {}
        self.left_s: dict[str, float] = {}

    def _write(self, prepared: Any) -> int:
        who, _, number = prepared.data.partition(" ")
        self.received.setdefault(who, []).append(int(number))
        if who in self.caught_up:
            self.caught_up[who].set()
        return 0

    async def _send(self, event: Any) -> None:
        raise AssertionError("everything goes by the extension")

    def _overflow(self, code: int, reason: str) -> None:
        raise AssertionError(f"closed with {code}")

    async def join(self, hub: Any, group: str) -> None:
        await hub.join(group, self.outbox)
        self.joined_s[group] = time.monotonic()

    async def catch_up(self, layer: Any, group: str) -> None:
        """Wait for all that has been published until now: what is published next comes behind it."""
        who = f"{id(self)}@{group}"
        self.caught_up[who] = asyncio.Event()
        await layer.apublish(group, f"{who} 0")
        await self.caught_up[who].wait()

    async def leave(self, hub: Any, layer: Any, group: str) -> None:
        self.left_s[group] = time.monotonic()
        await self.catch_up(layer, group)
        await hub.leave(group, self.outbox)


@dataclass
class Record:
    #: "publisher@group" -> for each number when publishing it began and ended
    published: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        return {
            "published": self.published,
            "members": [
                {"received": member.received, "joined_s": member.joined_s, "left_s": member.left_s}
                for member in self.members
            ],
        }


async def main(plan: Plan) -> Record:
    from fullduplex.layers.redis import RedisLayer
    from fullduplex.realtime.hub import Hub

    layer = RedisLayer(hosts=plan.hosts, cluster=plan.cluster, prefix=plan.prefix)
    hub, record = Hub(lambda: layer), Record()
    await layer.open()
    stays = await asyncio.gather(*(_stay(hub, record) for _ in range(plan.members_count)))
    await _meet()
    end_s = time.monotonic() + plan.duration_s
    await asyncio.gather(
        _churn(hub, layer, record, plan, end_s),
        *(_publish(layer, record, f"{plan.number}.{who}", plan, end_s) for who in range(plan.publishers_count)),
    )
    await _meet()
    for member in stays:
        for group in member.joined_s:
            await member.catch_up(layer, group)
        await hub.leave_all(member.outbox)
    await layer.close()
    return record


async def _meet() -> None:
    """Wait until the other processes are as far."""
    print(flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def _stay(hub: Any, record: Record) -> Member:
    member = Member()
    record.members.append(member)
    await member.join(hub, LOBBY)
    await member.join(hub, f"room{random.randrange(ROOMS_COUNT)}")
    return member


async def _churn(hub: Any, layer: Any, record: Record, plan: Plan, end_s: float) -> None:
    visits = []
    while time.monotonic() < end_s:
        visits.append(asyncio.create_task(_visit(hub, layer, record)))
        await asyncio.sleep(1 / plan.churn_per_s)
    await asyncio.gather(*visits)


async def _visit(hub: Any, layer: Any, record: Record) -> None:
    member = Member()
    record.members.append(member)
    group = random.choice([LOBBY, *(f"room{number}" for number in range(2 * ROOMS_COUNT))])
    await member.join(hub, group)
    await asyncio.sleep(random.uniform(0, 0.5))
    await member.leave(hub, layer, group)


async def _publish(layer: Any, record: Record, who: str, plan: Plan, end_s: float) -> None:
    """Half of the publishers are threads without a loop."""
    sent = 0
    in_thread = who.endswith(("1", "3"))
    while time.monotonic() < end_s:
        group = f"room{random.randrange(2 * ROOMS_COUNT)}" if sent % 2 else LOBBY
        numbers = record.published.setdefault(f"{who}@{group}", [])
        message = f"{who}@{group} {len(numbers)}"
        began_s = time.monotonic()
        if in_thread:
            await asyncio.to_thread(layer.publish, group, message)
        else:
            await layer.apublish(group, message)
        numbers.append((began_s, time.monotonic()))
        sent += 1
        await asyncio.sleep(1 / plan.messages_per_s)


if __name__ == "__main__":
    from django.conf import settings

    settings.configure()
    print(json.dumps(asyncio.run(main(Plan(**json.loads(sys.argv[1])))).report()))
