"""The one way out of a socket: order, bounds, policies, ends, with the server's extension and without."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest
from django.test import override_settings

from fullduplex.exceptions import ConfigurationError, Disconnected
from fullduplex.realtime.outbox import totals
from tests.realtime.client import GONE, FakeClient

BOTH = pytest.mark.parametrize("extension", [True, False], ids=["prepared", "send"])
KIB = "x" * 1024


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def counts(client: FakeClient) -> tuple[int, int, int]:
    counters = client.outbox
    return counters.delivered, counters.dropped, counters.disconnected


@BOTH
async def test_messages_arrive_in_order(extension: bool) -> None:
    client = FakeClient(extension=extension)
    before = totals.delivered
    client.deliver("a", b"b", "")
    await settle()
    assert client.received == ["a", b"b", ""]
    assert counts(client) == (3, 0, 0)
    assert totals.delivered == before + 3
    assert client.outbox.waiting_bytes == 0


async def test_the_extension_writes_at_once() -> None:
    client = FakeClient(extension=True)
    client.deliver("a")
    assert client.received == ["a"]


@override_settings(FULLDUPLEX={"PREPARED_FRAMES": False})
async def test_the_extension_can_be_turned_off() -> None:
    client = FakeClient(extension=True)
    client.deliver("a")
    assert client.received == []
    await settle()
    assert client.received == ["a"]


@BOTH
async def test_own_messages_and_those_of_groups_keep_their_order(extension: bool) -> None:
    client = FakeClient(extension=extension)
    client.deliver("1")
    await client.send("2")
    client.deliver("3")
    await client.send("4")
    client.deliver("5")
    await settle()
    assert client.received == ["1", "2", "3", "4", "5"]


@BOTH
async def test_own_messages_wait_behind_the_queue_of_a_slow_client(extension: bool) -> None:
    client = clogged("drop_newest", extension)
    await settle()
    already = list(client.received)
    client.deliver("1")
    own = asyncio.ensure_future(client.send("2"))
    await settle()
    client.deliver("3")
    await settle()
    assert client.received == already
    assert not own.done()
    client.reads()
    await own
    await settle()
    assert client.received == [*already, "1", "2", "3"]


@BOTH
async def test_a_sender_that_gives_up_does_not_hold_up_the_others(extension: bool) -> None:
    client = FakeClient(extension=extension)
    client.outbox.hold()
    client.deliver("1")
    own = asyncio.ensure_future(client.send("given up"))
    client.deliver("2")
    await settle()
    own.cancel()
    client.outbox.release()
    await settle()
    assert client.received == ["1", "2"]


@BOTH
async def test_a_sender_that_gives_up_when_its_turn_has_come(extension: bool) -> None:
    client = FakeClient(extension=extension)
    client.outbox.hold()
    own = asyncio.ensure_future(client.send("given up"))
    await settle()
    client.deliver("1")
    client.outbox.release()  # its turn comes, and it has not run yet
    own.cancel()
    await settle()
    assert client.received == ["1"]
    await client.send("2")
    assert client.received == ["1", "2"]


async def test_sends_do_not_overlap_without_the_extension() -> None:
    client = FakeClient(extension=False)
    client.slow = True
    first = asyncio.ensure_future(client.send("1"))
    await settle()
    client.deliver("2")
    second = asyncio.ensure_future(client.send("3"))
    await settle()
    assert client.sending == 1
    assert client.received == ["1"]
    client.reads()
    await asyncio.gather(first, second)
    assert client.received == ["1", "2", "3"]


@BOTH
async def test_held_messages_follow_the_accept(extension: bool) -> None:
    client = FakeClient(extension=extension)
    client.outbox.hold()
    client.deliver("1", "2")
    await client.outbox.send({"type": "websocket.accept"})
    await settle()
    assert client.received == ["accept"]
    client.outbox.release()
    client.deliver("3")
    await settle()
    assert client.received == ["accept", "1", "2", "3"]
    assert counts(client) == (3, 0, 0)


# Slow clients --------------------------------------------------------------------------------


@BOTH
async def test_disconnect_above_the_bound(extension: bool) -> None:
    client = FakeClient(extension=extension, max_bytes=10 * 1024)
    client.slow = True
    before = totals.disconnected
    for number in range(100):
        client.deliver(KIB)
        if number % 3 == 0:
            await settle()
        assert client.buffered_bytes + client.outbox.waiting_bytes <= 11 * 1024
    assert client.overflow == [(1013, "too slow")]
    delivered, dropped, disconnected = counts(client)
    assert delivered + dropped == 100
    assert disconnected == 1
    assert totals.disconnected == before + 1
    with pytest.raises(Disconnected) as caught:
        await client.send("more")
    assert (caught.value.code, caught.value.reason) == (1013, "too slow")
    await client.outbox.send({"type": "websocket.close", "code": 1013})
    assert client.received[-1] == "close"
    await client.outbox.close()
    assert client.outbox.waiting_bytes == 0


@BOTH
async def test_disconnect_while_held(extension: bool) -> None:
    client = FakeClient(extension=extension, max_bytes=1024)
    client.outbox.hold()
    client.deliver("first", KIB)
    assert client.overflow == [(1013, "too slow")]
    assert counts(client) == (0, 2, 1)
    client.outbox.release()
    await settle()
    assert client.received == []


@BOTH
async def test_empty_messages_are_bounded_too(extension: bool) -> None:
    client = FakeClient(extension=extension, max_bytes=1024)
    client.outbox.hold()
    client.deliver(*[""] * 100)
    assert client.overflow == [(1013, "too slow")]


def clogged(policy: str, extension: bool, **options: Any) -> FakeClient:
    """A client whose buffer at the server is full, and for whom up to three messages of a KiB may wait."""
    client = FakeClient(extension=extension, policy=policy, **{"max_bytes": 3 * (1024 + 64), **options})
    client.slow = True
    client.deliver(KIB * 4 if extension else "")
    return client


async def read_all(client: FakeClient) -> list[str]:
    """What follows the first message, by its first letter."""
    client.reads()
    await settle()
    return [str(message)[0] for message in client.received[1:]]


def letter(name: str) -> str:
    return name + KIB[:-1]


@BOTH
async def test_drop_oldest(extension: bool) -> None:
    client = clogged("drop_oldest", extension, max_bytes=3 * (1024 + 64) + (0 if extension else 64))
    await settle()
    client.deliver(*map(letter, "abcde"))
    assert await read_all(client) == ["c", "d", "e"]
    assert counts(client) == (4, 2, 0)
    assert client.overflow == []


@BOTH
async def test_drop_newest(extension: bool) -> None:
    client = clogged("drop_newest", extension, max_bytes=3 * (1024 + 64) + (0 if extension else 64))
    await settle()
    client.deliver(*map(letter, "abcde"))
    assert await read_all(client) == ["a", "b", "c"]
    assert counts(client) == (4, 2, 0)


@BOTH
async def test_keep_latest_of_each_group(extension: bool) -> None:
    client = clogged("keep_latest", extension, max_bytes=8192 if not extension else 3500)
    await settle()
    client.deliver("a1", group="a")
    client.deliver("b1", group="b")
    client.deliver("a2", "a3", group="a")
    client.reads()
    await settle()
    assert client.received[1:] == ["b1", "a3"]
    assert counts(client) == (3, 2, 0)


@BOTH
@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "keep_latest"])
async def test_a_message_above_the_bound_is_dropped_and_nothing_else(extension: bool, policy: str) -> None:
    client = clogged(policy, extension)
    await settle()
    client.deliver("a", group="a")
    client.deliver(KIB * 10, group="b")
    client.deliver("c", group="c")
    assert await read_all(client) == ["a", "c"]
    assert counts(client) == (3, 1, 0)


@BOTH
@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", "keep_latest"])
async def test_a_dropping_policy_stays_within_the_bound(extension: bool, policy: str) -> None:
    client = FakeClient(extension=extension, policy=policy, max_bytes=10 * 1024)
    client.slow = True
    for number in range(1000):
        client.deliver(KIB, group=str(number % 50))
        assert client.outbox.waiting_bytes <= 10 * 1024
        if number % 100 == 0:
            await settle()
    client.reads()
    await settle()
    delivered, dropped, disconnected = counts(client)
    assert (delivered + dropped, disconnected) == (1000, 0)
    assert len(client.received) == delivered


@BOTH
async def test_own_messages_are_never_dropped(extension: bool) -> None:
    client = clogged("drop_oldest", extension)
    await settle()
    own = asyncio.ensure_future(client.send("own"))
    await settle()
    client.deliver(*map(letter, "abcdefgh"))
    assert "o" in await read_all(client)
    await own


async def test_a_long_queue_drains_without_recursion() -> None:
    client = FakeClient(extension=True, policy="drop_newest", max_bytes=64 * 1024 * 1024)
    client.outbox.hold()
    for _ in range(3000):
        client.deliver("x" * 70)
    client.outbox._congested_bytes = -1  # every message clogs, and the server calls back at once
    client.outbox.release()
    assert counts(client) == (3000, 0, 0)


# Ends ----------------------------------------------------------------------------------------


@BOTH
async def test_a_client_that_is_gone(extension: bool, caplog: pytest.LogCaptureFixture) -> None:
    client = FakeClient(extension=extension)
    client.error = GONE
    client.deliver("1", "2")
    await settle()
    client.deliver("3")
    assert counts(client) == (0, 3, 0)
    with pytest.raises(Disconnected) as caught:
        await client.send("4")
    assert (caught.value.code, caught.value.reason) == (1001, "away")
    assert caplog.records == []


@BOTH
async def test_a_server_that_fails_is_logged_once(extension: bool, caplog: pytest.LogCaptureFixture) -> None:
    client = FakeClient(extension=extension)
    client.error = ZeroDivisionError()
    client.deliver("1", "2")
    await settle()
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.ERROR, "The server failed to send a message of a group")
    ]
    assert counts(client) == (0, 2, 0)


@BOTH
async def test_errors_of_own_sends_reach_the_sender(extension: bool) -> None:
    client = FakeClient(extension=extension)
    client.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await client.send("1")
    client.error = None
    client.deliver("2")
    await settle()
    assert client.received == ["2"]


@BOTH
async def test_close_counts_what_it_drops_and_leaves_no_task(extension: bool) -> None:
    client = clogged("drop_newest", extension)
    await settle()
    client.deliver("1", "2")
    waiting = asyncio.ensure_future(client.send("3"))
    await settle()
    await client.outbox.close()
    with pytest.raises(Disconnected):
        await waiting
    delivered, dropped, _ = counts(client)
    assert (delivered, dropped) == ((1, 2) if extension else (0, 3))
    client.deliver("4")
    assert client.outbox.dropped == dropped + 1
    assert client.outbox.waiting_bytes == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await client.outbox.close()


async def test_close_before_the_writer_has_begun() -> None:
    client = FakeClient(extension=False)
    client.deliver("1")
    await client.outbox.close()
    assert counts(client) == (0, 1, 0)
    assert client.received == []


@BOTH
async def test_a_close_follows_what_was_delivered_before(extension: bool) -> None:
    client = FakeClient(extension=extension)
    client.deliver("1", "2")
    await client.outbox.send({"type": "websocket.close", "code": 1000})
    client.deliver("3")
    assert client.received == ["1", "2", "close"]
    assert counts(client) == (2, 1, 0)


@BOTH
async def test_a_close_does_not_wait_for_ever(extension: bool) -> None:
    client = clogged("drop_newest", extension, close_timeout_s=0)
    await settle()
    client.deliver("1", "2")
    await client.outbox.send({"type": "websocket.close", "code": 1000})
    assert client.received[-1] == "close"
    await client.outbox.close()
    assert client.outbox.dropped == (2 if extension else 3)


@BOTH
async def test_a_close_while_the_client_is_cut_off(extension: bool) -> None:
    client = FakeClient(extension=extension, max_bytes=1024)
    client.outbox.hold()
    client.deliver("1")
    closing = asyncio.ensure_future(client.outbox.send({"type": "websocket.close", "code": 1000}))
    await settle()
    client.deliver(KIB)
    await closing
    assert client.received == ["close"]
    assert client.overflow == [(1013, "too slow")]


async def test_a_callback_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    client = FakeClient(extension=True, max_bytes=0)
    client.slow = True
    client.outbox._on_overflow = lambda code, reason: 1 / 0  # type: ignore[assignment,return-value]
    client.deliver("1")
    assert [record.message for record in caplog.records] == ["The end of a slow socket could not be told"]


async def test_defaults_come_from_the_settings() -> None:
    with override_settings(FULLDUPLEX={"OUTBOX_MAX_BYTES": 7, "OUTBOX_POLICY": "drop_oldest"}):
        outbox = FakeClient(extension=True).outbox
    assert (outbox.max_bytes, outbox.policy) == (7, "drop_oldest")
    assert FakeClient(extension=True).outbox.max_bytes == 1_048_576


async def test_an_unknown_policy() -> None:
    with pytest.raises(ConfigurationError, match="OUTBOX_POLICY is one of disconnect"):
        FakeClient(extension=True, policy="drop")


@BOTH
async def test_nothing_is_left_of_a_closed_outbox(extension: bool) -> None:
    client = FakeClient(extension=extension)
    client.deliver("1")
    await settle()
    await client.outbox.close()
    outbox = weakref.ref(client.outbox)
    del client
    gc.collect()
    assert outbox() is None


async def test_a_server_that_cannot_tell_when_it_has_drained_ends_the_socket(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = FakeClient(extension=True, policy="drop_oldest", max_bytes=100)

    def fail(callback: Any) -> None:
        raise LookupError("no callbacks here")

    client.outbox._on_drain = fail
    client.slow = True
    client.deliver("x" * 200, "y")  # and no exception for who delivers
    with pytest.raises(Disconnected):
        async with asyncio.timeout(30):
            await client.send("late")
    assert "The server failed to send a message of a group" in caplog.text
    await client.outbox.close()
