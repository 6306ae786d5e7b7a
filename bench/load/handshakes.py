"""Handshakes: open a WebSocket, close it properly, open the next."""

from __future__ import annotations

import asyncio
import time

from bench.load import frames
from bench.load.connect import open_one
from bench.scenario import Failed

CLOSE_TIMEOUT_S = 5.0


class _Closer(asyncio.Protocol):
    """Sends Close as soon as the socket is open; done when the server has hung up."""

    _FRAME = frames.client_frame((1000).to_bytes(2, "big"), frames.CLOSE)

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._FRAME)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.answer += data

    def connection_lost(self, error: Exception | None) -> None:
        if not self.gone.done():
            self.gone.set_result(None)


async def run(port: int, path: str, clients: int, seconds: float) -> float:
    """Open and close sockets for so long, so many at a time. Returns handshakes per second.

    Raises:
        Failed: a handshake is refused, or a close not answered.
    """
    request = frames.handshake_request(port, path)
    count = 0
    started_s = time.perf_counter()
    end_s = started_s + seconds

    async def one_after_another() -> None:
        nonlocal count
        while time.perf_counter() < end_s:
            closer = _Closer()
            await open_one(port, request, closer)
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await closer.gone
            if closer.answer[:1] != bytes([0x80 | frames.CLOSE]):
                raise Failed(f"close was answered with {closer.answer[:20]!r}")
            count += 1

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(one_after_another())
    except BaseExceptionGroup as group_error:
        if group_error.subgroup((Failed, OSError)) is None:
            raise
        raise Failed(repr(group_error.exceptions[0])) from group_error
    return count / (time.perf_counter() - started_s)
