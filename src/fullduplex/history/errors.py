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
    """A transaction.

    Attributes:
        is_done: there is nothing left but its commit.
    """

    is_done = False


@contextmanager
def attempt(connection: BaseDatabaseWrapper) -> Iterator[Attempt]:
    """Around a transaction: tell the errors apart.

    A commit that the database refuses is rolled back. One that it does not answer may have been done: Django has given
    up the connection then.

    Raises:
        LockTimeout, UnknownOutcome: in the place of the ``OperationalError`` that they are.
    """
    made = Attempt()
    is_inside = connection.in_atomic_block
    try:
        yield made
    except (OperationalError, InterfaceError) as error:
        if getattr(error.__cause__, "sqlstate", None) == LOCK_NOT_AVAILABLE:
            raise LockTimeout(*error.args) from error
        if made.is_done and not is_inside and connection.connection is None:
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
