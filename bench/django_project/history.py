"""Messages that are kept in the project's database: ours, and django-eventstream with its own storage.

An ASGI application that does on request what is measured, and says how long it took, so that no HTTP is in it::

    GET /publish/COUNT/PUBLISHERS/     each publisher sends one message after the other
    GET /resume/COUNT/CLIENTS/         each client reads the 100 messages that it missed

Ours are tasks; theirs are threads, since what they call blocks.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.django_project.settings")

import django
from django.db import connection

django.setup()

MISSED_COUNT = 100
DATA = {"text": "x" * 100}


class Ours:
    """A group with ``"STORE": "database"``."""

    def __init__(self) -> None:
        from fullduplex import Group
        from fullduplex.layers import allow_in_process

        allow_in_process("the benchmark")
        self._group = Group(f"bench.{uuid.uuid4().hex}")

    async def publish(self, count: int, publishers: int) -> None:
        async def one() -> None:
            for _ in range(count // publishers):
                await self._group.asend(DATA)

        await asyncio.gather(*(one() for _ in range(publishers)))

    async def resume(self, count: int, clients: int) -> None:
        now = (await self._group.ahistory()).position
        after = now._replace(offset=now.offset - MISSED_COUNT)

        async def one() -> None:
            for _ in range(count // clients):
                missed = await self._group.ahistory(after)
                assert missed.recovered
                assert len(missed.messages) == MISSED_COUNT

        await asyncio.gather(*(one() for _ in range(clients)))


class Eventstream:
    """A channel of django-eventstream with ``DjangoModelStorage``."""

    def __init__(self) -> None:
        self._channel = f"bench{uuid.uuid4().hex}"

    async def publish(self, count: int, publishers: int) -> None:
        from django_eventstream import send_event

        await self._in_threads(lambda: send_event(self._channel, "message", DATA), count, publishers)

    async def resume(self, count: int, clients: int) -> None:
        from django_eventstream.utils import get_storage

        storage = get_storage()

        def read() -> None:
            now = storage.get_current_id(self._channel)
            assert len(storage.get_events(self._channel, now - MISSED_COUNT)) == MISSED_COUNT

        await self._in_threads(read, count, clients)

    async def _in_threads(self, work: Callable[[], None], count: int, threads: int) -> None:
        def run() -> None:
            for _ in range(count // threads):
                work()
            connection.close()

        with ThreadPoolExecutor(threads) as pool:
            await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(pool, run) for _ in range(threads)))


_side: Ours | Eventstream = Ours() if os.environ["BENCH_HISTORY"] == "fullduplex" else Eventstream()


async def application(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": f"{event['type']}.complete"})
            if event["type"] == "lifespan.shutdown":
                return
    answer: dict[str, float] = {}
    if scope["path"] != "/":
        what, count, concurrency = scope["path"].strip("/").split("/")
        begun_s = time.perf_counter()
        await getattr(_side, what)(int(count), int(concurrency))
        answer["seconds"] = time.perf_counter() - begun_s
    body = json.dumps(answer).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
