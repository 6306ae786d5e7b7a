"""WebSocket echo: each client sends a message, waits for exactly that message, sends the next."""

from __future__ import annotations

import asyncio
import time

from bench.load import frames
from bench.load.connect import open_all

SETTLE_TIMEOUT_S = 5.0
clock = time.perf_counter


class EchoRun:
    """So many clients on one server.

    Args:
        clients: number of sockets.
        payload: of every message; text.
        batch: messages that a client sends in one write, before it waits for all their echoes.
        path: of the handshake.
    """

    def __init__(self, port: int, *, clients: int, payload: bytes, batch: int = 1, path: str = "/") -> None:
        self._port = port
        self._path = path
        self.batch = batch
        self.out = frames.client_frame(payload) * batch
        self.expected = frames.server_frame(payload) * batch
        self._clients = [_EchoClient(self) for _ in range(clients)]
        self.count = 0
        self.errors = 0
        self.going = False
        self.latencies_s: list[float] = []

    async def open(self) -> None:
        await open_all(self._port, frames.handshake_request(self._port, self._path), self._clients)

    async def run(self, seconds: float) -> float:
        """Let the clients send for so long. Returns echoes per second; ``latencies_s`` has each of them."""
        self.going, self.count, self.latencies_s = True, 0, []
        started_s = clock()
        for client in self._clients:
            client.send()
        await asyncio.sleep(seconds)
        rate = self.count / (clock() - started_s)
        self.going = False
        await self._settle()
        return rate

    async def _settle(self) -> None:
        """Wait for the echoes that are under way; those that never come are errors."""
        deadline_s = clock() + SETTLE_TIMEOUT_S
        # Polled, since an event would have to be set on the hot path.
        while clock() < deadline_s and any(client.is_waiting for client in self._clients):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self.errors += sum(client.is_waiting for client in self._clients)

    def close(self) -> None:
        self.going = False
        for client in self._clients:
            client.transport.abort()


class _EchoClient(asyncio.Protocol):
    """The hot path is the case that the whole echo comes with one read."""

    __slots__ = ("_buffer", "_expected", "_run", "_sent_s", "is_waiting", "transport")

    def __init__(self, run: EchoRun) -> None:
        self._run = run
        self._expected = run.expected
        self._buffer = b""
        self._sent_s = 0.0
        self.is_waiting = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def send(self) -> None:
        self.is_waiting = True
        self._sent_s = clock()
        self.transport.write(self._run.out)

    def data_received(self, data: bytes) -> None:
        if data != self._expected:
            data = self._buffer = self._without_pings(self._buffer + data)
            if data != self._expected:
                if not self._expected.startswith(data):
                    self._run.errors += 1
                    self.transport.abort()
                return
            self._buffer = b""
        run = self._run
        now_s = clock()
        run.count += run.batch
        run.latencies_s.append(now_s - self._sent_s)
        if run.going:
            self._sent_s = now_s
            self.transport.write(run.out)
        else:
            self.is_waiting = False

    def _without_pings(self, data: bytes) -> bytes:
        """Servers ping now and then; it stands in front, since a client's messages come one at a time."""
        while len(data) >= 2 and data[0] == 0x80 | frames.PING and len(data) >= 2 + data[1]:
            self.transport.write(frames.client_frame(data[2 : 2 + data[1]], frames.PONG))
            data = data[2 + data[1] :]
        return data

    def connection_lost(self, error: Exception | None) -> None:
        if self._run.going:
            self._run.errors += 1
