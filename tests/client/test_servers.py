"""Endpoints on real servers: ours over HTTP/1.1 and HTTP/2 and behind nginx, and Uvicorn; and when one stops."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import override_settings

from bench.load import frames
from fullduplex.client import ClientClosed, Message, Subscribed, connect
from fullduplex.layers.local.place import Place
from tests.e2e import http2_streams
from tests.e2e.process import ROOT, Process, fullduplex
from tests.e2e.proxies import Proxy

pytestmark = pytest.mark.e2e

APP = "tests.client.rooms_asgi:application"
MEMORY = "fullduplex.layers.memory.MemoryLayer"


@pytest.fixture(scope="module")
def env() -> Iterator[dict[str, str]]:
    name = uuid.uuid4().hex
    yield {"PYTHONPATH": str(ROOT), "NAME": name, "LAYER": MEMORY}
    with override_settings(SECRET_KEY=name + "x" * 50, BASE_DIR=str(ROOT / "tests" / "client")):
        shutil.rmtree(Place().path, ignore_errors=True)


@pytest.fixture(scope="module")
def server(env: dict[str, str]) -> Iterator[Process]:
    with fullduplex(APP, "--no-access-log", app_dir=ROOT, env=env) as process:
        yield process


def url(server: Process, path: str = "/realtime/") -> str:
    return f"ws://127.0.0.1:{server.port}{path}"


@asynccontextmanager
async def events(client: httpx.AsyncClient, query: str, **headers: str) -> AsyncIterator[AsyncIterator[Any]]:
    """The messages of an event stream."""
    async with client.stream("GET", f"/realtime/events/?{query}", headers=headers) as response:
        assert response.status_code == 200

        async def messages() -> AsyncGenerator[Any, None]:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])
                elif line.startswith("id: "):
                    yield line[4:]

        found = messages()
        try:
            yield found
        finally:
            await close(found)


async def close(generator: AsyncGenerator[Any, None]) -> None:
    """Close a generator, and wait for the loop, which closes those that it read from as they are collected, one by one.

    httpx has many, each inside the next. Nobody waits for the tasks that close them: one could be left behind a test.
    """
    call = generator.aclose()
    await call
    await asyncio.sleep(0)  # it makes each of their tasks in the turn behind the one before
    while closing := [task for task in asyncio.all_tasks() if isinstance(task.get_coro(), type(call))]:
        await asyncio.wait(closing)
        await asyncio.sleep(0)


async def exchange(server: Process) -> None:
    """Publish, hear, call, resume much, and be refused."""
    async with asyncio.timeout(60), connect(url(server)) as one, connect(url(server)) as other:
        room = one.subscribe("room.1")
        start = await anext(room)
        assert isinstance(start, Subscribed)
        for n in range(50):
            await other.publish("room.1", {"n": n, "text": "x" * 1_000})
        for n in range(50):
            event = await anext(room)
            assert isinstance(event, Message)
            assert event.data["n"] == n
        assert await one.call("pid") > 0
        async with other.subscribe("room.1", after=start.position) as again:
            told = await anext(again)
            assert isinstance(told, Subscribed)
            assert (told.recovered, told.latest) == (True, 50)
            for n in range(50):
                event = await anext(again)
                assert isinstance(event, Message)
                assert event.data["n"] == n
        await room.unsubscribe()
    with pytest.raises(ClientClosed) as closed:
        async with connect(url(server, "/nowhere/")):
            pass
    assert closed.value.code == 404


async def test_uvicorn(env: dict[str, str]) -> None:
    command = (sys.executable, "-m", "uvicorn", APP, "--port", "0", "--log-level", "info")
    with Process(*command, ready=r"running on (http://\S+)", cwd=ROOT, env=env) as server:
        await exchange(server)


@pytest.mark.slow
async def test_ours(server: Process) -> None:
    await exchange(server)


async def test_http2(server: Process) -> None:
    """A socket inside HTTP/2 (RFC 8441), and a stream of events beside it on a connection."""
    client = await http2_streams.connect(server.port)
    try:
        async with asyncio.timeout(30):
            fields = ((":protocol", "websocket"), ("sec-websocket-version", "13"))
            offer = ("sec-websocket-protocol", "fullduplex.v1")
            await asyncio.sleep(0.1)  # its SETTINGS, which admit extended CONNECT
            stream_id, socket = client.ask("/realtime/", "CONNECT", *fields, offer, ends=False)
            _, stream = client.ask("/realtime/events/?group=room.h2")
            await socket.begun.wait()
            assert (socket.status, socket.fields["sec-websocket-protocol"]) == (200, "fullduplex.v1")
            while b'"latest"' not in stream.content:
                await asyncio.sleep(0.01)
            for n, message in enumerate(
                [
                    {"type": "subscribe", "group": "room.h2"},
                    {"type": "publish", "group": "room.h2", "data": {"text": "hello"}},
                ],
                1,
            ):
                await client.put(stream_id, frames.client_frame(json.dumps({**message, "id": n}).encode()), ends=False)
            expected = b'{"type":"message","group":"room.h2","offset":1,"data":{"text":"hello"}}'
            while expected not in socket.content or expected not in stream.content:
                await asyncio.sleep(0.01)
    finally:
        await client.close()


async def test_events_come_through_nginx_as_they_happen(server: Process, tmp_path: Path) -> None:
    with Proxy("nginx", server.port, tmp_path) as proxy:
        async with (
            asyncio.timeout(30),
            connect(url(server)) as publisher,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}", timeout=30) as client,
        ):
            async with events(client, "group=room.nginx") as messages:
                assert (await anext(messages))["type"] == "welcome"
                assert (await anext(messages))["type"] == "subscribed"
                at = await anext(messages)
                await publisher.publish("room.nginx", {"n": 1})
                assert (await anext(messages))["data"] == {"n": 1}
            await publisher.publish("room.nginx", {"n": 2})
            async with events(client, "group=room.nginx", **{"Last-Event-ID": at}) as messages:
                heard: list[int] = []
                while len(heard) < 2:
                    message = await anext(messages)
                    if isinstance(message, dict) and message["type"] == "message":
                        heard.append(message["data"]["n"])
                assert heard == [1, 2]


@pytest.mark.slow
async def test_a_server_that_stops_ends_streams_and_sockets(env: dict[str, str]) -> None:
    """They come back elsewhere, and go on."""
    statuses: list[str] = []
    with fullduplex(APP, "--no-access-log", app_dir=ROOT, env=env) as server:
        await stop(server, statuses)


async def stop(server: Process, statuses: list[str]) -> None:
    async with (
        asyncio.timeout(30),
        connect(url(server), on_status=statuses.append) as client,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as http,
        events(http, "group=room.2") as messages,
    ):
        assert (await anext(messages))["type"] == "welcome"
        room = client.subscribe("room.2")
        await anext(room)
        server.signal(signal.SIGTERM)
        assert [message async for message in messages if isinstance(message, str)]
        while "reconnecting" not in statuses:
            await asyncio.sleep(0.01)
    assert await asyncio.to_thread(server.wait) == 0
