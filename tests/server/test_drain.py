"""The graceful stop, with connections that only remember what they were told."""

from __future__ import annotations

import asyncio

import pytest

from fullduplex.server import drain
from fullduplex.server.drain import AT_ONCE_COUNT, Drain


class Socket:
    """An open WebSocket whose client answers a close at once."""

    lasts = True

    def __init__(self, connections: set[Socket], told: list[list[Socket]]) -> None:
        self._connections = connections
        self._told = told
        connections.add(self)

    def drain(self, grace_s: float) -> None:
        pass

    def tick(self, now_s: float) -> None:
        pass

    def dismiss(self) -> None:
        self._told[-1].append(self)
        self._connections.discard(self)

    def abort(self) -> None:
        raise AssertionError("nobody is cut off")


class Acceptor:
    beginning_count = 0

    def __init__(self, connections: set[Socket]) -> None:
        self._connections = connections
        self.left_count: int | None = None

    def stop(self) -> None:
        self.left_count = len(self._connections)

    def close(self) -> None:
        pass


@pytest.fixture
def told(monkeypatch):
    """Who was told, poll by poll, and no time between the polls."""
    polls: list[list[Socket]] = [[]]
    sleep = asyncio.sleep

    async def next_poll(delay_s):
        polls.append([])
        await sleep(0)

    monkeypatch.setattr(drain.asyncio, "sleep", next_poll)
    return polls


async def run(connections, acceptor, *, stay=False):
    stop = Drain(connections, set(), timeout_s=30.0, grace_s=0.0, hurry=lambda: False)
    await stop.run([acceptor], stay=stay)


async def test_sockets_are_told_in_batches_of_no_fixed_size(told):
    connections: set[Socket] = set()
    everybody = [Socket(connections, told) for _ in range(2_000)]
    await run(connections, Acceptor(connections))
    sizes = [len(batch) for batch in told if batch]
    assert sum(sizes) == len({socket for batch in told for socket in batch}) == 2_000
    assert max(sizes) < 100, "1,000 in a second are 50 in a poll"
    assert len({*sizes}) > 5
    assert [socket for batch in told for socket in batch] != everybody


async def test_a_few_are_told_at_once(told):
    connections: set[Socket] = set()
    for _ in range(AT_ONCE_COUNT // 2):
        Socket(connections, told)
    await run(connections, Acceptor(connections))
    assert [len(batch) for batch in told if batch] == [AT_ONCE_COUNT // 2]


async def test_who_opens_a_socket_during_the_stop_is_told_too(told, monkeypatch):
    connections: set[Socket] = set()
    first = Socket(connections, told)
    late = Socket(connections, told)
    connections.discard(late)
    first.dismiss = lambda: (connections.discard(first), connections.add(late))
    await run(connections, Acceptor(connections))
    assert late in [socket for batch in told for socket in batch]
