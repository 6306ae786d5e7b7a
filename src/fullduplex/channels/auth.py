"""Users of consumers: Django's own login and logout, for a scope in the place of a request."""

from __future__ import annotations

import io
from typing import Any

from django.contrib import auth
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.utils.functional import LazyObject

from fullduplex.asgi import Application, Receive, Scope, Send
from fullduplex.channels.middleware import BaseMiddleware
from fullduplex.channels.sessions import CookieMiddleware, SessionMiddleware
from fullduplex.sockets.database import database_sync_to_async

_NO_SESSION = "Cannot find session in scope. You should wrap your consumer in SessionMiddleware."


@database_sync_to_async
def get_user(scope: Scope) -> Any:
    """Return the user of the scope's session, or an ``AnonymousUser``.

    Raises:
        ValueError: the scope has no session.
    """
    return auth.get_user(_request(scope))


@database_sync_to_async
def login(scope: Scope, user: Any, backend: str | None = None) -> None:
    """Log a user in, and put it into the scope. The session is saved with the accept or response that follows.

    Args:
        user: or None: the scope's user.
        backend: path of the authentication backend, where there are several and ``user`` has none.

    Raises:
        ValueError: the scope has no session, there is no user, or the backend is not known.
    """
    request = _request(scope)
    if user is None:
        user = scope.get("user")
    if user is None:
        raise ValueError("User must be passed as an argument or must be present in the scope.")
    auth.login(request, user, backend)
    scope["user"] = user


@database_sync_to_async
def logout(scope: Scope) -> None:
    """Log the scope's user out and empty the session.

    Raises:
        ValueError: the scope has no session.
    """
    from django.contrib.auth.models import AnonymousUser  # needs the apps to be loaded

    request = _request(scope)
    if getattr(scope.get("user"), "is_authenticated", False):
        auth.logout(request)
    else:
        request.session.flush()
    if "user" in scope:
        scope["user"] = AnonymousUser()


def _request(scope: Scope) -> HttpRequest:
    """Return what Django's functions work on, and receivers of their signals get."""
    if "session" not in scope:
        raise ValueError(_NO_SESSION)
    if "path" in scope and "headers" in scope:
        request: HttpRequest = ASGIRequest({**scope, "method": "GET"}, io.BytesIO())
    else:
        request = HttpRequest()
    request.session = scope["session"]
    if "user" in scope:
        request.user = scope["user"]
    return request


class UserLazyObject(LazyObject):  # type: ignore[type-arg]
    """``scope["user"]`` before :class:`AuthMiddleware` has resolved it."""

    def _setup(self) -> None:
        raise ValueError("Accessing scope user before it is ready.")


class AuthMiddleware(BaseMiddleware):
    """Puts ``user`` into the scope. It stands inside of ``SessionMiddleware``.

    Raises:
        ValueError: there is no session in the scope.
    """

    def populate_scope(self, scope: Scope) -> None:
        if "session" not in scope:
            raise ValueError("AuthMiddleware cannot find session in scope. SessionMiddleware must be above it.")
        if "user" not in scope:
            scope["user"] = UserLazyObject()

    async def resolve_scope(self, scope: Scope) -> None:
        scope["user"]._wrapped = await get_user(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        scope = dict(scope)
        self.populate_scope(scope)
        await self.resolve_scope(scope)
        return await super().__call__(scope, receive, send)


def AuthMiddlewareStack(inner: Application) -> CookieMiddleware:
    """Return ``inner`` with cookies, session and user in its scope."""
    return CookieMiddleware(SessionMiddleware(AuthMiddleware(inner)))
