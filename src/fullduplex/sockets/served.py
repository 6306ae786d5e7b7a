"""A consumer behind a socket view: ASGI's events on its side, a :class:`WebSocket` on ours."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from fullduplex.asgi import Event, Receive, Scope, Send
from fullduplex.conf import get_settings
from fullduplex.exceptions import Disconnected, LocalProtocolError
from fullduplex.realtime.prepared import prepare
from fullduplex.sockets.websocket import WebSocket

Consumer = Callable[[Scope, Receive, Send], Awaitable[None]]


async def serve_socket(
    consumer: Consumer, socket: WebSocket, args: tuple[Any, ...], kwargs: dict[str, Any], *, defer_accept: bool
) -> None:
    """Run a consumer on a socket whose handshake is under way.

    Args:
        args, kwargs: what the route captured.
        defer_accept: the consumer sends from the thread which the response middleware needs: its accept is begun, and
            written once the handler that sent it has returned.
    """
    scope = await _scope(socket, args, kwargs)
    way = _Way(socket, defer_accept)
    try:
        await consumer(scope, way.receive, way.send)
        await way.settle()
    finally:
        await way.end()


async def _scope(socket: WebSocket, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope:
    """Return the scope with what routers and middleware of Channels put there."""
    request = socket.request
    scope: Scope = {**socket.scope, "cookies": request.COOKIES, "url_route": {"args": args, "kwargs": kwargs}}
    if hasattr(request, "session"):
        scope["session"] = request.session
    if hasattr(request, "auser"):
        scope["user"] = await request.auser()
    return scope


class _Way:
    """Both directions of one socket, as a consumer sees them."""

    def __init__(self, socket: WebSocket, defer_accept: bool) -> None:
        self._socket = socket
        self._defer_accept = defer_accept
        self._context = contextvars.copy_context()
        self._connected = False
        self._accepting: asyncio.Task[None] | None = None
        self._behind_accept: deque[Event] = deque()
        self._behind_accept_bytes = 0

    async def receive(self) -> Event:
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        return await self._socket.receive_event()

    async def send(self, event: Event) -> None:
        """Send an event of the consumer's.

        Raises:
            Disconnected: the client left, or the socket was closed.
            ValueError: the event, or something in it, may not be sent.
            RuntimeError: too much was sent before the accept was written.
        """
        if event["type"] == "websocket.accept" and self._defer_accept:
            self._socket.check_accept(event.get("subprotocol"), _headers(event))
            self._accepting = asyncio.get_running_loop().create_task(self._accept(event), context=self._context)
        elif self._accepting is not None:
            self._put_behind_accept(event)
        else:
            await self._send_now(event)

    async def settle(self) -> None:
        """Wait until the accept, and what was sent behind it, is written."""
        if self._accepting is not None:
            await asyncio.shield(self._accepting)

    async def end(self) -> None:
        if self._accepting is not None and self._accepting.cancel():
            await asyncio.wait({self._accepting})

    async def _accept(self, event: Event) -> None:
        try:
            await self._send_now(event)
            while self._behind_accept:
                await self._send_now(self._behind_accept.popleft())
        except Disconnected:
            pass  # the consumer hears of it in its next event
        finally:
            self._accepting = None

    def _put_behind_accept(self, event: Event) -> None:
        kind = event["type"]
        if kind == "websocket.send":
            self._behind_accept_bytes += prepare(_data(event)).size_bytes
        elif kind != "websocket.close":
            raise _wrong(event)
        self._behind_accept.append(event)
        max_bytes = get_settings().outbox_max_bytes
        if self._behind_accept_bytes > max_bytes:
            raise RuntimeError(f"connect() sends more than OUTBOX_MAX_BYTES, {max_bytes}, before the socket is open.")

    async def _send_now(self, event: Event) -> None:
        kind = event["type"]
        if kind == "websocket.accept":
            await self._socket.accept(event.get("subprotocol"), _headers(event))
        elif kind == "websocket.send":
            await self._socket.send(_data(event))
        elif kind == "websocket.close":
            await self._socket.close(event.get("code") or 1000, event.get("reason") or "")
        else:
            raise _wrong(event)


def _headers(event: Event) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.get("headers") or ()]


def _data(event: Event) -> str | bytes:
    text: str | None = event.get("text")
    return text if text is not None else bytes(event["bytes"])


def _wrong(event: Event) -> LocalProtocolError:
    return LocalProtocolError(f"a consumer in the URLconf may not send {event['type']} (now)")
