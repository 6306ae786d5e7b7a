"""The thread of a socket: one at a time for its sync calls, and none while it is idle.

asgiref runs the sync code of one request in one thread (``ThreadSensitiveContext``). A request is
short, a socket is not: an executor of this kind gives the thread back between calls, so
that a thousand idle sockets hold no thread and no database connection.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from asgiref.sync import AsyncToSync
from django.db import connections

logger = logging.getLogger("fullduplex.handler")
T = TypeVar("T")


class IdleThreadExecutor(Executor):
    """Runs one call at a time, in order, in a thread that ends ``idle_s`` seconds after the last call.

    The thread stays while one of its connections is in a transaction, has autocommit off, or waits
    with ``on_commit`` callbacks: the next call goes on with it. Before it ends it closes its connections.
    """

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._changed = threading.Condition()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._thread: threading.Thread | None = None
        self._patience_s = idle_s
        self._shut = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue a call. Tasks that outlive the socket may still do so: they get a thread for the one call."""
        future: Future[T] = Future()
        with self._changed:
            self._patience_s = 0 if self._shut else self._idle_s
            self._calls.append((future, lambda: fn(*args, **kwargs)))
            if self._thread is None:
                # A daemon, so that an idle thread does not hold up the end of the process.
                self._thread = threading.Thread(target=self._work, name="fullduplex-socket", daemon=True)
                self._thread.start()
            else:
                self._changed.notify()
        return future

    def give_back(self) -> None:
        """No call is expected soon: let the thread end now, if nothing waits for it."""
        with self._changed:
            self._patience_s = 0
            self._changed.notify()

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """The socket is over: give the thread back after the last call, an open transaction or not."""
        with self._changed:
            self._shut = True
            self._patience_s = 0
            self._changed.notify()
            thread = self._thread
        if wait and thread is not None:
            thread.join()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            future, function = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
            del call, future, function  # an idle thread must not keep a request alive
            result = None
        _close_connections()

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        """Wait for a call; None when the thread is to end."""
        with self._changed:
            while not self._calls:
                if self._patience_s and self._changed.wait(self._patience_s):
                    continue
                if self._calls:
                    break
                if self._shut or not _in_transaction():
                    self._thread = None
                    return None
                self._changed.wait()
            return self._calls.popleft()


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
    executor: Executor | None = getattr(AsyncToSync.executors, "current", None)
    return executor


def use_executor(executor: Executor) -> None:
    """Make ``executor`` run the thread-sensitive calls of the current context, and of the tasks it starts."""
    AsyncToSync.executors.current = executor


def _in_transaction() -> bool:
    return any(
        connection.in_atomic_block or not connection.autocommit or connection.run_on_commit
        for connection in connections.all(initialized_only=True)
        if connection.connection is not None
    )


def _close_connections() -> None:
    for connection in connections.all(initialized_only=True):
        try:
            connection.close()
        except Exception:
            logger.exception("A database connection could not be closed")
