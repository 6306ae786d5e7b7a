"""What a worker does for ever: sweeping and accepting go on after a failure of their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from fullduplex import watched
from fullduplex.gateway.gateway import Gateway
from fullduplex.limits import HTTP1Limits
from fullduplex.net.acceptor import Acceptor
from fullduplex.server import worker as worker_module
from fullduplex.server.config import ServerConfig
from fullduplex.server.worker import Worker
from tests.gateway.wired import ok

DEADLINE_S = 30.0  # only ever reached by a hang
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "SWEEP_INTERVAL_S", 0.001)
    monkeypatch.setattr(watched, "PAUSE_S", 0.0)


@contextlib.asynccontextmanager
async def serving(**http1: float) -> AsyncIterator[tuple[Worker, int]]:
    """A worker in this loop, and its port."""
    config = ServerConfig(port=0, access_log=False, lifespan="off", http1=HTTP1Limits(**http1))
    worker = Worker(config, ok())
    started: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    worker.on_started = started.set_result
    task = asyncio.ensure_future(worker.serve())
    async with asyncio.timeout(DEADLINE_S):
        (url,) = await started
        try:
            yield worker, urlsplit(url).port or 0
        finally:
            worker.stop()
            await task


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_deadlines_are_kept_and_the_date_goes_on_after_a_failure_of_the_sweep(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_clock, times = Gateway.set_clock, [0.0]
    monkeypatch.setattr(worker_module.time, "time", lambda: times[-1])  # type: ignore[attr-defined]
    async with serving(first_byte_timeout_s=0.01) as (_, port):

        def fail(self: Gateway, wall_s: float) -> None:
            raise LookupError("no date today")

        monkeypatch.setattr(Gateway, "set_clock", fail)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"", "closed by its deadline"
        writer.close()
        monkeypatch.setattr(Gateway, "set_clock", set_clock)
        times.append(1_000_000_000.0)
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET)
            answer = await reader.readuntil(b"\r\n\r\n")
            writer.close()
            if b"date: Sun, 09 Sep 2001" in answer:
                break
    told = [
        record for record in caplog.records if record.getMessage() == "A step of the sweep failed; the others go on"
    ]
    assert isinstance(told[0].exc_info[1], LookupError)  # type: ignore[index]
    assert len(told) < 10, "one in a second"


async def test_a_connection_that_can_be_neither_ticked_nor_dropped_keeps_no_other_from_its_deadline(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ticked: list[float] = []

    class Sound:
        tick = staticmethod(ticked.append)

    class Broken:
        def tick(self, now_s: float) -> None:
            raise LookupError("tick")

        abort = None

    worker = Worker(ServerConfig(access_log=False), ok())
    worker._loop = asyncio.get_running_loop()
    connections: set[Any] = worker._connections  # type: ignore[assignment]
    connections.update((Broken(), Sound(), Broken(), Sound()))
    worker._tick()
    worker._tick()
    assert len(ticked) == 4
    assert len(connections) == 2
    assert caplog.text.count("A connection could not be dropped") == 2


async def test_accepting_goes_on_after_a_failure_of_its_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take, failures = Acceptor._take, [LookupError("once")]

    def fail_once(self: Acceptor, *args: Any) -> None:
        if failures:
            args[0].close()
            raise failures.pop()
        take(self, *args)

    monkeypatch.setattr(Acceptor, "_take", fail_once)
    async with serving() as (_, port):
        for expected in (b"", b"HTTP/1.1 200"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                writer.write(GET)
                assert await reader.read(12) == expected
            writer.close()
    assert "Accepting connections failed; it goes on" in caplog.text
