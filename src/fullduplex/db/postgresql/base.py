"""The database engine ``fullduplex.db.postgresql``: Django's own, whose connections can wait on the event loop."""

from __future__ import annotations

import asyncio
import functools
import types
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.asyncio import async_unsafe

try:
    import psycopg
    from django.db.backends.postgresql import base

    from fullduplex.db import local
    from fullduplex.db.postgresql.connection import Connection
    from fullduplex.db.turns import current_turn
except ImportError as error:
    raise ImproperlyConfigured(
        f"The engine fullduplex.db.postgresql needs psycopg 3 and greenlet: pip install 'fullduplex[postgres]'. {error}"
    ) from error

_driver = types.ModuleType("psycopg")
_driver.__dict__.update(vars(psycopg), connect=Connection.connect)

_GUARD = async_unsafe(lambda: None).__code__


def _unguarded(guarded: Any) -> Any:
    """Django's guard against sync code on the loop, but for turns."""
    function = guarded.__wrapped__

    @functools.wraps(function)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if current_turn() is None:
            return guarded(self, *args, **kwargs)
        return function(self, *args, **kwargs)

    return method


class _Unguarded(base.DatabaseWrapper):
    pass


for _name in dir(_Unguarded):
    _method = getattr(_Unguarded, _name)
    if getattr(_method, "__code__", None) is _GUARD:
        setattr(_Unguarded, _name, _unguarded(_method))


_ServerSideCursor: Any = base.ServerSideCursor  # the stubs also think of psycopg2


class ServerSideCursor(_ServerSideCursor):  # type: ignore[misc]  # see there
    """A cursor that the server keeps.

    Attributes:
        wrapper: the connection it was made by, Django's.
    """

    wrapper: Any

    def close(self) -> None:
        """Close it. Where it is left to the garbage collector, nobody can wait: its connection is not used again."""
        if current_turn() is None and asyncio._get_running_loop() is not None:
            self.wrapper.close_at = 0.0
            self._closed = True
        else:
            super().close()


class DatabaseWrapper(_Unguarded):
    Database = _driver

    @property
    def pool(self) -> None:
        if self.settings_dict["OPTIONS"].get("pool"):
            raise ImproperlyConfigured(
                "fullduplex.db.postgresql has no OPTIONS['pool']: CONN_MAX_AGE keeps connections, and "
                "FULLDUPLEX['CONNECTIONS_MAX_COUNT'] bounds them."
            )

    def create_cursor(self, name: str | None = None) -> Any:
        cursor: Any = super().create_cursor(name)
        if type(cursor) is _ServerSideCursor:
            cursor.__class__ = ServerSideCursor
            cursor.wrapper = self
        return cursor


local.install()
