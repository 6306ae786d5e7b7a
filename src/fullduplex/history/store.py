"""The history of groups in the project's database: what ``"STORE": "database"`` means."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from django.db import Error, InterfaceError, OperationalError, connections, router, transaction

from fullduplex.history import identity, reading
from fullduplex.history.appending import Message, append
from fullduplex.history.errors import as_layer_error
from fullduplex.history.hops import may_be_in_transaction, run_orm
from fullduplex.history.models import KeptGroup, KeptMessage, new_nonce
from fullduplex.history.publishing import publish
from fullduplex.history.writer import TIMEOUT_S, Writer, WriterFull
from fullduplex.layers import get_layer
from fullduplex.layers.history import Keep, Kept, Missed, Payload, Position

T = TypeVar("T")

FULL_PAUSE_S = 0.02


class DatabaseHistory:
    """A :class:`~fullduplex.layers.history.History` in the database that Django's routers choose for its models.

    In an open transaction of that database a message is part of it: kept and published when it commits. Otherwise it is
    appended at once, together with what others of this process append at the time.
    """

    def append(self, group: str, data: Payload, keep: Keep, *, key: str = "") -> Position:
        message = Message(group, data, keep, key)
        for pause_s in _pauses():
            try:
                return self._begin(message).result().position
            except WriterFull as error:
                full = error
                time.sleep(pause_s)
        raise full

    async def aappend(self, group: str, data: Payload, keep: Keep, *, key: str = "") -> Position:
        message = Message(group, data, keep, key)
        for pause_s in _pauses():
            try:
                future = await run_orm(self._begin, message) if may_be_in_transaction() else self._put(message)
                return (await asyncio.wrap_future(future)).position
            except WriterFull as error:
                full = error
                await asyncio.sleep(pause_s)
        raise full

    def read(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        alias = router.db_for_write(KeptGroup)  # a replica may be behind
        return _retried(alias, partial(reading.read, alias, group, keep, after, max_count, max_bytes))

    async def aread(
        self, group: str, keep: Keep, *, after: Position | None, max_count: int = 1_000, max_bytes: int = 1_048_576
    ) -> Missed:
        return await run_orm(partial(self.read, group, keep, after=after, max_count=max_count, max_bytes=max_bytes))

    async def apositions(self, groups: Sequence[str]) -> dict[str, Position]:
        """Return where these groups are; those that nobody has asked for or sent to are left out.

        Raises:
            LayerUnavailable: the database cannot be reached.
        """
        alias = router.db_for_write(KeptGroup)
        return await run_orm(_retried, alias, partial(reading.positions, alias, groups))

    async def abegin_epoch(self, group: str, position: Position) -> None:
        """See :meth:`fullduplex.realtime.watching.Watched.abegin_epoch`.

        Raises:
            LayerUnavailable: the database cannot be reached.
        """
        alias = router.db_for_write(KeptGroup)
        groups = KeptGroup.objects.using(alias).filter(
            name=group, nonce=identity.nonce_of(position.epoch), last__lt=position.offset
        )
        await run_orm(_retried, alias, partial(groups.update, nonce=new_nonce()))

    def begin_epochs(self) -> None:
        """Let all groups begin another epoch: whoever comes back is told that he may have missed something."""
        alias = router.db_for_write(KeptGroup)
        KeptGroup.objects.using(alias).update(nonce=new_nonce())

    def _put(self, message: Message) -> Future[Kept]:
        get_layer()  # one that is not configured is an error before anything is kept
        return _writer(router.db_for_write(KeptMessage)).put(message)

    def _begin(self, message: Message) -> Future[Kept]:
        """Append it to the open transaction, or have it appended."""
        alias = router.db_for_write(KeptMessage)
        if not connections[alias].in_atomic_block:
            return self._put(message)
        get_layer()
        try:
            kept, is_new = append(alias, [message])[0]
        except Error as error:
            raise as_layer_error(alias, error) from error
        if is_new:
            transaction.on_commit(partial(publish, [(message.group, kept)]), using=alias)
        future: Future[Kept] = Future()
        future.set_result(kept)
        return future


def _pauses() -> Iterator[float]:
    """Between two looks whether a full writer has room again."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        yield FULL_PAUSE_S
        if time.monotonic() >= deadline_s:
            return


def _retried(alias: str, function: Callable[[], T]) -> T:
    """Once more, with another connection, where the first was lost."""
    connection = connections[alias]
    if connection.in_atomic_block:
        return _translated(alias, function)
    connection.close_if_unusable_or_obsolete()
    try:
        return function()
    except (OperationalError, InterfaceError):
        connection.close_if_unusable_or_obsolete()
        return _translated(alias, function)
    except Error as error:
        raise as_layer_error(alias, error) from error


def _translated(alias: str, function: Callable[[], T]) -> T:
    try:
        return function()
    except Error as error:
        raise as_layer_error(alias, error) from error


_lock = threading.Lock()
_writers: dict[str, Writer] = {}


def _writer(alias: str) -> Writer:
    with _lock:
        writer = _writers.get(alias)
        if writer is None:
            writer = _writers[alias] = Writer(alias)
        return writer


def close_writers() -> None:
    """Wait until the threads that append have ended, with their connections: for tests that drop the database."""
    with _lock:
        writers = [*_writers.values()]
    for writer in writers:
        writer.close()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    _writers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
