"""A database that restarts under open sockets costs each of them one answer at most."""

from __future__ import annotations

import asyncio

import pytest
from websockets.asyncio.client import ClientConnection

from tests.postgresql.conftest import Database
from tests.postgresql.sites import DEADLINE_S, KEPT, LOOP, Side, Site, ask, client, open_sockets, site

pytestmark = pytest.mark.e2e

SOCKET_COUNT = 20
GOOD = ["7"] * SOCKET_COUNT


@pytest.mark.parametrize("side", [Side(), *KEPT, pytest.param(LOOP, marks=pytest.mark.slow)], ids=str)
async def test_sockets_outlive_a_restart(database: Database, side: Side) -> None:
    async with asyncio.timeout(DEADLINE_S), client() as http:
        with site(database.postgresql, side) as process:
            async with open_sockets(Site(process, http), "/query/socket/", SOCKET_COUNT) as sockets:
                assert await ask_all(sockets) == GOOD
                await asyncio.to_thread(database.postgresql.restart)
                assert await most_errors(sockets) <= 1
                database.postgresql.stop()
                try:
                    assert await ask_all(sockets) == ["error"] * SOCKET_COUNT
                finally:
                    await asyncio.to_thread(database.postgresql.start)
                assert await most_errors(sockets) <= 1
    assert "Traceback" not in process.output


async def ask_all(sockets: list[ClientConnection], prefix: str = "") -> list[str]:
    return await asyncio.gather(*(ask(socket, f"{prefix}7") for socket in sockets))


async def most_errors(sockets: list[ClientConnection]) -> int:
    """The errors of the socket that has the most of them, with several messages for each; the last one is answered."""
    turns = [await ask_all(sockets, prefix) for prefix in ("", "orm ") for _ in range(3)]
    assert turns[-1] == GOOD
    return max(answers.count("error") for answers in zip(*turns, strict=True))
