"""Stands where Sentry stands, and does nothing there: what that costs is the price of the places, not of the work."""

from __future__ import annotations

import functools
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.handlers import base
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.dispatch import Signal


def start() -> None:
    """Patch Django, as a settings module does it."""
    call = ASGIHandler.__call__

    async def __call__(self: Any, scope: Any, receive: Any, send: Any) -> None:  # Uvicorn looks at its parameters
        await call(self, scope, receive, send)

    ASGIHandler.__call__ = __call__  # type: ignore[method-assign]
    for holder, name in (
        (ASGIHandler, "create_request"),
        (BaseHandler, "load_middleware"),
        (BaseHandler, "get_response_async"),
        (BaseHandler, "make_view_atomic"),
    ):
        setattr(holder, name, _passing(getattr(holder, name)))
    import_string = base.import_string  # type: ignore[attr-defined]
    base.import_string = lambda path: _around(import_string(path))  # type: ignore[attr-defined]
    live_receivers = Signal._live_receivers

    def _live_receivers(self: Signal, sender: Any) -> Any:
        sync, asynchronous = live_receivers(self, sender)
        return [_passing(receiver) for receiver in sync], asynchronous

    Signal._live_receivers = _live_receivers  # type: ignore[method-assign]


def _passing(function: Any) -> Any:
    if iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper_async(*args: Any, **kwargs: Any) -> Any:
            return await function(*args, **kwargs)

        return wrapper_async

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def _around(middleware: Any) -> Any:
    class Around:
        sync_capable = getattr(middleware, "sync_capable", True)
        async_capable = getattr(middleware, "async_capable", False)

        def __init__(self, get_response: Any) -> None:
            self._inner = middleware(get_response)
            if iscoroutinefunction(get_response):
                markcoroutinefunction(self)

        def __getattr__(self, name: str) -> Any:
            if not name.startswith("process_"):
                raise AttributeError(name)
            return _passing(getattr(self._inner, name))

        def __call__(self, request: Any) -> Any:
            return self._acall(request) if self._inner.async_mode else self._inner(request)

        async def _acall(self, request: Any) -> Any:
            return await self._inner(request)

    return Around
