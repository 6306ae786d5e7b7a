"""What a thread of the pool runs: a call through an executor, or a hop of our own chain."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from asgiref.sync import (
    SyncToAsync,
    _restore_context,  # moves asgiref's Locals between threads, as sync_to_async does
)


class Call(Protocol):
    """What a thread runs: it never raises.

    Attributes:
        last: known when it has run: the lease needs no thread after it.
        is_wanted: somebody still waits for it; else it is not begun.
        awaits: it waits for async code that it has called (``async_to_sync``).
    """

    last: bool

    @property
    def is_wanted(self) -> bool: ...

    @property
    def awaits(self) -> bool: ...

    def run(self) -> None: ...

    def keeps_thread(self) -> None:
        """Whatever its result: it is not the last."""

    def fail(self, error: Exception) -> bool:
        """End it before it has begun; return False where nobody waits for it any more."""


class FutureCall:
    """A call of asgiref's, or of anybody who uses the lease as an executor."""

    __slots__ = ("_function", "_tasks", "future", "last")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.future: Future[Any] = Future()
        self.last = False
        self._function = functools.partial(function, *args, **kwargs)
        self._tasks = _task_context_of(function)

    @property
    def is_wanted(self) -> bool:
        return not self.future.cancelled()

    @property
    def awaits(self) -> bool:
        return bool(self._tasks)

    def keeps_thread(self) -> None:
        pass

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self._function()
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def fail(self, error: Exception) -> bool:
        if not self.future.set_running_or_notify_cancel():
            return False
        self.future.set_exception(error)
        return True


class LoopCall:
    """A call by ``run_in_executor`` of a loop, as asgiref's: the loop hears of its end as it hears of a hop's.

    Its future is one of asyncio's, which ``run_in_executor`` hands on as it is: one of ``concurrent.futures`` has a
    lock of its own, and wakes the loop for each call.
    """

    __slots__ = ("_function", "_outcome", "_tasks", "future", "last", "loop")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Any
    ) -> None:
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.last = False
        self._function = functools.partial(function, *args, **kwargs) if args or kwargs else function
        self._tasks = _task_context_of(function)
        self._outcome: tuple[Any, BaseException | None] = None, None

    @property
    def is_wanted(self) -> bool:
        return not self.future.done()

    @property
    def awaits(self) -> bool:
        return bool(self._tasks)

    def keeps_thread(self) -> None:
        pass

    def run(self) -> None:
        if self.future.done():  # cancelled
            return
        try:
            result = self._function()
        except BaseException as error:
            self._outcome = None, error
        else:
            self._outcome = result, None
        _report(self)

    def fail(self, error: Exception) -> bool:
        if self.future.done():
            return False
        self._outcome = None, error
        _report(self)
        return True

    def finish(self) -> None:
        if not self.future.done():
            _settle(self.future, *self._outcome)


def _task_context_of(function: Callable[..., Any]) -> list[Any] | None:
    """Return asgiref's list of the tasks that ``async_to_sync`` runs below ``sync_to_async``, which only it fills.

    It is the third argument of ``SyncToAsync.thread_handler``, which ``sync_to_async`` hands to its executor.
    """
    arguments = function.args if isinstance(function, functools.partial) else ()
    return arguments[2] if len(arguments) > 2 and isinstance(arguments[2], list) else None


class HopCall:
    """A call of our own chain's: what ``sync_to_async`` does, without its detours.

    The context goes along and comes back (with asgiref's Locals moved to the thread and back), ``async_to_sync`` inside
    finds the loop, and a cancellation reaches the async code inside.

    Args:
        over: asked in the thread about the result: whether the lease needs no thread after it.
    """

    __slots__ = ("_args", "_function", "_outcome", "_over", "_ticket", "context", "future", "last", "loop", "tasks")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        over: Callable[[Any], bool] | None,
        function: Callable[..., Any],
        args: Any,
    ) -> None:
        self.loop = loop
        self.last = False
        self._over = over
        self.future: asyncio.Future[Any] = loop.create_future()
        self.context = contextvars.copy_context()
        self.tasks: list[asyncio.Task[Any]] = []  # asgiref's: what async_to_sync runs inside
        self._function = function
        self._args = args
        self._outcome: tuple[Any, BaseException | None] = None, None
        self._ticket = [True]  # taken once: by the thread that runs it, or by the loop that cancels it

    @property
    def is_wanted(self) -> bool:
        return bool(self._ticket)

    @property
    def awaits(self) -> bool:
        return bool(self.tasks)

    def keeps_thread(self) -> None:
        self._over = None

    def claim(self) -> bool:
        try:
            return self._ticket.pop()
        except IndexError:
            return False

    def run(self) -> None:
        try:
            self._ticket.pop()
        except IndexError:
            return
        local = SyncToAsync.threadlocal
        local.main_event_loop = self.loop
        local.main_event_loop_pid = _pid
        local.task_context = self.tasks
        try:
            result = self.context.run(self._inside)
        except BaseException as error:
            self._outcome = None, error
        else:
            self._outcome = result, None
        _report(self)

    def fail(self, error: Exception) -> bool:
        if not self.claim():
            return False
        self._outcome = None, error
        _report(self)
        return True

    def _inside(self) -> Any:
        _restore_context(self.context)
        result = self._function(*self._args)
        if self._over is not None:
            self.last = self._over(result)
        return result

    def finish(self) -> None:
        """Give the outcome to the task that waits; on the loop."""
        if self.future.done():  # cancelled; the task has not heard of it, and will ask for the outcome
            self.future = self.loop.create_future()
        _settle(self.future, *self._outcome)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # a future cannot carry it
        future.set_exception(RuntimeError("sync code raised StopIteration"))
    else:
        future.set_exception(error)


_reports: dict[asyncio.AbstractEventLoop, deque[HopCall | LoopCall]] = {}
_reports_lock = threading.Lock()


def _report(call: HopCall | LoopCall) -> None:
    """Tell the loop that ``call`` is over; one wake-up of the loop does for all calls that end before it."""
    with _reports_lock:
        waiting = _reports.get(call.loop)
        if waiting is not None:
            waiting.append(call)
            return
        _reports[call.loop] = deque((call,))
    if not call_on(call.loop, _take_reports, call.loop):
        with _reports_lock:
            _reports.pop(call.loop, None)


def _take_reports(loop: asyncio.AbstractEventLoop) -> None:
    with _reports_lock:
        calls = _reports.pop(loop)
    for call in calls:
        call.finish()


def call_on(loop: asyncio.AbstractEventLoop, callback: Callable[..., Any], *args: Any) -> bool:
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return False
    return True


def _after_fork() -> None:
    global _pid, _reports_lock
    _pid = os.getpid()
    _reports_lock = threading.Lock()  # another thread may have held it, which is not here
    _reports.clear()


_pid = os.getpid()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
