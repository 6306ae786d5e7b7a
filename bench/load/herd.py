"""Many idle sockets, and their return: ``python -m bench.load.herd PORT PATH COUNT SOURCE``, a process of a herd.

Opens so many WebSockets from the address SOURCE, and then keeps them: a socket that ends comes back after a while, as
pages do. The wait doubles with each failure up to ten seconds; half of it is chance. Each line on the standard input
is answered with a line of JSON: what happened since the last one.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import selectors
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from bench.load.frames import CLOSE, PING, PONG, FrameReader, accepts, client_frame, handshake_request

AT_ONCE_COUNT = 64  # handshakes in progress, while they are opened for the first time
FIRST_WAIT_S = 2.0
MOST_WAIT_S = 10.0
HANDSHAKE_TIMEOUT_S = 60.0
READ_BYTES = 4_096
BUCKET_S = 0.1
_BIND_ADDRESS_NO_PORT = 24  # ip(7): the port is chosen when it connects, and need only differ for this destination


@dataclass(slots=True)
class Page:
    """Somebody with a socket.

    Attributes:
        sock: None while it waits to come back.
        is_open: its handshake is complete.
        failures_count: in a row.
    """

    sock: socket.socket | None = None
    is_open: bool = False
    failures_count: int = 0
    began_s: float = 0.0


@dataclass(slots=True)
class Told:
    """What happened since the last report.

    Attributes:
        opened: handshakes completed in each tenth of a second of the monotonic clock.
        ends: close codes; 1006 where there was none.
        failures: of handshakes.
    """

    opened: Counter[int] = field(default_factory=Counter)
    ends: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)


class Herd:
    """The sockets of this process."""

    def __init__(self, port: int, path: str, count: int, source: str) -> None:
        self._port = port
        self._source = source
        self._request = handshake_request(port, path)
        self._pages = [Page() for _ in range(count)]
        self._unopened = [*self._pages]
        self._beginning: set[int] = set()
        self._due: list[tuple[float, int, Page]] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._told = Told()
        self._open_count = 0
        self._order = 0

    def run(self) -> None:
        """Until the standard input ends."""
        look_s = 0.0
        while True:
            while self._unopened and len(self._beginning) < AT_ONCE_COUNT:
                self._connect(self._unopened.pop())
            now_s = time.monotonic()
            while self._due and self._due[0][0] <= now_s:
                self._connect(heapq.heappop(self._due)[2])
            wait_s = min(max(self._due[0][0] - now_s, 0.0), 0.5) if self._due else 0.5
            for key, _ in self._selector.select(wait_s):
                if key.data is None:
                    if not sys.stdin.readline():
                        return
                    self._report()
                else:
                    self._act(key.data)
            if now_s > look_s:
                look_s = now_s + 1.0
                self._give_up(now_s)

    def _report(self) -> None:
        told, self._told = self._told, Told()
        counts = {"opened": told.opened, "ends": told.ends, "failures": told.failures}
        print(json.dumps({"open": self._open_count, **counts}), flush=True)

    def _connect(self, page: Page) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        sock.bind((self._source, 0))
        error = sock.connect_ex(("127.0.0.1", self._port))
        page.sock, page.began_s = sock, time.monotonic()
        self._beginning.add(id(page))
        self._selector.register(sock, selectors.EVENT_WRITE, page)
        if error not in (0, 115):  # EINPROGRESS
            self._lose(page, os.strerror(error))

    def _act(self, page: Page) -> None:
        sock = page.sock
        assert sock is not None
        try:
            if not page.is_open and self._selector.get_key(sock).events == selectors.EVENT_WRITE:
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    self._lose(page, os.strerror(error))
                    return
                sock.send(self._request)
                self._selector.modify(sock, selectors.EVENT_READ, page)
                return
            data = sock.recv(READ_BYTES)
        except OSError as error:
            self._lose(page, error.strerror or repr(error))
            return
        if not data:
            self._lose(page, "closed")
        elif not page.is_open:
            if accepts(data):
                self._opened(page)
            else:
                self._lose(page, data.split(b"\r\n")[0].decode("latin-1"))
        else:
            self._hear(page, sock, data)

    def _hear(self, page: Page, sock: socket.socket, data: bytes) -> None:
        """Control frames; each comes whole, and servers ask now and then whether somebody is there."""
        for first, payload in FrameReader().feed(data):
            if first & 0x0F == PING:
                sock.send(client_frame(payload, PONG))
            elif first & 0x0F == CLOSE:
                sock.send(client_frame(payload[:2], CLOSE))
                self._lose(page, "", struct.unpack("!H", payload[:2])[0] if payload else 1005)
                return

    def _opened(self, page: Page) -> None:
        page.is_open, page.failures_count = True, 0
        self._beginning.discard(id(page))
        self._open_count += 1
        self._told.opened[int(time.monotonic() / BUCKET_S)] += 1

    def _lose(self, page: Page, why: str, code: int = 1006) -> None:
        """It has ended, or was never open; it comes back later."""
        assert page.sock is not None
        self._selector.unregister(page.sock)
        page.sock.close()
        page.sock = None
        self._beginning.discard(id(page))
        if page.is_open:
            page.is_open = False
            self._open_count -= 1
            self._told.ends[code] += 1
        else:
            page.failures_count += 1
            self._told.failures[why] += 1
        wait_s = min(FIRST_WAIT_S * 2**page.failures_count, MOST_WAIT_S) * random.uniform(0.5, 1.0)
        self._order += 1
        heapq.heappush(self._due, (time.monotonic() + wait_s, self._order, page))

    def _give_up(self, now_s: float) -> None:
        for page in self._pages:
            if page.sock is not None and not page.is_open and now_s > page.began_s + HANDSHAKE_TIMEOUT_S:
                self._lose(page, "no answer")


def main() -> None:
    port, path, count, source = sys.argv[1:]
    Herd(int(port), path, int(count), source).run()


if __name__ == "__main__":
    main()
