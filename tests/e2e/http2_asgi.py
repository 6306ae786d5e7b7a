"""An application for clients of HTTP/2: answers of every kind."""

from __future__ import annotations

import asyncio

PAGE = b"""<!doctype html><title>loading</title><pre id=seen></pre><script>
const say = (number) => new Promise((resolve, reject) => {
  const socket = new WebSocket(`wss://${location.host}/ws/${number}`);
  socket.onopen = () => socket.send(`hello ${number}`);
  socket.onmessage = (message) => { seen.textContent += message.data + "\\n"; resolve(); };
  socket.onerror = reject;
});
const load = () => fetch("/count", { method: "POST", body: new Uint8Array(500000) }).then((answer) => answer.text());
Promise.all([say(1), say(2), load()]).then(
  ([, , size]) => { document.title = `uploaded ${size}`; }, (error) => { document.title = `failed ${error}`; });
</script>"""
HEADERS = [(b"content-type", b"text/plain"), (b"connection", b"close")]


async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await echo(receive, send)
    elif scope["type"] == "http":
        await PATHS.get(scope["path"], hello)(scope, receive, send)


async def respond(send, body: bytes, **start) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS, **start})
    await send({"type": "http.response.body", "body": body})


async def hello(scope, receive, send):
    await respond(send, b"%b %b" % (scope["http_version"].encode(), scope["scheme"].encode()))


async def count(scope, receive, send):
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await respond(send, b"%d" % size)


async def big(scope, receive, send):
    await respond(send, b"x" * 65_536)


async def parts(scope, receive, send):
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS, "trailers": True})
    for _ in range(10):
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body"})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"40")]})


async def large(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    for _ in range(200):
        await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
    await send({"type": "http.response.body"})


async def trailers(scope, receive, send):
    """Without an early hint: haproxy 2.6 loses content behind one."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS, "trailers": True})
    for _ in range(10):
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body"})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"40")]})


async def page(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
    await send({"type": "http.response.body", "body": PAGE})


async def cookies(scope, receive, send):
    """The Cookie fields that came, one a line."""
    await respond(send, b"\n".join(value for name, value in scope["headers"] if name == b"cookie"))


async def slow(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
    await asyncio.sleep(1)
    await send({"type": "http.response.body", "body": b"done"})


async def refuse(scope, receive, send):
    await respond(send, b"no", status=413)


async def cut(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("the response ends here")


async def echo(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


PATHS = {
    "/big": big,
    "/cookies": cookies,
    "/count": count,
    "/cut": cut,
    "/early": hello,
    "/large": large,
    "/page": page,
    "/parts": parts,
    "/refuse": refuse,
    "/slow": slow,
    "/trailers": trailers,
}
