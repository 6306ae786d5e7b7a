"""A handshake through the whole chain, and the socket after it.

Tasks of one socket::

    serve (the ASGI call) ─┬─ chain    the request through middleware and URLconf; ends with the response
                           ├─ view     started inside the innermost get_response; outlives the chain
                           └─ pump     reads ahead, so that a disconnect is noticed; not needed on our own server

The view's accept ends the chain's wait with a WebSocketResponse; the view waits on until the response
middleware has run and the accept is written. The chain and the view have contexts of their own: what
middleware sets in context variables reaches the view, and nothing leaks out of the ASGI call.

What only the handshake needs is dropped with it: sockets are many, and most of them idle.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import io
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIHandler as DjangoASGIHandler
from django.core.handlers.asgi import get_script_prefix
from django.core.signals import got_request_exception
from django.http import HttpResponse, HttpResponseForbidden
from django.http.response import HttpResponseBase
from django.urls import get_script_prefix as get_current_prefix
from django.urls import set_script_prefix
from django.utils.log import log_response

from fullduplex.conf import get_settings
from fullduplex.exceptions import Disconnected, LocalProtocolError, RemoteProtocolError, ThreadsExhausted
from fullduplex.handler.http import InContext, busy_response
from fullduplex.handler.inbox import Inbox
from fullduplex.handler.request import Request
from fullduplex.handler.response import close_content
from fullduplex.handler.signals import close_response, send_finished, send_started
from fullduplex.handler.tasks import cancel, complete, start
from fullduplex.realtime.outbox import EXTENSION
from fullduplex.sockets.asgi import Event, Receive, Scope, Send
from fullduplex.sockets.response import WebSocketResponse
from fullduplex.sockets.views import SocketView
from fullduplex.sockets.websocket import MAX_REASON_BYTES, WebSocket
from fullduplex.threads.context import (
    HandshakeExecutor,
    current_executor,
    enter_lease,
    hop_on,
    is_below_caller,
    use_executor,
)
from fullduplex.threads.lease import Lease

logger = logging.getLogger("django.request")


class HandshakeRequest(Request):
    """The handshake as a GET request; ``scope`` stays the server's own, of type ``websocket``."""

    def __init__(self, scope: Scope, handshake: Upgrade) -> None:
        super().__init__({**scope, "method": "GET"}, io.BytesIO())
        self.scope = scope
        self.fullduplex_handshake = handshake

    def _get_scheme(self) -> str | None:
        # ``scheme``, is_secure() and build_absolute_uri() ask here, after SECURE_PROXY_SSL_HEADER.
        return "https" if self.scope.get("scheme") in ("wss", "https") else "http"


