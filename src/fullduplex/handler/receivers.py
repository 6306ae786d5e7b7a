"""Who receives ``request_started`` and ``request_finished`` beside Django, and what is closed with a response."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.cache import BaseCache, caches, close_caches
from django.core.handlers.base import reset_urlconf
from django.core.signals import request_finished, request_started, setting_changed
from django.db import close_old_connections, reset_queries
from django.dispatch import Signal
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string

from fullduplex.asgi import Scope
from fullduplex.handler import seams
from fullduplex.handler.request import holds_nothing, is_free
from fullduplex.handler.response import is_sent_by_server, plain_file
from fullduplex.original import is_original

Receiver = Callable[..., Any]

_CLOSE = HttpResponseBase.close
_CLOSE_IS_DJANGOS = is_original(_CLOSE, "django.http.response", "HttpResponseBase.close")


class Foreign:
    """The receivers of a signal that are not Django's own."""

    def __init__(self, signal: Signal, own: set[Receiver]) -> None:
        self.signal = signal
        self._own = own
        self._seen: list[Any] = []
        self._any: dict[type, bool] = {}

    def any(self, sender: type) -> bool:
        """Whether there are any; as cheap as comparing two short lists."""
        if self.signal.receivers != self._seen:
            self._seen = list(self.signal.receivers)
            self._any.clear()
        known = self._any.get(sender)
        if known is None:
            known = self._any[sender] = any(self.live(sender))
        return known

    def live(self, sender: type) -> tuple[list[Receiver], list[Receiver]]:
        """Return the sync and the async ones."""
        sync, asynchronous = self.signal._live_receivers(sender)
        return [receiver for receiver in sync if receiver not in self._own], list(asynchronous)


started = Foreign(request_started, {reset_queries, close_old_connections})
finished = Foreign(request_finished, {close_old_connections, close_caches, reset_urlconf})


def starts_unheard(sender: type) -> bool:
    """Whether nobody hears of ``request_started`` but Django's own receivers, for which a lease does the work."""
    return seams.started_is_plain() and not started.any(sender)


def nothing_follows(sender: type, request: Any, response: Any, scope: Scope | None = None) -> bool:
    """Whether no sync code comes after the hooks of the response, so that its thread is not needed any more.

    Args:
        scope: where it is given, a file that the server itself sends is no stream.
    """
    if getattr(response, "streaming", True) and (scope is None or not is_sent_by_server(response, scope)):
        return False
    if not has_plain_close(response) or (request is not None and not holds_nothing(request)):
        return False
    for closer in response._resource_closers:
        if not is_free(closer) and not closes_plain_file(closer):
            return False
    return not (seams.finished_is_patched() or finished.any(sender) or (caches_close() and cache_closers()))


def has_plain_close(response: Any) -> bool:
    """Whether closing it does what Django's own ``close`` does, and nobody has put something in its place."""
    return type(response).close is _CLOSE and _CLOSE_IS_DJANGOS


def closes_plain_file(closer: Callable[[], Any]) -> bool:
    """Whether ``closer`` closes a file that was read, and that is not deleted by it."""
    file = plain_file(getattr(closer, "__self__", None))
    return file is not None and closer.__name__ == "close" and os.fstat(file.fileno()).st_nlink > 0


def cache_closers() -> list[Callable[[], Any]]:
    """The caches of this context whose ``close`` does something; most of Django's do nothing."""
    if not caches_close():
        return []
    return [cache.close for cache in caches.all(initialized_only=True) if type(cache).close is not BaseCache.close]


@functools.cache
def caches_close() -> bool:
    """Whether a cache of the project does something when it is closed, at the end of each request."""
    return any(
        import_string(configuration["BACKEND"]).close is not BaseCache.close
        for configuration in settings.CACHES.values()
    )


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "CACHES":
        caches_close.cache_clear()


setting_changed.connect(_forget, dispatch_uid="fullduplex.handler.receivers")
