"""From async code to the ORM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from fullduplex.db import database_only

T = TypeVar("T")


@database_only
def _run(function: Callable[..., T], *args: Any) -> T:
    return function(*args)


async def run_orm(function: Callable[..., T], *args: Any) -> T:
    """Run ``function`` where the ORM runs for this request: in its thread, or on the loop (``fullduplex.db``)."""
    return await sync_to_async(_run)(function, *args)
