"""Tasks of one socket: begun at once, waited for, cancelled."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

if sys.version_info >= (3, 12):

    def start(
        coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, context: contextvars.Context | None
    ) -> asyncio.Task[T]:
        """Run a task; its first steps at once, and many of ours have no others."""
        return asyncio.Task(coroutine, loop=loop, eager_start=True, context=context)

else:

    def start(
        coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, context: contextvars.Context | None
    ) -> asyncio.Task[T]:
        """Run a task."""
        return loop.create_task(coroutine, context=context)


async def complete(task: asyncio.Task[Any]) -> None:
    """Wait for ``task`` to its end, and let a cancellation that comes meanwhile go on only then."""
    if task.done():
        task.result()
        return
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait({task})
        raise


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel ``task`` and wait for its end; its exception, if any, is the business of who asks for the result."""
    if task.cancel():
        await asyncio.wait({task})
