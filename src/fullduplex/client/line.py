"""One connection: a WebSocket, as little of it as a client needs, so that tests can put something in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI, NegotiationError
from websockets.typing import Subprotocol

from fullduplex.client.errors import LineLost, reconnects, reconnects_after_status
from fullduplex.client.messages import PROTOCOL


class Line(Protocol):
    """A connection. Each method raises :class:`LineLost` when it has ended."""

    async def receive(self) -> str | bytes: ...

    async def send(self, text: str) -> None: ...

    async def close(self, code: int) -> None:
        """Close it politely."""

    def abort(self) -> None:
        """Drop it: the other side is dead."""


#: Of a polite close: a server that is there answers at once, and one that is dead never does.
CLOSE_TIMEOUT_S = 2.0

Dial = Callable[[], Awaitable[Line]]


class WebSocketLine:
    """A WebSocket of the library ``websockets``."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def receive(self) -> str | bytes:
        try:
            return await self._socket.recv()
        except ConnectionClosed as error:
            raise _lost(error) from error

    async def send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed as error:
            raise _lost(error) from error

    async def close(self, code: int) -> None:
        await self._socket.close(code)

    def abort(self) -> None:
        self._socket.transport.abort()


def dialer(url: str, timeout_s: float, max_message_bytes: int, options: dict[str, Any]) -> Dial:
    """Return what opens a connection.

    Args:
        options: of ``websockets.asyncio.client.connect``: headers, ssl, proxy.
    """

    async def dial() -> Line:
        try:
            socket = await websockets_connect(
                url,
                subprotocols=[Subprotocol(PROTOCOL)],
                open_timeout=timeout_s,
                close_timeout=CLOSE_TIMEOUT_S,
                ping_interval=None,  # the protocol has a heartbeat of its own
                max_size=max_message_bytes,
                **options,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            raise LineLost(status, error.response.reason_phrase, not reconnects_after_status(status)) from error
        except (InvalidURI, NegotiationError) as error:
            raise LineLost(1002, str(error), True) from error
        except (OSError, TimeoutError, InvalidHandshake, EOFError) as error:
            raise LineLost(1006, str(error), False) from error
        if socket.subprotocol != PROTOCOL:
            await socket.close(1002)
            raise LineLost(1002, f"the server does not speak {PROTOCOL}", True)
        return WebSocketLine(socket)

    return dial


def _lost(error: ConnectionClosed) -> LineLost:
    code = error.rcvd.code if error.rcvd is not None else 1006
    if error.sent is not None and not error.rcvd_then_sent:
        code = error.sent.code  # this side closed first
    reason = error.rcvd.reason if error.rcvd is not None else ""
    return LineLost(code, reason, not reconnects(code))


async def pause(seconds: float) -> None:
    """Wait between two attempts; tests put something in its place."""
    await asyncio.sleep(seconds)
