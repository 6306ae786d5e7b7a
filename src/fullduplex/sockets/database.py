"""Sync code of consumers, and the database connections of its threads."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import close_old_connections

R = TypeVar("R")


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
