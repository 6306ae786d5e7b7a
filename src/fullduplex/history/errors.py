"""What errors of the database mean to whoever appends and reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from fullduplex.exceptions import ConfigurationError, LayerError, LayerUnavailable
from fullduplex.history.models import KeptGroup

LOCK_NOT_AVAILABLE = "55P03"  # https://www.postgresql.org/docs/current/errcodes-appendix.html


class LockTimeout(OperationalError):
    """Another transaction has the row."""


class UnknownOutcome(OperationalError):
    """The connection was lost at the commit: it was done or not."""


class Attempt:
    """A transaction of a connection.

    Args:
        connection: before it begins.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._is_inside = connection.in_atomic_block
        self._used: object = None

    def end(self) -> None:
        """There is nothing left but the commit."""
        if not self._is_inside:
            self._used = self._connection.connection

    @property
    def is_unanswered(self) -> bool:
        """Whether its commit failed and the connection was lost: Django has another one by then, or none."""
        return self._used is not None and self._connection.connection is not self._used


@contextmanager
def attempt(connection: BaseDatabaseWrapper) -> Iterator[Attempt]:
    """Around a transaction: tell the errors apart. A commit that the database refuses is rolled back; one that it does
    not answer may have been done.

    Raises:
        LockTimeout, UnknownOutcome: in the place of the ``OperationalError`` that they are.
    """
    made = Attempt(connection)
    try:
        yield made
    except Error as error:
        if getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            raise LockTimeout(*error.args) from error
        if made.is_unanswered:
            raise UnknownOutcome(*error.args) from error
        raise


def as_layer_error(alias: str, error: Exception) -> Exception:
    """Return what the contract of histories has for an error of the database."""
    if not isinstance(error, Error):
        return error
    if not isinstance(error, OperationalError | InterfaceError) or "no such table" in str(error):
        try:
            is_migrated = KeptGroup._meta.db_table in connections[alias].introspection.table_names()
        except Error:
            is_migrated = True
        if not is_migrated:
            return ConfigurationError(
                f"The database {alias!r} has no tables for the history of groups: run `manage.py migrate`."
            )
        return LayerError(f"The database {alias!r} refused a message: {error}")
    return LayerUnavailable(f"The database {alias!r} cannot be reached: {error}")
