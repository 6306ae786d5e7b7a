"""From async code to the ORM."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.core.signals import setting_changed

from fullduplex.db.engine import uses_engine
from fullduplex.threads.context import current_executor, entered_lease

T = TypeVar("T")


async def run_orm(function: Callable[..., T], *args: Any) -> T:
    """Run ``function`` where the ORM runs for this request or task: in its thread, or on the loop."""
    if _uses_engine():
        from fullduplex.db.calls import call  # needs greenlet, which is there with the engine

        result: T = await call(function, *args)
        return result
    return await sync_to_async(function)(*args)


def may_be_in_transaction() -> bool:
    """Whether a transaction may be open where the ORM runs for the current async code.

    It may with a sync caller further up, in whose thread it is; in a request that has a thread; and in a session of
    ``fullduplex.db``, in which async code can open one.
    """
    if current_executor() is not None or _uses_engine():
        return True
    lease = entered_lease()
    return lease is not None and lease.root.has_thread


_uses_engine = functools.cache(uses_engine)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "DATABASES":
        _uses_engine.cache_clear()


setting_changed.connect(_forget, dispatch_uid="fullduplex.history.hops")
