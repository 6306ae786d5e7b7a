"""``request_started`` and ``request_finished``, with the thread hops that somebody needs and no others.

Django's own receivers close database connections and caches and reset the URLconf. The connections are the
lease's business (``threads``), which does it on their threads and off the request's way; the URLconf ends with the
context of the request. So a request with no other receivers sends these signals without a thread. Receivers of the
project or of other packages get them as always: sync ones in one hop, async ones on the loop.
"""

from __future__ import annotations

import asyncio
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
from fullduplex.exceptions import ThreadsExhausted
from fullduplex.handler import seams
from fullduplex.handler.request import holds_nothing, is_free
from fullduplex.handler.response import is_sent_by_server, plain_file
from fullduplex.original import is_original
from fullduplex.threads.context import hop

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


async def send_started(sender: type, scope: Any, is_looked_after: bool, begun: list[bool]) -> None:
    """Send ``request_started``; what a receiver raises is raised.

    Args:
        is_looked_after: a lease sees to the connections, and Django's own receivers need not.
        begun: gets an element before anybody hears of the request: who begins it finishes it, and a client may leave
            while it waits for a thread to begin it in.
    """
    if not is_looked_after or seams.started_is_patched():
        begun.append(True)
        await request_started.asend(sender=sender, scope=scope)
    elif seams.receivers_are_patched() or started.any(sender):
        receivers = started.live(sender)
        begin = functools.partial(begun.append, True)
        if not receivers[0]:
            begin()
        await _send(started, sender, receivers, [begin] if receivers[0] else [], scope=scope)
    else:
        begun.append(True)


def starts_unheard(sender: type) -> bool:
    """Whether nobody hears of ``request_started`` but Django's own receivers, for which a lease does the work."""
    return seams.started_is_plain() and not started.any(sender)


async def send_finished(sender: type, is_looked_after: bool) -> None:
    """Send ``request_finished`` for a request without a response."""
    if not is_looked_after or seams.finished_is_patched():
        await request_finished.asend(sender=sender)
        return
    closers = _cache_closers()
    if closers or finished.any(sender):
        await _send(finished, sender, finished.live(sender), closers)


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
        if not is_free(closer) and not _closes_plain_file(closer):
            return False
    return not (seams.finished_is_patched() or finished.any(sender) or (caches_close() and _cache_closers()))


async def close_response(response: Any, sender: type, is_looked_after: bool) -> None:
    """Close a response, which sends ``request_finished``."""
    response._handler_class = sender
    if response.__dict__.pop("fullduplex_over", False):  # known when the thread went
        for closer in response._resource_closers:
            closer()
        response._resource_closers.clear()
        response.closed = True
        return
    if not (has_plain_close(response) and is_looked_after) or seams.finished_is_patched():
        await _hop_late(response.close, over=_always)
        return
    closers = list(response._resource_closers)
    response._resource_closers.clear()
    response.closed = True
    if all(is_free(closer) or _closes_plain_file(closer) for closer in closers):
        for closer in closers:
            closer()
        closers = []
    closers = [_quiet(closer) for closer in closers] + _cache_closers()
    if closers or finished.any(sender):
        await _send(finished, sender, finished.live(sender), closers)


def has_plain_close(response: Any) -> bool:
    """Whether closing it does what Django's own ``close`` does, and nobody has put something in its place."""
    return type(response).close is _CLOSE and _CLOSE_IS_DJANGOS


async def _send(
    foreign: Foreign,
    sender: type,
    receivers: tuple[list[Receiver], list[Receiver]],
    before: list[Callable[[], Any]],
    **named: Any,
) -> None:
    """Call sync code and sync receivers in one hop, then the async receivers together."""
    sync, asynchronous = receivers

    def send_sync() -> None:
        for closer in before:
            closer()
        for receiver in sync:
            receiver(signal=foreign.signal, sender=sender, **named)

    if before or sync:
        await (hop(send_sync) if foreign is started else _hop_late(send_sync))
    if asynchronous:
        await asyncio.gather(*(receiver(signal=foreign.signal, sender=sender, **named) for receiver in asynchronous))


async def _hop_late(function: Callable[[], Any], over: Callable[[Any], bool] | None = None) -> None:
    """The client has its answer: what has to follow waits for a thread as long as it takes.

    It is not given up when the server cancels the call; then it waits for THREADS_WAIT_S at most.
    """
    has_begun = False
    cancelled: asyncio.CancelledError | None = None

    def begin() -> None:
        nonlocal has_begun
        has_begun = True
        function()

    while True:
        try:
            await hop(begin, over=over)
            break
        except ThreadsExhausted:
            if has_begun:
                raise
            if cancelled is not None:
                break
        except asyncio.CancelledError as error:
            if has_begun:
                raise
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _always(result: Any) -> bool:
    return True


def _closes_plain_file(closer: Callable[[], Any]) -> bool:
    """Whether ``closer`` closes a file that was read, and that is not deleted by it."""
    file = plain_file(getattr(closer, "__self__", None))
    return file is not None and closer.__name__ == "close" and os.fstat(file.fileno()).st_nlink > 0


def _quiet(closer: Callable[[], Any]) -> Callable[[], None]:
    """``HttpResponseBase.close`` lets the errors of closers pass, and so do we."""

    def close() -> None:
        try:
            closer()
        except Exception:
            pass

    return close


def _cache_closers() -> list[Callable[[], Any]]:
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


setting_changed.connect(_forget, dispatch_uid="fullduplex.handler.signals")
