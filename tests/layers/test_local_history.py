"""What the local layer keeps: the public suite, and what becomes of it at the end of its sequencer."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
from pathlib import Path

import pytest

from fullduplex.exceptions import LayerError, LayerUnavailable
from fullduplex.layers.base import BaseLayer
from fullduplex.layers.history import Keep, Kept, Position
from fullduplex.layers.local import LocalLayer
from fullduplex.realtime.hub import Hub
from fullduplex.realtime.keeping import Keeping
from fullduplex.sequencer.frames import MAX_PAYLOAD_BYTES
from fullduplex.testing.histories import HistoryConformance
from fullduplex.testing.layers import Inbox
from tests.layers.test_local import DEADLINE_S, directory, pid_of_sequencer, wait_for_end_of
from tests.realtime.client import FakeClient

__all__ = ["directory"]  # a fixture

KEEP = Keep(count=1_000, age_s=3_600, max_bytes=1_000_000)


class TestLocalHistory(HistoryConformance):
    short_age_s = 0.2

    @pytest.fixture(autouse=True)
    def meeting(self, directory: str) -> None:
        self.directory = directory

    def make_layer(self) -> BaseLayer:
        return LocalLayer(directory=self.directory)

    async def end_epoch(self) -> None:
        pid = pid_of_sequencer(self.directory)
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_for_end_of, pid)


def test_what_is_kept_outlives_the_last_connection(directory: str) -> None:
    async def first() -> tuple[Position, int]:
        layer = LocalLayer(directory=directory)
        position = await layer.aappend("a", "1", KEEP)
        await asyncio.to_thread(layer.append, "a", "2", KEEP)
        pid = pid_of_sequencer(directory)
        await layer.close()
        return position, pid

    async def second(position: Position) -> None:
        layer = LocalLayer(directory=directory)
        missed = await layer.aread("a", KEEP, after=position)
        assert ([kept.data for kept in missed.messages], missed.recovered) == (["2"], True)
        assert (await layer.aappend("a", "3", KEEP)) == Position(3, position.epoch)
        await layer.close()

    position, pid = asyncio.run(first())
    wait_for_end_of(pid)
    asyncio.run(second(position))


def test_who_has_taken_his_leave_may_be_followed_by_a_kill(directory: str) -> None:
    """A service manager ends what is left of a service when its main process has ended."""

    async def scenario() -> None:
        leaving, staying = LocalLayer(directory=directory), LocalLayer(directory=directory)
        await staying.subscribe("other", Inbox(DEADLINE_S))
        position = await leaving.aappend("a", "1", KEEP)
        await leaving.close()
        assert not (Path(directory) / "history").exists()  # somebody still listens
        await staying.close()
        os.kill(pid_of_sequencer(directory), signal.SIGKILL)
        following = LocalLayer(directory=directory)
        assert (await following.aread("a", KEEP, after=position)).recovered
        os.kill(pid_of_sequencer(directory), signal.SIGKILL)  # this one has not ended in order
        assert not (await following.aread("a", KEEP, after=position)).recovered
        await following.close()

    asyncio.run(scenario())


def test_who_keeps_a_message_starts_a_sequencer(directory: str) -> None:
    shell = LocalLayer(directory=directory)
    position = shell.append("a", "1", KEEP)
    assert shell.read("a", KEEP, after=Position(0, position.epoch)).messages == [Kept("1", position)]
    shell._disconnect()
    other = LocalLayer(directory=directory)
    assert other.read("a", KEEP, after=position).recovered
    other._disconnect()


def test_what_cannot_have_been_sent_is_sent_again(directory: str) -> None:
    """A connection of a thread that was idle when the sequencer was killed; there is no key."""

    async def scenario() -> None:
        layer, inbox = LocalLayer(directory=directory), Inbox(DEADLINE_S)
        await layer.subscribe("a", inbox)
        await asyncio.to_thread(layer.append, "a", "1", KEEP)
        pid = pid_of_sequencer(directory)
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(wait_for_end_of, pid)
        idle = layer._asker._sock
        assert select.select([idle], [], [], DEADLINE_S)[0]  # a killed process is gone before its sockets are closed
        position = await asyncio.to_thread(layer.append, "a", "2", KEEP)
        assert position.offset == 1
        assert (await layer.aread("a", KEEP, after=None)).position == position
        await layer.close()

    asyncio.run(scenario())


def test_members_miss_nothing_where_a_connection_breaks(directory: str) -> None:
    """As that of a process which reads nothing for too long, and is cut off."""

    async def scenario() -> None:
        here, there = LocalLayer(directory=directory), LocalLayer(directory=directory)
        hub = Hub(lambda: here, lambda group: Keeping(here, KEEP))
        member = FakeClient(extension=True)
        await hub.join("a", member.outbox)
        for number in range(60):
            if number % 20 == 10:
                sock = here._lines[asyncio.get_running_loop()]._sock
                assert sock is not None
                sock.shutdown(socket.SHUT_RDWR)
            await there.aappend("a", str(number), KEEP)
        async with asyncio.timeout(DEADLINE_S):
            while len(member.received) < 60:
                await asyncio.sleep(0.01)
        assert member.received == [str(number) for number in range(60)]
        assert member.outbox.gaps == 0
        await hub.leave_all(member.outbox)
        await here.close()
        await there.close()

    asyncio.run(scenario())


@pytest.mark.slow
def test_the_longest_message_is_kept(directory: str) -> None:
    async def scenario() -> None:
        layer, inbox = LocalLayer(directory=directory), Inbox(DEADLINE_S)
        await layer.subscribe("a", inbox)
        keep = Keep(count=10, age_s=60, max_bytes=MAX_PAYLOAD_BYTES)
        start = (await layer.aread("a", keep, after=None)).position
        position = await layer.aappend("a", b"x" * MAX_PAYLOAD_BYTES, keep, key="~" * 128)
        kept = Kept(b"x" * MAX_PAYLOAD_BYTES, position, "~" * 128)
        assert await inbox.take() == kept
        assert (await layer.aread("a", keep, after=start)).messages == [kept]
        assert (await asyncio.to_thread(layer.read, "a", keep, after=start)).messages == [kept]
        with pytest.raises(LayerError, match="at most 16777216 bytes"):
            await layer.aappend("a", b"x" * (MAX_PAYLOAD_BYTES + 1), keep)
        await layer.close()

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_message_with_a_key_is_kept_though_the_sequencer_is_killed(directory: str) -> None:
    """What has no key is kept, too, or its publisher hears of it."""

    async def scenario() -> None:
        layer = LocalLayer(directory=directory)
        await layer.open()
        start = (await layer.aread("a", KEEP, after=None)).position
        kept: list[Position] = []
        for number in range(60):
            if number % 20 == 10:
                os.kill(pid_of_sequencer(directory), signal.SIGKILL)
            kept.append(await layer.aappend("a", str(number), KEEP, key=str(number)))
            kept.append(await asyncio.to_thread(layer.append, "a", str(number), KEEP, key=f"t{number}"))
        assert len({position.epoch for position in kept}) == 4
        missed = await layer.aread("a", KEEP, after=start)
        assert not missed.recovered
        assert [message.position for message in missed.messages] == [p for p in kept if p.epoch == kept[-1].epoch]
        await layer.close()

    asyncio.run(scenario())


def test_a_sequencer_that_stands_still_costs_a_publisher_no_more_than_its_deadline(directory: str) -> None:
    async def scenario() -> None:
        first = LocalLayer(directory=directory)
        await first.open()
        layer = LocalLayer(directory=directory, publish_timeout_s=0.2, subscribe_timeout_s=0.2)
        pid = pid_of_sequencer(directory)
        os.kill(pid, signal.SIGSTOP)
        try:
            for call in (layer.aappend("a", "x", KEEP), asyncio.to_thread(layer.append, "a", "x", KEEP)):
                with pytest.raises(LayerUnavailable, match=r"has not answered in 0\.2 s"):
                    await call
            with pytest.raises(LayerUnavailable, match=r"has not answered in 0\.2 s"):
                await layer.aread("a", KEEP, after=None)
        finally:
            os.kill(pid, signal.SIGCONT)
        await layer.close()
        await first.close()

    asyncio.run(scenario())
