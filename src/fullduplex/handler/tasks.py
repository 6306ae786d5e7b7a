"""Contexts and tasks of one request or socket: entered, begun at once, waited for, cancelled."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

from asgiref.sync import sync_to_async

from fullduplex.threads.hop import hop_on
from fullduplex.threads.lease import Lease

T = TypeVar("T")


class InContext(Generic[T]):
    """Awaits a coroutine in a context of its own, without a task of its own.

    Context variables, the locale and the URLconf of a request end with it, whatever the server does.

    Attributes:
        context: the one given, or a copy of the current one.
    """

    __slots__ = ("_coroutine", "context")

    def __init__(self, coroutine: Coroutine[Any, Any, T], context: contextvars.Context | None = None) -> None:
        self._coroutine = coroutine
        self.context = contextvars.copy_context() if context is None else context

    def __await__(self) -> Generator[Any, Any, T]:
        run, step, argument = self.context.run, self._coroutine.send, None
        while True:
            try:
                awaited = run(step, argument)
            except StopIteration as end:
                return cast(T, end.value)
            try:
                argument = yield awaited
            except GeneratorExit:
                run(self._coroutine.close)
                raise
            except BaseException as error:
                step, argument = self._coroutine.throw, error
            else:
                step = self._coroutine.send


class ContextUse:
    """A request has the current context for its own, though others may come after it, and inside it."""

    __slots__ = ("_after", "_before")

    def __init__(self, before: contextvars.Context, after: contextvars.Context | None = None) -> None:
        self._before = before
        self._after = after

    @staticmethod
    def begin() -> ContextUse:
        use = ContextUse(contextvars.copy_context())
        _use.set(use)
        return use

    def end(self) -> None:
        """Note what the request has left. In another object: one that knows its own context is garbage to collect."""
        _use.set(ContextUse(self._before, contextvars.copy_context()))

    @staticmethod
    def current() -> ContextUse | None:
        """Whose context it is, or was."""
        return _use.get()

    def context_after(self) -> contextvars.Context | None:
        """A context for another request: without what this one left, and with what was set since. None: it goes on."""
        if self._after is None:
            return None
        context = self._before.copy()
        for variable, value in contextvars.copy_context().items():
            if variable is not _use and self._after.get(variable, _MISSING) is not value:
                context.run(variable.set, value)
        return context


_use: contextvars.ContextVar[ContextUse | None] = contextvars.ContextVar("fullduplex.context_use", default=None)
_MISSING = object()


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


async def off_the_loop(lease: Lease | None, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Tell of an error, which may take its time, and the database: AdminEmailHandler talks to a mail server.

    Args:
        lease: whose thread is taken; None where a sync caller further up has one.
    """
    call = functools.partial(function, *args, **kwargs)
    if lease is None:
        await sync_to_async(call)()
    else:
        await hop_on(lease, call)
