"""The graceful stop, with connections that only remember what they were told."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from fullduplex.gateway.forwarded import ProxyConfig
from fullduplex.server import drain
from fullduplex.server.config import ServerConfig
from fullduplex.server.connections import Connections
from fullduplex.server.drain import AT_ONCE_COUNT, Drain
from fullduplex.server.worker import Worker
from tests.gateway.wired import ok
from tests.wire.http2_frames import GET, GOAWAY, START, frame, headers


class Socket:
    """An open WebSocket whose client answers a close at once."""

    lasts = True

    def __init__(self, connections: Connections, told: list[list[Socket]]) -> None:
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

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self.left_count: int | None = None

    def stop(self, *, is_end: bool) -> None:
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
    connections = Connections()
    everybody = [Socket(connections, told) for _ in range(2_000)]
    await run(connections, Acceptor(connections))
    sizes = [len(batch) for batch in told if batch]
    assert sum(sizes) == len({socket for batch in told for socket in batch}) == 2_000
    assert max(sizes) < 100, "1,000 in a second are 50 in a poll"
    assert len({*sizes}) > 5
    assert [socket for batch in told for socket in batch] != everybody


async def test_a_few_are_told_at_once(told):
    connections = Connections()
    for _ in range(AT_ONCE_COUNT // 2):
        Socket(connections, told)
    await run(connections, Acceptor(connections))
    assert [len(batch) for batch in told if batch] == [AT_ONCE_COUNT // 2]


async def test_who_opens_a_socket_during_the_stop_is_told_too(told, monkeypatch):
    connections = Connections()
    first = Socket(connections, told)
    late = Socket(connections, told)
    connections.discard(late)
    first.dismiss = lambda: (connections.discard(first), connections.add(late))
    await run(connections, Acceptor(connections))
    assert late in [socket for batch in told for socket in batch]


@pytest.mark.parametrize(
    ("request_", "word"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"connection: close\r\n"),
        (START + headers(GET), frame(GOAWAY, payload=b"\0\0\0\1" + bytes(4))),
    ],
    ids=["http1", "http2"],
)
async def test_a_connection_that_is_accepted_before_the_stop_and_made_in_it_is_told(request_, word):
    """The stop begins while a proxy's header of the connection is awaited."""
    proxy = ProxyConfig(trusted=("127.0.0.1",), protocol=True)
    config = ServerConfig(port=0, access_log=False, lifespan="off", proxy=proxy, speak_http2=True, h2c="on")
    worker = Worker(config, ok())
    started = asyncio.get_running_loop().create_future()
    worker.on_started = started.set_result
    async with asyncio.timeout(30.0), asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(worker.serve())
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit((await started)[0]).port)
        while not worker._acceptors[0].beginning_count:
            await asyncio.sleep(0)
        worker.stop()
        while worker._connections._grace_s is None:
            await asyncio.sleep(0)
        writer.write(b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 443\r\n" + request_)
        assert word in await reader.read(), "to its end, which is the worker's doing"
        writer.close()
        await serving
