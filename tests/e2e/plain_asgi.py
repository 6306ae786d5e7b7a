"""ASGI applications without a framework, for servers under test."""

from __future__ import annotations

import asyncio
import gc


async def app(scope, receive, send):
    """By path: ``/`` hello, ``/echo`` the content, ``/slow`` waits, ``/stream`` for ever, ``/heap``; WebSocket echo."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    elif scope["path"] == "/stream":
        await stream(receive, send)
    else:
        if scope["path"] == "/slow":
            await asyncio.sleep(0.5)
        if scope["path"] == "/heap":
            await respond(send, str(gc.get_freeze_count()).encode())
            return
        await respond(send, await read(receive) if scope["path"] == "/echo" else b"Hello, world!")


async def no_lifespan(scope, receive, send):
    assert scope["type"] != "lifespan"
    await app(scope, receive, send)


async def broken_start(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is on fire"})


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            print("lifespan over")
            return


async def websocket(scope, receive, send):
    await receive()
    if scope["path"] == "/refused":
        await send({"type": "websocket.http.response.start", "status": 418, "headers": [(b"x-why", b"teapot")]})
        await send({"type": "websocket.http.response.body", "body": b"short and stout"})
        return
    subprotocol = scope["subprotocols"][0] if scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({**message, "type": "websocket.send"})


async def stream(receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"tick\n", "more_body": True})
        await asyncio.sleep(0.05)


async def read(receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def respond(send, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
