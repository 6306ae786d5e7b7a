"""Members that join and then read nothing."""

from __future__ import annotations

import asyncio
import socket

from bench.load import frames
from bench.load.connect import open_one

RECEIVE_BUFFER_BYTES = 4096  # the kernel takes as little as it can, so that the server feels it soon


class _Deaf(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.transport.pause_reading()


class SlowMembers:
    def __init__(self, port: int, path: str, count: int) -> None:
        self._port = port
        self._request = frames.handshake_request(port, path)
        self._count = count
        self._clients: list[_Deaf] = []

    async def open(self) -> None:
        for _ in range(self._count):
            client = _Deaf()
            await open_one(self._port, self._request, client)
            self._clients.append(client)

    def close(self) -> None:
        for client in self._clients:
            client.transport.abort()
