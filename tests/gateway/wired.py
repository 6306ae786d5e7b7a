"""A client of the gateway without a network: bytes in, bytes out, and the clock in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from fullduplex.gateway.gateway import Gateway
from fullduplex.limits import ConnectionLimits, HTTP1Limits, HTTP2Limits, LoadLimits, WebSocketLimits
from fullduplex.net.connection import Connection
from fullduplex.net.http2_connection import HTTP2Connection
from fullduplex.net.stream import ClientConnection
from fullduplex.testing.transport import FakeTransport
from fullduplex.wire.http1 import HTTP1Codec
from fullduplex.wire.http2_library import codec_class
from tests.gateway.framed import ReadTransport, framed

#: What the connections of :class:`Wired` speak: HTTP/1, or HTTP/2 by one of the libraries.
framing = "http1"


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

    gateway_class = Gateway

    def __init__(self, app: Any, **limits: Any) -> None:
        loop = asyncio.get_running_loop()
        self.now_s = loop.time()
        self.log = RecordingLog()
        self.connections: set[ClientConnection] = set()
        self.connection: Any
        self.transport: Any
        self.gateway = self.gateway_class(
            app,
            self.log,
            _limits(WebSocketLimits, limits),
            _limits(ConnectionLimits, limits),
            _limits(LoadLimits, limits),
            server_header=False,
        )
        if framing == "http1":
            self._connect_http1(limits, loop)
        else:
            self._connect_http2(limits, loop)

    def _connect_http1(self, limits: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        self.connection = Connection(
            self.gateway,
            self.gateway.connection,
            HTTP1Codec(_limits(HTTP1Limits, limits), now_s=self.now_s, defaults=self.gateway.default_fields),
            self.connections,
            loop,
        )
        self.transport = FakeTransport(self.connection)
        self.connection.connection_made(self.transport)

    def _connect_http2(self, limits: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        make = codec_class(framing)
        codec = make(_limits(HTTP2Limits, limits), now_s=self.now_s, defaults=self.gateway.default_fields)
        connection = HTTP2Connection(self.gateway, self.gateway.connection, codec, self.connections, loop)
        connection.client, connection.server = ("127.0.0.1", 50_000), ("127.0.0.1", 8000)
        transport = ReadTransport(connection)
        connection.begin(transport, b"")
        self.connection, self.transport = framed(connection, transport)

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
