"""How Django's ``a...`` methods come to run on the loop.

``await Model.objects.aget()`` is ``await sync_to_async(self.get)()``, as are all the others. In the modules named here
ours stands in the place of that name. Nobody else's ``sync_to_async`` changes; a function marked ``database_only`` is
known where its call arrives, at the lease of the request.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, cast

from asgiref.sync import AsyncToSync, SyncToAsync, sync_to_async
from django.apps import apps
from django.core.signals import setting_changed

from fullduplex.db import MARK
from fullduplex.db.engine import uses_engine
from fullduplex.db.seats import seats_of
from fullduplex.db.sessions import NEEDS_THREAD, Session, current_inside, inside
from fullduplex.db.turns import current_turn, wait_for
from fullduplex.threads import lease
from fullduplex.threads.context import current_executor, entered_lease

_MODULES = (
    "django.db.models.query",
    "django.db.models.base",
    "django.db.models.fields.related_descriptors",
    "django.contrib.contenttypes.fields",
    "django.contrib.sessions.backends.db",
)
_APPS = {"django.contrib.contenttypes.fields": "contenttypes", "django.contrib.sessions.backends.db": "sessions"}

# Of a task outside of any request; that of the task which has started it is none of its own.
_sessions: contextvars.ContextVar[tuple[Any, Session] | None] = contextvars.ContextVar("fullduplex.db", default=None)


_is_enabled = functools.cache(uses_engine)


def current_session() -> Session | None:
    """Return the session of the current task; None where its sync code has, or must have, a thread."""
    if current_executor() is not None:  # a sync caller further up
        return None
    entered = entered_lease()
    if entered is not None:
        root = entered.root
        if root.has_thread:
            return None
        if root.session is None:
            root.session = Session(seats_of(asyncio.get_running_loop()), root)
        return cast(Session, root.session)
    if SyncToAsync.thread_sensitive_context.get(None) is not None:  # somebody else has promised a thread
        return None
    task = asyncio.current_task()
    known = _sessions.get()
    if known is None or known[0]() is not task:
        known = weakref.ref(cast("asyncio.Task[Any]", task)), Session(seats_of(asyncio.get_running_loop()), None)
        _sessions.set(known)
    return known[1]


async def call(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run sync code that waits for nothing but the database: on the loop, where that can be."""
    if _is_enabled() and (session := current_session()) is not None:
        result = await (current_inside() or session).call(function, args, kwargs)
        if result is not NEEDS_THREAD:
            return result
    return await sync_to_async(function)(*args, **kwargs)


def adapt(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """What stands for ``sync_to_async``."""
    return functools.partial(call, function)


def _run_marked(loop: asyncio.AbstractEventLoop, handler: Callable[..., Any]) -> asyncio.Future[Any] | None:
    """Run what ``sync_to_async`` gives to a lease, where its function is marked ``database_only``.

    Args:
        handler: ``SyncToAsync.thread_handler``, whose last argument is the function with its arguments.
    """
    function = handler.args[-1] if isinstance(handler, functools.partial) and handler.args else None
    if not (isinstance(function, functools.partial) and getattr(function.func, MARK, False)):
        return None
    if not _is_enabled() or current_session() is None:
        return None
    return loop.create_task(call(handler))


def install() -> None:
    """Put it there; once the apps are loaded."""
    lease.on_loop = _run_marked
    for name in _MODULES:
        if name in _APPS and not apps.is_installed(f"django.contrib.{_APPS[name]}"):
            continue
        module: Any = importlib.import_module(name)
        if module.sync_to_async is sync_to_async:
            module.sync_to_async = adapt
    if AsyncToSync.__call__ is _async_to_sync:
        AsyncToSync.__call__ = _wait_in_turn  # type: ignore[method-assign]  # replaced, where nobody else has done so


_async_to_sync: Any = AsyncToSync.__call__


@functools.wraps(_async_to_sync)
def _wait_in_turn(self: Any, *args: Any, **kwargs: Any) -> Any:
    """``async_to_sync`` in a turn: the turn waits for the async code, and needs no other loop for it."""
    turn = current_turn()
    if turn is None:
        return _async_to_sync(self, *args, **kwargs)

    async def wait() -> Any:
        with inside(cast(Session, turn.owner)):
            return await self.awaitable(*args, **kwargs)

    return wait_for(wait())


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "DATABASES":
        _is_enabled.cache_clear()


setting_changed.connect(_forget)
