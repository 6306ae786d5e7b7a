"""Opening many WebSockets: the handshake, after which another Protocol takes the transport."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from bench.load import frames
from bench.scenario import Failed

OPEN_TIMEOUT_S = 60.0  # for all of them: Channels takes its time over 10,000
AT_ONCE_COUNT = 64


class _Handshake(asyncio.Protocol):
    def __init__(self, request: bytes, client: asyncio.Protocol) -> None:
        self._request = request
        self._client = client
        self._received = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end or self.opened.done():
            return
        if not frames.accepts(head):
            self.opened.set_exception(Failed(f"handshake refused: {head[:80]!r}"))
            self._transport.abort()
            return
        self._transport.set_protocol(self._client)
        self._client.connection_made(self._transport)
        if rest:
            self._client.data_received(rest)
        self.opened.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(Failed(f"the connection ended in the handshake: {error}"))


async def open_one(port: int, request: bytes, client: asyncio.Protocol) -> None:
    """Open one WebSocket for ``client``.

    Raises:
        Failed: the server refuses, or closes.
    """
    loop = asyncio.get_running_loop()
    _, handshake = await loop.create_connection(lambda: _Handshake(request, client), "127.0.0.1", port)
    await handshake.opened


async def open_all(port: int, request: bytes, clients: Sequence[asyncio.Protocol]) -> None:
    """Open a WebSocket for each client, a few at a time.

    Raises:
        Failed: one of them cannot be opened, or all together take too long.
    """
    waiting = list(reversed(clients))

    async def opener() -> None:
        while waiting:
            await open_one(port, request, waiting.pop())

    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE_COUNT):
                    group.create_task(opener())
    except TimeoutError:
        raise Failed(f"{len(waiting)} sockets are not open after {OPEN_TIMEOUT_S:.0f} s") from None
    except BaseExceptionGroup as group_error:
        failures = group_error.subgroup((Failed, OSError))
        if failures is None:
            raise
        raise Failed(str(failures.exceptions[0])) from group_error
