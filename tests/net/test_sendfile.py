"""``os.sendfile`` is used where the loop has it, on a real connection."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from fullduplex.gateway.gateway import Gateway
from fullduplex.limits import ConnectionLimits, HTTP1Limits, LoadLimits, WebSocketLimits
from fullduplex.net.connection import Connection
from fullduplex.wire.http1 import HTTP1Codec


@pytest.mark.skipif(not hasattr(os, "sendfile") or sys.platform == "win32", reason="needs sendfile")
async def test_the_kernel_sends_the_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(500_000))
    sent = []
    original = os.sendfile

    def counting(out, source, offset, count):
        sent.append(original(out, source, offset, count))
        return sent[-1]

    monkeypatch.setattr(os, "sendfile", counting)

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(path)})

    loop = asyncio.get_running_loop()
    gateway = Gateway(app, None, WebSocketLimits(), ConnectionLimits(), LoadLimits())
    connections: set[Connection] = set()

    def connect():
        codec = HTTP1Codec(HTTP1Limits(), now_s=loop.time())
        return Connection(gateway, ConnectionLimits(), codec, connections, loop)

    server = await loop.create_server(connect, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    server.close()
    while connections or gateway.tasks:
        await asyncio.sleep(0)
    assert answer.partition(b"\r\n\r\n")[2] == path.read_bytes()
    assert sum(sent) == 500_000
