"""A handshake: a request through middleware and URLconf, whose view is a socket's.

The view runs in a task that is started inside the innermost ``get_response`` and outlives it. Its accept ends the
chain's wait with a WebSocketResponse; the view waits on until the response middleware has run and the accept is
written. The chain and the view have contexts of their own: what middleware sets in context variables reaches the view,
and nothing leaks out of the ASGI call.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import io
import logging
import sys
from collections.abc import Coroutine, Mapping
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIHandler as DjangoASGIHandler
from django.core.handlers.exception import get_exception_response
from django.http import HttpResponse, HttpResponseForbidden
from django.http.response import HttpResponseBase
from django.urls import get_resolver, get_urlconf
from django.utils.log import log_response

from fullduplex.asgi import Event, Scope, Send
from fullduplex.conf import Settings
from fullduplex.exceptions import Disconnected, LocalProtocolError, ThreadsExhausted
from fullduplex.handler.line import Line
from fullduplex.handler.request import ASGIRequest, begin_script_prefix
from fullduplex.handler.response import busy_response
from fullduplex.handler.sending import close_content
from fullduplex.handler.signals import close_response, send_finished, send_started
from fullduplex.handler.tasks import InContext, cancel, complete, off_the_loop, start
from fullduplex.handler.view import View, advise
from fullduplex.log_lines import escape
from fullduplex.sockets.response import WebSocketResponse
from fullduplex.sockets.views import SocketView, refuse
from fullduplex.sockets.websocket import WebSocket
from fullduplex.threads.context import enter_lease, is_below_caller
from fullduplex.threads.lease import Lease

logger = logging.getLogger("django.request")


class HandshakeRequest(ASGIRequest):
    """The handshake as a GET request; ``scope`` stays the server's own, of type ``websocket``."""

    def __init__(self, scope: Scope, handshake: Handshake) -> None:
        super().__init__({**scope, "method": "GET"}, io.BytesIO())
        self.scope = scope
        self.fullduplex_handshake: Handshake | None = handshake

    @property
    def scheme(self) -> str | None:
        """Django's; ``wss``, which Traefik writes where SECURE_PROXY_SSL_HEADER has ``https``, means the same."""
        scheme: str | None = super().scheme
        if scheme == "http" and settings.SECURE_PROXY_SSL_HEADER is not None:
            header, secure_value = settings.SECURE_PROXY_SSL_HEADER
            value = self.META.get(header, "").partition(",")[0].strip()
            if (value, secure_value) == ("wss", "https"):
                return "https"
        return scheme

    def _get_scheme(self) -> str | None:
        # ``scheme``, is_secure() and build_absolute_uri() ask here, after SECURE_PROXY_SSL_HEADER.
        return "https" if self.scope.get("scheme") in ("wss", "https") else "http"


