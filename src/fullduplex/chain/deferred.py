"""Attributes that Django's middleware gives to each request, made when somebody first asks for them.

``SessionMiddleware`` sets ``session``, ``AuthenticationMiddleware`` ``user`` and ``auser``, ``MessageMiddleware``
``_messages``. That is a third of a small request, and most of these objects refer to the request, so that only the
garbage collector can free it. Most requests ask for none of them. So where a hook is exactly Django's, the request
notes it instead: it runs when one of its attributes is asked for, and until then the response hook of its middleware
has nothing to do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from fullduplex.chain.noted import NOTES, DeferredAttributes, Note


def _can_defer(request: HttpRequest) -> bool:
    return isinstance(request, DeferredAttributes)


def defer(request: HttpRequest, note: Note) -> bool:
    """Note it, unless an attribute has been set already, which the hook would replace; return whether it is noted."""
    attributes = request.__dict__
    if any(name in attributes for name in note.names):
        return False
    notes = attributes.setdefault(NOTES, {})
    for name in note.names:
        notes[name] = note
    return True


def is_untouched(request: HttpRequest, name: str) -> bool:
    """Whether the request may have the attribute, and nobody has asked for it or set it."""
    attributes = request.__dict__
    return name not in attributes and type(attributes.get(NOTES, {}).get(name)) is Note


def has_session(request: HttpRequest) -> bool:
    """``hasattr(request, "session")``, without making one."""
    return is_untouched(request, "session") or hasattr(request, "session")


def has_session_cookie(request: HttpRequest) -> bool:
    """Whether the request has one; cookies are parsed only where there are any."""
    if "HTTP_COOKIE" not in request.META and "COOKIES" not in request.__dict__:
        return False
    return settings.SESSION_COOKIE_NAME in request.COOKIES


# The hooks, by middleware and name ------------------------------------------------------------


def _session_in(middleware: Any) -> Callable[[Any], Any]:
    def make(request: Any) -> None:
        request.session = middleware.SessionStore(None)

    note = Note(make, ("session",))

    def process_request(request: Any) -> Any:
        if not _can_defer(request) or has_session_cookie(request) or not defer(request, note):
            return middleware.process_request(request)
        return None

    return process_request


def _session_out(middleware: Any) -> Callable[[Any, Any], Any]:
    def process_response(request: Any, response: Any) -> Any:
        if is_untouched(request, "session") and not has_session_cookie(request):
            return response
        return middleware.process_response(request, response)

    return process_response


def _in(middleware: Any, *names: str) -> Callable[[Any], Any]:
    """For the hooks that want a session to be there, and complain if it is not."""
    note = Note(middleware.process_request, names)

    def process_request(request: Any) -> Any:
        if not _can_defer(request) or not has_session(request) or not defer(request, note):
            return middleware.process_request(request)
        return None

    return process_request


def _messages_out(middleware: Any) -> Callable[[Any, Any], Any]:
    def process_response(request: Any, response: Any) -> Any:
        return response if is_untouched(request, "_messages") else middleware.process_response(request, response)

    return process_response


_SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
_AUTHENTICATION = "django.contrib.auth.middleware.AuthenticationMiddleware"
_MESSAGES = "django.contrib.messages.middleware.MessageMiddleware"
_DEFERRING: dict[tuple[str, str], Callable[[Any], Callable[..., Any]]] = {
    (_SESSIONS, "process_request"): _session_in,
    (_SESSIONS, "process_response"): _session_out,
    (_AUTHENTICATION, "process_request"): lambda middleware: _in(middleware, "user", "auser"),
    (_MESSAGES, "process_request"): lambda middleware: _in(middleware, "_messages"),
    (_MESSAGES, "process_response"): _messages_out,
}


def deferring(middleware: Any, name: str) -> Callable[..., Any]:
    """Return what to call for a hook that is exactly Django's, and whose attributes are made without blocking."""
    hook: Callable[..., Any] = getattr(middleware, name)
    kind = type(middleware)
    factory = _DEFERRING.get((f"{kind.__module__}.{kind.__qualname__}", name))
    return hook if factory is None else functools.update_wrapper(factory(middleware), hook)
