"""The thread of the current context: which executor runs its sync code, and the hop to it and back."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, ClassVar, TypeVar, cast

from asgiref.sync import (
    AsyncToSync,
    SyncToAsync,
    _restore_context,  # moves asgiref's Locals between threads, as sync_to_async does
    sync_to_async,
)
from django.db.transaction import TransactionManagementError

from fullduplex.conf import get_settings
from fullduplex.original import is_original
from fullduplex.threads.calls import HopCall, cancel_inside
from fullduplex.threads.connections import close_connections, in_transaction
from fullduplex.threads.lease import Lease, SharedLease
from fullduplex.threads.locals import variable_set_by
from fullduplex.threads.pool import ThreadPool
from fullduplex.threads.worker import Worker

T = TypeVar("T")

_lease: contextvars.ContextVar[Lease | None] = contextvars.ContextVar("fullduplex.lease", default=None)


def enter_lease(*, is_bound: bool = True, tracks: bool = False) -> Lease | None:
    """Give the current context a lease for its sync code.

    Entered and never left: it lasts as long as the context and the tasks started in it. As with Django's own
    ``ThreadSensitiveContext`` only the outermost one counts: a request that is served inside another's context uses the
    thread of that one, and its lease ends nothing.

    Args:
        is_bound: one thread to the end, as Django promises a request; else a socket's.
        tracks: a socket may come of it.

    Returns:
        The lease, or None where somebody else has provided for sync code: a sync caller further up, or a
        ``ThreadSensitiveContext`` that is not ours.
    """
    executor = current_executor()
    if isinstance(executor, HandshakeExecutor) and executor.is_over:
        use_executor(None)  # a request inside a socket, whose thread is not its own between two calls
    elif executor is not None:
        _lease.set(None)  # a request that its sync caller is part of may have one
        return None
    outer = _lease.get()
    if outer is not None and outer.is_bound and not outer.ended:
        shared = SharedLease(outer)
        _lease.set(shared)
        return shared
    if outer is None and SyncToAsync.thread_sensitive_context.get(None) is not None:
        return None
    lease = Lease(get_pool(), get_settings().idle_thread_s, is_bound=is_bound, tracks=tracks)
    # What entering a ThreadSensitiveContext does, without hiding an executor that is not there; it is never left.
    context: Any = LeaseContext(lease)
    SyncToAsync.thread_sensitive_context.set(context)
    _lease.set(lease)
    return lease


class LeaseContext:
    """A ``ThreadSensitiveContext`` with a lease for its executor, of which asgiref is told when it first asks.

    Our own hops go to the lease, so that most requests never have it asked. It asks by looking this object up in its
    dictionary of executors, which cannot be done without the hash.
    """

    __slots__ = ("__weakref__", "_lease")
    _exited: ClassVar[bool] = False  # asgiref refuses the calls of those that are over

    def __init__(self, lease: Lease) -> None:
        self._lease: Lease | None = lease

    def __hash__(self) -> int:
        lease, self._lease = self._lease, None
        if lease is not None:
            SyncToAsync.context_to_thread_executor[cast(Any, self)] = lease
        return object.__hash__(self)


def entered_lease() -> Lease | None:
    """Return what :func:`enter_lease` returned in this context, whoever's turn it is; None where that was nothing."""
    return _lease.get()


def current_lease() -> Lease | None:
    """Return the lease that serves the current context; None outside, and in async code below a sync caller."""
    lease = _lease.get()
    return lease if lease is None or current_executor() is None else None


def is_below_caller() -> bool:
    """Whether a sync caller further up, which runs the sync code of this context, has a thread of the pool."""
    thread = getattr(current_executor(), "_work_thread", None)  # of asgiref's CurrentThreadExecutor
    return isinstance(thread, Worker)


def forget_executor(lease: Lease | None) -> None:
    """A view that was cancelled behind sync middleware leaves asgiref's executor behind, which has quit."""
    if lease is not None and current_executor() is not None:
        use_executor(None)


def hop(function: Callable[..., T], *args: Any, over: Callable[[Any], bool] | None = None) -> Coroutine[Any, Any, T]:
    """Run sync code on the thread of the current request, as ``sync_to_async`` does.

    Args:
        over: asked in the thread about the result: whether the request needs no thread after this.

    Raises:
        ThreadsExhausted: no thread became free in time.
    """
    lease = _lease.get()
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
        return cast(T, await cancel_inside(call))
    finally:
        _restore_context(call.context)


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
    if isinstance(_lease.get(), SharedLease):
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


@functools.cache
def get_pool() -> ThreadPool:
    """Return the pool of this process."""
    pool = ThreadPool(lambda: get_settings().threads_count, lambda: get_settings().threads_max_count)
    atexit.register(pool.close)
    return pool


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(after_in_child=get_pool.cache_clear)


class HandshakeExecutor(Executor):
    """Runs the sync calls of a view behind sync middleware, during the handshake and after it.

    While the middleware waits for the response, its thread is the place for them (``during``,
    asgiref's); once it has the response, that executor refuses, and the socket's own takes over (``after``).
    """

    def __init__(self, during: Executor, after: Lease) -> None:
        self._during = during
        self._after = after

    @property
    def is_over(self) -> bool:
        """Whether the handshake is over."""
        return not self._after.is_bound

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


_executors = variable_set_by(setattr, AsyncToSync.executors, "current", None)  # most requests have no sync caller


def use_executor(executor: Executor | None) -> None:
    """Make ``executor`` run the thread-sensitive calls of the current context, and of the tasks it starts."""
    AsyncToSync.executors.current = executor