class Handshake:
    """From ``websocket.connect`` to the accept or the refusal.

    Args:
        send: the ASGI ``send`` of the WebSocket.

    Attributes:
        lease: the thread of the request, then of the socket; None below a sync caller, who has one.
        request, view: None before they are made.
        accepted: the accept is written.
        answered: the chain has come to its end: all hooks have had their turn.
        opened: when the chain is finished, whether the socket is open; None before that.
        refused: a refusal is on its way, or was sent.
    """

    __slots__ = (
        "_acceptance",
        "_begun",
        "_chain_context",
        "_context",
        "_deadline_s",
        "_deciding",
        "_handler",
        "_line",
        "_loop",
        "_opening",
        "_scope",
        "_send",
        "_settings",
        "accepted",
        "answered",
        "lease",
        "opened",
        "refused",
        "request",
        "view",
    )

    def __init__(self, handler: DjangoASGIHandler, scope: Scope, line: Line, send: Send, settings: Settings) -> None:
        self._handler = handler
        self._scope = scope
        self._line = line
        self._send = send
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._deadline_s = self._loop.time() + settings.handshake_timeout_s
        # Of the request's start and finish, and of the chain between them. They differ, as in Django: a chain that is
        # cancelled while sync middleware runs leaves asgiref's executor of that thread behind in its context.
        self._context = contextvars.copy_context()
        self._chain_context = self._context
        self._begun: list[bool] = []  # not empty: request_started is sent, or being sent
        # The view's decision: the response that accepts, or None for a close.
        self._acceptance: WebSocketResponse | None = None
        self._deciding: asyncio.Future[None] | None = None
        self._opening: asyncio.Future[None] | None = None
        self.lease: Lease | None = None
        self.request: HandshakeRequest | None = None
        self.view: View | None = None
        self.accepted = False
        self.answered = False
        self.opened: bool | None = None
        self.refused = False

    # The ASGI call's side --------------------------------------------------------------------

    async def shake(self) -> bool:
        """Return whether the socket is open. ``request_finished`` is sent here, and once, on every path."""
        chain = start(self._get_response(), self._loop, self._context)
        response: HttpResponseBase | None = None
        try:
            response = await self._wait_for_response(chain)
            self.answered = chain.done()
            if response is not None:
                await self._answer(response)
        finally:
            try:
                await cancel(chain)
            finally:
                await complete(start(self._finish_request(response), self._loop, self._context))
        if self.lease is not None and self.accepted:
            self.lease.loosen()  # many sockets never need a thread again
        self.release()
        return self.accepted

    def release(self) -> None:
        """Let the view go on that waits for its accept."""
        if self.opened is None:
            self.opened = self.accepted
            opening, self._opening = self._opening, None
            if opening is not None and not opening.done():
                opening.set_result(None)

    def forget(self) -> None:
        """Break the circles: request and view refer to this object, and it to them."""
        if self.request is not None:
            self.request.fullduplex_handshake = None
        self.request = self.view = None

    async def _wait_for_response(self, chain: asyncio.Task[HttpResponseBase]) -> HttpResponseBase | None:
        """Return the response to the handshake, or None when the client is gone before it."""
        # The view has its own deadline inside the chain, whose 504 passes the response middleware. This one is
        # for a chain that is stuck elsewhere.
        timeout_s = self._deadline_s - self._loop.time() + self._settings.disconnect_grace_s
        await self._line.wait(chain, timeout_s)
        if chain.done():
            return chain.result()
        if self._line.left is not None:
            return None
        return await self._timed_out("the middleware did not answer")

    # The chain's side ------------------------------------------------------------------------

    async def _get_response(self) -> HttpResponseBase:
        """Start the request and take it through the middleware."""
        self.lease = enter_lease(tracks=True)
        begin_script_prefix(self._scope)
        try:
            await send_started(type(self._handler), self._scope, self._is_looked_after(), self._begun)
        except ThreadsExhausted:
            return busy_response()
        try:
            self.request = HandshakeRequest(self._scope, self)
        except UnicodeDecodeError:
            logger.warning("Bad Request (UnicodeDecodeError)", exc_info=sys.exc_info(), extra={"status_code": 400})
            return HttpResponse(status=400)
        chain = InContext(self._handler.run_get_response(self.request))
        self._chain_context = chain.context
        try:
            return await chain
        except ThreadsExhausted:
            return busy_response()

    def _is_looked_after(self) -> bool:
        return self.lease is not None or is_below_caller()

    async def _finish_request(self, response: HttpResponseBase | None) -> None:
        """Send ``request_finished`` and free what the request held.

        What a receiver raises is told, and as a page survives it, so does the socket.
        """
        try:
            await self._finish(response)
        except Exception as error:
            extra = {"request": self.request}
            message = "Exception at the end of a handshake: %s"
            await off_the_loop(
                self.lease, logger.error, message, escape(self._scope["path"]), exc_info=error, extra=extra
            )

    async def _finish(self, response: HttpResponseBase | None) -> None:
        if self.request is not None:
            self.request.close()
        if response is not None and self._begun:
            try:
                if getattr(response, "streaming", False):
                    await close_content(response)
            finally:
                await close_response(response, type(self._handler), self._is_looked_after())  # sends it
        elif self._begun:
            await send_finished(type(self._handler), self._is_looked_after())

    async def run(self, view: SocketView[...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> HttpResponseBase:
        """Start the view, and return the response to the handshake as soon as it is known.

        Called by ``@websocket`` in the innermost ``get_response``: what this raises or returns goes
        through Django's exception hooks, error handlers and response middleware.
        """
        if self.view is not None:
            raise LocalProtocolError("a handshake runs one socket view once; a decorator called it again")
        request = cast(HandshakeRequest, self.request)
        socket = WebSocket(request, self._scope, self._line.receive, self._send)
        function = functools.partial(view, socket, *args, **kwargs)
        running = self.view = View(socket, request, self.lease)
        running.start(function, self._settings.socket_view_observer)
        try:
            await self._wait_for_decision(running)
        except asyncio.CancelledError:
            running.stop()
            raise
        if running.has_decided:
            response: HttpResponseBase | None = self._acceptance
        elif running.task.done():
            response = _returned(running)
        else:
            self.decide(None)
            running.stop()
            return await self._timed_out("the view did not accept")
        if response is not None:
            return response
        refuse(request, "the socket view closed it" if running.has_decided else "the socket view did not accept")
        return await sync_to_async(_forbidden)(request)

    async def _wait_for_decision(self, view: View) -> None:
        if view.has_decided or view.task.done():
            return
        self._deciding = self._loop.create_future()
        view.task.add_done_callback(self._wake_chain)
        timer = self._loop.call_at(self._deadline_s, self._wake_chain)
        try:
            await self._deciding
        finally:
            self._deciding = None
            view.task.remove_done_callback(self._wake_chain)
            timer.cancel()

    def _wake_chain(self, *args: Any) -> None:
        if self._deciding is not None and not self._deciding.done():
            self._deciding.set_result(None)

    async def _timed_out(self, what: str) -> HttpResponse:
        response = HttpResponse("The handshake took too long.\n", status=504, content_type="text/plain; charset=utf-8")
        await off_the_loop(
            self.lease,
            log_response,
            "Gateway Timeout (%s within HANDSHAKE_TIMEOUT_S, %g s): %s",
            what,
            self._settings.handshake_timeout_s,
            self._scope["path"],
            response=response,
            request=self.request,
        )
        return response

    # The view's side -------------------------------------------------------------------------

    async def accept(self, event: Event) -> None:
        """The view accepts: wait until the response middleware has run and the accept is written.

        Raises:
            Disconnected: it never will be.
        """
        headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in event["headers"]]
        self.decide(WebSocketResponse(event["subprotocol"], headers))
        if self.opened is None:
            self._opening = self._loop.create_future()
            await self._opening
        if not self.opened:
            raise Disconnected()

    def decide(self, response: WebSocketResponse | None) -> None:
        """The view accepts, or with None closes."""
        if self.view is not None and not self.view.has_decided:
            self.view.has_decided = True
            self._acceptance = response
            self._wake_chain()

    # The answer ------------------------------------------------------------------------------

    async def _answer(self, response: HttpResponseBase) -> None:
        """Send the accept or the refusal."""
        if self._acceptance is not None and isinstance(response, WebSocketResponse) and response.status_code == 101:
            await self._send_accept(response)
        elif response.status_code < 300 or response.status_code == 304:
            # Over HTTP/2 a 2xx would open the socket (RFC 8441 section 5), and 304 means nothing here.
            await off_the_loop(
                self.lease,
                logger.warning,
                "A handshake was answered with %d, which neither accepts nor refuses it; 403 is sent: %s",
                response.status_code,
                escape(self._scope["path"]),
                extra={"status_code": 403, "request": self.request},
            )
            await self._refuse(HttpResponseForbidden())
        else:
            await self._refuse(response)

    async def _send_accept(self, response: WebSocketResponse) -> None:
        if self._line.left is not None:
            return
        try:
            # In the context of the request: the server's log may look for names there.
            await InContext(self._line.send(response.accept_event()), self._chain_context)
        except Disconnected:
            return
        self.accepted = True

    async def _refuse(self, response: HttpResponseBase) -> None:
        """Send a refusal; stop when the client is gone, for a streaming body may have no end."""
        self.refused = True
        if "websocket.http.response" not in (self._scope.get("extensions") or {}):
            refusal: Coroutine[Any, Any, None] = self._line.send({"type": "websocket.close"})
        else:
            refusal = self._handler.send_response(response, self._send_refusal)
        task = self._loop.create_task(refusal, context=self._chain_context)  # a streaming body has its language
        try:
            await self._line.wait(task)
        finally:
            await cancel(task)
        if task.cancelled():
            return
        try:
            task.result()
        except Disconnected:
            pass

    async def _send_refusal(self, event: Mapping[str, Any]) -> None:
        """The ``send`` of Django's own ``send_response``, for the ``websocket.http.response`` extension."""
        await self._line.send({**event, "type": f"websocket.{event['type']}"})


def _forbidden(request: HandshakeRequest) -> HttpResponse:
    """What Django makes of PermissionDenied, but for the traceback in the log: a view that closes has not failed."""
    error = PermissionDenied("The socket view did not accept.")
    return get_exception_response(request, get_resolver(get_urlconf()), 403, error)


def _returned(view: View) -> HttpResponseBase | None:
    """Return what the view returned without accepting; its exception is raised."""
    view.is_judged = True
    if view.task.cancelled():
        raise RuntimeError("The socket view was cancelled from within.")
    try:
        response = view.task.result()
    except Exception as error:
        advise(error)
        raise
    if response is not None and not isinstance(response, HttpResponseBase):
        raise TypeError(f"The socket view returned {response!r}: an HttpResponse refuses, None ends it.")
    return response
