"""Requests that wait for one another come to an end: who has a thread never waits for another one."""

from __future__ import annotations

import asyncio

import pytest

from tests.postgresql.conftest import Database
from tests.postgresql.database import lock_count, wait_until
from tests.postgresql.sites import DEADLINE_S, OURS, Side, Site, client, site

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("side", OURS, ids=str)]

POOL_SIZE = 20
PAGE_COUNT = 64
RUNNING_COUNT = 16  # pages that run, and wait for a connection; the others wait to run
THREADS_COUNT = 4


async def test_all_connections_of_the_pool_are_held_across_an_await(database: Database, side: Side) -> None:
    pool = {"min_size": 0, "max_size": POOL_SIZE, "timeout": DEADLINE_S}
    async with asyncio.timeout(DEADLINE_S), client() as http:
        with site(database.postgresql, side, options={"pool": pool}, THREADS_COUNT=RUNNING_COUNT) as process:
            running = Site(process, http)

            async def held() -> bool:
                return bool((await running.stats())["counts"].get("holding") == POOL_SIZE)

            async def wanted() -> bool:
                return bool((await running.stats())["pool"]["requests_waiting"] == RUNNING_COUNT)

            async with asyncio.TaskGroup() as group:
                holders = [group.create_task(running.json("/hold/connection/")) for _ in range(POOL_SIZE)]
                await wait_until(held)
                pages = [group.create_task(running.text("/page/", number=n)) for n in range(1, PAGE_COUNT + 1)]
                await wait_until(wanted)
                assert (await running.get("/open/")).text == "open"
            answers = [holder.result() for holder in holders]
            assert {answer["before"] == answer["after"] for answer in answers} == {True}
            assert len({answer["before"] for answer in answers}) == POOL_SIZE
            assert [page.result() for page in pages] == [str(number) for number in range(1, PAGE_COUNT + 1)]


async def test_a_lock_that_every_running_thread_waits_for(database: Database, side: Side) -> None:
    async with asyncio.timeout(DEADLINE_S), client() as http:
        with site(database.postgresql, side, THREADS_COUNT=THREADS_COUNT) as process:
            running = Site(process, http)

            async def is_held() -> bool:
                return await lock_count(database.dsn, granted=True) == 1

            async def is_wanted() -> bool:
                return await lock_count(database.dsn, granted=False) == THREADS_COUNT

            async with asyncio.TaskGroup() as group:
                holder = group.create_task(running.json("/hold/lock/"))
                await wait_until(is_held)
                others = [group.create_task(running.json("/want/lock/")) for _ in range(3 * THREADS_COUNT)]
                await wait_until(is_wanted)
                assert (await running.get("/open/")).text == "open"
            assert holder.result() == {"unlocked": True}
            assert [other.result() for other in others] == [{"unlocked": True}] * len(others)
    assert await lock_count(database.dsn, granted=True) == 0


@pytest.mark.parametrize("first", [True, False], ids=["after-a-call", "before-any-call"])
async def test_a_request_inside_a_request_where_no_thread_is_left(database: Database, side: Side, first: bool) -> None:
    parameters = {"first": 1} if first else {}
    async with asyncio.timeout(DEADLINE_S), client() as http:
        with site(database.postgresql, side, THREADS_COUNT=2, THREADS_MAX_COUNT=4, THREADS_WAIT_S=10.0) as process:
            running = Site(process, http)
            for parallel in ({**parameters, "meet": 4}, parameters):
                answers = await asyncio.gather(*(running.json("/outer/", **parallel) for _ in range(4)))
                for answer in answers:
                    assert answer["status"] == 200
                    assert answer["inner"]["thread"] == answer["after"]
                    assert answer["mine"] == (answer["inner"] if first else None)
            assert (await running.stats())["thread_count"] <= 4
