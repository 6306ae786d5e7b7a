"""The middleware chain, with as few thread hops as its hooks need.

::

    MIDDLEWARE = [Security, Session, …, third_party.function, …, Messages]
                  └── a segment: ──┘  └─ as Django does ─┘  └ segment ┘ ── core: resolve, process_view, view
                      a list of hooks

Middleware that is nothing but hooks (``MiddlewareMixin``) forms segments (:mod:`fullduplex.chain.segments`); other
middleware is adapted as Django adapts it, and a mixin that it is or wraps takes fewer hops
(:mod:`fullduplex.chain.mixins`). A sync view behind middleware that needs a thread anyway has the whole chain run in
that one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.core.handlers import base, exception
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from fullduplex.chain.core import Core, Hook, hook_of
from fullduplex.chain.hints import Hints
from fullduplex.chain.hooks import always, is_mixin
from fullduplex.chain.mixins import quicken
from fullduplex.chain.on_loop import Below, OnLoop
from fullduplex.chain.segments import Segment, log_error
from fullduplex.exceptions import ThreadsExhausted
from fullduplex.threads.hop import hop

logger = logging.getLogger("django.request")

_CORE_HOOKS = ("process_view", "process_template_response", "process_exception")
_IN_SYNC_CHAIN = "_fullduplex_sync"  # set on a request that is in the sync chain

GetResponse = Callable[[HttpRequest], Any]
AsyncGetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class Adapted:
    """Middleware that is more than hooks: Django's own way, async and, for sync views, sync.

    Middleware that is only sync serves both with one instance. Of middleware that is both, the sync instance is
    one of its own, made when the first sync view is asked for.

    Attributes:
        can_sync: it may stand in the sync chain: it is sync, and hooks of its other instance would not miss it.
        hooks: those of the ``MiddlewareMixin`` that it is or wraps (:mod:`fullduplex.chain.mixins`).
    """

    def __init__(self, handler: Any, path: str, factory: Any, inner: Segment) -> None:
        self._handler = handler
        self._path = path
        self._factory = factory
        self._inner = inner
        self._sync: GetResponse | None = None
        self._below: GetResponse | AsyncGetResponse | None = None
        self._middleware: Any = None
        self.call: AsyncGetResponse | None = None
        self.hooks: list[Hook] = []
        self.is_async = bool(getattr(self._factory, "async_capable", False))
        self.can_sync = bool(getattr(self._factory, "sync_capable", True))
        if not self.can_sync and not self.is_async:
            raise RuntimeError(f"Middleware {path} must have at least one of sync_capable/async_capable set to True.")

    def __str__(self) -> str:
        return self._path

    def build(self) -> Any:
        """Make the instance for async requests and return it.

        Raises:
            MiddlewareNotUsed: it does not want to be used.
        """
        adapt = self._handler.adapt_method_mode
        name = f"middleware {self._path}"
        below = adapt(self.is_async, self._get_response(), True, debug=settings.DEBUG, name=name)
        self._below = below if self.is_async else self._either_way(below)
        middleware = self._middleware = self._factory(self._below)
        if middleware is None:
            raise ImproperlyConfigured(f"Middleware factory {self._path} returned None.")
        handler = _converted(middleware) if self.is_async else convert_exception_to_response(middleware)
        self.call = adapt(True, handler, self.is_async)
        if not self.is_async:
            self._sync = handler
        elif any(hasattr(middleware, hook) for hook in _CORE_HOOKS):
            self.can_sync = False
        return middleware

    def finish(self) -> None:
        """All middleware is made."""
        if not self.is_async:
            return
        self.hooks = list(quicken(self._middleware, self._below))
        if any(hook.middleware is not self._middleware for hook in self.hooks):
            self.can_sync = False  # who stands around Django's middleware is called as Django calls him

    def _get_response(self) -> AsyncGetResponse:
        inner = self._inner
        if not inner.middleware and isinstance(inner.inner, Adapted) and inner.inner.call is not None:
            return inner.inner.call  # there are no hooks in between
        return OnLoop(inner).__call__

    def _either_way(self, below: GetResponse) -> GetResponse:
        def get_response(request: HttpRequest) -> Any:
            if getattr(request, _IN_SYNC_CHAIN, False):
                return self._inner.run(request)
            return below(request)

        return get_response

    async def __call__(self, request: HttpRequest) -> Any:
        assert self.call is not None
        return await self.call(request)

    def run(self, request: HttpRequest) -> Any:
        """Run it in a thread, with a sync instance."""
        if self._sync is None:
            self._sync = self._build_sync()
        return self._sync(request)

    def _build_sync(self) -> GetResponse:
        def get_response(request: HttpRequest) -> Any:
            return self._inner.run(request)

        try:
            middleware = self._factory(get_response)
        except MiddlewareNotUsed:
            return get_response
        sync: GetResponse = self._handler.adapt_method_mode(False, convert_exception_to_response(middleware))
        return sync


class Chain:
    """The whole stack of ``settings.MIDDLEWARE``."""

    def __init__(self, handler: Any) -> None:
        self.core = Core(handler)
        self.hints = Hints()
        self.adapted: list[Adapted] = []
        self.segments: list[Segment] = []
        self.exception_hooks: list[Any] = []
        self._handler = handler
        self._made: list[Any] = []  # middleware, innermost first
        self._build()

    def _build(self) -> None:
        segment = Segment(self.core, None)
        for path in reversed(settings.MIDDLEWARE):
            factory = base.import_string(path)  # type: ignore[attr-defined]  # where others put theirs
            try:
                middleware = self._build_one(path, factory, segment)
            except MiddlewareNotUsed as error:
                if settings.DEBUG:
                    if str(error):
                        logger.debug("MiddlewareNotUsed(%r): %s", path, error)
                    else:
                        logger.debug("MiddlewareNotUsed: %r", path)
                continue
            if not isinstance(middleware, Adapted):
                segment.middleware.append(middleware)
                self._made.append(middleware)
                continue
            self.segments.insert(0, segment)
            self.adapted.insert(0, middleware)
            segment = Segment(self.core, middleware)
        self.segments.insert(0, segment)
        # Now that all middleware is made, for some of it patches the hooks of others.
        for one in self.segments:
            one.finish()
        for adapted in self.adapted:
            adapted.finish()
        for made in self._made:
            self._note_core_hooks(made)
        self.core.finish()
        segment.is_outermost = True
        self.outermost = segment
        self._on_loop = OnLoop(segment)
        # Without a foreign hook before it a sync view takes one hop from the loop too, and no hint is needed.
        self.needs_hint = bool(self.adapted) or any(hook.blocks is always for hook in segment.hooks_in)
        self.can_sync = all(middleware.can_sync for middleware in self.adapted)

    def _build_one(self, path: str, factory: Any, inside: Segment) -> Any:
        if is_mixin(factory):
            position = len(inside.middleware)

            async def get_response(request: HttpRequest) -> Any:
                return await Below(inside, position)(request)

            return factory(get_response)
        adapted = Adapted(self._handler, path, factory, inside)
        self._made.append(adapted.build())
        return adapted

    def _note_core_hooks(self, middleware: Any) -> None:
        core = self.core
        if hasattr(middleware, "process_view"):
            core.view_hooks.insert(0, hook_of(0, middleware, "process_view"))
        if hasattr(middleware, "process_template_response"):
            core.template_hooks.append(hook_of(0, middleware, "process_template_response"))
        if hasattr(middleware, "process_exception"):
            self.exception_hooks.append(self._handler.adapt_method_mode(False, middleware.process_exception))

    async def __call__(self, request: HttpRequest) -> Any:
        if self.needs_hint and self._takes_sync_chain(request):
            return await hop(self._run, request, over=partial(self._handler.needs_no_thread, request))
        response = await self._on_loop(request)
        if response.status_code >= 400 and not getattr(response, "_has_been_logged", False):
            try:
                await hop(log_error, request, response)
            except ThreadsExhausted:  # the answer is there
                log_error(request, response)
        return response

    def _run(self, request: HttpRequest) -> Any:
        """The sync chain."""
        setattr(request, _IN_SYNC_CHAIN, True)
        return self.outermost.run(request)

    def _takes_sync_chain(self, request: HttpRequest) -> bool:
        if not self.can_sync or hasattr(request, "fullduplex_handshake"):
            return False
        return self.hints.is_async(request) is False


def _converted(middleware: Any) -> Any:
    """What ``convert_exception_to_response`` does, on the thread of the request: Django's takes any."""

    async def inner(request: HttpRequest) -> Any:
        try:
            return await middleware(request)
        except ThreadsExhausted:
            raise
        except Exception as error:
            return await hop(_answer, request, error)

    return inner


def _answer(request: HttpRequest, error: Exception) -> Any:
    try:
        raise error  # so that sys.exc_info() has it, and a bare raise raises it again
    except Exception:
        return exception.response_for_exception(request, error)
