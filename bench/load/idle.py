"""Sockets that do nothing: what one of them costs the server in memory."""

from __future__ import annotations

import asyncio

from bench.load import frames
from bench.load.connect import open_all
from bench.scenario import Failed


class _Idle(asyncio.Protocol):
    """Gets one message echoed, so that whatever a server makes at the first message is made.

    It is long enough for every server to think it worth compressing, where that was agreed.
    """

    _FRAME = frames.client_frame(b"x" * 2048)

    def __init__(self) -> None:
        self._reader = frames.FrameReader()
        self.echoed = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(self._FRAME)

    def data_received(self, data: bytes) -> None:
        for first, payload in self._reader.feed(data):
            if first & 0x0F == frames.PING:
                self.transport.write(frames.client_frame(payload, frames.PONG))
            elif first & 0x0F == frames.TEXT and not self.echoed.done():
                self.echoed.set_result(bool(first & 0x40))  # RSV1: compressed (RFC 7692 section 6)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.echoed.done():
            self.echoed.set_exception(Failed("the server closed an idle socket"))


class IdleSockets:
    """So many of them."""

    def __init__(self, port: int, count: int, *, deflate: bool) -> None:
        self._request = frames.handshake_request(port, "/", deflate=deflate)
        self._port = port
        self._sockets = [_Idle() for _ in range(count)]

    async def open(self) -> bool:
        """Open all of them and wait for all echoes. Returns whether the echoes were compressed."""
        await open_all(self._port, self._request, self._sockets)
        async with asyncio.timeout(30):
            compressed = [await socket.echoed for socket in self._sockets]
        return all(compressed)

    def close(self) -> None:
        for socket in self._sockets:
            socket.transport.abort()
