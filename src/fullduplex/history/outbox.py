"""The outbox: messages that are written in the transaction that they belong to, and sent when it has committed.

``manage.py outbox`` sends them (:mod:`fullduplex.realtime.relay`); here they are written.
"""

from __future__ import annotations

import logging
import uuid
import zlib

from django.db import Error, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from fullduplex.history.appending import as_bytes
from fullduplex.history.hops import run_orm
from fullduplex.history.models import LANE_COUNT, OutboxMessage, now_ms
from fullduplex.layers.history import Payload

logger = logging.getLogger("fullduplex.outbox")

CHANNEL = "fullduplex_outbox"  # of PostgreSQL's NOTIFY


def write(group: str, data: Payload, key: str, using: str | None) -> None:
    """Write a message into the open transaction.

    Raises:
        TransactionManagementError: none is open.
        django.db.Error: it could not be written.
    """
    alias = using or router.db_for_write(OutboxMessage)
    connection = connections[alias]
    if not connection.in_atomic_block:
        raise TransactionManagementError(
            f"send_in_transaction() outside of a transaction of the database {alias!r}: there is nothing that the "
            f"message could stand or fall with. Use transaction.atomic(), or send()."
        )
    OutboxMessage.objects.using(alias).create(
        lane=lane_of(group),
        group=group,
        data=as_bytes(data),
        is_text=isinstance(data, str),
        key=key or uuid.uuid4().hex,
        written_ms=now_ms(),
    )
    if connection.vendor == "postgresql" and not _is_hinted(connection):
        transaction.on_commit(_Hint(alias), using=alias)


async def awrite(group: str, data: Payload, key: str, using: str | None) -> None:
    """Like :func:`write`, where the ORM runs for async code."""
    await run_orm(write, group, data, key, using)


def lane_of(group: str) -> int:
    return zlib.crc32(group.encode()) % LANE_COUNT


class _Hint:
    """Wakes those that send, after the commit: NOTIFY inside of a transaction has all that commit wait for each other.

    It is lost where the process is killed before; who listens looks every now and then.
    """

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def __call__(self) -> None:
        try:
            with connections[self._alias].cursor() as cursor:
                cursor.execute(f"NOTIFY {CHANNEL}")
        except Error as error:
            logger.debug("Nobody could be woken for the outbox of the database %r: %s", self._alias, error)


def _is_hinted(connection: BaseDatabaseWrapper) -> bool:
    """Whether this transaction has a hint already, which stays where this savepoint does."""
    here = {*connection.savepoint_ids}
    return any(isinstance(hook, _Hint) and savepoints <= here for savepoints, hook, *_ in connection.run_on_commit)
