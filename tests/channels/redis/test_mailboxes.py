"""What waits on the channels of one loop, without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fullduplex.channels.redis import mailboxes
from fullduplex.channels.redis.mailboxes import MAX_MAILBOX_BYTES, Mailbox, Mailboxes


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(mailboxes.time, "monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def make(**options: Any) -> Mailboxes:
    given: dict[str, Any] = {"capacity": lambda channel: 3, "expiry_s": 10, "group_expiry_s": 100, **options}
    return Mailboxes(**{"on_empty": lambda group: None, **given})


def test_capacity_and_room() -> None:
    box = Mailbox(2)
    assert [box.put(b"x", 1e12) for _ in range(3)] == [True, True, False]
    assert box.dropped_count == 1
    big = Mailbox(100)
    assert big.put(b"x" * (MAX_MAILBOX_BYTES + 1), 1e12)  # one fits always
    assert not big.put(b"x", 1e12)


async def test_what_expired_makes_room(clock: Clock) -> None:
    boxes = make()
    for number in range(3):
        assert boxes.put("c", b"%d" % number)
        clock.now_s += 4
    assert boxes.put("c", b"3")  # "0" has expired
    assert [await boxes.get("c") for _ in range(3)] == [b"1", b"2", b"3"]


async def test_several_receivers_take_turns() -> None:
    boxes = make()
    receivers = [asyncio.ensure_future(boxes.get("c")) for _ in range(3)]
    await asyncio.sleep(0)
    assert boxes.awaited == ["c"]
    for number in range(3):
        boxes.put("c", b"%d" % number)
    assert sorted(await asyncio.gather(*receivers)) == [b"0", b"1", b"2"]
    assert boxes.awaited == []


async def test_a_message_for_a_cancelled_receiver_goes_to_the_next() -> None:
    boxes = make()
    first, second = (asyncio.ensure_future(boxes.get("c")) for _ in range(2))
    await asyncio.sleep(0)
    boxes.put("c", b"x")
    first.cancel()
    assert await second == b"x"
    assert first.cancelled()


async def test_nothing_is_left_of_channels_that_are_through() -> None:
    boxes = make()
    boxes.put("c", b"x")
    await boxes.get("c")
    assert boxes._boxes == {}


def test_consumers_that_ended_without_a_word(clock: Clock) -> None:
    ended: list[str] = []
    boxes = make(on_empty=ended.append)
    boxes.join("g", "dead")
    boxes.join("h", "dead")
    boxes.join("h", "lively")
    boxes.put("dead", b"x")
    clock.now_s += 60
    boxes.put("other", b"x")
    assert list(boxes._boxes) == ["other"]
    clock.now_s += 60
    boxes.join("h", "lively")
    boxes.put("other", b"x")
    assert ended == ["g"]
    assert {group: list(members) for group, members in boxes.groups.items()} == {"h": ["lively"]}


async def test_who_receives_stays_a_member(clock: Clock) -> None:
    """A consumer that is connected for more than a day does not drop out of its groups."""
    boxes = make()
    boxes.join("g", "c")
    receiver = asyncio.ensure_future(boxes.get("c"))
    await asyncio.sleep(0)
    clock.now_s += 1000
    boxes.put("other", b"x")
    assert list(boxes.groups["g"]) == ["c"]
    receiver.cancel()
    await asyncio.wait({receiver})


def test_forgetting_a_channel() -> None:
    boxes = make()
    for group in ("g", "h"):
        boxes.join(group, "c")
    boxes.join("h", "d")
    boxes.put("c", b"x")
    assert boxes.forget("c") == ["g"]
    assert boxes.forget("c") == []
    assert not boxes.leave("g", "c")
    assert boxes.leave("h", "d")
    assert (boxes._boxes, boxes.groups, boxes._groups_of) == ({}, {}, {})
