"""Nothing is missing, whatever becomes of workers: a group that keeps a history, by full account; in the local layer
mostly, and reloads, recycling and kills over Valkey as well.

Clients come back by themselves and go on from their positions. What only ends workers, or the service in order, costs
nobody a message; a kill of the sequencer is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings

from fullduplex.layers.local.place import Place
from tests.e2e.audience import sequencer_of
from tests.e2e.process import ROOT, Process, fullduplex
from tests.e2e.resuming import Listener, Room
from tests.e2e.test_local_layer import kill_worker, reload
from tests.layers.servers import Server

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")]

COUNT = 10_000


@pytest.fixture
def env() -> Iterator[dict[str, str]]:
    name = uuid.uuid4().hex
    yield {"PYTHONPATH": str(ROOT), "NAME": name}
    with override_settings(SECRET_KEY=name + "x" * 50, BASE_DIR=str(ROOT / "tests" / "e2e")):
        shutil.rmtree(Place().path, ignore_errors=True)


@contextlib.contextmanager
def served(env: dict[str, str], workers: int, port: int, *options: str) -> Iterator[Process]:
    app = "tests.e2e.kept_asgi:application"
    place = ("--port", str(port), "--workers", str(workers), "--no-access-log")
    with fullduplex(app, *place, *options, app_dir=ROOT, env=env) as process:
        if workers > 1:
            process.wait_for(f"All {workers} workers are ready")
        yield process


def free_port() -> int:
    """None of those that clients get for themselves: whoever connects to one while nobody listens may meet himself."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def stop_as_systemd(server: Process) -> None:
    """SIGTERM for the main process; when it has ended, SIGKILL for what is left (KillMode=mixed)."""
    sequencer = sequencer_of(server)
    server.stop()
    with contextlib.suppress(ProcessLookupError):
        os.kill(sequencer, signal.SIGKILL)


def test_nothing_is_missing_after_a_reload_and_a_restart(env: dict[str, str]) -> None:
    async def scenario() -> None:
        port = free_port()
        room = Room(f"http://127.0.0.1:{port}")
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(served(env, 2, port))
            async with room.listening(20), room.publishing(sockets=2, views=1, pause_s=0.01):
                await reload(first)
                await room.more(20)
                await asyncio.to_thread(stop_as_systemd, first)
                await asyncio.to_thread(stack.enter_context, served(env, 2, port))
                await room.more(20)
        assert not any(listener.losses for listener in room.listeners)
        assert all(listener.visits > 2 for listener in room.listeners)
        assert room.check() >= 20 * 60

    asyncio.run(scenario())


def test_the_account_finds_what_is_lost() -> None:
    """The same account, told of a listener that misses, repeats or reorders something."""

    def told(*messages: tuple[int, str] | str, recovered: bool = True) -> int:
        room, listener = Room("http://nowhere"), Listener()
        room.listeners = [listener]
        room.published = {"p 0": ("e", 1), "p 1": ("e", 2), "p 2": ("e", 3)}
        start = {"type": "subscribed", "recovered": recovered, "position": {"epoch": "e", "offset": 0}}
        listener.take(start)
        for message in messages:
            if isinstance(message, str):
                listener.take({"type": message, "recovered": True, "position": {"epoch": "e", "offset": 2}})
            else:
                listener.take({"type": "message", "offset": message[0], "data": {"text": message[1]}})
        return room.check()

    assert told((1, "p 0"), (2, "p 1"), (2, "p 1"), (3, "p 2")) == 3
    assert told((1, "p 0"), "gap", (3, "p 2")) == 2
    assert told((1, "p 0"), (2, "p 1"), "subscribed", (3, "p 2")) == 3
    for messages in (
        [(1, "p 0"), (3, "p 2")],
        [(1, "p 0"), (2, "p 1")],
        [(1, "p 0"), (2, "p 2"), (3, "p 1")],
        [(1, "p 0"), (2, "p 0"), (3, "p 2")],
        [(1, "p 0"), "subscribed", (3, "p 2")],
        [],
    ):
        with pytest.raises(AssertionError):
            told(*messages)


