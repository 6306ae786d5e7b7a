"""ASGI applications without a framework: each does one thing and nothing besides."""

from __future__ import annotations

from typing import Any

_HELLO = b"Hello, world!"
_HELLO_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"13")]

_LARGE = bytes(65_536)
_LARGE_HEADERS = [(b"content-type", b"application/octet-stream"), (b"content-length", b"65536")]


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with 13 bytes."""
    if scope["type"] != "http":
        await lifespan(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": _HELLO_HEADERS})
    await send({"type": "http.response.body", "body": _HELLO})


async def large(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with 64 KiB."""
    if scope["type"] != "http":
        await lifespan(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": _LARGE_HEADERS})
    await send({"type": "http.response.body", "body": _LARGE})


async def sink(scope: Any, receive: Any, send: Any) -> None:
    """Read all of the request, and answer with its size."""
    if scope["type"] != "http":
        await lifespan(scope, receive, send)
        return
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    content = b"%d" % size
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def body(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the content of the request."""
    if scope["type"] != "http":
        await lifespan(scope, receive, send)
        return
    content, more = b"", True
    while more:
        message = await receive()
        content += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Send every WebSocket message back."""
    if scope["type"] != "websocket":
        await lifespan(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        if text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def lifespan(scope: Any, receive: Any, send: Any) -> None:
    """Start and stop without doing anything."""
    if scope["type"] != "lifespan":
        raise ValueError(f"not served: {scope['type']}")
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
