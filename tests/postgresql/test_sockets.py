"""Sockets after their accept: their thread may rest elsewhere between two calls, and nobody notices."""

from __future__ import annotations

import asyncio

import pytest

from tests.postgresql.conftest import Database
from tests.postgresql.database import CLIENT_COUNT, connection_count, role, wait_until
from tests.postgresql.sites import (
    DEADLINE_S,
    KEPT,
    LOOP,
    OURS,
    SESSION_MIDDLEWARE,
    Side,
    Site,
    ask,
    client,
    open_sockets,
    receive,
    site,
)

pytestmark = pytest.mark.e2e

SOCKET_COUNT = 20
CHUNK_COUNT = 10
NUMBER_COUNT = 100  # that numbers_socket sends
ABANDON_COUNT = 30
SLOW_LOOP = pytest.param(LOOP, marks=pytest.mark.slow)


@pytest.mark.parametrize("side", [*OURS, SLOW_LOOP], ids=str)
async def test_a_cursor_stays_open_between_the_messages_of_a_socket(database: Database, side: Side) -> None:
    async with asyncio.timeout(DEADLINE_S), client() as http:
        with site(database.postgresql, side, THREADS_COUNT=2) as process:
            running = Site(process, http)
            async with (
                open_sockets(running, "/numbers/socket/", SOCKET_COUNT) as readers,
                open_sockets(running, "/query/socket/", SOCKET_COUNT) as others,
            ):
                received: list[list[int]] = [[] for _ in readers]
                for first in range(1, NUMBER_COUNT, CHUNK_COUNT):
                    for numbers, reader in zip(received, readers, strict=True):
                        numbers += [int(await receive(reader)) for _ in range(CHUNK_COUNT)]
                    answers = await asyncio.gather(*(ask(other, str(first)) for other in others))
                    assert answers == [str(first)] * SOCKET_COUNT
                    for reader in readers:
                        await reader.send("go on")
            assert received == [list(range(1, NUMBER_COUNT + 1))] * SOCKET_COUNT


@pytest.mark.parametrize("side", [*KEPT, SLOW_LOOP], ids=str)
async def test_a_socket_never_has_the_role_of_a_request(database: Database, side: Side) -> None:
    async with asyncio.timeout(DEADLINE_S), client() as http:
        with site(database.postgresql, side, middleware=SESSION_MIDDLEWARE) as process:
            running = Site(process, http)
            async with open_sockets(running, "/role/socket/", SOCKET_COUNT) as sockets:
                requests = asyncio.gather(
                    *(running.text("/role/async/", role=role(n), meet=CLIENT_COUNT) for n in range(CLIENT_COUNT)),
                    *(running.text("/role/stream/", role=role(n)) for n in range(CLIENT_COUNT)),
                )
                users: set[str] = set()
                while not requests.done():
                    users |= {*await asyncio.gather(*(ask(socket, "who") for socket in sockets))}
    assert users == {"site"}
    assert [text for text in requests.result() if "visitor" not in text] == []


@pytest.mark.parametrize("side", OURS, ids=str)
async def test_cursors_that_sockets_abandon(database: Database, side: Side) -> None:
    """They are closed in their thread, before their connection is, and not only by the loop that collects them."""
    async with asyncio.timeout(DEADLINE_S), client() as http:
        with site(database.postgresql, side, THREADS_COUNT=1, THREADS_MAX_COUNT=1) as process:
            running = Site(process, http)
            for _ in range(ABANDON_COUNT):
                async with running.socket("/numbers/socket/") as abandoned:
                    assert [await receive(abandoned) for _ in range(CHUNK_COUNT)][-1] == str(CHUNK_COUNT)
                assert await running.text("/page/") == "1"

            async def is_free() -> bool:
                stats = await running.stats()
                pooled_count: int = stats["pool"].get("pool_size", 0)
                return stats["busy_count"] == 0 and await connection_count(database.dsn) == pooled_count

            await wait_until(is_free)
