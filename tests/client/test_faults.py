"""Clients over networks that cut and stall, and servers that are killed: every message once and in order, or told."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import shutil
import signal
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from django.test import override_settings

from fullduplex.client import Client, Gap, Message, Subscribed, connect
from fullduplex.client import client as client_module
from fullduplex.layers.local.place import Place
from tests.client.proxy import Proxy
from tests.e2e.process import ROOT, Process, fullduplex

pytestmark = pytest.mark.e2e

APP = "tests.client.rooms_asgi:application"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients wait a fiftieth of what they would."""
    monkeypatch.setattr(client_module, "pause", lambda seconds: asyncio.sleep(seconds / 50))


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    name = uuid.uuid4().hex
    yield {"PYTHONPATH": str(ROOT), "NAME": name}
    with override_settings(SECRET_KEY=name + "x" * 50, BASE_DIR=str(ROOT / "tests" / "client")):
        shutil.rmtree(Place().path, ignore_errors=True)


class Listener:
    """A subscriber, and what it has seen.

    Attributes:
        heard: numbers, in the order in which they came.
        told: where among them it was told that something may be missing.
    """

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.told: list[int] = []
        self._offset = 0

    async def listen(self, client: Client, last: int) -> None:
        async with client.subscribe("room.1") as room:
            async for event in room:
                match event:
                    case Message(data=data, position=position):
                        assert position is not None
                        assert position.offset == self._offset + 1
                        self._offset = position.offset
                        self.heard.append(data["n"])
                        if data["n"] == last:
                            return
                    case Subscribed(recovered=recovered, position=position):
                        assert position is not None
                        if not recovered:
                            self.told.append(len(self.heard))
                        if not recovered or not self.heard:
                            self._offset = position.offset
                        assert position.offset == self._offset
                    case Gap(position=position):
                        assert position is not None
                        self.told.append(len(self.heard))
                        self._offset = position.offset


async def run(proxy: Proxy, count: int, listeners: int, fault: Callable[[int], Awaitable[None]]) -> list[Listener]:
    """Publish so many messages through the proxy, with a fault after each share of them; return the subscribers."""
    url = f"ws://127.0.0.1:{proxy.port}/realtime/"
    audience = [Listener() for _ in range(listeners)]
    async with AsyncExitStack() as stack, asyncio.timeout(60 + count / 20):
        hearing = []
        for listener in audience:
            client = await stack.enter_async_context(connect(url))
            hearing.append(asyncio.create_task(listener.listen(client, count - 1)))
        publisher = await stack.enter_async_context(connect(url))
        await publisher.publish("room.1", {"n": -1})
        while not all(listener.heard for listener in audience):
            await asyncio.sleep(0.01)
        share = count // 10
        for begin in range(0, count, share):
            faults = asyncio.create_task(fault(begin))
            for first in range(begin, begin + share, 20):
                numbers = range(first, min(first + 20, begin + share))
                await asyncio.gather(
                    *(publisher.publish("room.1", {"n": n}, key=f"key-{n}", timeout_s=None) for n in numbers)
                )
            await faults
        await asyncio.gather(*hearing)
    return audience


async def cut_and_stall(proxy: Proxy, seed: int, stalls: bool) -> None:
    luck = random.Random(seed)
    for _ in range(3 if stalls else 1):
        await asyncio.sleep(luck.uniform(0.0, 0.1))
        proxy.cut()
    if stalls:
        await proxy.stall(luck.uniform(0.1, 3.0))


@pytest.mark.parametrize(
    ("count", "listeners", "stalls"), [(200, 2, False), pytest.param(10_000, 10, True, marks=pytest.mark.slow)]
)
async def test_a_network_that_cuts_and_stalls(env: dict[str, str], count: int, listeners: int, stalls: bool) -> None:
    with fullduplex(APP, "--no-access-log", app_dir=ROOT, env=env) as server:
        async with Proxy(server.port) as proxy:
            audience = await run(proxy, count, listeners, lambda seed: cut_and_stall(proxy, seed, stalls))
    for listener in audience:
        assert listener.told == []
        assert listener.heard == [*range(-1, count)]


@pytest.mark.slow
async def test_workers_that_are_killed(env: dict[str, str]) -> None:
    count = 10_000
    with fullduplex(APP, "--workers", "2", "--no-access-log", app_dir=ROOT, env=env) as server:
        server.wait_for("All 2 workers are ready")

        async def kill(seed: int) -> None:
            async with connect(f"ws://127.0.0.1:{server.port}/realtime/") as client:
                os.kill(await client.call("pid"), signal.SIGKILL)

        async with Proxy(server.port) as proxy:
            audience = await run(proxy, count, 10, kill)
    for listener in audience:
        assert listener.told == []
        assert listener.heard == [*range(-1, count)]


@pytest.mark.slow
async def test_a_server_that_forgets_says_so(env: dict[str, str]) -> None:
    """The in-process layer loses its history with the process: who was there is told, and what comes later comes."""
    count = 10_000
    env["LAYER"] = "fullduplex.layers.memory.MemoryLayer"
    servers: list[Process] = []

    async with Proxy(0) as proxy:

        async def restart(seed: int) -> None:
            if servers:
                await asyncio.to_thread(servers[-1].kill)
            server = fullduplex(APP, "--no-access-log", app_dir=ROOT, env=env)
            servers.append(await asyncio.to_thread(server.__enter__))
            proxy.target = server.port

        try:
            await restart(0)
            audience = await run(proxy, count, 10, restart)
        finally:
            for server in servers:
                server.kill()
    for listener in audience:
        assert 1 <= len(listener.told) <= len(servers)
        assert listener.heard[-1] == count - 1
        # A server that forgets its messages forgets their keys: those whose answer was lost with it come once more.
        for begin, end in itertools.pairwise([0, *listener.told, len(listener.heard)]):
            part = listener.heard[begin:end]
            assert part == sorted(set(part))