@pytest.mark.slow
def test_a_single_worker_goes_on_after_a_restart_and_after_a_kill(env: dict[str, str]) -> None:
    async def scenario() -> None:
        port = free_port()
        room = Room(f"http://127.0.0.1:{port}")
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(served(env, 1, port))
            async with room.listening(10), room.publishing(sockets=2, views=1, pause_s=0.01):
                for end in (Process.stop, Process.kill):
                    await room.more(50)
                    await asyncio.to_thread(end, server)
                    server = await asyncio.to_thread(stack.enter_context, served(env, 1, port))
                await room.more(50)
        assert not any(listener.losses for listener in room.listeners)
        assert room.check() >= 10 * 150

    asyncio.run(scenario())


@pytest.mark.slow
def test_the_in_process_layer_keeps_what_clients_miss_and_says_when_it_has_forgotten(env: dict[str, str]) -> None:
    async def scenario() -> None:
        port = free_port()
        room = Room(f"http://127.0.0.1:{port}")
        in_process = env | {"LAYER": "fullduplex.layers.memory.MemoryLayer"}
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(served(in_process, 1, port))
            async with room.listening(24), room.publishing(sockets=4, views=2):
                while len(room.published) < COUNT:
                    await room.more(200)
                    room.cut(0.3)
                assert not any(listener.losses for listener in room.listeners)
                await asyncio.to_thread(Process.kill, server)
                await asyncio.to_thread(stack.enter_context, served(in_process, 1, port))
                await room.more(500)
        assert all(listener.losses == 1 for listener in room.listeners)
        assert all(listener.visits > 5 for listener in room.listeners)
        assert room.check() >= 24 * COUNT

    asyncio.run(scenario())


@pytest.fixture(params=["local", "valkey"])
def keeping(request: pytest.FixtureRequest, env: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a project whose history each layer keeps in turn."""
    if request.param == "local":
        yield env
    else:
        valkey = Server(tmp_path).start()
        layer = {"BACKEND": "fullduplex.layers.redis.RedisLayer", "CONFIG": {"hosts": [valkey.url]}}
        yield env | {"SETTINGS": json.dumps({"CHANNEL_LAYERS": {"default": layer}})}
        valkey.kill()


@pytest.mark.slow
def test_nothing_is_missing_while_workers_are_reloaded_recycled_and_killed(keeping: dict[str, str]) -> None:
    async def scenario() -> None:
        with served(keeping, 4, free_port(), "--limit-max-requests", "25") as server:
            room = Room(server.url)
            async with room.listening(24), room.publishing(sockets=6, views=2):
                while len(room.published) < COUNT:
                    await reload(server)
                    await room.more(500)
                    await kill_worker(server)
                    await room.more(500)
            assert "a fresh one gets ready" in server.output
        assert not any(listener.losses for listener in room.listeners)
        assert len({epoch for epoch, _ in room.published.values()}) == 1
        assert room.check() >= 24 * COUNT

    asyncio.run(scenario())


@pytest.mark.slow
def test_what_is_lost_with_the_sequencer_is_told(env: dict[str, str]) -> None:
    """Everybody has everything that was not lost with it, once and in order, beside reloads and kills of workers."""

    async def scenario() -> None:
        with served(env, 4, free_port()) as server:
            room = Room(server.url)
            kills = 0
            async with room.listening(24), room.publishing(sockets=6, views=2):
                while len(room.published) < COUNT:
                    await room.more(800)
                    os.kill(sequencer_of(server), signal.SIGKILL)
                    kills += 1
                    await room.more(400)
                    await (reload(server) if kills % 2 else kill_worker(server))
        epochs = {epoch for epoch, _ in room.published.values()}
        assert len(epochs) == kills + 1
        assert all(listener.losses >= kills for listener in room.listeners)
        room.check()

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_deploy_under_load_costs_a_thousand_clients_nothing(env: dict[str, str]) -> None:
    async def scenario() -> None:
        port = free_port()
        room = Room(f"http://127.0.0.1:{port}")
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(served(env, 2, port))
            async with room.listening(1_000), room.publishing(sockets=2, views=1, pause_s=0.2):
                await room.more(20)
                await reload(first)
                await room.more(50)
                await asyncio.to_thread(stop_as_systemd, first)
                await asyncio.to_thread(stack.enter_context, served(env, 2, port))
                await room.more(50)
        assert not any(listener.losses for listener in room.listeners)
        assert all(listener.visits > 2 for listener in room.listeners)
        assert room.check() >= 1_000 * 120

    asyncio.run(scenario())
