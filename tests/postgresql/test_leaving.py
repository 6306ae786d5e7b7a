"""A client that leaves in the middle of a stream leaves nothing behind: no thread, no connection, no lock."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.e2e.clients import GET, dial
from tests.e2e.process import Process
from tests.postgresql.conftest import Database
from tests.postgresql.database import connection_count, lock_count, wait_until
from tests.postgresql.sites import DEADLINE_S, OURS, Site, client, site

pytestmark = pytest.mark.e2e

POOL = {"min_size": 0, "max_size": 8, "timeout": 10}
SETTINGS: dict[str, Any] = {"THREADS_COUNT": 1, "THREADS_MAX_COUNT": 1, "THREADS_WAIT_S": 10.0}
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: what was not sent is forgotten


@pytest.fixture(scope="module", params=[{}, {"pool": POOL}], ids=["plain", "pool"])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = request.param
    return options


@pytest.fixture(scope="module", params=OURS, ids=str)
def process(request: pytest.FixtureRequest, database: Database, options: dict[str, Any]) -> Iterator[Process]:
    with site(database.postgresql, request.param, options=options, **SETTINGS) as process:
        yield process


async def test_while_send_waits_for_a_slow_reader(database: Database, process: Process) -> None:
    async with asyncio.timeout(DEADLINE_S), client() as http:
        running = Site(process, http)
        with dial(process, GET % b"/endless/") as sock:
            await wait_until(lambda: stalled(running))
            assert await connection_count(database.dsn) == 1
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await asyncio.to_thread(process.wait_for, "the stream is closed")
        await nothing_is_left(running, database)


async def test_while_an_async_generator_waits(database: Database, process: Process) -> None:
    async with asyncio.timeout(DEADLINE_S), client() as http:
        running = Site(process, http)
        async with http.stream("GET", f"{process.url}/waiting/") as response:
            lines = response.aiter_lines()  # kept: an iterator that goes closes the response
            assert await anext(lines) == "1"
            assert await connection_count(database.dsn) == 1
        await asyncio.to_thread(process.wait_for, "the waiting stream is closed")
        await nothing_is_left(running, database)


async def test_while_a_generator_waits_in_the_database(database: Database, process: Process) -> None:
    async with asyncio.timeout(DEADLINE_S), client() as http:
        running = Site(process, http)

        async def is_wanted() -> bool:
            return await lock_count(database.dsn, granted=False) == 1

        with psycopg.connect(database.dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(1)")
            async with http.stream("GET", f"{process.url}/blocked/") as response:
                lines = response.aiter_lines()
                assert await anext(lines) == "first"
                await wait_until(is_wanted)
            assert (await running.stats())["busy_count"] == 1
            connection.execute("SELECT pg_advisory_unlock(1)")
        await asyncio.to_thread(process.wait_for, "the blocked stream is closed")
        await nothing_is_left(running, database)
        assert await lock_count(database.dsn, granted=True) == 0


async def stalled(running: Site) -> bool:
    """The generator has begun, and is not asked for more: the server holds as much as it may for the client."""
    before = (await running.stats())["counts"].get("parts", 0)
    await asyncio.sleep(0.3)
    return bool(before > 0 and (await running.stats())["counts"]["parts"] == before)


async def nothing_is_left(running: Site, database: Database) -> None:
    """The only thread serves others, and what connections there are lie in the pool of psycopg, if there is one."""
    assert await running.text("/page/", number=3) == "3"

    async def is_free() -> bool:
        stats = await running.stats()
        pool = stats["pool"]
        pooled_count: int = pool.get("pool_size", 0)
        if pool.get("pool_available", 0) != pooled_count or stats["busy_count"] or stats["waiting_count"]:
            return False
        return await connection_count(database.dsn) == pooled_count

    await wait_until(is_free)
