"""HTTP and WebSocket of the clients: a connection each, so that leaving is closing it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"
ANSWER_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


class Visit:
    """One request on a connection of its own, by HTTP/1.0: the answer ends with the connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Visit:
        self._reader, self._writer = await asyncio.open_connection(HOST, self._port, limit=1 << 20)
        return self

    async def __aexit__(self, *details: Any) -> None:
        self.leave()

    def ask(self, path: str, body: bytes = b"") -> None:
        method = "POST" if body else "GET"
        head = f"{method} {path} HTTP/1.0\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)

    async def answer(self) -> Answer:
        """Read to the end."""
        async with asyncio.timeout(ANSWER_S):
            head, _, body = (await self._reader.read(-1)).partition(b"\r\n\r\n")
        return Answer(int(head.split()[1]) if head else 0, body)

    async def some(self, size_bytes: int) -> bytes:
        async with asyncio.timeout(ANSWER_S):
            return await self._reader.readexactly(size_bytes)

    def leave(self) -> None:
        self._writer.transport.abort()


async def get(port: int, path: str, body: bytes = b"") -> Answer:
    async with Visit(port) as visit:
        visit.ask(path, body)
        return await visit.answer()
