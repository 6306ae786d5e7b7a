"""One ``http`` scope, from its body to ``request_finished``."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Coroutine
from typing import IO, Any, TypeVar, cast

from django.core.exceptions import RequestAborted
from django.core.handlers import asgi

from fullduplex.asgi import Receive, Scope, Send
from fullduplex.conf import get_settings
from fullduplex.exceptions import ThreadsExhausted
from fullduplex.handler import seams
from fullduplex.handler.body import announced_bytes, read_body
from fullduplex.handler.receivers import nothing_follows, starts_unheard
from fullduplex.handler.request import begin_script_prefix
from fullduplex.handler.response import busy_response
from fullduplex.handler.sending import close_content, send_response
from fullduplex.handler.signals import close_response, send_finished, send_started
from fullduplex.handler.tasks import ContextUse, InContext
from fullduplex.threads.context import enter_lease, entered_lease, forget_executor, is_below_caller
from fullduplex.threads.hop import hop_on
from fullduplex.threads.lease import Lease

T = TypeVar("T")

OWN_CONTEXT = "fullduplex.context"  # the ASGI extension by which our server says so


class Watch:
    """Notices that the client of a slow request leaves, and cancels what is done for it.

    Most requests are over before it starts to listen: they pay for a timer.
    """

    def __init__(self, receive: Receive, delay_s: float) -> None:
        self._receive = receive
        self._task = asyncio.current_task()
        self._left = False
        self._error: Exception | None = None
        self._listener: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._start)

    def stop(self) -> bool:
        """Listen no more: the request is answered, or given up. Return whether there is something to wait for."""
        self._timer.cancel()
        self._task = None
        return self._listener is not None and self._listener.cancel()

    async def stopped(self) -> None:
        if self._listener is not None:
            await asyncio.wait({self._listener})

    def caused(self) -> bool:
        """Whether the cancellation that has arrived is this one's, and nobody else wants it too.

        Raises:
            AssertionError: the server sent something other than a disconnect.
        """
        if not self._left or self._task is None or self._task.uncancel() > 0:
            return False
        if self._error is not None:
            raise self._error
        return True

    def _start(self) -> None:
        self._listener = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        try:
            event = await self._receive()
            if event["type"] != "http.disconnect":
                self._error = AssertionError(f"Invalid ASGI message after request body: {event['type']}")
        except Exception as error:
            self._error = error
        if self._task is not None:
            self._left = True
            self._task.cancel()


def serve_http(handler: asgi.ASGIHandler, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
    """Serve one request, in a context of its own.

    Where the server has made one for this call, its first request has that: a task that awaits nothing but coroutines
    is seen whole, down to the view, by ``python -m asyncio pstree``.
    """
    if OWN_CONTEXT not in (scope.get("extensions") or ()):
        return _serve_apart(handler, scope, receive, send, None)
    use = ContextUse.current()
    if use is None:
        return _serve(handler, scope, receive, send, is_first=True)
    return _serve_apart(handler, scope, receive, send, use.context_after())


async def _serve_apart(
    handler: asgi.ASGIHandler, scope: Scope, receive: Receive, send: Send, context: contextvars.Context | None
) -> None:
    request = InContext(_serve(handler, scope, receive, send), context)
    try:
        await request
    except Exception:
        if not seams.is_plain():  # who has seen the error already must know it again where the server tells of it
            for variable, value in request.context.items():
                variable.set(value)
        raise


async def _serve(handler: asgi.ASGIHandler, scope: Scope, receive: Receive, send: Send, is_first: bool = False) -> None:
    """Serve one request in the current context; others that come after the first one get another."""
    use = ContextUse.begin() if is_first else None
    lease = enter_lease()
    try:
        if seams.is_plain():
            await handle(handler, scope, receive, send, True)
        elif seams.CALL.is_patched:
            # Somewhere in there it calls handle().
            await cast(Any, asgi.ASGIHandler).__call__(handler, scope, receive, send)
        else:
            await cast(Any, handler).handle(scope, receive, send)
    finally:
        if lease is not None:
            lease.end()
        if use is not None:
            use.end()


async def handle(handler: asgi.ASGIHandler, scope: Scope, receive: Receive, send: Send, is_plain: bool = False) -> None:
    """What Django's ``ASGIHandler.handle`` does, in fewer steps; in a context that has its lease.

    Args:
        is_plain: nobody stands in a seam on the way to the middleware.
    """
    try:
        if is_plain or not seams.READ_BODY.is_patched:
            body = await read_body(receive, functools.partial(announced_bytes, scope))
        else:
            body = await handler.read_body(receive)
    except RequestAborted:
        return
    lease = entered_lease()
    spoiled = True  # unless all hooks have had their turn
    try:
        begin_script_prefix(scope)
        if (lease is not None and starts_unheard(type(handler))) or await _start(handler, lease, scope, send):
            spoiled = not await _respond(handler, lease, scope, body, receive, send, is_plain)
    finally:
        body.close()
        if lease is not None:
            lease.spoil(spoiled)


async def _start(handler: asgi.ASGIHandler, lease: Lease | None, scope: Scope, send: Send) -> bool:
    """Send ``request_started``; return whether the request goes on. Who begins it finishes it."""
    begun: list[bool] = []
    try:
        await send_started(type(handler), scope, lease is not None or is_below_caller(), begun)
    except BaseException as error:
        if begun:  # else nobody has heard of the request
            await _settle(lease)
            await send_finished(type(handler), lease is not None or is_below_caller())
        if not isinstance(error, ThreadsExhausted):
            raise
        with contextlib.suppress(RequestAborted):
            await send_response(busy_response(), scope, send)
        return False
    return True


async def _respond(
    handler: asgi.ASGIHandler,
    lease: Lease | None,
    scope: Scope,
    body: IO[bytes],
    receive: Receive,
    send: Send,
    is_plain: bool,
) -> bool:
    """Get the response and send it; ``request_finished`` follows on every path. Return whether there was a response."""
    response: Any = None
    watch = Watch(receive, get_settings().disconnect_watch_s)
    try:
        try:
            request, response = handler.create_request(scope, body)
            if request is not None:
                try:
                    response = await handler.run_get_response(request)
                except ThreadsExhausted:
                    response = busy_response()
                    response._resource_closers.append(request.close)
            assert response is not None
            if (
                lease is not None
                and (lease.has_thread or lease.session is not None)
                and not hasattr(response, "fullduplex_over")
                and nothing_follows(type(handler), request, response, scope)
            ):
                lease.free()  # the client may be slow
            if is_plain or not seams.SEND_RESPONSE.is_patched:
                await send_response(response, scope, send)
            else:
                await cast(Any, handler).send_response(response, send)
        except RequestAborted:
            pass
        except asyncio.CancelledError:
            if not watch.caused():
                raise
            await _settle(lease)
        finally:
            if watch.stop():
                await watch.stopped()
    except BaseException:
        await _settle(lease)
        raise
    finally:
        is_looked_after = lease is not None or is_below_caller()
        if response is None:
            forget_executor(lease)
            await send_finished(type(handler), is_looked_after)
        else:
            try:
                if getattr(response, "streaming", False):
                    await close_content(response)
            finally:
                await close_response(response, type(handler), is_looked_after)
    return response is not None


async def _settle(lease: Lease | None) -> None:
    """Wait for sync code that goes on after a cancellation: it may use the request and its body to its end."""
    if lease is not None and lease.is_busy:
        await hop_on(lease, int)
