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
from typing import Any

from bench.apps import plain
from fullduplex.gateway.gateway import Gateway
from fullduplex.net.connection import Connection
from fullduplex.server.config import ServerConfig
from fullduplex.server.worker import loop_factory
from fullduplex.wire.http1 import HTTP1Codec

CONNECTIONS = 64
_HOST = b"Host: 127.0.0.1:8000\r\n"
_BROWSER = b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nAccept-Language: en\r\n"

#: By name: the application, and the requests of a connection, one after the other.
SCENARIOS: dict[str, tuple[Any, list[bytes]]] = {
    "hello": (plain.hello, [b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n"]),
    "varied": (
        plain.hello,
        [
            b"GET /page/%d?a=b HTTP/1.1\r\n%b%bCookie: n=%d\r\n\r\n" % (number, _HOST, _BROWSER, number)
            for number in range(7)
        ],
    ),
    "body": (
        plain.body,
        [b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Type: text/plain\r\nContent-Length: 1024\r\n\r\n" + bytes(1024)],
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

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


async def measure(name: str, turns: int) -> float:
    """The microseconds of a request in the fastest of so many turns, each one request on each connection."""
    app, requests = SCENARIOS[name]
    config = ServerConfig(app="bench.apps.plain")
    gateway = Gateway(app, None, config.websocket, config.connection, config.load)
    gateway.set_clock(time.time())
    transports = [Nowhere() for _ in range(CONNECTIONS)]
    connections = [_connect(gateway, config, transport) for transport in transports]
    fastest_s = float("inf")
    for turn in range(turns):
        data = requests[turn % len(requests)]
        started_s = time.perf_counter()
        for connection in connections:
            connection.data_received(data)
        await asyncio.sleep(0)  # before Python 3.12 the applications run here
        fastest_s = min(fastest_s, time.perf_counter() - started_s)
    if any(connection.handler for connection in connections) or not all(each.written_bytes for each in transports):
        raise RuntimeError("a request was not answered")
    return fastest_s / CONNECTIONS * 1e6


def _connect(gateway: Gateway, config: ServerConfig, transport: Nowhere) -> Connection:
    loop = asyncio.get_running_loop()
    codec = HTTP1Codec(config.http1, now_s=loop.time(), defaults=gateway.default_fields)
    connection = Connection(gateway, config.connection, codec, set(), loop)
    connection.connection_made(transport)
    return connection


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.inside", description=__doc__.splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; default: all")
    parser.add_argument("--turns", type=int, default=3000, metavar="N", help="of 64 requests each; default 3000")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=loop_factory("auto")) as runner:
        for name in options.scenarios or SCENARIOS:
            print(f"{name:8} {runner.run(measure(name, options.turns)):6.2f} µs")


if __name__ == "__main__":
    main()
