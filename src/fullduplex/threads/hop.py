"""The hop of a request's sync code to its thread and back, and how a request gives its thread up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from asgiref.sync import (
    SyncToAsync,
    _restore_context,  # moves asgiref's Locals between threads, as sync_to_async does
    sync_to_async,
)
from django.db.transaction import TransactionManagementError

from fullduplex.original import is_original
from fullduplex.threads.calls import HopCall
from fullduplex.threads.connections import close_connections, in_transaction
from fullduplex.threads.context import current_executor, current_lease, entered_lease
from fullduplex.threads.lease import Lease, SharedLease
from fullduplex.threads.worker import Worker

T = TypeVar("T")


def hop(function: Callable[..., T], *args: Any, over: Callable[[Any], bool] | None = None) -> Coroutine[Any, Any, T]:
    """Run sync code on the thread of the current request, as ``sync_to_async`` does.

    Args:
        over: asked in the thread about the result: whether the request needs no thread after this.

    Raises:
        ThreadsExhausted: no thread became free in time.
    """
    lease = entered_lease()
    if (
        lease is None
        or current_executor() is not None
        or SyncToAsync.__call__ is not _CALL
        or SyncToAsync.thread_handler is not _HANDLER
    ):
        # A sync caller further up has its thread; or somebody carries his context into threads.
        nested: Coroutine[Any, Any, T] = _nested_call(function, *args)
        return nested
    return hop_on(lease, function, *args, over=over)


async def hop_on(lease: Lease, function: Callable[..., T], *args: Any, over: Callable[[Any], bool] | None = None) -> T:
    """Run sync code on the thread of ``lease``, in the current context."""
    call = HopCall(asyncio.get_running_loop(), over, function, args)
    lease.put(call)
    try:
        result: T = await call.future
        return result
    except asyncio.CancelledError:
        if call.claim():
            raise
        return cast(T, await _cancel_inside(call))
    finally:
        _restore_context(call.context)


async def _cancel_inside(call: HopCall) -> Any:
    """Cancel the async code inside, and wait for the thread: the request is not over before its code is."""
    if call.future.cancelled():
        call.future = call.loop.create_future()
    absorbed = False
    if call.tasks:
        task = call.tasks[0]
        task.cancel()
        await asyncio.wait({task})
        absorbed = not task.cancelled()
    try:
        result = await call.future
    except BaseException:
        if absorbed:
            raise
        result = None
    if absorbed:
        return result
    raise asyncio.CancelledError


def _nested(function: Callable[..., T], *args: Any) -> T:
    """Run sync code of ours inside ``async_to_sync``: its thread, if it is one of the pool, waits no more meanwhile."""
    worker = threading.current_thread()
    if not isinstance(worker, Worker):
        return function(*args)
    worker.nested_count += 1
    try:
        return function(*args)
    finally:
        worker.nested_count -= 1


_nested_call = sync_to_async(_nested, thread_sensitive=True)

# What asgiref ships, and not what somebody had put in its place before we were imported.
_CALL: Any
_HANDLER: Any
_CALL, _HANDLER = (
    function if is_original(function := vars(SyncToAsync)[name], "asgiref.sync", f"SyncToAsync.{name}") else None
    for name in ("__call__", "thread_handler")
)


def release_thread() -> None:
    """Give up the thread of this request, and its database connections, when the call that runs now returns.

    For sync code that goes on for long with little to do, as the generator of a stream. The next sync call takes a
    thread as the first one did: it may have to wait, and finds nothing of what this one has left in its thread. The
    thread itself ends: whoever has set something there has had no chance to undo it.

    Raises:
        TransactionManagementError: a transaction is open.
    """
    if in_transaction():
        raise TransactionManagementError("release_thread() in a transaction: it would be rolled back.")
    if isinstance(entered_lease(), SharedLease):
        return  # the thread is that of the request outside
    worker = threading.current_thread()
    if isinstance(worker, Worker):
        worker.leaves = worker.spoiled = True
    else:  # Django's own chain, a test, or a command: the thread is not ours to give
        close_connections()


async def arelease_thread() -> None:
    """Do so from async code: a stream or a long poll, before it waits.

    Raises:
        TransactionManagementError: a transaction is open.
    """
    lease = current_lease()
    if lease is not None and lease.session is not None and not lease.has_thread:
        lease.session.release()
    elif lease is None or lease.has_thread:
        await hop(release_thread)
