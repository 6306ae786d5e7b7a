"""The database connections of the current thread: what is left open in them, and what Django would close.

Django's ``close_old_connections`` asks the database at the start and the end of each request. A thread that
serves one lease after another asks nothing unless something has gone wrong.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

logger = logging.getLogger("fullduplex.handler")


_thread = threading.local()


def _note_opened(**kwargs: Any) -> None:
    _thread.has_opened = True


connection_created.connect(_note_opened, dispatch_uid="fullduplex.threads.connections")


def _initialized() -> list[Any]:
    """The connections of this thread; none where it has never opened one, which is cheaper to know than to look up."""
    return list(connections.all(initialized_only=True)) if hasattr(_thread, "has_opened") else []


def in_transaction() -> bool:
    return any(
        connection.in_atomic_block or not connection.autocommit or connection.run_on_commit
        for connection in _initialized()
        if connection.connection is not None
    )


def has_old_connections() -> bool:
    return any(
        connection.errors_occurred or _is_past_max_age(connection)
        for connection in _initialized()
        if connection.connection is not None
    )


def _is_past_max_age(connection: Any) -> bool:
    return connection.close_at is not None and time.monotonic() >= connection.close_at


def clean_connections() -> bool:
    """Clean the connections of this thread; return whether there are any."""
    initialized = _initialized()
    for connection in initialized:
        try:
            connection.queries_log.clear()
            if connection.connection is not None:
                _roll_back(connection)
                _close_if_old(connection)
        except Exception:  # the thread must go on
            logger.exception("The database connection %r could not be cleaned", connection.alias)
    return bool(initialized)


def close_connections() -> None:
    for connection in _initialized():
        try:
            connection.close()
        except Exception:
            logger.exception("The database connection %r could not be closed", connection.alias)


def _close_if_old(connection: Any) -> None:
    """What ``close_old_connections`` does, without a query."""
    connection.health_check_done = False
    if connection.errors_occurred:
        connection.close_if_unusable_or_obsolete()
    elif _is_past_max_age(connection):
        connection.close()


def _roll_back(connection: Any) -> None:
    """End what a view left open; it would go on in the transaction of a stranger."""
    autocommit = connection.settings_dict["AUTOCOMMIT"]
    if connection.in_atomic_block:
        logger.error("A transaction was left open on the database %r; it is rolled back.", connection.alias)
        # As connect() sets them: the block that would reset them never ends.
        connection.in_atomic_block = False
        connection.savepoint_ids = []
        connection.atomic_blocks = []
        connection.needs_rollback = False
    elif not connection.autocommit and autocommit:
        logger.error("Autocommit was left off on the database %r; it is rolled back.", connection.alias)
    elif connection.autocommit:
        return
    connection.run_on_commit = []
    connection.rollback()
    connection.set_autocommit(autocommit)
