"""The thread of the current context: which executor runs its sync code."""

from __future__ import annotations

import atexit
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from asgiref.sync import (
    AsyncToSync,
    SyncToAsync,
)

from fullduplex.conf import get_settings
from fullduplex.threads.lease import Lease, SharedLease
from fullduplex.threads.locals import variable_set_by
from fullduplex.threads.pool import ThreadPool
from fullduplex.threads.sensitive import LeaseContext
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