class Upgrade:
    """One ``websocket`` scope, from ``websocket.connect`` to its end."""

    __slots__ = (
        "_acceptance",
        "_accepted",
        "_answered",
        "_chain_context",
        "_close_sent",
        "_context",
        "_deadline_s",
        "_decided",
        "_deciding",
        "_executor",
        "_grace",
        "_handler",
        "_inbox",
        "_left",
        "_loop",
        "_opened",
        "_opening",
        "_pump",
        "_request",
        "_scope",
        "_server_receive",
        "_server_send",
        "_settings",
        "_socket",
        "_started",
        "_view",
        "_view_stopped",
        "_waiter",
    )

    def __init__(self, handler: DjangoASGIHandler, scope: Scope, receive: Receive, send: Send) -> None:
        self._handler = handler
        self._scope = scope
        self._server_receive = receive
        self._server_send = send
        self._settings = get_settings()
        self._loop = asyncio.get_running_loop()
        self._deadline_s = self._loop.time() + self._settings.handshake_timeout_s
        # Of the request's start and finish, and of the chain between them. They differ, as in Django: a chain that is
        # cancelled while sync middleware runs leaves asgiref's executor of that thread behind in its context.
        self._context: contextvars.Context | None = contextvars.copy_context()
        self._chain_context: contextvars.Context | None = self._context
        self._executor: Lease | None = None
        self._request: HandshakeRequest | None = None
        self._socket: WebSocket | None = None
        self._view: asyncio.Task[HttpResponseBase | None] | None = None
        # The view's decision: the response that accepts, or None for a close. Then, when the chain is finished:
        # whether the socket is open.
        self._decided = False
        self._acceptance: WebSocketResponse | None = None
        self._deciding: asyncio.Future[None] | None = None
        self._opened: bool | None = None
        self._opening: asyncio.Future[None] | None = None
        self._left: Disconnected | None = None  # the client is gone; the news
        self._waiter: asyncio.Future[None] | None = None  # of serve()
        self._grace: asyncio.TimerHandle | None = None
        self._inbox: Inbox | None = None
        self._pump: asyncio.Task[None] | None = None
        self._answered = False  # the chain has come to its end: all hooks have had their turn
        self._started = False  # request_started is sent, or being sent
        self._view_stopped = False  # cancelled by us, not from within
        self._accepted = False
        self._close_sent = False

    # The ASGI call ---------------------------------------------------------------------------

    async def serve(self) -> None:
        """Shake hands, then wait for the view's end; leave nothing running, whatever happens."""
        self._listen()
        close_code = 1012  # service restart: what a client hears when the server cancels the call
        try:
            if await self._shake_hands():
                await self._view_over()
            close_code = 1000
        finally:
            self._release(self._accepted)
            self._waiter = None
            if self._grace is not None:
                self._grace.cancel()
            try:
                await self._end_view(close_code)
            finally:
                self._request = self._socket = self._view = None  # they refer to this object, and it to them
                if self._pump is not None:
                    await cancel(self._pump)
                if self._executor is not None:
                    self._executor.end(spoiled=not self._answered)
        if self._pump is not None and not self._pump.cancelled():
            self._pump.result()  # a server whose receive fails hears of it

    def _listen(self) -> None:
        """Have the end of the connection told: by a server that can, else by a task that reads ahead."""
        extension = (self._scope.get("extensions") or {}).get(EXTENSION)
        if extension is not None and "on_disconnect" in extension and self._settings.prepared_frames:
            extension["on_disconnect"](self._lost)
            return
        self._inbox = Inbox(self._server_receive, self._settings.read_ahead_bytes, self._lost)
        self._pump = self._loop.create_task(self._inbox.pump())

    def _lost(self, code: int, reason: str) -> None:
        """The client is gone; the first news counts."""
        if self._left is not None:
            return
        self._left = Disconnected(code, reason)
        if self._inbox is not None:
            self._inbox.lost(code, reason)
        if self._opened and self._waiter is not None:
            self._start_grace()
        else:
            self._wake()

    def _wake(self, *args: Any) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, task: asyncio.Task[Any], timeout_s: float | None = None) -> None:
        """Wait until ``task`` is done, the client has left, or the time is over."""
        if task.done() or self._left is not None:
            return
        self._waiter = self._loop.create_future()
        task.add_done_callback(self._wake)
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, self._wake)
        try:
            await self._waiter
        finally:
            self._waiter = None
            task.remove_done_callback(self._wake)
            if timer is not None:
                timer.cancel()

    async def _shake_hands(self) -> bool:
        """Return whether the socket is open. ``request_finished`` is sent here, and once, on every path."""
        chain = start(self._get_response(), self._loop, self._context)
        response: HttpResponseBase | None = None
        try:
            response = await self._wait_for_response(chain)
            self._answered = chain.done()
            if response is not None:
                await self._answer(response)
        finally:
            try:
                await cancel(chain)
            finally:
                await complete(start(self._finish_request(response), self._loop, self._context))
        self._context = self._chain_context = self._acceptance = None
        if self._executor is not None and self._accepted:
            self._executor.loosen()  # many sockets never need a thread again
        self._release(self._accepted)
        return self._accepted

    async def _wait_for_response(self, chain: asyncio.Task[HttpResponseBase]) -> HttpResponseBase | None:
        """Return the response to the handshake, or None when the client is gone before it."""
        # The view has its own deadline inside the chain, whose 504 passes the response middleware. This one is
        # for a chain that is stuck elsewhere.
        timeout_s = self._deadline_s - self._loop.time() + self._settings.disconnect_grace_s
        await self._wait(chain, timeout_s)
        if chain.done():
            return chain.result()
        if self._left is not None:
            return None
        return await self._timed_out("the middleware did not answer")

    def _view_over(self) -> asyncio.Future[None]:
        """Done when the view has ended, or the client left and the time to end by itself is over."""
        waiter = self._waiter = self._loop.create_future()
        cast("asyncio.Task[HttpResponseBase | None]", self._view).add_done_callback(self._wake)
        if self._left is not None:
            self._start_grace()
        return waiter

    def _start_grace(self) -> None:
        self._grace = self._loop.call_later(self._settings.disconnect_grace_s, self._wake)

    # The chain's side ------------------------------------------------------------------------

    async def _get_response(self) -> HttpResponseBase:
        """Start the request and take it through the middleware."""
        self._executor = enter_lease(tracks=True)
        prefix = get_script_prefix(self._scope)
        if prefix or get_current_prefix() != "/":
            set_script_prefix(prefix)
        self._started = True
        try:
            await send_started(type(self._handler), self._scope, self._is_looked_after())
        except ThreadsExhausted:  # nobody has heard of the request
            self._started = False
            return busy_response()
        try:
            self._request = HandshakeRequest(self._scope, self)
        except UnicodeDecodeError:
            logger.warning("Bad Request (UnicodeDecodeError)", exc_info=sys.exc_info(), extra={"status_code": 400})
            return HttpResponse(status=400)
        chain = InContext(self._handler.run_get_response(self._request))
        self._chain_context = chain.context
        try:
            return await chain
        except ThreadsExhausted:
            return busy_response()

    def _is_looked_after(self) -> bool:
        return self._executor is not None or is_below_caller()

    async def _finish_request(self, response: HttpResponseBase | None) -> None:
        """Send ``request_finished`` and free what the request held."""
        if self._request is not None:
            self._request.close()
        if response is not None and self._started:
            try:
                if getattr(response, "streaming", False):
                    await close_content(response)
            finally:
                await close_response(response, type(self._handler), self._is_looked_after())  # sends it
        elif self._started:
            await send_finished(type(self._handler), self._is_looked_after())

    async def run(self, view: SocketView[...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> HttpResponseBase:
        """Start the view, and return the response to the handshake as soon as it is known.

        Called by ``@websocket`` in the innermost ``get_response``: what this raises or returns goes
        through Django's exception hooks, error handlers and response middleware.
        """
        if self._socket is not None:
            raise LocalProtocolError("a handshake runs one socket view once; a decorator called it again")
        request = cast(HandshakeRequest, self._request)
        receive = self._server_receive if self._inbox is None else self._inbox.receive
        self._socket = WebSocket(request, self._scope, receive, self._send)
        coroutine = cast("Coroutine[Any, Any, HttpResponseBase | None]", view(self._socket, *args, **kwargs))
        self._view = start(coroutine, self._loop, self._view_context())
        try:
            await self._wait_for_decision(self._view)
        except asyncio.CancelledError:
            self._stop(self._view)
            raise
        if self._decided:
            response: HttpResponseBase | None = self._acceptance
        elif self._view.done():
            response = self._returned(self._view)
        else:
            self._decide(None)
            self._stop(self._view)
            return await self._timed_out("the view did not accept")
        if response is None:
            raise PermissionDenied("The socket view did not accept.")
        return response

    async def _wait_for_decision(self, view: asyncio.Task[HttpResponseBase | None]) -> None:
        if self._decided or view.done():
            return
        self._deciding = self._loop.create_future()
        view.add_done_callback(self._wake_chain)
        timer = self._loop.call_at(self._deadline_s, self._wake_chain)
        try:
            await self._deciding
        finally:
            self._deciding = None
            view.remove_done_callback(self._wake_chain)
            timer.cancel()

    def _wake_chain(self, *args: Any) -> None:
        if self._deciding is not None and not self._deciding.done():
            self._deciding.set_result(None)

    def _returned(self, view: asyncio.Task[HttpResponseBase | None]) -> HttpResponseBase | None:
        """Return what the view returned without accepting; its exception is raised."""
        self._view = None  # judged here
        if view.cancelled():
            raise RuntimeError("The socket view was cancelled from within.")
        response = view.result()
        if response is not None and not isinstance(response, HttpResponseBase):
            raise TypeError(f"The socket view returned {response!r}: an HttpResponse refuses, None ends it.")
        return response

    def _view_context(self) -> contextvars.Context:
        context = contextvars.copy_context()
        during = current_executor()
        if during is not None and self._executor is not None:
            context.run(use_executor, HandshakeExecutor(during, self._executor))
        return context

    async def _timed_out(self, what: str) -> HttpResponse:
        response = HttpResponse("The handshake took too long.\n", status=504, content_type="text/plain; charset=utf-8")
        await self._off_the_loop(
            log_response,
            "Gateway Timeout (%s within HANDSHAKE_TIMEOUT_S, %g s): %s",
            what,
            self._settings.handshake_timeout_s,
            self._scope["path"],
            response=response,
            request=self._request,
        )
        return response

    # The answer ------------------------------------------------------------------------------

    async def _answer(self, response: HttpResponseBase) -> None:
        """Send the accept or the refusal."""
        if self._acceptance is not None and isinstance(response, WebSocketResponse) and response.status_code == 101:
            await self._send_accept(response)
        elif response.status_code < 300 or response.status_code == 304:
            # Over HTTP/2 a 2xx would open the socket (RFC 8441 section 5), and 304 means nothing here.
            await self._off_the_loop(
                logger.warning,
                "A handshake was answered with %d, which neither accepts nor refuses it; 403 is sent: %s",
                response.status_code,
                self._scope["path"],
                extra={"status_code": 403, "request": self._request},
            )
            await self._refuse(HttpResponseForbidden())
        else:
            await self._refuse(response)

    async def _send_accept(self, response: WebSocketResponse) -> None:
        if self._left is not None:
            return
        try:
            await self._send_or_lose(response.accept_event())
        except Disconnected:
            return
        self._accepted = True

    async def _refuse(self, response: HttpResponseBase) -> None:
        """Send a refusal; stop when the client is gone, for a streaming body may have no end."""
        self._close_sent = True
        if "websocket.http.response" not in (self._scope.get("extensions") or {}):
            refusal: Coroutine[Any, Any, None] = self._send_or_lose({"type": "websocket.close"})
        else:
            refusal = self._handler.send_response(response, self._send_refusal)
        task = self._loop.create_task(refusal, context=self._chain_context)  # a streaming body has its language
        try:
            await self._wait(task)
        finally:
            await cancel(task)
        if task.cancelled():
            return
        try:
            task.result()
        except Disconnected:
            pass

    async def _send_refusal(self, event: Event) -> None:
        """The ``send`` of Django's own ``send_response``, for the ``websocket.http.response`` extension."""
        await self._send_or_lose({**event, "type": f"websocket.{event['type']}"})

    # The view's side -------------------------------------------------------------------------

    async def _send(self, event: Event) -> None:
        """The ASGI ``send`` of the WebSocket: an accept goes through the chain first.

        Raises:
            Disconnected: the client is gone, or the socket is closed or was refused.
        """
        kind = event["type"]
        if kind == "websocket.accept":
            await self._accept(event)
            return
        if kind == "websocket.close" and self._opened is None:
            self._decide(None)
            return
        if self._left is not None:
            raise Disconnected(self._left.code, self._left.reason)
        if self._close_sent or not self._opened:
            raise Disconnected()
        if kind == "websocket.close":
            await self._send_close(event)
        else:
            await self._send_or_lose(event)

    async def _accept(self, event: Event) -> None:
        headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in event["headers"]]
        self._decide(WebSocketResponse(event["subprotocol"], headers))
        if self._opened is None:
            self._opening = self._loop.create_future()
            await self._opening
        if not self._opened:
            raise Disconnected()

    async def _send_or_lose(self, event: Event) -> None:
        try:
            await self._server_send(event)
        except OSError as error:
            code, reason = (error.code, error.reason) if isinstance(error, Disconnected) else (1006, "")
            self._lost(code, reason)
            raise Disconnected(code, reason) from error

    def _decide(self, response: WebSocketResponse | None) -> None:
        if not self._decided:
            self._decided = True
            self._acceptance = response
            self._wake_chain()

    def _release(self, opened: bool) -> None:
        """Let the view go on that waits for its accept."""
        if self._opened is None:
            self._opened = opened
            opening, self._opening = self._opening, None
            if opening is not None and not opening.done():
                opening.set_result(None)

    # The end ---------------------------------------------------------------------------------

    async def _end_view(self, close_code: int) -> None:
        """Cancel the view if it still runs, log its error, leave its groups and close the socket."""
        socket, view = self._socket, self._view
        if socket is None:
            return
        try:
            if view is not None:
                if not view.done():
                    self._stop(view)
                    await asyncio.wait({view})
                close_code, reason = await self._judge(view, close_code)
                if self._accepted and self._left is None:
                    await self._close(socket, close_code, reason)
        finally:
            await socket.end()

    async def _close(self, socket: WebSocket, code: int, reason: str) -> None:
        """Close the socket, unless the view did; a close of the view that was cut short goes out now."""
        await socket.close(code, reason)
        if not self._close_sent:
            event = {"type": "websocket.close", "code": socket.close_code, "reason": socket.close_reason}
            try:
                await self._send_close(event)
            except Disconnected:
                pass

    async def _send_close(self, event: Event) -> None:
        """Stop reading, then send the close: Granian (2.8) holds it back while ``receive`` is pending."""
        if self._pump is not None:
            await cancel(self._pump)
        if not self._close_sent:
            self._close_sent = True
            await self._send_or_lose(event)
            self._lost(event.get("code") or 1000, event.get("reason") or "")

    def _stop(self, view: asyncio.Task[HttpResponseBase | None]) -> None:
        if not self._view_stopped:  # once, so that it can clean up
            self._view_stopped = view.cancel()

    async def _judge(self, view: asyncio.Task[HttpResponseBase | None], close_code: int) -> tuple[int, str]:
        """Return the close code and reason that the view's end asks for; an error of its own is logged."""
        try:
            response = await view
            if response is not None:
                raise TypeError(f"The socket view returned {response!r} after it had accepted; only None is possible.")
        except asyncio.CancelledError as error:
            if self._view_stopped:
                return close_code, ""
            await self._log("The socket view was cancelled from within: %s", error)
            return 1011, ""
        except RemoteProtocolError as error:
            extra = {"request": self._request}
            await self._off_the_loop(logger.warning, "%s: %s", error, self._scope["path"], extra=extra)
            return error.close_code, str(error).encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        except BaseException as error:
            if _is_disconnect(error):
                return close_code, ""
            await self._log("Exception in WebSocket: %s", error)
            return 1011, ""
        return close_code, ""

    async def _log(self, message: str, error: BaseException) -> None:
        """Tell the log of an error, and ``got_request_exception`` while it is being handled (``sys.exc_info()``)."""
        extra = {"status_code": 500, "request": self._request}
        await self._off_the_loop(self._tell, error, message, self._scope["path"], extra=extra)

    def _tell(self, error: BaseException, message: str, *args: Any, **kwargs: Any) -> None:
        try:
            raise error  # so that sys.exc_info() has it
        except BaseException:
            logger.error(message, *args, exc_info=error, **kwargs)
            got_request_exception.send(sender=None, request=self._request)

    async def _off_the_loop(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """What is told as an error may take its time, and the database: AdminEmailHandler talks to a mail server."""
        call = functools.partial(function, *args, **kwargs)
        if self._executor is None:  # a sync caller further up has its thread
            await sync_to_async(call)()
        else:
            await hop_on(self._executor, call)


def _is_disconnect(error: BaseException) -> bool:
    """Whether ``error`` is only the news that the client left, alone or from a task group."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_disconnect, error.exceptions))
    return isinstance(error, Disconnected)
