"""Which middleware hooks may run on the event loop.

Django runs every sync hook of an async request in a thread. Most hooks of its own middleware only look at
headers: a hop costs them twenty times their work. A hook runs on the loop when it is one of Django's
own, that exact function of that exact class, and has no blocking work to do for this request; or when the project
says so (:func:`non_blocking`). A subclass, an override or a foreign session engine does not count.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.messages.middleware import MessageMiddleware
from django.core.signals import setting_changed
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import BrokenLinkEmailsMiddleware, CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.gzip import GZipMiddleware
from django.middleware.http import ConditionalGetMiddleware
from django.middleware.locale import LocaleMiddleware
from django.middleware.security import SecurityMiddleware
from django.utils.deprecation import MiddlewareMixin

from fullduplex.chain.deferred import deferring, is_untouched
from fullduplex.original import is_original

F = TypeVar("F", bound=Callable[..., Any])
# Whether a hook has blocking work for this request: called with the middleware and the hook's arguments.
Blocks = Callable[..., bool]

_MARK = "fullduplex_non_blocking"
_INLINE_CONTENT_BYTES = 16_384  # hashing or compressing so much costs about as much as a hop


def non_blocking(hook: F) -> F:
    """Declare that a sync middleware hook never blocks, so that async requests run it on the event loop.

    For ``process_request``, ``process_view`` and ``process_response`` of ``MiddlewareMixin`` classes. A hook that
    uses the ORM, the cache, a file or the network must not have it; nor one that sets or reads a ``threading.local`` or
    an attribute of a database connection: those of the request belong to its thread, and the loop's are everybody's.
    """
    setattr(hook, _MARK, True)
    return hook


def always(*args: Any) -> bool:
    return True


def is_mixin(factory: Any) -> bool:
    """Whether the middleware is nothing but sync hooks: ``MiddlewareMixin`` calls them, and nobody overrides how."""
    return (
        isinstance(factory, type)
        and issubclass(factory, MiddlewareMixin)
        and all(is_original(getattr(factory, name, None), _MIXIN, f"MiddlewareMixin.{name}") for name in _CALLS)
        and bool(factory.sync_capable and factory.async_capable)
        and not any(
            iscoroutinefunction(getattr(factory, hook, None)) for hook in ("process_request", "process_response")
        )
    )


def blocks(middleware: Any, name: str) -> Blocks | None:
    """Return the test whether the hook ``name`` of ``middleware`` blocks; None: it never does."""
    hook = getattr(middleware, name)
    if getattr(getattr(hook, "__func__", hook), _MARK, False):
        return None
    return _own_hooks()[type(middleware), name] if _is_own(middleware, name) else always


def function_of(middleware: Any, name: str) -> Callable[..., Any]:
    """Return the hook ``name`` of ``middleware`` to call: its own, or what does the same for less."""
    if _is_own(middleware, name) and not _makes_what_is_foreign(middleware):
        return deferring(middleware, name)
    function: Callable[..., Any] = getattr(middleware, name)
    return function


def _makes_what_is_foreign(middleware: Any) -> bool:
    """Whether it makes sessions or message storages that are not Django's."""
    if isinstance(middleware, MessageMiddleware):
        return _message_storage_is_foreign()
    store = getattr(middleware, "SessionStore", None)
    return store is not None and not _is_own_store(store)


def _is_own(middleware: Any, name: str) -> bool:
    """Whether the hook is exactly the one that Django shipped, and nobody has put something in its place."""
    hook = getattr(middleware, name)
    kind = type(middleware)
    function = vars(kind).get(name)
    return (
        (kind, name) in _own_hooks()
        and function is getattr(hook, "__func__", None)
        and is_original(function, kind.__module__, f"{kind.__qualname__}.{name}")
    )


# Django's own --------------------------------------------------------------------------------


def _not_found(middleware: Any, request: HttpRequest, response: HttpResponseBase) -> bool:
    """For a 404 the URLconf is asked about other paths (custom converters may query), or the database is."""
    return response.status_code == 404


def _session_is_foreign(middleware: Any, request: HttpRequest) -> bool:
    return not _is_own_store(middleware.SessionStore)


def _session_is_saved(middleware: Any, request: HttpRequest, response: HttpResponseBase) -> bool:
    if is_untouched(request, "session"):
        return False
    session = getattr(request, "session", None)
    if session is None:
        return False
    if not _is_own_store(type(session)):
        return True
    return not session.is_empty() and bool(session.modified or settings.SESSION_SAVE_EVERY_REQUEST)


def _csrf_secret_is_loaded(middleware: Any, request: HttpRequest) -> bool:
    if not settings.CSRF_USE_SESSIONS:
        return False
    session = getattr(request, "session", None)
    return session is not None and not (_is_own_store(type(session)) and session.session_key is None)


