"""``request_started`` and ``request_finished``, with the thread hops that somebody needs and no others.

Django's own receivers close database connections and caches and reset the URLconf. The connections are the
lease's business (``threads``), which does it on their threads and off the request's way; the URLconf ends with the
context of the request. So a request with no other receivers sends these signals without a thread. Receivers of the
project or of other packages get them as always: sync ones in one hop, async ones on the loop.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

from django.core.signals import request_finished, request_started

from fullduplex.exceptions import ThreadsExhausted
from fullduplex.handler import seams
from fullduplex.handler.receivers import (
    Foreign,
    Receiver,
    cache_closers,
    closes_plain_file,
    finished,
    has_plain_close,
    started,
)
from fullduplex.handler.request import is_free
from fullduplex.threads.hop import hop


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


async def send_finished(sender: type, is_looked_after: bool) -> None:
    """Send ``request_finished`` for a request without a response."""
    if not is_looked_after or seams.finished_is_patched():
        await request_finished.asend(sender=sender)
        return
    closers = cache_closers()
    if closers or finished.any(sender):
        await _send(finished, sender, finished.live(sender), closers)


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
    if all(is_free(closer) or closes_plain_file(closer) for closer in closers):
        for closer in closers:
            closer()
        closers = []
    closers = [_quiet(closer) for closer in closers] + cache_closers()
    if closers or finished.any(sender):
        await _send(finished, sender, finished.live(sender), closers)


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


def _quiet(closer: Callable[[], Any]) -> Callable[[], None]:
    """``HttpResponseBase.close`` lets the errors of closers pass, and so do we."""

    def close() -> None:
        try:
            closer()
        except Exception:
            pass

    return close
