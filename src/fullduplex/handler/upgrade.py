"""One ``websocket`` scope: its handshake, and the socket after it.

Tasks of one socket::

    serve (the ASGI call) ─┬─ chain    the request through middleware and URLconf; ends with the response
                           ├─ view     started inside the innermost get_response; outlives the chain
                           └─ pump     reads ahead, so that a disconnect is noticed; not needed on our own server

What only the handshake needs is dropped with it (:mod:`fullduplex.handler.handshake`): sockets are many, and most of
them idle.
"""

from __future__ import annotations

import asyncio

from django.core.handlers.asgi import ASGIHandler as DjangoASGIHandler

from fullduplex.asgi import Event, Receive, Scope, Send
from fullduplex.conf import get_settings
from fullduplex.exceptions import Disconnected
from fullduplex.handler.handshake import Handshake
from fullduplex.handler.line import Line
from fullduplex.handler.request import forget_many_cookies
from fullduplex.handler.view import View
from fullduplex.sockets.websocket import WebSocket
from fullduplex.threads.lease import Lease


class Upgrade:
    """One socket, from ``websocket.connect`` to its end."""

    __slots__ = (
        "_accepted",
        "_close_sent",
        "_grace",
        "_grace_s",
        "_handshake",
        "_lease",
        "_line",
        "_loop",
        "_view",
    )

    def __init__(self, handler: DjangoASGIHandler, scope: Scope, receive: Receive, send: Send) -> None:
        settings = get_settings()
        self._loop = asyncio.get_running_loop()
        self._grace_s = settings.disconnect_grace_s
        self._line = Line(scope, receive, send, settings)
        self._handshake: Handshake | None = Handshake(handler, scope, self._line, self._send, settings)
        self._lease: Lease | None = None
        self._view: View | None = None
        self._accepted = False
        self._close_sent = False
        self._grace: asyncio.TimerHandle | None = None

    # The ASGI call ---------------------------------------------------------------------------

    async def serve(self) -> None:
        """Shake hands, then wait for the view's end; leave nothing running, whatever happens."""
        answered = False
        close_code = 1012  # service restart: what a client hears when the server cancels the call
        try:
            handshake = self._handshake
            assert handshake is not None
            try:
                await handshake.shake()
            finally:
                answered = self._take_over(handshake)
                del handshake
            if self._accepted and self._view is not None:
                await self._line.until_end(self._view.task, self._start_grace)
            close_code = 1000
        finally:
            self._line.let_go()
            if self._grace is not None:
                self._grace.cancel()
            try:
                await self._end_view(close_code)
            finally:
                self._view = None  # its socket refers to this object, and it to that
                try:
                    await self._line.stop_reading()
                finally:
                    if self._lease is not None:
                        self._lease.end(spoiled=not answered)
        self._line.check()

    def _take_over(self, handshake: Handshake) -> bool:
        """Keep what the socket needs of its handshake. Return whether the thread saw the request's end."""
        self._handshake = None
        handshake.release()
        self._lease = handshake.lease
        self._view = handshake.view
        self._accepted = handshake.accepted
        if self._accepted and handshake.request is not None:
            forget_many_cookies(handshake.request)
        self._close_sent = handshake.refused
        handshake.forget()
        return handshake.answered

    def _start_grace(self) -> None:
        """The client has left: the view has a moment to end by itself."""
        self._grace = self._loop.call_later(self._grace_s, self._line.wake)

    # The view's side -------------------------------------------------------------------------

    async def _send(self, event: Event) -> None:
        """The ASGI ``send`` of the WebSocket: an accept goes through the chain first.

        Raises:
            Disconnected: the client is gone, or the socket is closed or was refused.
        """
        kind = event["type"]
        handshake = self._handshake
        if handshake is not None:
            if kind == "websocket.accept":
                await handshake.accept(event)
                return
            if kind == "websocket.close" and handshake.opened is None:
                handshake.decide(None)
                return
        left = self._line.left
        if left is not None:
            raise Disconnected(left.code, left.reason)
        if self._close_sent or not self._accepted:
            raise Disconnected()
        if kind == "websocket.close":
            await self._send_close(event)
        elif kind != "websocket.accept":
            await self._line.send(event)

    # The end ---------------------------------------------------------------------------------

    async def _end_view(self, close_code: int) -> None:
        """Cancel the view if it still runs, tell its error, leave its groups and close the socket."""
        view = self._view
        if view is None:
            return
        try:
            if not view.is_judged:
                if not view.task.done():
                    view.stop()
                    await asyncio.wait({view.task})
                close_code, reason = await view.judge(close_code)
                if self._accepted and self._line.left is None:
                    await self._close(view.socket, close_code, reason)
        finally:
            await view.socket.end()

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
        await self._line.stop_reading()
        if not self._close_sent:
            self._close_sent = True
            await self._line.send(event)
            self._line.lost(event.get("code") or 1000, event.get("reason") or "")
