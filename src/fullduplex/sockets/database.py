"""Sync code of consumers, and the database connections of its threads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from asgiref.sync import SyncToAsync, sync_to_async
from django import db

R = TypeVar("R")

_keepers_count = 0


def close_old_connections() -> None:
    """Django's, but for connections that somebody keeps."""
    if not _keepers_count:
        db.close_old_connections()


@contextmanager
def connections_kept() -> Iterator[None]:
    """Meanwhile no connection is closed: they are those of a test, and in its transaction."""
    global _keepers_count
    _keepers_count += 1
    try:
        yield
    finally:
        _keepers_count -= 1


class DatabaseSyncToAsync(SyncToAsync[..., R]):
    """``sync_to_async`` that closes connections which are broken or past CONN_MAX_AGE, before and after the call.

    For threads that no request ends in, where Django's own receivers of ``request_finished`` do not come by.
    """

    def thread_handler(self, loop: asyncio.AbstractEventLoop, *args: Any, **kwargs: Any) -> Any:
        close_old_connections()
        try:
            return super().thread_handler(loop, *args, **kwargs)  # type: ignore[no-untyped-call]
        finally:
            close_old_connections()


database_sync_to_async = DatabaseSyncToAsync


async def aclose_old_connections() -> None:
    """Do so in the thread of the current socket."""
    await sync_to_async(close_old_connections)()
