"""Clients of ``fullduplex.v1`` that come back all at once, and have missed the same messages."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from bench.load import frames
from bench.load.connect import open_all
from bench.scenario import Failed

TIMEOUT_S = 60.0
GROUP = "resume.1"


class Client(asyncio.Protocol):
    """Sends requests, and keeps what comes until the message that is waited for."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.received: list[bytes] = []
        self._last = b""
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a TCP one

    def data_received(self, data: bytes) -> None:
        self.received.append(data)
        if self._done is not None and data.endswith(self._last) and not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(Failed(f"the server has closed a client: {error}"))

    def ask(self, last: bytes, **members: Any) -> asyncio.Future[None]:
        """Send a request; done when the text that ends with ``last`` has come."""
        self.received = []
        self._last = last
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(frames.client_frame(json.dumps(members).encode()))
        return self._done

    def texts(self) -> list[Any]:
        reader = frames.FrameReader()
        return [json.loads(text) for data in self.received for _, text in reader.feed(data)]


class Herd:
    """So many clients, of which each has missed so many messages."""

    def __init__(self, client_count: int, missed_count: int, payload_bytes: int) -> None:
        self.clients = [Client() for _ in range(client_count)]
        self._missed_count = missed_count
        self._payload = "x" * payload_bytes
        self._offset = 0  # of the first message that they have missed: a history outlives its server
        self._epoch = ""
        self._id = 0

    async def open(self, port: int, path: str) -> None:
        """Connect everybody, and publish what they will have missed."""
        request = frames.handshake_request(port, path)
        request = request[:-2] + b"Sec-WebSocket-Protocol: fullduplex.v1\r\n\r\n"
        await open_all(port, request, self.clients)
        publisher = self.clients[0]
        for number in range(self._missed_count):
            self._id += 1
            data = {"n": number, "text": self._payload}
            async with asyncio.timeout(TIMEOUT_S):
                await publisher.ask(b"}}", type="publish", id=self._id, group=GROUP, data=data)
            position = publisher.texts()[-1]["position"]
            self._offset, self._epoch = position["offset"] - number, position["epoch"]

    async def resume(self) -> tuple[float, int]:
        """Let everybody come back; return in how many seconds all had everything, and how many bytes that was."""
        self._id += 1
        data = json.dumps({"n": self._missed_count - 1, "text": self._payload}, separators=(",", ":"))
        last = f'"offset":{self._offset + self._missed_count - 1},"data":{data}}}'.encode()
        after = {"offset": self._offset - 1, "epoch": self._epoch}
        started_s = time.perf_counter()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(
                *(client.ask(last, type="subscribe", id=self._id, group=GROUP, after=after) for client in self.clients)
            )
        elapsed_s = time.perf_counter() - started_s
        return elapsed_s, sum(len(data) for client in self.clients for data in client.received)

    def check(self) -> None:
        """
        Raises:
            Failed: somebody has got something else.
        """
        for client in self.clients:
            told = client.texts()
            offsets = [message["offset"] for message in told if message["type"] == "message"]
            if told[0]["type"] != "subscribed" or offsets != [*range(self._offset, self._offset + self._missed_count)]:
                raise Failed("a client has not got what it missed")

    async def leave(self) -> None:
        """Everybody unsubscribes."""
        self._id += 1
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(
                *(client.ask(b"}", type="unsubscribe", id=self._id, group=GROUP) for client in self.clients)
            )

    def close(self) -> None:
        for client in self.clients:
            client.transport.abort()
