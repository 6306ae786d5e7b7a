"""An application for hostile clients, and one that is hostile itself."""

from __future__ import annotations

import asyncio
import time

from tests.e2e.plain_asgi import lifespan, respond

PIECE = bytes(65_536)
BAD_FIELDS = {
    "/splitting": [(b"x-a", b"b\r\nset-cookie: c=d")],
    "/lone-lf": [(b"x-a", b"b\nc")],
    "/nul": [(b"x-a", b"\0")],
    "/text": [("x-a", "b")],
    "/none": [(b"x-a", None)],
    "/number": [(b"x-a", 1)],
    "/emoji-name": [("\N{BUG}".encode(), b"b")],
    "/triple": [(b"x-a", b"b", b"c")],
    "/no-pairs": [b"x-a"],
    "/not-a-list": 7,
    "/lengths": [(b"content-length", b"1"), (b"content-length", b"2")],
}


async def app(scope, receive, send):
    """By path; see the functions. Anything unknown is ``hello``."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    path = scope["path"]
    if path in BAD_FIELDS:
        await send({"type": "http.response.start", "status": 200, "headers": BAD_FIELDS[path]})
        await send({"type": "http.response.body", "body": b"never seen"})
    else:
        await ROUTES.get(path, hello)(receive, send)


async def hello(receive, send):
    await respond(send, b"hello")


async def count_slowly(receive, send):
    """Read all content, more slowly than loopback brings it; answer with its size."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        if not message["more_body"]:
            break
        await asyncio.sleep(0.001)
    await respond(send, b"%d" % size)


async def wait(receive, send):
    """Neither read nor answer."""
    await asyncio.sleep(3600)


async def wait_in_a_thread(receive, send):
    print("waiting for ever")
    await asyncio.to_thread(time.sleep, 3600)


async def large(receive, send):
    """One megabyte."""
    await respond(send, PIECE * 16)


async def endless(receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})


async def accept_and_wait(receive, send):
    await send({"type": "websocket.accept"})
    await asyncio.sleep(3600)


async def accept_and_receive_slowly(receive, send):
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        await asyncio.sleep(0.05)


async def accept_and_send(receive, send):
    await send({"type": "websocket.accept"})
    while True:
        await send({"type": "websocket.send", "bytes": PIECE})


async def echo(receive, send):
    """With a header of its own in the accept."""
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"x-why", b"because"), (b"set-cookie", b"a=b")]})
    while (message := await receive())["type"] != "websocket.disconnect":
        await send({**message, "type": "websocket.send"})


async def accept_with_a_bad_field(receive, send):
    await send({"type": "websocket.accept", "headers": [(b"x-a", b"b\r\nset-cookie: c=d")]})


async def say_how_it_ends(receive, send):
    """Print what the application is told at the end of a socket."""
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] != "websocket.disconnect":
        pass
    print("told", message["code"], message["reason"])


async def deaf(receive, send):
    """Does not take the news that the socket or the server ends."""
    await send({"type": "websocket.accept"})
    print("waiting for ever")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            print("cancelled, and going on")


ROUTES = {
    "/count-slowly": count_slowly,
    "/wait": wait,
    "/thread": wait_in_a_thread,
    "/large": large,
    "/endless": endless,
    "/ws/wait": accept_and_wait,
    "/ws/slow": accept_and_receive_slowly,
    "/ws/send": accept_and_send,
    "/ws/echo": echo,
    "/ws/bad-field": accept_with_a_bad_field,
    "/ws/told": say_how_it_ends,
    "/ws/deaf": deaf,
}
