"""System checks of the app."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.db import Error as DatabaseError
from django.db import connections, router
from django.db.migrations.executor import MigrationExecutor

from fullduplex.history.models import KeptGroup


def check_migrated(databases: Iterable[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The tables are there. Asks the database, so that it runs with ``check --database``.

    ``migrate`` runs it as well, before it makes them: nobody is to be told then to do what he is doing.
    """
    alias = router.db_for_write(KeptGroup)
    if alias not in (databases or ()) or sys.argv[1:2] == ["migrate"]:
        return []
    try:
        executor = MigrationExecutor(connections[alias])
        plan = executor.migration_plan([node for node in executor.loader.graph.leaf_nodes() if node[0] == _label()])
    except DatabaseError as error:
        return [Error(f"The database {alias!r} cannot be asked for its migrations: {error}", id="fullduplex.E030")]
    if not plan:
        return []
    return [
        Warning(
            f"The database {alias!r} has no tables, or old ones, for the history of groups and the outbox.",
            hint="Run `manage.py migrate`.",
            id="fullduplex.W031",
        )
    ]


def check_transaction_mode(**kwargs: Any) -> list[CheckMessage]:
    """SQLite's transactions begin with the lock: a transaction that has read fails at once where others write."""
    connection = connections[router.db_for_write(KeptGroup)]
    mode = connection.settings_dict.get("OPTIONS", {}).get("transaction_mode")
    if connection.vendor != "sqlite" or mode in ("IMMEDIATE", "EXCLUSIVE"):
        return []
    return [
        Warning(
            f"The database {connection.alias!r} is SQLite, and its transactions are deferred: one that reads first and "
            f"sends to a group then fails at once with 'database is locked' where another one writes.",
            hint="Set OPTIONS = {'transaction_mode': 'IMMEDIATE'} in DATABASES, so that it waits.",
            id="fullduplex.W030",
        )
    ]


def _label() -> str:
    return KeptGroup._meta.app_label
