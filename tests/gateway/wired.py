"""A client of the gateway without a network: bytes in, bytes out, and the clock in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fullduplex.gateway.gateway import Gateway
from fullduplex.limits import ConnectionLimits, HTTP1Limits, LoadLimits, WebSocketLimits
from fullduplex.net.connection import Connection
from fullduplex.testing.transport import FakeTransport
from fullduplex.wire.http1 import HTTP1Codec


class RecordingLog:
    """An access log that remembers."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def http(self, scope, status, body_bytes, duration_s):
        self.lines.append(("http", scope["path"], status, body_bytes))

    def http_refuse(self, scope, status, reason):
        self.lines.append(("http refuse", scope.get("path"), status, reason))

    def websocket_handshake(self, scope):
        self.lines.append(("handshake", scope["path"]))

    def websocket_accept(self, scope):
        self.lines.append(("accept", scope["path"]))

    def websocket_refuse(self, scope, status):
        self.lines.append(("refuse", scope["path"], status))

    def websocket_close(self, scope, code, reason, ended_by, duration_s):
        self.lines.append(("close", scope["path"], code, reason, ended_by))


class Wired:
    """One connection to one application.

    Args:
        app: ASGI application.
        limits: changed fields of the limits, whichever of the classes has them.
    """

    def __init__(self, app: Any, **limits: Any) -> None:
        loop = asyncio.get_running_loop()
        self.now_s = loop.time()
        self.log = RecordingLog()
        self.connections: set[Connection] = set()
        self.gateway = Gateway(
            app,
            self.log,
            _limits(WebSocketLimits, limits),
            _limits(ConnectionLimits, limits),
            _limits(LoadLimits, limits),
            server_header=False,
        )
        self.connection = Connection(
            self.gateway,
            self.gateway.connection,
            HTTP1Codec(_limits(HTTP1Limits, limits), now_s=self.now_s, defaults=self.gateway.default_fields),
            self.connections,
            loop,
        )
        self.transport = FakeTransport(self.connection)
        self.connection.connection_made(self.transport)

    async def settle(self) -> None:
        """Let everything happen that can happen without new input."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def feed(self, *pieces: bytes) -> bytes:
        """Send pieces, as separate reads; return what the server wrote since the last call."""
        for piece in pieces:
            if not self.transport.is_closing():
                self.connection.data_received(piece)
                await self.settle()
        return self.transport.take()

    async def tick(self, seconds: float) -> bytes:
        """Let ``seconds`` pass on the connection's clock."""
        self.now_s = max(self.now_s, self.connection.loop.time()) + seconds
        self.connection.tick(self.now_s)
        await self.settle()
        return self.transport.take()

    async def eof(self) -> None:
        if not self.connection.eof_received():
            self.transport.close()
        await self.settle()

    async def cut(self) -> None:
        """The network fails."""
        self.transport.lose(ConnectionResetError())
        await self.settle()

    async def finish(self) -> None:
        """Close everything; the applications must end by themselves."""
        await self.cut()
        tasks = list(self.gateway.tasks)
        if tasks:
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 30)
        assert not self.connections


def _limits(cls: Any, changes: dict[str, Any]) -> Any:
    names: Iterable[str] = cls.__dataclass_fields__
    return replace(cls(), **{name: value for name, value in changes.items() if name in names})


def ok(body: bytes = b"ok", **start: Any) -> Any:
    """An application that answers every request with ``body``."""

    async def app(scope, receive, send):
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers, **start})
        await send({"type": "http.response.body", "body": body})

    return app
