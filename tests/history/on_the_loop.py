"""A history and the outbox with the async ORM on the loop (fullduplex.db), in a process that has chosen the engine."""

from __future__ import annotations

import asyncio
import os
import threading

import django


async def main() -> None:
    from fullduplex import Group
    from fullduplex.db import aatomic
    from fullduplex.history.models import OutboxMessage
    from fullduplex.realtime.hub import Hub
    from tests.history.test_live import Member

    group, hub, member = Group("kept.1"), Hub(), Member()
    start = (await group.ahistory()).position
    await hub.join("kept.1", member)
    await asyncio.gather(*(group.asend(str(number)) for number in range(20)))

    async with aatomic():
        position = await group.asend("in a transaction")
        await group.asend_in_transaction("in the outbox")
        assert member.seen[20:] == []
    assert position is not None
    assert position.offset == 21
    await member.until(21)

    try:
        async with aatomic():
            await group.asend("never")
            await group.asend_in_transaction("never")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert (await group.asend("last", key="k")).offset == 22  # type: ignore[union-attr]  # it keeps a history
    await member.until(22)
    assert member.offsets == [*range(1, 23)]
    assert [kept.data for kept in (await group.ahistory(start._replace(offset=20))).messages] == [
        "in a transaction",
        "last",
    ]
    assert [bytes(row.data) async for row in OutboxMessage.objects.all()] == [b"in the outbox"]
    await hub.leave("kept.1", member)
    names = {thread.name for thread in threading.enumerate()} - {"MainThread"}
    assert names <= {"fullduplex-history-default"}, names  # the ORM ran on the loop


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.history.site"
    django.setup()
    from fullduplex.layers import allow_in_process

    allow_in_process("a test")
    asyncio.run(main())
    print("done")