def _csrf_is_checked(middleware: Any, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> bool:
    """The check parses POST, may load the session, and renders a view when it fails."""
    return (
        request.method not in ("GET", "HEAD", "OPTIONS", "TRACE")
        and not getattr(view, "csrf_exempt", False)
        and not getattr(request, "csrf_processing_done", False)
        and not getattr(request, "_dont_enforce_csrf_checks", False)
    )


def _csrf_cookie_is_set(middleware: Any, request: HttpRequest, response: HttpResponseBase) -> bool:
    return bool(request.META.get("CSRF_COOKIE_NEEDS_UPDATE")) and settings.CSRF_USE_SESSIONS


def _login_is_required(middleware: Any, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> bool:
    return bool(getattr(view, "login_required", True))


def _messages_are_foreign(middleware: Any, request: HttpRequest) -> bool:
    return _message_storage_is_foreign()


def _messages_are_stored(middleware: Any, request: HttpRequest, response: HttpResponseBase) -> bool:
    if is_untouched(request, "_messages"):
        return False
    messages = getattr(request, "_messages", None)
    if messages is None:
        return False
    kind = type(messages)
    own = kind.__module__.startswith("django.contrib.messages.storage.")
    return not own or messages.used or messages.added_new


def _content_is_hashed(middleware: Any, request: HttpRequest, response: HttpResponseBase) -> bool:
    if request.method != "GET" or response.streaming:  # it asks for nothing else, not even for the content
        return False
    return len(response.content) > _INLINE_CONTENT_BYTES  # type: ignore[attr-defined]


def _content_is_compressed(middleware: Any, request: HttpRequest, response: HttpResponseBase) -> bool:
    if "gzip" not in request.META.get("HTTP_ACCEPT_ENCODING", ""):
        return False
    return bool(response.streaming) or len(response.content) > _INLINE_CONTENT_BYTES  # type: ignore[attr-defined]


_MIXIN, _CALLS = "django.utils.deprecation", ("__call__", "__acall__")
_MESSAGE_STORAGES = frozenset(
    f"django.contrib.messages.storage.{storage}"
    for storage in ("fallback.FallbackStorage", "cookie.CookieStorage", "session.SessionStorage")
)
_SESSION_ENGINES = frozenset(
    f"django.contrib.sessions.backends.{engine}" for engine in ("db", "cached_db", "cache", "file", "signed_cookies")
)

_HOOKS: dict[tuple[type, str], Blocks | None] = {
    (SecurityMiddleware, "process_request"): None,
    (SecurityMiddleware, "process_response"): None,
    (CommonMiddleware, "process_request"): None,
    (CommonMiddleware, "process_response"): _not_found,
    (BrokenLinkEmailsMiddleware, "process_response"): _not_found,
    (CsrfViewMiddleware, "process_request"): _csrf_secret_is_loaded,
    (CsrfViewMiddleware, "process_view"): _csrf_is_checked,
    (CsrfViewMiddleware, "process_response"): _csrf_cookie_is_set,
    (MessageMiddleware, "process_request"): _messages_are_foreign,
    (MessageMiddleware, "process_response"): _messages_are_stored,
    (XFrameOptionsMiddleware, "process_response"): None,
    (LocaleMiddleware, "process_request"): None,
    (LocaleMiddleware, "process_response"): _not_found,
    (ConditionalGetMiddleware, "process_response"): _content_is_hashed,
    (GZipMiddleware, "process_response"): _content_is_compressed,
}
# These import models, or do not exist in every Django: known once somebody has imported them.
_LATER: dict[str, dict[str, Blocks | None]] = {
    "django.contrib.sessions.middleware.SessionMiddleware": {
        "process_request": _session_is_foreign,
        "process_response": _session_is_saved,
    },
    "django.contrib.auth.middleware.AuthenticationMiddleware": {"process_request": None},
    "django.contrib.auth.middleware.LoginRequiredMiddleware": {"process_view": _login_is_required},
    "django.middleware.csp.ContentSecurityPolicyMiddleware": {"process_request": None, "process_response": None},
    "django.contrib.flatpages.middleware.FlatpageFallbackMiddleware": {"process_response": _not_found},
    "django.contrib.redirects.middleware.RedirectFallbackMiddleware": {"process_response": _not_found},
}


def _own_hooks() -> dict[tuple[type, str], Blocks | None]:
    for path in [path for path in _LATER if path in settings.MIDDLEWARE]:
        module, _, name = path.rpartition(".")
        kind = getattr(importlib.import_module(module), name)
        for hook, test in _LATER.pop(path).items():
            _HOOKS[kind, hook] = test
    return _HOOKS


_own_stores: dict[Any, bool] = {}


def _is_own_store(store: Any) -> bool:
    """Whether ``store`` is one of Django's own session engines: their constructors do no I/O."""
    own = _own_stores.get(store)
    if own is None:
        module = store.__module__
        own = module in _SESSION_ENGINES and store is vars(sys.modules[module]).get("SessionStore")
        _own_stores[store] = own
    return own


@functools.cache
def _message_storage_is_foreign() -> bool:
    return settings.MESSAGE_STORAGE not in _MESSAGE_STORAGES


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "MESSAGE_STORAGE":
        _message_storage_is_foreign.cache_clear()


setting_changed.connect(_forget, dispatch_uid="fullduplex.chain.hooks")
