"""Cookies and sessions of consumers, outside of Django's middleware."""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.sessions.backends.base import UpdateError
from django.core.exceptions import SuspiciousOperation
from django.http import HttpResponse, parse_cookie
from django.utils.functional import LazyObject

from fullduplex.asgi import Application, Receive, Scope, Send
from fullduplex.sockets.consumer import Message
from fullduplex.sockets.database import database_sync_to_async


class CookieMiddleware:
    """Puts ``cookies`` into the scope, as Django's ``request.COOKIES`` has them."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if "headers" not in scope:
            raise ValueError(
                "CookieMiddleware was passed a scope that did not have a headers key "
                "(make sure it is only passed HTTP or WebSocket connections)"
            )
        # HTTP/2 may split them. RFC 9113 section 8.2.3.
        header = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
        return await self.inner(dict(scope, cookies=parse_cookie(header.decode("latin-1"))), receive, send)

    @classmethod
    def set_cookie(
        cls,
        message: Message,
        key: str,
        value: Any = "",
        max_age: Any = None,
        expires: Any = None,
        path: str = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: str | None = "lax",
    ) -> None:
        """Add a cookie to the headers of an event; the arguments are those of ``HttpResponse.set_cookie``."""
        if samesite is not None and samesite.lower() not in ("strict", "lax", "none"):
            raise AssertionError("samesite must be either 'strict', 'lax' or 'none'")
        response = HttpResponse()
        response.set_cookie(key, str(value), max_age, expires, path, domain, secure, httponly, samesite)  # type: ignore[arg-type]
        message.setdefault("headers", []).append((b"Set-Cookie", response.cookies[key].OutputString().encode()))

    @classmethod
    def delete_cookie(cls, message: Message, key: str, path: str = "/", domain: str | None = None) -> None:
        """Add the end of a cookie to the headers of an event."""
        cls.set_cookie(message, key, max_age=0, path=path, domain=domain, expires="Thu, 01-Jan-1970 00:00:00 GMT")


class InstanceSessionWrapper:
    """The session of one connection: in its scope, and saved when an answer goes out.

    Attributes:
        scope: with the session.
        activated: no other middleware has put a session there.
    """

    #: Events before which a changed session is saved. The accept is ours: Channels loses what connect() changed.
    save_message_types: ClassVar[list[str]] = ["http.response.start", "websocket.accept"]
    #: Those of them that take the cookie to the client.
    cookie_response_message_types: ClassVar[list[str]] = ["http.response.start", "websocket.accept"]

    def __init__(self, scope: Scope, send: Send) -> None:
        self.cookie_name = settings.SESSION_COOKIE_NAME
        self.session_store = import_module(settings.SESSION_ENGINE).SessionStore
        self.scope = dict(scope)
        self.activated = "session" not in self.scope
        self.real_send = send
        if self.activated:
            if "cookies" not in self.scope:
                raise ValueError("No cookies in scope - SessionMiddleware needs to run inside of CookieMiddleware.")
            self.scope["session"] = LazyObject()

    async def resolve_session(self) -> None:
        """Make the session store; it loads when it is first read."""
        if self.activated:
            self.scope["session"]._wrapped = self.session_store(self.scope["cookies"].get(self.cookie_name))

    async def send(self, message: Any) -> None:
        """Send an event, and save the session first if that is due."""
        if self.activated and message["type"] in self.save_message_types and message.get("status", 200) != 500:
            session = self.scope["session"]
            if session.modified or settings.SESSION_SAVE_EVERY_REQUEST:
                empty = session.is_empty()
                await self.save_session()
                if message["type"] in self.cookie_response_message_types:
                    self._set_cookie(message, empty)
        await self.real_send(message)

    async def save_session(self) -> None:
        """Save the session.

        Raises:
            SuspiciousOperation: it has been deleted meanwhile, by a logout elsewhere.
        """
        session = self.scope["session"]
        try:
            if hasattr(session, "asave"):
                await session.asave()
            else:
                await database_sync_to_async(session.save)()
        except UpdateError:
            raise SuspiciousOperation(
                "The request's session was deleted before the request completed. The user may have logged out in "
                "a concurrent request, for example."
            ) from None

    def _set_cookie(self, message: Message, empty: bool) -> None:
        session = self.scope["session"]
        path, domain = settings.SESSION_COOKIE_PATH, settings.SESSION_COOKIE_DOMAIN
        if empty:
            if self.cookie_name in self.scope["cookies"]:
                CookieMiddleware.delete_cookie(message, self.cookie_name, path=path, domain=domain)
            return
        CookieMiddleware.set_cookie(
            message,
            self.cookie_name,
            session.session_key,
            max_age=None if session.get_expire_at_browser_close() else session.get_expiry_age(),
            path=path,
            domain=domain,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=settings.SESSION_COOKIE_HTTPONLY,
            samesite=settings.SESSION_COOKIE_SAMESITE or None,
        )


class SessionMiddleware:
    """Puts ``session`` into the scope, and saves it. It stands inside of :class:`CookieMiddleware`."""

    def __init__(self, inner: Application) -> None:
        self.inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        wrapper = InstanceSessionWrapper(scope, send)
        await wrapper.resolve_session()
        return await self.inner(wrapper.scope, receive, wrapper.send)


def SessionMiddlewareStack(inner: Application) -> CookieMiddleware:
    """Return ``inner`` with cookies and session in its scope."""
    return CookieMiddleware(SessionMiddleware(inner))
