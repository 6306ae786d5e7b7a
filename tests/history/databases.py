"""Databases for the tests of the history: a file of SQLite's, or a database of a PostgreSQL server of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import connections

from tests.packages.postgresql import PostgreSQL

ALIAS = "history"


class Router:
    """Sends the models of the history to their database, and nothing else."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return ALIAS if model._meta.app_label == "fullduplex_history" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return app_label == "fullduplex_history" if db == ALIAS else None


def sqlite(path: Path, **options: Any) -> dict[str, Any]:
    """What no crash of the machine has to leave whole is not synchronised; it takes most of a test's time."""
    volatile = {"init_command": "PRAGMA synchronous=OFF", **options}
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": volatile}


def postgresql(server: PostgreSQL, name: str) -> dict[str, Any]:
    place = {"HOST": server.host, "PORT": server.port, "USER": server.user, "NAME": name}
    return {"ENGINE": "django.db.backends.postgresql", **place}


@contextmanager
def connected(config: dict[str, Any]) -> Iterator[None]:
    """Have it be the database of the history in this process, in the place of what was before."""
    before = connections.databases.get(ALIAS)
    _use(connections.configure_settings({"default": {}, ALIAS: config})[ALIAS])
    try:
        yield
    finally:
        _use(before)


def _use(config: dict[str, Any] | None) -> None:
    if ALIAS in connections.databases:
        connections[ALIAS].close()
        del connections[ALIAS]
        del connections.databases[ALIAS]
    if config is not None:
        connections.databases[ALIAS] = config


def migrate() -> None:
    call_command("migrate", "fullduplex_history", database=ALIAS, verbosity=0)


async def forget() -> None:
    """In the thread that runs the ORM for async code outside of requests: the next test has another database."""

    def close() -> None:
        connections[ALIAS].close()
        del connections[ALIAS]

    await sync_to_async(close)()
