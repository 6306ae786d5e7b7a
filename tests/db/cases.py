"""What the cases have in common: requests without a server, and a look at PostgreSQL from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import psycopg
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection

from fullduplex.db import database_only
from fullduplex.db.seats import Seats, seats_of
from fullduplex.threads.context import enter_lease, get_pool

T = TypeVar("T")


async def as_request(view: Coroutine[Any, Any, T]) -> T:
    """Run ``view`` in a task that has a lease, as a request has."""

    async def serve() -> T:
        lease = enter_lease()
        assert lease is not None
        try:
            return await view
        finally:
            lease.end()

    return await asyncio.create_task(serve())


@database_only
def pid() -> int:
    """The process of PostgreSQL behind the connection."""
    return int(fetch("SELECT pg_backend_pid()"))


def thread_pid() -> int:
    return pid()


def fetch(query: str, *parameters: object) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        row = cursor.fetchone()
    return row and row[0]


@database_only
def sleep(seconds: float) -> None:
    fetch("SELECT true FROM pg_sleep(%s)", seconds)


apid = sync_to_async(pid)
asleep = sync_to_async(sleep)


def seats() -> Seats:
    return seats_of(asyncio.get_running_loop())


async def watch(query: str) -> Any:
    """Ask PostgreSQL by a connection that has nothing to do with the project's."""
    database = settings.DATABASES["default"]
    async with await psycopg.AsyncConnection.connect(
        host=database["HOST"], dbname="postgres", user="postgres", autocommit=True
    ) as other:
        row = await (await other.execute(query.encode())).fetchone()
    return row and row[0]


async def wait_until(query: str) -> None:
    """Ask again and again, until PostgreSQL says true."""
    while not await watch(query):
        await asyncio.sleep(0.02)


async def nothing_is_left() -> None:
    """No seat is taken, and no transaction of the project's is open."""
    while seats().taken_count or get_pool().running_count or get_pool().resting_count:
        await asyncio.sleep(0.01)
    await wait_until(
        "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'project' AND state <> 'idle')"
    )
