"""Attributes that Django's middleware gives to each request, made when somebody first asks for them.

``SessionMiddleware`` sets ``session``, ``AuthenticationMiddleware`` ``user`` and ``auser``, ``MessageMiddleware``
``_messages``. That is a third of a small request, and most of these objects refer to the request, so that only the
garbage collector can free it. Most requests ask for none of them. So where a hook is exactly Django's, the request
notes it instead: it runs when one of its attributes is asked for, and until then the response hook of its middleware
has nothing to do.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest

_NOTES = "_fullduplex_deferred"  # in the dict of a request: by attribute, its Note or what it has become
_lock = threading.RLock()  # two threads must not make two sessions; a user wants a session in turn


@dataclass(frozen=True, slots=True, eq=False)
class Note:
    """How to make attributes: ``make(request)`` sets those of ``names`` on the request."""

    make: Callable[[Any], Any]
    names: tuple[str, ...]


class _Deferred:
    """An attribute of :class:`DeferredAttributes`. What is set on the request itself comes before it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, request: Any, owner: type) -> Any:
        if request is None:
            return self
        notes = request.__dict__.get(_NOTES, {})
        if self._name not in notes:
            raise AttributeError(f"{owner.__name__!r} object has no attribute {self._name!r}")
        with _lock:
            if type(notes[self._name]) is Note:
                _make(request, notes, notes[self._name])
        value = request.__dict__[self._name] = notes[self._name]
        return value


def _make(request: Any, notes: dict[str, Any], note: Note) -> None:
    """Shallow copies of a request share its notes, and so what comes of them."""
    attributes = request.__dict__
    kept = {name: attributes[name] for name in note.names if name in attributes}
    note.make(request)
    notes.update({name: attributes.pop(name) for name in note.names})
    attributes.update(kept)


class DeferredAttributes:
    """Base of requests that can note a hook instead of running it."""

    session: Any = _Deferred()
    user: Any = _Deferred()
    auser: Any = _Deferred()
    _messages: Any = _Deferred()

    def __delattr__(self, name: str) -> None:
        """What is deleted is not made again, and what needs it is made before: from here on there are no notes."""
        for noted in self.__dict__.get(_NOTES, ()):
            getattr(self, noted)
        self.__dict__.pop(_NOTES, None)
        super().__delattr__(name)


def _can_defer(request: HttpRequest) -> bool:
    return isinstance(request, DeferredAttributes)


def defer(request: HttpRequest, note: Note) -> bool:
    """Note it, unless an attribute has been set already, which the hook would replace; return whether it is noted."""
    attributes = request.__dict__
    if any(name in attributes for name in note.names):
        return False
    notes = attributes.setdefault(_NOTES, {})
    for name in note.names:
        notes[name] = note
    return True


def is_untouched(request: HttpRequest, name: str) -> bool:
    """Whether the request may have the attribute, and nobody has asked for it or set it."""
    attributes = request.__dict__
    return name not in attributes and type(attributes.get(_NOTES, {}).get(name)) is Note


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
