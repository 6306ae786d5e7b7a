"""Waiting for the outbox to have something: for a hint where the database can give one, and never for long."""

from __future__ import annotations

import logging
import threading
from types import TracebackType
from typing import Any

from django.db import Error, connections

from fullduplex.history.outbox import CHANNEL

logger = logging.getLogger("fullduplex.outbox")


class Waking:
    """Waits on a connection of its own, in no transaction: PostgreSQL tells nobody who is in one.

    A hint may get lost, and comes once for many: whoever waits looks afterwards in any case.

    Args:
        alias: of the database.
        stopped: ends the wait at once, where there are no hints.
    """

    def __init__(self, alias: str, stopped: threading.Event) -> None:
        self._alias = alias
        self._stopped = stopped
        self._connection: Any = None

    def __enter__(self) -> Waking:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._close()

    def wait(self, timeout_s: float) -> None:
        """Return when there may be something, or it has taken so long."""
        if not self._listens():
            self._stopped.wait(timeout_s)
            return
        try:
            for _ in self._connection.connection.notifies(timeout=timeout_s, stop_after=1):
                pass
        except Exception as error:
            logger.debug("No hints from the database %r: %s", self._alias, error)
            self._close()
            self._stopped.wait(timeout_s)

    def _listens(self) -> bool:
        """Begin to listen, if it can be done: PostgreSQL with psycopg 3.2."""
        if self._connection is not None:
            return True
        if connections[self._alias].vendor != "postgresql":
            return False
        connection = connections.create_connection(self._alias)
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
        except Error:
            connection.close()
            return False
        if not hasattr(connection.connection, "notifies") or isinstance(connection.connection.notifies, list):
            connection.close()  # psycopg2's is a list
            return False
        self._connection = connection
        return True

    def _close(self) -> None:
        if self._connection is not None:
            try:
                self._connection.close()
            except Error:
                pass
            self._connection = None
