"""One ``http`` scope, from its body to ``request_finished``."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections.abc import Coroutine, Generator
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar, cast

from django.core.exceptions import RequestAborted, RequestDataTooBig
from django.core.handlers.asgi import get_script_prefix
from django.http import HttpResponse, HttpResponseBadRequest
from django.http.response import HttpResponseBase
from django.urls import get_script_prefix as get_current_prefix
from django.urls import set_script_prefix

from fullduplex.conf import get_settings
from fullduplex.exceptions import ThreadsExhausted
from fullduplex.handler.request import Request, read_body
from fullduplex.handler.response import close_content, send_response
from fullduplex.handler.signals import close_response, nothing_follows, send_finished, send_started
from fullduplex.sockets.asgi import Receive, Scope, Send
from fullduplex.threads.context import enter_lease, hop_on
from fullduplex.threads.lease import Lease

if TYPE_CHECKING:
    from fullduplex.handler.application import ASGIHandler

logger = logging.getLogger("django.request")
T = TypeVar("T")


class InContext(Generic[T]):
    """Awaits a coroutine in a context of its own, without a task of its own.

    Context variables, the locale and the URLconf of a request end with it, whatever the server does.

    Attributes:
        context: a copy of the current one.
    """

    __slots__ = ("_coroutine", "context")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self.context = contextvars.copy_context()

    def __await__(self) -> Generator[Any, Any, T]:
        run, step, argument = self.context.run, self._coroutine.send, None
        while True:
            try:
                awaited = run(step, argument)
            except StopIteration as end:
                return cast(T, end.value)
            try:
                argument = yield awaited
            except GeneratorExit:
                run(self._coroutine.close)
                raise
            except BaseException as error:
                step, argument = self._coroutine.throw, error
            else:
                step = self._coroutine.send


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


async def serve_http(handler: ASGIHandler, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one request, in a context of its own."""
    await InContext(_serve(handler, scope, receive, send))


async def _serve(handler: ASGIHandler, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        body = await read_body(receive)
    except RequestAborted:
        return
    lease = enter_lease()
    spoiled = True  # unless all hooks have had their turn
    try:
        prefix = get_script_prefix(scope)
        if prefix or get_current_prefix() != "/":
            set_script_prefix(prefix)
        await send_started(type(handler), scope)
        spoiled = not await _respond(handler, lease, scope, body, receive, send)
    finally:
        body.close()
        if lease is not None:
            lease.end(spoiled)


async def _respond(
    handler: ASGIHandler, lease: Lease | None, scope: Scope, body: IO[bytes], receive: Receive, send: Send
) -> bool:
    """Get the response and send it; ``request_finished`` follows on every path. Return whether there was a response."""
    response: HttpResponseBase | None = None
    watch = Watch(receive, get_settings().disconnect_watch_s)
    try:
        try:
            request, response = await _get_response(handler, scope, body)
            if (
                lease is not None
                and lease.has_thread
                and not hasattr(response, "fullduplex_over")
                and nothing_follows(type(handler), request, response, scope)
            ):
                lease.free()  # the client may be slow
            await send_response(response, scope, send)
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
        if response is None:
            await send_finished(type(handler))
        else:
            try:
                if getattr(response, "streaming", False):
                    await close_content(response)
            finally:
                await close_response(response, type(handler))
    return response is not None


async def _settle(lease: Lease | None) -> None:
    """Wait for sync code that goes on after a cancellation: it may use the request and its body to its end."""
    if lease is not None and lease.is_busy:
        await hop_on(lease, int)


async def _get_response(handler: ASGIHandler, scope: Scope, body: IO[bytes]) -> tuple[Request | None, HttpResponseBase]:
    try:
        request = handler.request_class(scope, body)
    except UnicodeDecodeError:
        logger.warning("Bad Request (UnicodeDecodeError)", exc_info=sys.exc_info(), extra={"status_code": 400})
        return None, HttpResponseBadRequest()
    except RequestDataTooBig:
        return None, HttpResponse("413 Payload too large", status=413)
    try:
        response: HttpResponseBase = await handler.run_get_response(request)
    except ThreadsExhausted:
        # The log has it. A client that comes back later may find a thread.
        response = HttpResponse("The server is busy.\n", status=503, content_type="text/plain; charset=utf-8")
        response.headers["Retry-After"] = "5"
        response._resource_closers.append(request.close)  # type: ignore[attr-defined]
    return request, response
