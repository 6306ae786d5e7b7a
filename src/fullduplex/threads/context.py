"""The thread of the current context: which executor runs its sync code, and the hop to it and back."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar, cast

from asgiref.sync import (
    AsyncToSync,
    SyncToAsync,
    ThreadSensitiveContext,
    _restore_context,  # moves asgiref's Locals between threads, as sync_to_async does
    sync_to_async,
)

from fullduplex.conf import get_settings
from fullduplex.threads.calls import HopCall, cancel_inside
from fullduplex.threads.pool import Lease, ThreadPool

T = TypeVar("T")

_lease: contextvars.ContextVar[Lease | None] = contextvars.ContextVar("fullduplex.lease", default=None)


def enter_lease() -> Lease | None:
    """Give the current context a lease for its sync code; None where sync code further up already has a thread.

    Entered and never left: it lasts as long as the context and the tasks started in it.
    """
    if current_executor() is not None:
        _lease.set(None)  # a request that its sync caller is part of may have one
        return None
    lease = Lease(get_pool(), get_settings().idle_thread_s)
    context = ThreadSensitiveContext(executor=lease)
    # What its __aenter__ does, without hiding an executor that is not there; it is never left.
    SyncToAsync.thread_sensitive_context.set(context)
    SyncToAsync.context_to_thread_executor[context] = lease
    _lease.set(lease)
    return lease


def current_lease() -> Lease | None:
    """Return the lease that serves the current context; None outside, and in async code below a sync caller."""
    lease = _lease.get()
    if lease is None or not lease.is_busy:  # a sync caller would keep it busy
        return lease
    return lease if current_executor() is None else None


async def hop(function: Callable[..., T], *args: Any, last: bool = False) -> T:
    """Run sync code on the thread of the current request, as ``sync_to_async`` does.

    Args:
        last: the request needs no thread after this; it goes back at once.

    Raises:
        ThreadsExhausted: no thread became free in time.
    """
    lease = current_lease()
    if lease is None:
        return await sync_to_async(function, thread_sensitive=True)(*args)
    call = HopCall(asyncio.get_running_loop(), last, function, args)
    lease.put(call)
    try:
        return cast(T, await call.future)
    except asyncio.CancelledError:
        if call.claim():
            raise
        return cast(T, await cancel_inside(call))
    finally:
        _restore_context(call.context)


@functools.cache
def get_pool() -> ThreadPool:
    """Return the pool of this process."""
    pool = ThreadPool(lambda: get_settings().threads_count)
    atexit.register(pool.close)
    return pool


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(after_in_child=get_pool.cache_clear)


class HandshakeExecutor(Executor):
    """Runs the sync calls of a view behind sync middleware, during the handshake and after it.

    While the middleware waits for the response, its thread is the place for them (``during``,
    asgiref's); once it has the response, that executor refuses, and the socket's own takes over (``after``).
    """

    def __init__(self, during: Executor, after: Executor) -> None:
        self._during = during
        self._after = after

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        try:
            return self._during.submit(fn, *args, **kwargs)
        except RuntimeError:  # "CurrentThreadExecutor already quit": taken and refused are exact, no call is lost
            return self._after.submit(fn, *args, **kwargs)


def current_executor() -> Executor | None:
    """Return the executor of a sync caller further up (asgiref's ``async_to_sync``), which comes before any context."""
    if _executors is not None and _executors.get(None) is None:
        return None
    executor: Executor | None = getattr(AsyncToSync.executors, "current", None)
    return executor


def _variable_of_executors() -> contextvars.ContextVar[Any] | None:
    """Return the context variable in which asgiref's Local keeps them; None where it keeps them some other way.

    To read an attribute that a Local does not have costs 4 µs, and most requests have no sync caller.
    """
    context = contextvars.Context()
    context.run(setattr, AsyncToSync.executors, "current", None)
    variables = list(context)
    return variables[0] if len(variables) == 1 else None


_executors = _variable_of_executors()


def use_executor(executor: Executor) -> None:
    """Make ``executor`` run the thread-sensitive calls of the current context, and of the tasks it starts."""
    AsyncToSync.executors.current = executor
