"""Drives an ASGI application event by event, as a server does, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

DEADLINE_S = 30.0  # only ever reached by a hang


def websocket_scope(path: str = "/", **changes: Any) -> dict[str, Any]:
    """The scope of a handshake from a page of the same site."""
    path, _, query = path.partition("?")
    headers = {"host": "testserver", "origin": "http://testserver", **changes.pop("headers", {})}
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items() if value is not None],
        "client": ("127.0.0.1", 50000),
        "server": ("testserver", 80),
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}},
        **changes,
    }


def http_scope(path: str = "/", method: str = "GET", **changes: Any) -> dict[str, Any]:
    scope = websocket_scope(path, **changes)
    del scope["subprotocols"]
    return {**scope, "type": "http", "scheme": "http", "method": method, "extensions": {}}


class Connection:
    """One ASGI call.

    Attributes:
        events: what the application has sent and nobody has taken.
        receive_count: how often it called ``receive``.
        broken: set it, and ``send`` raises as on a lost connection.
    """

    def __init__(self, application: Any, scope: dict[str, Any]) -> None:
        self.scope = scope
        self.broken = False
        self.receive_count = 0
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        self._to_application: asyncio.Queue[Any] = asyncio.Queue()
        self.task = asyncio.ensure_future(application(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        self.receive_count += 1
        return await self._to_application.get()

    async def _send(self, event: Any) -> None:
        if self.broken:
            raise OSError("the connection is lost")
        self.events.put_nowait(event)

    def put(self, **event: Any) -> None:
        self._to_application.put_nowait(event)

    async def event(self) -> Any:
        """Return the next event that the application sends; fail when it ends without."""
        taker = asyncio.ensure_future(self.events.get())
        try:
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.wait({taker, self.task}, return_when=asyncio.FIRST_COMPLETED)
            if not taker.done():
                await asyncio.sleep(0)
            if taker.done():
                return taker.result()
            self.task.result()
            raise AssertionError("the application ended without an event")
        finally:
            taker.cancel()

    async def end(self) -> None:
        """Wait for the application's end; its error is raised."""
        async with asyncio.timeout(DEADLINE_S):
            await self.task


class WebSocketConnection(Connection):
    """The client's end of one socket.

    Args:
        tells: the server has ``fullduplex.prepared`` and tells by it of the end.
    """

    def __init__(self, application: Any, scope: dict[str, Any], tells: bool = False) -> None:
        self._on_disconnect: Callable[[int, str], None] | None = None
        if tells:
            scope["extensions"]["fullduplex.prepared"] = {
                "version": 1,
                "write": self._write,
                "on_drain": lambda callback: callback(),
                "on_disconnect": self._tell,
            }
        super().__init__(application, scope)

    def _write(self, prepared: Any) -> int:
        kind = "text" if isinstance(prepared.data, str) else "bytes"
        self.events.put_nowait({"type": "websocket.send", kind: prepared.data})
        return 0

    def _tell(self, callback: Callable[[int, str], None]) -> None:
        self._on_disconnect = callback

    def connect(self) -> None:
        self.put(type="websocket.connect")

    def send(self, data: str | bytes) -> None:
        self.put(type="websocket.receive", **{"text" if isinstance(data, str) else "bytes": data})

    def leave(self, code: int = 1001, reason: str = "") -> None:
        self.put(type="websocket.disconnect", code=code, reason=reason)
        if self._on_disconnect is not None:
            asyncio.get_running_loop().call_soon(self._on_disconnect, code, reason)

    async def message(self) -> str | bytes:
        event = await self.event()
        assert event["type"] == "websocket.send", event
        return event["text"] if event.get("text") is not None else event["bytes"]

    async def accepted(self) -> dict[str, Any]:
        event = await self.event()
        assert event["type"] == "websocket.accept", event
        return event

    async def refused(self) -> Response:
        """Return the refusal, as an HTTP response."""
        start = await self.event()
        assert start["type"] == "websocket.http.response.start", start
        return await _response(self, start)

    async def closed(self) -> tuple[int, str]:
        event = await self.event()
        assert event["type"] == "websocket.close", event
        return event.get("code", 1000), event.get("reason", "")


class Response:
    """An HTTP response, or the refusal of a handshake."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.raw_headers = [(name.decode().lower(), value.decode()) for name, value in headers]
        self.headers = dict(self.raw_headers)
        self.body = body


async def _response(connection: Connection, start: dict[str, Any]) -> Response:
    body, more = b"", True
    while more:
        event = await connection.event()
        assert event["type"].endswith("http.response.body"), event
        body += event.get("body", b"")
        more = event.get("more_body", False)
    return Response(start["status"], start["headers"], body)


@asynccontextmanager
async def websocket(
    application: Any, path: str = "/", tells: bool = False, **changes: Any
) -> AsyncIterator[WebSocketConnection]:
    """Open a handshake; afterwards the client leaves and the application must end."""
    connection = WebSocketConnection(application, websocket_scope(path, **changes), tells)
    connection.connect()
    try:
        yield connection
    finally:
        if not connection.task.done():
            connection.leave()
            try:
                await connection.end()
            except BaseException:
                connection.task.cancel()
                raise


async def refusal(application: Any, path: str = "/", **changes: Any) -> Response:
    """Return the refusal of a handshake."""
    async with websocket(application, path, **changes) as connection:
        response = await connection.refused()
        await connection.end()
    return response


async def accept(application: Any, path: str = "/", **changes: Any) -> dict[str, Any]:
    """Return the accept event of a handshake whose view then ends."""
    async with websocket(application, path, **changes) as connection:
        return await connection.accepted()


async def request(application: Any, path: str = "/", method: str = "GET", **changes: Any) -> Response:
    """Make an HTTP request."""
    connection = Connection(application, http_scope(path, method, **changes))
    connection.put(type="http.request", body=b"", more_body=False)
    start = await connection.event()
    response = await _response(connection, start)
    connection.put(type="http.disconnect")
    await connection.end()
    return response
