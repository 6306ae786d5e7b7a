"""Bare loops instead of servers: what this machine, uvloop and the load generators allow at most.

They parse nothing that they need not and check nothing, so no server can be expected to reach them.
They show how far the figures of the servers are from that, and that the load generator can do more
than any server needs.

    python -m bench.floor KIND PORT

``http`` answers every read with one response. ``echo`` unmasks each message with the C routine of
websockets. ``canned`` answers each read of a number of frames with as many prepared frames. ``room``
writes each message of a publisher to every member of its room: the bare write limit.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import sys
from collections import defaultdict
from typing import ClassVar

import uvloop
from websockets.speedups import apply_mask

RESPONSE = (
    b"HTTP/1.1 200 OK\r\nserver: floor\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    b"content-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world!"
)
PAYLOAD_BYTES = 64
MASKED_BYTES = 2 + 4 + PAYLOAD_BYTES


class Bare(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]


class HTTP(Bare):
    def data_received(self, data: bytes) -> None:
        self.transport.write(RESPONSE)


class WebSocket(Bare):
    """The handshake, then ``frames_received``."""

    def __init__(self) -> None:
        self.path = ""

    def data_received(self, data: bytes) -> None:
        if self.path:
            self.frames_received(data)
            return
        self.path = data.split(b" ", 2)[1].decode()
        found = re.search(rb"Sec-WebSocket-Key: (\S+)", data)
        assert found is not None
        accept = hashlib.sha1(found.group(1) + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % base64.b64encode(accept)
        )
        self.opened()

    def opened(self) -> None:
        pass

    def frames_received(self, data: bytes) -> None:
        raise NotImplementedError


class Echo(WebSocket):
    def frames_received(self, data: bytes) -> None:
        payload = apply_mask(data[6:MASKED_BYTES], data[2:6])
        self.transport.write(b"\x81\x40" + payload)


class Canned(WebSocket):
    """Sends what the load generator of the echo scenario sends, so it need not be read."""

    def frames_received(self, data: bytes) -> None:
        self.transport.write((b"\x81\x40" + b"x" * PAYLOAD_BYTES) * (len(data) // MASKED_BYTES))


class Room(WebSocket):
    members: ClassVar[defaultdict[str, list[asyncio.Transport]]] = defaultdict(list)

    def opened(self) -> None:
        _, kind, self.room, _ = self.path.split("/")
        if kind == "room":
            self.members[self.room].append(self.transport)

    def frames_received(self, data: bytes) -> None:
        for start in range(0, len(data), MASKED_BYTES):
            payload = apply_mask(data[start + 6 : start + MASKED_BYTES], data[start + 2 : start + 6])
            frame = b"\x81\x40" + payload
            for transport in self.members[self.room]:
                transport.write(frame)


KINDS = {"http": HTTP, "echo": Echo, "canned": Canned, "room": Room}


async def serve(kind: str, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(KINDS[kind], "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], int(sys.argv[2])))
