"""Connections of HTTP/2 that do nothing: what one of them costs the server in memory."""

from __future__ import annotations

import asyncio
from struct import pack, unpack_from
from typing import cast

from bench.scenario import Failed

AT_ONCE_COUNT = 64
TIMEOUT_S = 60.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _SETTINGS = 0x1, 0x4
_END_STREAM = _ACK = 0x1
#: GET / of http, as a browser begins: with names and values that both sides' tables keep (RFC 7541 section 6.2.1).
_BLOCK = b"\x82\x84\x86" + b"".join(
    b"\x40%c%b%c%b" % (len(name), name, len(value), value)
    for name, value in [
        (b":authority", b"127.0.0.1:8000"),
        (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (b"accept-language", b"en-US,en;q=0.5"),
        (b"accept-encoding", b"gzip, deflate, br, zstd"),
    ]
)


def _frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return pack(">IBI", len(payload) << 8 | kind, flags, stream_id) + payload


class _Idle(asyncio.Protocol):
    """Gets one answer, so that whatever a server makes at the first request is made."""

    def __init__(self) -> None:
        self._received = b""
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(_PREFACE + _frame(_SETTINGS, 0, 0) + _frame(_HEADERS, 0x5, 1, _BLOCK))

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 9:
            word, flags, stream_id = unpack_from(">IBI", self._received)
            size = 9 + (word >> 8)
            if len(self._received) < size:
                return
            self._received = self._received[size:]
            if word & 0xFF == _SETTINGS and not flags & _ACK and self.transport is not None:
                self.transport.write(_frame(_SETTINGS, _ACK, 0))
            elif stream_id == 1 and flags & _END_STREAM and not self.answered.done():
                self.answered.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.answered.done():
            self.answered.set_exception(Failed("the server closed an idle connection"))


class IdleConnections:
    """So many of them."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._clients = [_Idle() for _ in range(count)]

    async def open(self) -> None:
        """Open all of them, a few at a time, and wait for all answers."""
        waiting = [*self._clients]
        loop = asyncio.get_running_loop()

        async def opener() -> None:
            while waiting:
                client = waiting.pop()
                await loop.create_connection(lambda client=client: client, "127.0.0.1", self._port)  # type: ignore[misc]
                await client.answered

        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*(opener() for _ in range(AT_ONCE_COUNT)))

    def close(self) -> None:
        for client in self._clients:
            if client.transport is not None:
                client.transport.abort()
