"""From a scope to an application: by its type, its path, or the name of its channel. Routers are applications."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from asgiref.sync import SyncToAsync
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, URLResolver
from django.urls.exceptions import Resolver404
from django.urls.resolvers import RegexPattern, RoutePattern
from django.utils.module_loading import import_string

from fullduplex.asgi import Application, Event, Receive, Scope, Send
from fullduplex.handler.application import ASGIHandler, get_asgi_application
from fullduplex.sockets.consumer import AsyncConsumer
from fullduplex.threads.context import current_executor, current_lease, enter_lease

logger = logging.getLogger("fullduplex.channels")


def get_default_application() -> Application:
    """Return what ASGI_APPLICATION names.

    Raises:
        ImproperlyConfigured: it is not set, or names nothing.
    """
    path = getattr(settings, "ASGI_APPLICATION", None)
    if not isinstance(path, str) or "." not in path:
        raise ImproperlyConfigured("Cannot find ASGI_APPLICATION setting.")
    try:
        application: Application = import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"Cannot import ASGI_APPLICATION {path!r}: {error}") from error
    return application


class RouteNotFound(ValueError):
    """No route matches. Below a :class:`ProtocolTypeRouter` the URLconf is asked next."""


class ProtocolTypeRouter:
    """Hands each connection to the application for its type: ``http``, ``websocket``, ``channel``, ...

    ``http`` without an entry is Django: who had only ``websocket`` had the pages from a ``runserver`` that was WSGI.
    A socket for which a :class:`URLRouter` has no route is Django's, too: that of the URLconf, or else 404.
    ``lifespan`` needs no entry, either: an HTTP application that knows it gets it, else it is answered here. Sync code
    of consumers runs in the leased threads of our handler.

    Raises:
        ValueError: there is no application for a scope's type.
    """

    def __init__(self, application_mapping: Mapping[str, Application]) -> None:
        for application in application_mapping.values():
            _check(application, type(self).__name__)
        self.application_mapping = application_mapping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        kind = scope["type"]
        application = self.application_mapping.get(kind)
        if application is None and kind == "http":
            application = self._django
        if application is None:
            if kind == "lifespan":
                return await self._lifespan(scope, receive, send)
            raise ValueError(f"No application configured for scope type {kind!r}")
        try:
            return await self._call(application, scope, receive, send)
        except RouteNotFound as error:
            if kind != "websocket":
                raise
            if getattr(settings, "ROOT_URLCONF", None):
                await self._django(scope, receive, send)
            else:
                logger.warning("Not Found: %s", error)
                await _refuse(scope, send)

    @cached_property
    def _django(self) -> Application:
        http = self.application_mapping.get("http")
        return http if isinstance(http, ASGIHandler) else get_asgi_application()

    async def _call(self, application: Any, scope: Scope, receive: Receive, send: Send) -> Any:
        if isinstance(application, ASGIHandler) or _has_thread():
            return await application(scope, receive, send)
        is_http = scope["type"] == "http"
        lease = enter_lease(is_bound=is_http)
        over = False
        try:
            answer = await application(scope, receive, send)
            over = True
            return answer
        finally:
            if lease is not None:
                lease.end(spoiled=is_http and not over)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the HTTP application have it, whatever is around that; one that does not know lifespan says so first."""
        taken: list[Event] = []
        has_answered = False

        async def noting_receive() -> Event:
            taken.append(await receive())
            return taken[-1]

        async def noting_send(event: Event) -> None:
            nonlocal has_answered
            has_answered = True
            await send(event)

        http = self.application_mapping.get("http")
        if http is not None:
            try:
                await http(scope, noting_receive, noting_send)
            except Exception:
                if has_answered:
                    raise
                logger.debug("The HTTP application does not know lifespan", exc_info=True)
            if has_answered:
                return
        while True:
            kind = (taken.pop(0) if taken else await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return


class URLRouter:
    """Hands each connection to the application for its path. It takes ``path()``, ``re_path()`` and ``include()``.

    The scope gets ``url_route``, a dict of ``args`` and ``kwargs``; those of nested routers add up.

    Args:
        routes: their views are ASGI applications, other routers among them.

    Raises:
        ImproperlyConfigured: something among them is no ASGI application.
        RouteNotFound: no route matches.
    """

    #: A route to this, or to middleware around it that says the same, matches the beginning of a path.
    _path_routing = True

    def __init__(self, routes: Sequence[URLPattern | URLResolver]) -> None:
        self.routes = routes
        for route in routes:
            if isinstance(route, URLPattern):
                _prepare(route)
            elif isinstance(route, URLResolver):
                _check_included(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        path = self._path(scope)
        for application, rest, args, kwargs in _matches(self.routes, path.lstrip("/")):
            outer = scope.get("url_route", {})
            inner_scope = {
                **scope,
                "path_remaining": rest,
                "url_route": {
                    "args": outer.get("args", ()) + args,
                    "kwargs": {**outer.get("kwargs", {}), **kwargs},
                },
            }
            try:
                return await application(inner_scope, receive, send)
            except (RouteNotFound, Resolver404):
                if not _routes_on(application):
                    raise
        raise RouteNotFound(f"No route found for path {path!r}.")

    def _path(self, scope: Scope) -> str:
        if "path_remaining" in scope:
            return str(scope["path_remaining"])
        path: str | None = scope.get("path")
        if path is None:
            raise ValueError("No 'path' key in connection scope, cannot route URLs")
        root_path = scope.get("root_path", "")
        if not path.startswith(root_path):
            raise RouteNotFound(f"No route found for path {path!r}.")
        return path[len(root_path) :]


class ChannelNameRouter:
    """Hands what a worker receives to the application for its channel.

    Raises:
        ValueError: the scope has no channel, or there is no application for it.
    """

    def __init__(self, application_mapping: Mapping[str, Application]) -> None:
        for application in application_mapping.values():
            _check(application, type(self).__name__)
        self.application_mapping = application_mapping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if "channel" not in scope:
            raise ValueError(
                "ChannelNameRouter got a scope without a 'channel' key. "
                "Did you make sure it's only being used for 'channel' type messages?"
            )
        application = self.application_mapping.get(scope["channel"])
        if application is None:
            raise ValueError(f"No application configured for channel name {scope['channel']!r}")
        return await application(scope, receive, send)


_Match = tuple[Application, str, tuple[Any, ...], dict[str, Any]]


def _matches(routes: Sequence[Any], path: str) -> Iterator[_Match]:
    """Yield what the routes have for ``path``, in order, those of ``include()`` in its place."""
    for route in routes:
        if isinstance(route, URLPattern):
            _prepare(route)
        match = route.pattern.match(path)
        if match is None:
            continue
        rest, args, kwargs = match
        if isinstance(route, URLPattern):
            yield route.callback, rest, args, {**kwargs, **route.default_args}
            continue
        for application, inner_rest, inner_args, inner_kwargs in _matches(route.url_patterns, rest):
            yield application, inner_rest, args + inner_args, {**kwargs, **route.default_kwargs, **inner_kwargs}


def _prepare(route: URLPattern) -> None:
    """Check a route's application, and let one that routes on have the rest of the path."""
    if getattr(route, "_fullduplex_prepared", False):
        return
    application = route.callback
    _check(application)
    pattern = route.pattern
    if _routes_on(application):
        if isinstance(pattern, RoutePattern):
            route.pattern = RoutePattern(pattern._route, pattern.name, is_endpoint=False)  # type: ignore[attr-defined]
        elif isinstance(pattern, RegexPattern):
            route.pattern = RegexPattern(pattern._regex, pattern.name, is_endpoint=False)  # type: ignore[attr-defined]
        else:
            raise ValueError(f"Unsupported pattern type: {type(pattern)}")
    route._fullduplex_prepared = True  # type: ignore[attr-defined]


def _check_included(resolver: URLResolver) -> None:
    for route in resolver.url_patterns:
        if isinstance(route, URLPattern):
            _check(route.callback)
        elif isinstance(route, URLResolver):
            _check_included(route)


def _check(application: Any, router: str = "URLRouter") -> None:
    """Refuse what would fail with the first connection.

    Raises:
        ImproperlyConfigured: it is a consumer's class, or a socket view.
    """
    if inspect.isclass(application) and issubclass(application, AsyncConsumer):
        name = application.__name__
        raise ImproperlyConfigured(f"{name} is a class, and no ASGI application: pass {name}.as_asgi() to {router}.")
    if getattr(application, "fullduplex_socket", False) and not getattr(application, "fullduplex_asgi", False):
        name = application.__name__
        raise ImproperlyConfigured(
            f"{name} is a socket view: it belongs to your URLconf. {router} takes ASGI applications, such as "
            f"{name}.as_asgi() of a consumer."
        )


def _routes_on(application: Any) -> bool:
    return getattr(application, "_path_routing", False) is True


def _has_thread() -> bool:
    """Whether somebody has provided for sync code already, and is not done with it."""
    if current_executor() is not None:
        return True
    lease = current_lease()
    return SyncToAsync.thread_sensitive_context.get(None) is not None and (lease is None or not lease.ended)


async def _refuse(scope: Scope, send: Send) -> None:
    """Refuse a handshake with 404, where the server can say so."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close"})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": b"Not Found\n"})
