"""Clients that behave badly: raw sockets that send what they like, and read when they like."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fullduplex.wire.frames import encode_frame
from tests.e2e.process import WAIT_TIMEOUT_S, Process

MASK = b"\x12\x34\x56\x78"
GET = b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def dial(process: Process, data: bytes = b"", timeout_s: float = WAIT_TIMEOUT_S) -> socket.socket:
    """A connection, with ``data`` sent.

    Args:
        process: the server.
        data: what is sent at once.
        timeout_s: of connecting and of everything after.
    """
    sock = socket.socket()
    sock.settimeout(timeout_s)
    sock.connect(("127.0.0.1", process.port))
    sock.sendall(data)
    return sock


def handshake(path: str, *fields: bytes) -> bytes:
    """The request that opens a WebSocket."""
    key = base64.b64encode(os.urandom(16))
    lines = (b"Host: a", b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", *fields)
    return b"GET %b HTTP/1.1\r\n%b\r\nSec-WebSocket-Key: %b\r\n\r\n" % (path.encode(), b"\r\n".join(lines), key)


def dial_websocket(process: Process, path: str, *fields: bytes) -> tuple[socket.socket, bytes]:
    """An accepted WebSocket, and the head of the response."""
    sock = dial(process, handshake(path, *fields))
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(1)
        assert piece, head
        head += piece
    assert head.startswith(b"HTTP/1.1 101 "), head
    return sock, head


def frame(opcode: int, payload: bytes, **options: bool) -> bytes:
    """A frame as a client sends it."""
    return encode_frame(opcode, payload, mask=MASK, **options)


def push(sock: socket.socket, data: bytes, seconds: float) -> int:
    """Send ``data`` again and again as fast as the peer takes it; return how many bytes it took."""
    sock.settimeout(0.2)
    sent = 0
    view = memoryview(data)
    position = 0
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        try:
            count = sock.send(view[position:])
        except TimeoutError:
            continue
        except ConnectionError:
            break
        sent += count
        position = (position + count) % len(data)
    return sent


def read_to_end(sock: socket.socket, timeout_s: float = WAIT_TIMEOUT_S) -> bytes:
    """Everything until the peer closes or resets.

    Raises:
        TimeoutError: it does neither in time.
    """
    answer = bytearray()
    deadline_s = time.monotonic() + timeout_s
    while True:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"still open, after {len(answer)} bytes")
        sock.settimeout(left_s)
        try:
            piece = sock.recv(1 << 20)
        except ConnectionError:
            return bytes(answer)
        if not piece:
            return bytes(answer)
        answer += piece


def kernel_bytes() -> int:
    """What the kernel holds at most between a writer and a reader of loopback, as tcp(7) has it."""
    try:
        files = [Path("/proc/sys/net/ipv4", name).read_text() for name in ("tcp_rmem", "tcp_wmem")]
    except OSError:
        return 16_000_000
    return sum(int(text.split()[2]) for text in files)


def resident_bytes(process: Process | int) -> int:
    """Physical memory of a process, or of that with this number; a small Debian has no ``ps``."""
    pid = process if isinstance(process, int) else process.pid
    statistics = Path(f"/proc/{pid}/statm")
    if statistics.exists():
        return int(statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    text = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(text.stdout) * 1024


@contextlib.contextmanager
def flat_memory(process: Process, most_bytes: int) -> Iterator[Callable[[], None]]:
    """What happens inside must not cost the process more than so much memory; call the result to look in between."""
    before = resident_bytes(process)
    grown = [0]

    def look() -> None:
        grown.append(resident_bytes(process) - before)

    yield look
    look()
    assert max(grown) <= most_bytes, f"grew by {max(grown) / 1e6:.1f} MB"
