"""The client's side of WebSocket, as little as a load generator needs (RFC 6455)."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

_KEY = base64.b64encode(b"fullduplex bench")  # any 16 bytes; one for all, since no cache stands between
_ACCEPT = base64.b64encode(hashlib.sha1(_KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
_MASK = bytes.fromhex("37fa213d")  # the mask of the examples in RFC 6455 section 5.7


def handshake_request(port: int, path: str, *, deflate: bool = False) -> bytes:
    """The request of an opening handshake (section 4.1), with permessage-deflate offered as browsers do."""
    extension = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" if deflate else b""
    return (
        b"GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: http://127.0.0.1:%d\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s\r\n"
    ) % (path.encode(), port, port, _KEY, extension)


def accepts(head: bytes) -> bool:
    """Whether a response head completes the handshake (section 4.1)."""
    return head.startswith(b"HTTP/1.1 101 ") and _ACCEPT in head


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A whole message in one masked frame."""
    mask = _MASK * (len(payload) // 4 + 1)
    masked = bytes(a ^ b for a, b in zip(payload, mask, strict=False))
    return bytes([0x80 | opcode]) + _length(len(payload), 0x80) + _MASK + masked


def server_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A whole message in one frame, as every server that does not compress sends it."""
    return bytes([0x80 | opcode]) + _length(len(payload), 0) + payload


def _length(length: int, mask_bit: int) -> bytes:
    if length < 126:
        return bytes([mask_bit | length])
    if length < 65536:
        return struct.pack("!BH", mask_bit | 126, length)
    return struct.pack("!BQ", mask_bit | 127, length)


class FrameReader:
    """Splits a server's bytes into frames; for everything but the hot paths."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (first byte, payload) of each complete frame; the first byte holds FIN, RSV and opcode."""
        self._buffer += data
        while True:
            buffer = self._buffer
            if len(buffer) < 2:
                return
            length, start = buffer[1] & 0x7F, 2
            if length == 126:
                start = 4
            elif length == 127:
                start = 10
            if len(buffer) < start:
                return
            if start > 2:
                length = int.from_bytes(buffer[2:start], "big")
            if len(buffer) < start + length:
                return
            self._buffer = buffer[start + length :]
            yield buffer[0], buffer[start : start + length]
