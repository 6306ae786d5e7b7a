"""What a request costs inside our server, without sockets: ``python -m bench.inside [SCENARIO ...]``.

Bytes go into the protocol and responses come out, on a transport that does nothing, so that neither the kernel nor
the load generator nor the neighbours of a busy machine are measured. The fastest of many short turns is printed.
Steadier still are instructions: ``valgrind --tool=cachegrind --cache-sim=no`` once with ``--turns 20`` and once with
``--turns 60``; the difference divided by 40 * 64 is what a request takes (set PYTHONHASHSEED).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle
from struct import pack
from typing import Any

import ngh2

from bench.apps import plain
from fullduplex.gateway.gateway import Gateway
from fullduplex.net.connection import Connection
from fullduplex.net.http2_connection import HTTP2Connection
from fullduplex.server.config import ServerConfig
from fullduplex.server.worker import loop_factory
from fullduplex.wire.events import Fields
from fullduplex.wire.frames import apply_mask
from fullduplex.wire.http1 import HTTP1Codec
from fullduplex.wire.http2_gate import PREFACE
from fullduplex.wire.http2_library import codec_class

REQUESTS = 64  # of a turn: one on each connection of HTTP/1 or WebSocket, 32 on each of HTTP/2
STREAMS = 32
_HOST = b"Host: 127.0.0.1:8000\r\n"
_BROWSER = b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nAccept-Language: en\r\n"


def http1(*requests: bytes) -> Iterator[bytes]:
    """What a client sends, turn by turn: these requests, one after the other."""
    return cycle(requests)


def websocket(*texts: bytes) -> Iterator[bytes]:
    """A handshake, and in each turn after it one of these texts, masked."""
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    yield b"GET / HTTP/1.1\r\n" + _HOST + b"Upgrade: websocket\r\nConnection: Upgrade\r\n" + key
    mask = b"\x01\x02\x03\x04"
    for text in cycle(texts):
        yield bytes((0x81, 0x80 | len(text))) + mask + apply_mask(text, mask)


def http2(*requests: Fields, content: bytes = b"", answer_bytes: int = 0) -> Iterator[bytes]:
    """The same of HTTP/2: in each turn one of these requests, on so many streams, and credit for large answers."""
    client = ngh2.Connection(ngh2.Role.CLIENT)
    client.initiate_connection({})
    client.data_to_send()
    blocks = []
    for fields in [*requests, *requests]:  # the second time most of what they say is in the dynamic table
        client.send_request(fields, end_stream=True)
        blocks.append(client.data_to_send()[9:])
    first, again = blocks[: len(requests)], cycle(blocks[len(requests) :])
    window = _frame(0x4, 0, 0, pack(">HI", 4, 2**31 - 1)) + _frame(0x8, 0, 0, pack(">I", 2**30))
    yield PREFACE + window + b"".join(_request(block, number, content) for number, block in enumerate(first))
    credit = _frame(0x8, 0, 0, pack(">I", answer_bytes * STREAMS)) if answer_bytes else b""
    for start in count(len(first), STREAMS):
        block = next(again)
        yield credit + b"".join(_request(block, start + number, content) for number in range(STREAMS))


def _request(block: bytes, number: int, content: bytes) -> bytes:
    stream_id = 2 * number + 1
    head = _frame(0x1, 0x4 if content else 0x5, stream_id, block)
    return head + _frame(0x0, 0x1, stream_id, content) if content else head


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return pack(">IBI", len(payload) << 8 | kind, flags, stream_id) + payload


def _get(path: bytes, *fields: tuple[bytes, bytes], method: bytes = b"GET") -> Fields:
    pseudo = [(b":path", path), (b":scheme", b"http"), (b":authority", b"127.0.0.1:8000"), (b":method", method)]
    return [*pseudo, (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64)"), *fields]


#: By name: the application, and what a client sends.
SCENARIOS: dict[str, tuple[Any, Callable[[], Iterator[bytes]]]] = {
    "hello": (plain.hello, lambda: http1(b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n")),
    "varied": (
        plain.hello,
        lambda: http1(
            *(
                b"GET /page/%d?a=b HTTP/1.1\r\n%b%bCookie: n=%d\r\n\r\n" % (number, _HOST, _BROWSER, number)
                for number in range(7)
            )
        ),
    ),
    "body": (
        plain.body,
        lambda: http1(
            b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + bytes(1024)
        ),
    ),
    "echo": (plain.echo, lambda: websocket(b"m" * 64)),
    "http2-hello": (plain.hello, lambda: http2(_get(b"/"))),
    "http2-varied": (
        plain.hello,
        lambda: http2(
            *(
                _get(
                    b"/page/%d?a=b" % number,
                    (b"accept", b"*/*"),
                    (b"accept-language", b"en"),
                    (b"cookie", b"n=%d" % number),
                )
                for number in range(7)
            )
        ),
    ),
    "http2-large": (plain.large, lambda: http2(_get(b"/"), answer_bytes=65_536)),
    "http2-body": (
        plain.body,
        lambda: http2(
            _get(b"/", (b"content-type", b"text/plain"), (b"content-length", b"1024"), method=b"POST"),
            content=bytes(1024),
        ),
    ),
}


class Nowhere(asyncio.Transport):
    """Takes everything and does nothing."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50_000), "sockname": ("127.0.0.1", 8000)})
        self.written_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written_bytes += len(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass


async def measure(name: str, turns: int) -> float:
    """The microseconds of a request in the fastest of so many turns."""
    app, sent = SCENARIOS[name]
    config = ServerConfig(app="bench.apps.plain")
    gateway = Gateway(app, None, config.websocket, config.connection, config.load)
    gateway.set_clock(time.time())
    is_http2 = name.startswith("http2")
    connect = _connect_http2 if is_http2 else _connect
    transports = [Nowhere() for _ in range(REQUESTS // STREAMS if is_http2 else REQUESTS)]
    connections = [connect(gateway, config, transport) for transport in transports]
    clients = [sent() for _ in connections]
    fastest_s = float("inf")
    for number in range(turns + 1):
        turn = [(connection, next(client)) for connection, client in zip(connections, clients, strict=True)]
        answered_bytes = [transport.written_bytes for transport in transports]
        started_s = time.perf_counter()
        for connection, data in turn:
            connection.data_received(data)
        await asyncio.sleep(0)  # before Python 3.12 the applications run here
        if is_http2:
            await asyncio.sleep(0)  # and what they have sent is written here
        if number:  # the first one of HTTP/2 is short, and that of WebSocket a handshake
            fastest_s = min(fastest_s, time.perf_counter() - started_s)
        if any(transport.written_bytes == before for transport, before in zip(transports, answered_bytes, strict=True)):
            raise RuntimeError("a request was not answered")
    for connection in connections:
        connection.connection_lost(None)
    if gateway.tasks:
        await asyncio.wait(gateway.tasks)  # those of sockets, which hear of it now
    return fastest_s / REQUESTS * 1e6


def _connect(gateway: Gateway, config: ServerConfig, transport: Nowhere) -> Connection:
    loop = asyncio.get_running_loop()
    codec = HTTP1Codec(config.http1, now_s=loop.time(), defaults=gateway.default_fields)
    connection = Connection(gateway, config.connection, codec, set(), loop)
    connection.connection_made(transport)
    return connection


def _connect_http2(gateway: Gateway, config: ServerConfig, transport: Nowhere) -> HTTP2Connection:
    loop = asyncio.get_running_loop()
    codec = codec_class()(config.http2, now_s=loop.time(), defaults=gateway.default_fields)
    connection = HTTP2Connection(gateway, config.connection, codec, set(), loop)
    connection.begin(transport, b"")
    return connection


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.inside", description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--turns", type=int, default=3000, metavar="N", help=f"of {REQUESTS} requests; default 3000")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory("auto")) as runner:
        for name in options.scenarios or SCENARIOS:
            print(f"{name:12} {runner.run(measure(name, options.turns)):6.2f} µs")


if __name__ == "__main__":
    main()
