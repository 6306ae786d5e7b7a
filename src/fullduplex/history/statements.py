"""The SQL of what is done for each message, and for each client that comes back.

It is of the kind that every database knows. The ORM would build the same text anew for each call, which takes longer
than the database needs for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from fullduplex.history.models import KeptGroup, KeptMessage

_GROUP = ("id", "name", "nonce", "last", "first", "trimmed", "total_bytes", "oldest_ms", "appended_ms")
_UPDATED = ("last", "first", "trimmed", "total_bytes", "oldest_ms", "appended_ms")
_MESSAGE = ("group_id", "offset", "data", "is_text", "size_bytes", "key", "kept_ms")
_READ = ("offset", "data", "is_text", "key", "kept_ms")


@dataclass(slots=True)
class Counted:
    """The row of a group, see :class:`~fullduplex.history.models.KeptGroup`; ``table``: :func:`table_of`."""

    id: int
    name: str
    nonce: str
    last: int
    first: int
    trimmed: int
    total_bytes: int
    oldest_ms: int
    appended_ms: int
    table: int


class Found(NamedTuple):
    """A group with one of its messages, or without any."""

    nonce: str
    last: int
    first: int
    table: int
    offset: int | None
    data: Any
    is_text: bool
    key: str | None
    kept_ms: int


def take_lock(connection: BaseDatabaseWrapper) -> None:
    """Begin the transaction with writing, be it nothing.

    SQLite waits for others there, and fails at once where a transaction has read before it comes to write.
    Source: https://www.sqlite.org/lang_transaction.html
    """
    groups = _table(connection, KeptGroup)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {groups} SET {_columns(connection, ('first',))[0]} = 0 WHERE id = 0")


def select_groups(connection: BaseDatabaseWrapper, names: Sequence[str], *, locks: str = "") -> list[Counted]:
    """Return those that there are of these groups, in the order of their names.

    Args:
        locks: what stands at the end: ``FOR UPDATE``.
    """
    marks = ", ".join(["%s"] * len(names))
    groups = _table(connection, KeptGroup)
    columns = ", ".join([*_columns(connection, _GROUP), _table_of(connection)])
    name = _columns(connection, ("name",))[0]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {groups} WHERE {name} IN ({marks}) ORDER BY {name} {locks}", names)
        return [Counted(*row) for row in cursor.fetchall()]


def update_groups(connection: BaseDatabaseWrapper, groups: Sequence[Counted]) -> None:
    """Write what has changed of these."""
    columns = ", ".join(f"{column} = %s" for column in _columns(connection, _UPDATED))
    rows = [(*(getattr(group, name) for name in _UPDATED), group.id) for group in groups]
    _execute_many(connection, f"UPDATE {_table(connection, KeptGroup)} SET {columns} WHERE id = %s", rows)


def insert_messages(connection: BaseDatabaseWrapper, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write messages.

    Args:
        rows: group_id, offset, data, is_text, size_bytes, key, kept_ms.
    """
    columns = _columns(connection, _MESSAGE)
    marks = ", ".join(["%s"] * len(columns))
    table = _table(connection, KeptMessage)
    _execute_many(connection, f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


def select_later(connection: BaseDatabaseWrapper, name: str, after: int, limit: int) -> list[Found]:
    """Return a group with its messages after an offset, both as they are at one moment; nothing: there is none."""
    groups, messages = _table(connection, KeptGroup), _table(connection, KeptMessage)
    columns = ", ".join(
        [
            *_columns(connection, ("nonce", "last", "first"), f"{groups}."),
            _table_of(connection),
            *_columns(connection, _READ, "m."),
        ]
    )
    offset, group_id = _columns(connection, ("offset", "group_id"), "m.")
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM {groups} LEFT JOIN {messages} m ON {group_id} = {groups}.id AND {offset} > %s "
            f"WHERE {_columns(connection, ('name',), f'{groups}.')[0]} = %s ORDER BY {offset} LIMIT {limit:d}",
            (after, name),
        )
        return [Found(*row) for row in cursor.fetchall()]


def _execute_many(connection: BaseDatabaseWrapper, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        with connection.cursor() as cursor:
            if len(rows) == 1:
                cursor.execute(sql, rows[0])
            else:
                cursor.executemany(sql, rows)


def _table_of(connection: BaseDatabaseWrapper) -> str:
    """The identity of the table of groups: a dump that was put back has made another one."""
    return f"{_table(connection, KeptGroup)}.tableoid::bigint" if connection.vendor == "postgresql" else "0"


def _table(connection: BaseDatabaseWrapper, model: type[Model]) -> str:
    return str(connection.ops.quote_name(model._meta.db_table))


def _columns(connection: BaseDatabaseWrapper, names: Sequence[str], of: str = "") -> list[str]:
    return [f"{of}{connection.ops.quote_name(name)}" for name in names]
