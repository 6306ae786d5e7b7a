"""Slowloris: hundreds of clients that take all the time in the world, while others want to be served.

``FULLDUPLEX_HOSTILE_COUNT`` (default 75) is how many there are of each of the four kinds; 1000 need ``ulimit -n 8192``.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import selectors
import socket
import statistics
import threading
import time
from collections.abc import Iterator

import pytest

from tests.e2e.clients import CHUNKED, GET, dial, flat_memory, handshake, read_to_end
from tests.e2e.process import ROOT, Process, fullduplex

pytestmark = pytest.mark.e2e

COUNT = int(os.environ.get("FULLDUPLEX_HOSTILE_COUNT", "75"))
DEADLINE_S = 3 + COUNT // 100
SWEEP_S = 3.0  # of the worker, and of a busy machine
DRIP_INTERVAL_S = 0.4
OPTIONS = (
    *("--no-access-log", "--timeout-graceful-shutdown", "0.2", "--timeout-keep-alive", "1"),
    *("--http1-first-byte-timeout-s", str(DEADLINE_S), "--http1-head-timeout-s", str(DEADLINE_S)),
    *("--connection-body-grace-s", str(DEADLINE_S), "--connection-stalled-write-timeout-s", str(DEADLINE_S)),
    *("--ws-handshake-timeout-s", str(DEADLINE_S)),
)
# What one hostile client may cost: a response's buffer of 64 KiB, its overhang by one write, and small change.
MOST_BYTES = 4 * COUNT * 250_000 + 10_000_000

# How each kind begins, what it goes on with, byte by byte, and what it hears in the end.
KINDS = {
    "slow head": (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"y", b"HTTP/1.1 408 "),
    "slow body": (CHUNKED % b"/count-slowly" + b"ffff\r\n", b"x", b"HTTP/1.1 408 "),
    "slow reader": (GET % b"/endless", b"", None),
    "idle handshake": (handshake("/wait"), b"", b"HTTP/1.1 504 "),
}


@pytest.fixture
def server():
    with fullduplex("tests.e2e.hostile_asgi:app", *OPTIONS, app_dir=ROOT) as process:
        yield process


def test_slow_clients_of_every_kind_at_once_harm_nobody_and_are_gone_in_time(server):
    """Uvicorn's story: slowloris accepted for ever."""
    alone = latencies(server)
    with flat_memory(server, MOST_BYTES) as look, hostile(server) as socks:
        settle(server)
        over_s = time.monotonic() + DEADLINE_S + SWEEP_S
        beside = latencies(server)
        look()
        time.sleep(max(over_s - time.monotonic(), 0))  # a slow reader that reads is none
        for name, sock in socks:
            answer = read_to_end(sock)
            expected = KINDS[name][2]
            assert expected is None or answer.startswith(expected), (name, answer[:200])
    print(f"p99 alone {p99(alone) * 1000:.1f} ms, beside {4 * COUNT} slow clients {p99(beside) * 1000:.1f} ms")
    # Generous: it is another process's word against a whole machine's noise.
    assert p99(beside) < max(20 * p99(alone), DEADLINE_S / 2)
    assert len(latencies(server)) > 1, "and then all is well"


@contextlib.contextmanager
def hostile(process: Process) -> Iterator[list[tuple[str, socket.socket]]]:
    """All of them, dripping in the background."""
    socks = [(name, dial(process, start)) for name, (start, _, _) in KINDS.items() for _ in range(COUNT)]
    over = threading.Event()

    selector = selectors.DefaultSelector()
    for name, sock in socks:
        if KINDS[name][1]:
            selector.register(sock, selectors.EVENT_READ, KINDS[name][1])

    def drip() -> None:
        while not over.wait(DRIP_INTERVAL_S):
            answered = {key.fd for key, _ in selector.select(0)}
            for key in selector.get_map().values():
                if key.fd not in answered:
                    with contextlib.suppress(OSError):
                        key.fileobj.send(key.data)

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield socks
    finally:
        over.set()
        thread.join()
        selector.close()
        for _, sock in socks:
            sock.close()


def settle(process: Process) -> None:
    """Until the kernel has taken what it buffers for slow readers: gigabytes for a thousand, copied in our time."""
    for _ in range(100):
        started_s = time.monotonic()
        with dial(process, GET % b"/", 30) as sock:
            sock.recv(1000)
        if time.monotonic() - started_s < 0.1:
            return


def latencies(process: Process, *, seconds: float = 1.2) -> list[float]:
    """How long each request of a well-behaved client takes."""
    client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
    durations = []
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        started_s = time.perf_counter()
        client.request("GET", "/")
        assert client.getresponse().read() == b"hello"
        durations.append(time.perf_counter() - started_s)
        time.sleep(0.002)
    client.close()
    return durations


def p99(durations: list[float]) -> float:
    return statistics.quantiles(durations, n=100)[98]
