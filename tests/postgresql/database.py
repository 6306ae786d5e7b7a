"""The database of the site: roles that visitors take, rows of tenants, numbers to read for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import LiteralString

import psycopg

from tests.e2e.process import WAIT_TIMEOUT_S
from tests.packages.postgresql import PostgreSQL

CLIENT_COUNT = 40
DOCUMENT_COUNT = 20  # of each tenant
NUMBER_COUNT = 1_000
APPLICATION = "site"  # its connections, in pg_stat_activity


def role(number: int) -> str:
    return f"visitor_{number}"


def tenant(number: int) -> str:
    return f"tenant_{number}"


def create(postgresql: PostgreSQL) -> str:
    """Make the database, and return the DSN of its superuser; the site is another user, whom policies bind."""
    dsn = postgresql.database("site")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE site LOGIN")
        for number in range(CLIENT_COUNT):
            connection.execute(f"CREATE ROLE {role(number)}; GRANT {role(number)} TO site")
        connection.execute("CREATE TABLE numbers (number integer PRIMARY KEY, text text NOT NULL)")
        connection.execute(
            f"INSERT INTO numbers SELECT n, repeat('x', 200) FROM generate_series(1, {NUMBER_COUNT}) AS n"
        )
        connection.execute("CREATE TABLE documents (id serial PRIMARY KEY, tenant text NOT NULL)")
        connection.execute(
            f"INSERT INTO documents (tenant) SELECT 'tenant_' || t FROM generate_series(0, {CLIENT_COUNT - 1}) AS t, "
            f"generate_series(1, {DOCUMENT_COUNT})"
        )
        connection.execute("ALTER TABLE documents ENABLE ROW LEVEL SECURITY")
        connection.execute("CREATE POLICY own ON documents USING (tenant = current_setting('app.tenant', true))")
        connection.execute("GRANT SELECT ON numbers, documents TO PUBLIC")
    return dsn


async def lock_count(dsn: str, *, granted: bool) -> int:
    """Advisory locks that are held, or waited for."""
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted = %s"
    return await _count(dsn, query, granted)


async def connection_count(dsn: str) -> int:
    """Connections of the site."""
    return await _count(dsn, "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", APPLICATION)


async def wait_until(holds: Callable[[], Awaitable[bool]], timeout_s: float = WAIT_TIMEOUT_S) -> None:
    """Ask again and again: PostgreSQL tells nobody when a lock is waited for, or when a connection has ended."""
    async with asyncio.timeout(timeout_s):
        while not await holds():
            await asyncio.sleep(0.02)


async def _count(dsn: str, query: LiteralString, *parameters: object) -> int:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        row = await (await connection.execute(query, parameters)).fetchone()
    assert row is not None
    return int(row[0])
