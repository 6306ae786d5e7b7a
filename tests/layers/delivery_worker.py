"""One of the processes of test_redis_delivery.py: members that come and go, publishers, and a record of it all.

Run as ``python -m tests.layers.delivery_worker '{"hosts": [...], ...}'``; prints what was found as JSON.
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
SETTLE_S = 0.6


@dataclass
class Plan:
    hosts: list[Any]
    cluster: bool
    number: int
    start_s: float
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
        self.joined_s: dict[str, float] = {}
        self.left_s: dict[str, float] = {}

    def _write(self, prepared: Any) -> int:
        who, _, number = prepared.data.partition(" ")
        self.received.setdefault(who, []).append(int(number))
        return 0

    async def _send(self, event: Any) -> None:
        raise AssertionError("everything goes by the extension")

    def _overflow(self, code: int, reason: str) -> None:
        raise AssertionError(f"closed with {code}")

    async def join(self, hub: Any, group: str) -> None:
        await hub.join(group, self.outbox)
        self.joined_s[group] = time.monotonic()

    async def leave(self, hub: Any, group: str) -> None:
        self.left_s[group] = time.monotonic()
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

    layer = RedisLayer(hosts=plan.hosts, cluster=plan.cluster, prefix=f"delivery{plan.start_s}")
    hub, record = Hub(lambda: layer), Record()
    await layer.open()
    await asyncio.sleep(max(plan.start_s - time.monotonic(), 0))
    await asyncio.gather(*(_stay(hub, record) for _ in range(plan.members_count)))
    end_s = plan.start_s + plan.duration_s
    await asyncio.gather(
        _churn(hub, record, plan, end_s),
        *(_publish(layer, record, f"{plan.number}.{who}", plan, end_s) for who in range(plan.publishers_count)),
    )
    await asyncio.sleep(SETTLE_S)  # what other processes have published is on its way
    for member in record.members:
        await hub.leave_all(member.outbox)
    await layer.close()
    return record


async def _stay(hub: Any, record: Record) -> None:
    member = Member()
    record.members.append(member)
    await member.join(hub, LOBBY)
    await member.join(hub, f"room{random.randrange(ROOMS_COUNT)}")


async def _churn(hub: Any, record: Record, plan: Plan, end_s: float) -> None:
    visits = []
    while time.monotonic() < end_s:
        visits.append(asyncio.create_task(_visit(hub, record)))
        await asyncio.sleep(1 / plan.churn_per_s)
    await asyncio.gather(*visits)


async def _visit(hub: Any, record: Record) -> None:
    member = Member()
    record.members.append(member)
    group = random.choice([LOBBY, *(f"room{number}" for number in range(2 * ROOMS_COUNT))])
    await member.join(hub, group)
    await asyncio.sleep(random.uniform(0, 0.5))
    await member.leave(hub, group)


async def _publish(layer: Any, record: Record, who: str, plan: Plan, end_s: float) -> None:
    """Half of the publishers are threads without a loop."""
    sent = 0
    in_thread = who.endswith(("1", "3"))
    while time.monotonic() < end_s:
        group = LOBBY if sent % 2 else f"room{random.randrange(2 * ROOMS_COUNT)}"
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
