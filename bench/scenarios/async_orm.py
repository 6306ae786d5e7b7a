"""The async ORM on PostgreSQL: without a thread, on threads, by django-async-backend, and asyncpg as the limit."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import ClassVar

from bench import peers
from bench.load.http import Request
from bench.scenario import Column, Measurement, Scenario
from bench.scenarios import django_project
from bench.scenarios.django_http import DjangoHTTP
from bench.scenarios.websocket import Echo
from bench.server import Peer, Server

MOST_COUNT = 500
CONNECTIONS_COUNT = 100  # that the async ORM of a process may have; asyncpg's pool has as many
THREADS, DJANGO, BACKEND, ASYNCPG = (
    "fullduplex, ORM on threads",
    "uvicorn, Django's handler",
    "fullduplex, django-async-backend",
    "fullduplex, asyncpg by hand",
)
_KEPT = {**django_project.POSTGRES, "BENCH_CONN_MAX_AGE": "60"}
_GROWN = (Column("mib", "MiB"), Column("threads", "threads"), Column("connections", "connections"))


def orm_peers(threads: dict[str, str] | None = None) -> list[Peer]:
    """Args: threads: environment of the peers that use threads."""
    ours = django_project.OURS
    backend = {"BENCH_ENGINE": "django_async_backend.db.backends.postgresql", "BENCH_ORM": "async_backend"}
    return [
        peers.fullduplex(ours, env={**_KEPT, "BENCH_ENGINE": "fullduplex.db.postgresql"}),
        peers.fullduplex(ours, THREADS, env={**_KEPT, **(threads or {})}),
        # It has no other way to bound connections than a pool, and keeps none where CONN_MAX_AGE is 0.
        peers.uvicorn(django_project.DJANGO, DJANGO, env=django_project.POSTGRES),
        peers.fullduplex(ours, BACKEND, env={**_KEPT, **backend}),
        peers.fullduplex(ours, ASYNCPG, env={**_KEPT, "BENCH_ORM": "asyncpg"}),
    ]


def grown(server: Server) -> dict[str, float]:
    """What the server has got under the load; the connections of all are PostgreSQL's, which serves nobody else."""
    return {
        "mib": server.memory_kib() / 1024,
        "threads": len(os.listdir(f"/proc/{server.pid}/task")),
        "connections": _connection_count(),
    }


def _connection_count() -> int:
    import psycopg  # only in the environment of the benchmarks

    query = "SELECT count(*) - 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
    with psycopg.connect(host=os.environ["BENCH_POSTGRES_HOST"], user="postgres", dbname="postgres") as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


class One(DjangoHTTP):
    name = "async-orm-one"
    title = "Async ORM, one row"
    about = "`await User.objects.aget(pk=1)` as JSON, default middleware, PostgreSQL, CONN_MAX_AGE 60; 32 clients."
    columns = (*DjangoHTTP.columns, *_GROWN)
    request = Request("/query/one/")
    expected = b'{"username": "ada"}'
    goals: ClassVar = {THREADS: 1.3, DJANGO: 4}

    def peers(self) -> list[Peer]:
        return orm_peers()

    def prepare(self) -> None:
        django_project.make_postgres_database()

    def measure(self, server: Server, seconds: float) -> Measurement:
        measurement = super().measure(server, seconds)
        measurement.figures |= grown(server)
        return measurement


class OneClient(One):
    name = "async-orm-one-1"
    title = "Async ORM, one row, one client"
    about = "The same with one client."
    connections = 1
    goals: ClassVar = {}


class OneOfMany(One):
    name = "async-orm-one-500"
    title = "Async ORM, one row, 500 clients"
    about = "The same with 500 clients."
    connections = MOST_COUNT
    goals: ClassVar = {}


class Listed(One):
    name = "async-orm-list"
    title = "Async ORM, a list of 100"
    about = "100 objects of `async for`; 32 clients."
    request = Request("/query/list/")
    expected = b'{"count": 100}'
    goals: ClassVar = {}


class Insert(One):
    name = "async-orm-insert"
    title = "Async ORM, an insert"
    about = "`acreate()`; 32 clients."
    request = Request("/query/insert/")
    expected = b'{"done": true}'
    goals: ClassVar = {}


class Transaction(Insert):
    name = "async-orm-transaction"
    title = "Async ORM, a transaction"
    about = "`select_for_update()`, `save()` and commit: four statements; a marked function; 32 clients."
    request = Request("/query/transaction/")


class Sleep(One):
    name = "async-orm-sleep"
    title = "Async ORM, 500 requests that wait 50 ms in the database, 100 connections"
    about = (
        "`SELECT pg_sleep(0.05)`, 500 clients: 100 connections allow 2,000 a second, and a median of 250 ms. "
        "The threads are 100, too; Django's own handler and django-async-backend bound nothing."
    )
    request = Request("/query/sleep/")
    expected = None
    connections = MOST_COUNT
    goals: ClassVar = {}

    def peers(self) -> list[Peer]:
        count = str(CONNECTIONS_COUNT)
        return orm_peers({"BENCH_THREADS_MAX_COUNT": count, "BENCH_THREADS_COUNT": count})


class LongSleep(Sleep):
    name = "async-orm-sleep-long"
    title = "Async ORM, 500 requests that wait 250 ms in the database, 100 connections"
    about = "The same with `pg_sleep(0.25)`: 400 a second, and a median of 1,250 ms: there is processor enough for it."

    def peers(self) -> list[Peer]:
        return [replace(peer, env={**peer.env, "BENCH_SLEEP_S": "0.25"}) for peer in super().peers()]


class Sockets(Echo):
    name = "async-orm-sockets"
    title = "Async ORM, one row for each message of 100 sockets"
    about = "A socket view that gets one row before it echoes; 100 clients, each waits for its echo."
    columns = (*Echo.columns, *_GROWN)
    goals: ClassVar = {}
    path = "/query/socket/"

    def peers(self) -> list[Peer]:
        return [peer for peer in orm_peers() if peer.name != DJANGO]

    def prepare(self) -> None:
        django_project.make_postgres_database()

    def measure(self, server: Server, seconds: float) -> Measurement:
        measurement = super().measure(server, seconds)
        measurement.figures |= grown(server)
        return measurement


ASYNC_ORM: list[type[Scenario]] = [
    One,
    OneClient,
    OneOfMany,
    Listed,
    Insert,
    Transaction,
    Sleep,
    LongSleep,
    Sockets,
]
