"""Clients that send what the server must keep, or take nothing of what it has for them: a thousand of one kind."""

from __future__ import annotations

import base64
import dataclasses
import selectors
import socket
import time
import zlib
from dataclasses import dataclass

from fullduplex.wire.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, encode_close, encode_frame

MASK = b"\x12\x34\x56\x78"
RECEIVE_BUFFER_BYTES = 4_096  # the kernel takes as little for a client as it can, so that the server feels it
AT_ONCE_COUNT = 50  # connections that are opened before the first of them is looked after
QUIET_S = 2.0  # no server takes anything for so long: then it takes nothing more


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of client.

    Args:
        name: in the table.
        does: what it does, in the table.
        head: what it sends first.
        answer: what it waits for, the beginning of a response, and whose head it reads; empty: for nothing.
        data: what it sends then; as much of it as the server takes.
        again: it sends that again and again.
        keeps: what the server has taken it may have to keep; else it is no excuse.
        reads: it takes what comes.
        count: how many there are of it, where a thousand would mean something else.
    """

    name: str
    does: str
    head: bytes
    answer: bytes = b""
    data: bytes = b""
    again: bool = False
    keeps: bool = True
    reads: bool = False
    count: int = 0


def get(path: str, *fields: bytes) -> bytes:
    lines = (b"GET %b HTTP/1.1" % path.encode(), b"Host: a", *fields)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def handshake(path: str, *fields: bytes) -> bytes:
    key = base64.b64encode(b"fullduplex bench")
    return get(
        path,
        *(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + key),
        *fields,
    )


def frame(opcode: int, payload: bytes, *, fin: bool = True, rsv1: bool = False) -> bytes:
    return encode_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=MASK)


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def _words(prefix: bytes, suffix: bytes, separator: bytes, size_bytes: int) -> bytes:
    """Short words that are all different, in so many bytes."""
    words, length = [], 0
    letters = b"abcdefghijklmnopqrstuvwxyz"
    number = 0
    while length < size_bytes:
        word, rest = b"", number
        while not word or rest:
            rest, letter = divmod(rest, 26)
            word += letters[letter : letter + 1]
        words.append(prefix + word + suffix)
        length += len(words[-1]) + len(separator)
        number += 1
    return separator.join(words[:-1])


DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate"
OK, SWITCHED, BUSY = b"HTTP/1.1 200 ", b"HTTP/1.1 101 ", b"HTTP/1.1 503 "
FIELDS = [b"X-%d: %b" % (number, b"y" * 700) for number in range(85)]
ZEROS = deflated(bytes(15_000_000))
EMOJI = "\N{BUG}".encode()

_LARGE_DEFLATED = "unread messages, large and deflated"

KINDS = [
    Kind("idle keep-alive", "asks for a page, and for nothing more", get("/page/"), OK),
    Kind("half a head", "60 KB of fields, and no end", get("/page/", *FIELDS)[:-2]),
    Kind(
        "pipelined",
        "asks a view that waits, and behind that again and again",
        get("/wait/"),
        data=get("/page/") * 9_999,
    ),
    Kind(
        "stalled upload",
        "2.4 MB of content, of 3 MB",
        b"POST /upload/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n",
        data=bytes(2_400_000),
    ),
    Kind(
        "stalled upload, in chunks of a byte",
        "5,000 of them",
        b"POST /upload/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        data=b"1\r\nx\r\n" * 5_000,
    ),
    Kind("unread download", "reads nothing of a stream without end", get("/download/"), keeps=False),
    Kind("idle socket", "opens it, and that is all", handshake("/taking/"), SWITCHED),
    Kind(
        "idle socket, after deflated messages",
        "echoes of 2 KB both ways before",
        handshake("/echo/", DEFLATE),
        SWITCHED,
        frame(BINARY, deflated(b"fullduplex" * 200), rsv1=True),
        keeps=False,
        reads=True,
    ),
    Kind("idle socket, large handshake", "60 KB of fields", handshake("/taking/", *FIELDS), SWITCHED),
    Kind(
        "idle socket, many cookies",
        "60 KB of them",
        handshake("/taking/", b"Origin: http://a", b"Cookie: " + _words(b"", b"=", b";", 60_000)),
        SWITCHED,
    ),
    Kind("waiting handshake", "to a view that does not accept", handshake("/late/", DEFLATE)),
    Kind("waiting handshake, large", "60 KB of fields", handshake("/late/", *FIELDS)),
    Kind(
        "waiting handshake, many subprotocols",
        "60 KB of them",
        handshake("/late/", b"Sec-WebSocket-Protocol: " + _words(b"", b"", b",", 60_000)),
    ),
    Kind(
        "waiting handshake, many extensions",
        "60 KB of them, with parameters",
        handshake("/late/", b"Sec-WebSocket-Extensions: a;" + _words(b"", b"", b";", 60_000)),
    ),
    Kind(
        "waiting handshake, many cookies",
        "60 KB of them",
        handshake("/late/", b"Origin: http://a", b"Cookie: " + _words(b"", b"=", b";", 60_000)),
    ),
    Kind(
        "unfinished message", "1 MB of it", handshake("/taking/"), SWITCHED, frame(BINARY, bytes(1_000_000), fin=False)
    ),
    Kind(
        "unfinished message, in fragments",
        "5,000 of a byte",
        handshake("/taking/"),
        SWITCHED,
        frame(TEXT, b"x", fin=False) + frame(CONTINUATION, b"x", fin=False) * 5_000,
    ),
    Kind(
        "unfinished message, deflated",
        "the first 14 KB of 15 MB",
        handshake("/taking/", DEFLATE),
        SWITCHED,
        frame(BINARY, ZEROS[:14_000], fin=False, rsv1=True),
    ),
    Kind("unread messages", "of 10 KB", handshake("/deaf/"), SWITCHED, frame(BINARY, bytes(10_000)) * 100),
    Kind(
        "unread messages, text",
        "of 10 KB, with a character of four bytes",
        handshake("/deaf/"),
        SWITCHED,
        frame(TEXT, EMOJI + b"x" * 10_000) * 100,
    ),
    Kind("unread messages, tiny", "of two bytes", handshake("/deaf/"), SWITCHED, frame(BINARY, b"ab") * 100_000),
    Kind("unread messages, empty", "of no byte", handshake("/deaf/"), SWITCHED, frame(TEXT, b"") * 100_000),
    Kind(
        "unread messages, deflated",
        "100 KB each, 140 bytes on the wire",
        handshake("/deaf/", DEFLATE),
        SWITCHED,
        frame(BINARY, deflated(bytes(100_000)), rsv1=True) * 1_000,
    ),
    Kind(
        "unread messages, deflated and tiny",
        "of two bytes",
        handshake("/deaf/", DEFLATE),
        SWITCHED,
        frame(BINARY, deflated(b"ab"), rsv1=True) * 50_000,
    ),
    Kind("unread messages, large", "one of 1 MB", handshake("/deaf/"), SWITCHED, frame(BINARY, bytes(1_000_000))),
    Kind(
        _LARGE_DEFLATED,
        "one of 15 MB, 15 KB on the wire",
        handshake("/deaf/", DEFLATE),
        SWITCHED,
        frame(BINARY, ZEROS, rsv1=True),
    ),
    Kind(
        "unread messages of ours",
        "reads nothing of a socket that sends without end",
        handshake("/endless/"),
        SWITCHED,
        keeps=False,
    ),
    Kind(
        "close, then silence",
        "of a socket whose view is busy",
        handshake("/deaf/"),
        SWITCHED,
        frame(CLOSE, encode_close(1000, "")),
    ),
    Kind(
        "ping flood",
        "without end, and reads no pong",
        handshake("/taking/"),
        SWITCHED,
        frame(PING, b"x" * 125) * 500,
        again=True,
        keeps=False,
    ),
    Kind(
        "pong flood",
        "without end",
        handshake("/taking/"),
        SWITCHED,
        frame(PONG, b"") * 5_000,
        again=True,
        keeps=False,
        count=10,
    ),
    Kind(
        "flood of empty fragments",
        "without end",
        handshake("/taking/"),
        SWITCHED,
        frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 40_000,
        keeps=False,
        count=10,
    ),
    Kind(
        "flood of deflated tiny messages",
        "without end",
        handshake("/taking/", DEFLATE),
        SWITCHED,
        frame(BINARY, deflated(b"ab"), rsv1=True) * 5_000,
        again=True,
        keeps=False,
        count=10,
    ),
]

# A thousand of these reach the bounds of all together, and most are dropped. So few of them are not.
FEW_COUNT = 60
_FEW = ("unfinished message", "unfinished message, deflated", "unread messages, large", _LARGE_DEFLATED)
KINDS += [dataclasses.replace(kind, name=f"{kind.name}: few", count=FEW_COUNT) for kind in KINDS if kind.name in _FEW]


class Clients:
    """All clients of one kind."""

    def __init__(self, kind: Kind, port: int, count: int) -> None:
        self._kind = kind
        self._port = port
        self._count = count
        self._selector = selectors.DefaultSelector()
        self._clients: list[_Client] = []

    def open(self, timeout_s: float) -> None:
        """Connect them, and send what they have to send, until the server takes no more.

        Raises:
            RuntimeError: one got another answer than it must.
        """
        deadline_s = time.monotonic() + timeout_s
        for number in range(1, self._count + 1):
            self._clients.append(_Client(self._kind, self._port, self._selector))
            if not number % AT_ONCE_COUNT:
                self.push(0.02)
        progress_s = time.monotonic()
        while time.monotonic() < min(progress_s + QUIET_S, deadline_s):
            if self.push(0.1):
                progress_s = time.monotonic()

    def push(self, seconds: float) -> bool:
        """Go on for so long; return whether anything went on."""
        end_s = time.monotonic() + seconds
        moved = False
        while (left_s := end_s - time.monotonic()) > 0:
            if not self._selector.get_map():
                time.sleep(left_s)
                break
            for key, mask in self._selector.select(left_s):
                moved = key.data.go_on(mask) or moved
        return moved

    @property
    def sent_bytes(self) -> int:
        return sum(client.sent_bytes for client in self._clients)

    def open_count(self) -> int:
        """How many the server has not dropped."""
        return sum(client.is_open() for client in self._clients)

    def close(self) -> None:
        for client in self._clients:
            client.sock.close()
        self._selector.close()


class _Client:
    def __init__(self, kind: Kind, port: int, selector: selectors.BaseSelector) -> None:
        self._kind = kind
        self._selector = selector
        self._left = memoryview(kind.head)
        self._answer: bytes | None = b"" if kind.answer else None
        self._begun = False
        self._over = False
        self.sent_bytes = 0
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(self.sock, selectors.EVENT_WRITE, self)

    def go_on(self, mask: int) -> bool:
        """Send and read what can be; return whether anything went on."""
        try:
            if mask & selectors.EVENT_READ:
                self._read()
            else:
                self._send()
        except BlockingIOError:
            return False
        except OSError:
            self._over = True
            self._selector.unregister(self.sock)
        return True

    def is_open(self) -> bool:
        try:
            while not self._over:
                self._over = not self.sock.recv(65_536)
        except BlockingIOError:
            pass
        except OSError:
            self._over = True
        return not self._over

    def _send(self) -> None:
        count = self.sock.send(self._left[:262_144])
        self.sent_bytes += count
        self._left = self._left[count:]
        if not self._left:
            self._next()

    def _read(self) -> None:
        data = self.sock.recv(65_536)
        if not data:
            raise ConnectionResetError
        if self._answer is not None:
            self._answer += data
            if b"\r\n\r\n" in self._answer:
                if self._answer.startswith(BUSY):
                    raise ConnectionRefusedError
                if not self._answer.startswith(self._kind.answer):
                    raise RuntimeError(f"{self._kind.name}: {self._answer[:200]!r}")
                self._answer = None
                self._next()

    def _next(self) -> None:
        """All is sent, or the answer has come."""
        if self._answer is None and self._kind.data and (self._kind.again or not self._begun):
            self._begun = True
            self._left = memoryview(self._kind.data)
        wants_answer = self._answer is not None or self._kind.reads
        events = (selectors.EVENT_WRITE if self._left else 0) | (selectors.EVENT_READ if wants_answer else 0)
        if events:
            self._selector.modify(self.sock, events, self)
        else:
            self._selector.unregister(self.sock)
