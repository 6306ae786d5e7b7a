"""Every published attack on HTTP/2, on a server of ours: it costs little, it is over soon, and others are served.

Harmless in size: each sends some times what the limits allow, over one connection, and is gone.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx
import pytest
from hpack import Decoder

from fullduplex.wire.http2_errors import ErrorCode
from tests.e2e.clients import dial, flat_memory
from tests.e2e.process import ROOT, WAIT_TIMEOUT_S, Process, fullduplex
from tests.wire import http2_frames as h2
from tests.wire.http2_frames import GET, POST, START, data, frame, headers, reset, settings, update

pytestmark = pytest.mark.e2e

CALM = ErrorCode.ENHANCE_YOUR_CALM
GROWN_BYTES = 16_000_000  # what allocators keep depends on what a process did before
CPU_S = 3.0  # of a busy machine's h2; ngh2 takes a tenth of it
TIMES = 5  # as much as is allowed
OPTIONS = (
    *("--no-access-log", "--timeout-graceful-shutdown", "0.2", "--connection-linger-timeout-s", "30"),
    *("--http2-head-timeout-s", "2", "--http2-idle-timeout-s", "2", "--connection-stalled-write-timeout-s", "2"),
    *("--connection-body-grace-s", "1", "--load-max-buffers-bytes", "32000000"),
)
WAIT = [*GET[:3], (b":path", b"/wait")]
LARGE = [*GET[:3], (b":path", b"/large")]
SLOW = [*POST[:3], (b":path", b"/count-slowly")]
UNREAD = [*POST[:3], (b":path", b"/wait")]


class Attack(NamedTuple):
    pieces: Iterator[bytes]
    codes: tuple[int, ...]  # any of them ends the connection
    reason: str  # in the line that the log has of it


def streams(*pieces: object, count: int = 300 * TIMES) -> Iterator[bytes]:
    """For each stream what the callables among ``pieces`` make of its identifier, and the others as they are."""
    for stream_id in range(1, 2 * count, 2):
        yield b"".join(piece if isinstance(piece, bytes) else piece(stream_id) for piece in pieces)  # type: ignore[operator]


def first(start: bytes, rest: bytes, count: int) -> Iterator[bytes]:
    yield start
    for _ in range(count):
        yield rest


def bomb(value: bytes, count: int) -> bytes:
    """A field that is remembered once, and then named in one byte each time."""
    fields = b"\x40\x01x\x7f" + bytes((0x80 | (len(value) - 127) & 0x7F, (len(value) - 127) >> 7)) + value
    block = h2.block(GET) + fields + b"\xbe" * count
    return frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, block)


def nameless(stream_id: int) -> bytes:
    return headers([*GET, (b"", b"")], stream_id)


ATTACKS = {
    "CVE-2023-44487, rapid reset": lambda: Attack(
        streams(lambda i: headers(WAIT, i), reset), (CALM,), "streams are reset"
    ),
    "resets of answered requests": lambda: Attack(
        streams(lambda i: headers(GET, i), lambda i: frame(h2.PING, payload=bytes(8)) if i % 100 == 1 else b"", reset),
        (CALM,),
        "streams are reset",
    ),
    "CVE-2025-8671, made you reset by windows": lambda: Attack(
        streams(lambda i: headers(UNREAD, i, end=False), lambda i: update(2**31 - 1, i)),
        (CALM, ErrorCode.FLOW_CONTROL_ERROR),
        "RFC 9113",
    ),
    "CVE-2025-8671, made you reset by no windows": lambda: Attack(
        streams(lambda i: headers(UNREAD, i, end=False), lambda i: update(0, i)),
        (CALM, ErrorCode.PROTOCOL_ERROR),
        "RFC 9113",
    ),
    "CVE-2025-8671, made you reset by lengths": lambda: Attack(
        streams(lambda i: headers([*UNREAD, (b"content-length", b"1")], i, end=False), lambda i: data(b"xx", i)),
        (CALM, ErrorCode.PROTOCOL_ERROR),
        "RFC 9113",
    ),
    "CVE-2025-8671, made you reset by content behind the end": lambda: Attack(
        streams(lambda i: headers(WAIT, i), lambda i: data(b"x", i)), (CALM, ErrorCode.STREAM_CLOSED), "RFC 9113"
    ),
    "CVE-2019-9514, reset flood by malformed requests": lambda: Attack(
        streams(lambda i: headers([*GET, (b"connection", b"x")], i)), (CALM,), "streams are reset"
    ),
    "more streams than there may be": lambda: Attack(
        streams(lambda i: headers(WAIT, i), count=128 + 300 * TIMES), (CALM, ErrorCode.PROTOCOL_ERROR), "RFC 9113"
    ),
    "VU#421644, CONTINUATION flood": lambda: Attack(
        first(frame(h2.HEADERS, 0, 1, h2.block(GET)), frame(h2.CONTINUATION, 0, 1, b"\x40\x01y\x01z" * 3000), 500),
        (CALM,),
        "RFC 9113 section 10.5",
    ),
    "VU#421644, empty CONTINUATION flood": lambda: Attack(
        first(frame(h2.HEADERS, 0, 1, h2.block(GET)), frame(h2.CONTINUATION, 0, 1) * 100, 500),
        (CALM,),
        "without an end",
    ),
    "CVE-2019-9515, SETTINGS flood": lambda: Attack(first(b"", settings((4, 70_000)), 30 * TIMES), (CALM,), "SETTINGS"),
    "windows that SETTINGS open and close": lambda: Attack(
        first(
            b"".join(headers(LARGE, i) for i in range(1, 20, 2)),
            settings((4, 2**31 - 1)) + settings((4, 0)),
            30 * TIMES,
        ),
        (CALM, ErrorCode.FLOW_CONTROL_ERROR),
        "RFC 9113",
    ),
    "CVE-2019-9512, PING flood": lambda: Attack(
        first(b"", frame(h2.PING, payload=bytes(8)), 100 * TIMES), (CALM,), "PINGs"
    ),
    "CVE-2019-9518, empty frames flood": lambda: Attack(
        first(headers(UNREAD, end=False), data(b""), 1000 * TIMES), (CALM,), "do nothing"
    ),
    "CVE-2019-9513, resource loop": lambda: Attack(
        streams(lambda i: frame(h2.PRIORITY, 0, i + 2, b"\0\0\0\x01\xff"), count=1000 * TIMES), (CALM,), "do nothing"
    ),
    "priorities of streams that never come": lambda: Attack(
        streams(lambda i: frame(h2.PRIORITY_UPDATE, payload=(i + 2).to_bytes(4, "big") + b"u=1"), count=1000 * TIMES),
        (CALM,),
        "do nothing",
    ),
    "frames that nobody knows": lambda: Attack(
        first(b"", frame(0xF5, 0, 0, bytes(16_000)), 1000 * TIMES), (CALM,), "do nothing"
    ),
    "acknowledgements of nothing": lambda: Attack(
        first(b"", frame(h2.PING, h2.ACK, payload=bytes(8)), 1000 * TIMES), (CALM,), "do nothing"
    ),
    "GOAWAY flood": lambda: Attack(first(b"", frame(h2.GOAWAY, payload=bytes(8)), 1000 * TIMES), (CALM,), "do nothing"),
    "CVE-2019-9516, 0-length headers leak": lambda: Attack(streams(nameless), (CALM,), "streams are reset"),
    "CVE-2019-9511, data dribble": lambda: Attack(
        first(settings((4, 0)) + headers(LARGE), update(1, 1), 2000 * TIMES), (CALM,), "WINDOW_UPDATEs"
    ),
    "CVE-2016-6581, HPACK bomb": lambda: Attack(
        iter([bomb(b"v" * 3900, 12_000)]), (CALM, ErrorCode.COMPRESSION_ERROR), "RFC 9113"
    ),
    "HPACK bomb of small fields": lambda: Attack(
        iter([bomb(b"v" * 200, 16_000)]), (CALM, ErrorCode.COMPRESSION_ERROR), "RFC 9113"
    ),
    "content above the window": lambda: Attack(
        first(headers(UNREAD, end=False), data(bytes(16_000)), 2000),
        (ErrorCode.FLOW_CONTROL_ERROR, CALM, ErrorCode.STREAM_CLOSED),
        "RFC 9113",
    ),
    "slow heads": lambda: Attack(iter([frame(h2.HEADERS, 0, 1, h2.block(GET))]), (CALM,), "took too long"),
}
QUICK = ("CVE-2023-44487, rapid reset", "VU#421644, CONTINUATION flood", "CVE-2016-6581, HPACK bomb")


@pytest.fixture(scope="module", params=["ngh2", pytest.param("h2", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> Iterator[Process]:
    options = (*OPTIONS, "--http2-library", request.param)
    with fullduplex("tests.e2e.hostile_asgi:app", *options, app_dir=ROOT) as process:
        with attacked(process):  # grown to its working size
            goaway(process, iter([frame(h2.PING, payload=bytes(8))] * 200))
        yield process


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ATTACKS]
)
def test_what_costs_more_than_it_should_ends_the_connection(server: Process, name: str) -> None:
    attack = ATTACKS[name]()
    before = len(server.output)
    with attacked(server):
        port, code = goaway(server, attack.pieces)
    assert code in attack.codes, ErrorCode(code)
    server.wait_for(f"127.0.0.1:{port}: ", after=before)
    [line] = [line for line in server.output[before:].splitlines() if f":{port}" in line]
    assert "Ended the HTTP/2 connection" in line
    assert attack.reason in line
    assert len(line) < 300


@contextmanager
def attacked(process: Process, grown_bytes: int = GROWN_BYTES) -> Iterator[None]:
    """Others are served meanwhile, and the server neither grows nor burns."""
    over = threading.Event()
    durations: list[float] = []

    def others() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{process.port}", timeout=WAIT_TIMEOUT_S) as client:
            while not over.wait(0.01) or not durations:
                began_s = time.monotonic()
                assert client.get("/").text == "hello"
                durations.append(time.monotonic() - began_s)

    witness = threading.Thread(target=others)
    before_s = cpu_s(process)
    with flat_memory(process, grown_bytes):
        witness.start()
        try:
            yield
        finally:
            over.set()
            witness.join()
    assert durations, "nobody was served"
    assert max(durations) < CPU_S
    assert cpu_s(process) - before_s < CPU_S + len(durations) * 0.01


def cpu_s(process: Process) -> float:
    """What it has used of a core."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100  # USER_HZ, proc_pid_stat(5)


def goaway(process: Process, pieces: Iterator[bytes]) -> tuple[int, int]:
    """Send it all, or as much as the server takes; return our port and the code that it ends with."""
    with dial(process, START) as sock:
        sent = h2.frames(exchange(sock, pieces))
        [code] = {one.code for one in sent if one.kind == h2.GOAWAY}
        return sock.getsockname()[1], code


def exchange(sock: socket.socket, pieces: Iterator[bytes]) -> bytes:
    """Send, and read until the server ends its side."""
    sock.setblocking(False)
    waiting, received = b"", b""
    deadline_s = time.monotonic() + WAIT_TIMEOUT_S
    while time.monotonic() < deadline_s:
        waiting = waiting or b"".join(piece for piece, _ in zip(pieces, range(50), strict=False))
        readable, writable, _ = select.select([sock], [sock] if waiting else [], [], 1.0)
        try:
            if readable:
                data = sock.recv(1 << 20)
                if not data:
                    return received
                received += data
            elif writable:
                waiting = waiting[sock.send(waiting) :]
        except ConnectionError:
            return received
    raise TimeoutError(f"still open, after {received[-100:]!r}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [settings((4, 0)), settings((4, 2**31 - 1)) + update(2**31 - 65_536)],
    ids=["no windows", "windows, and nothing is read"],
)
def test_responses_that_nobody_takes(server: Process, start: bytes) -> None:
    """CVE-2019-9517, internal data buffering, by the stream's window and by the connection itself.

    128 times one megabyte is more than all connections may hold together, so the connection is dropped.
    """
    before = len(server.output)
    with attacked(server, grown_bytes=200_000_000), dial(server, START + start) as sock:
        sock.sendall(b"".join(headers(LARGE, stream_id) for stream_id in range(1, 257, 2)))
        line = server.wait_for("that hold most are dropped, the first of 127.0.0.1", after=before)
    assert line


@pytest.mark.slow
def test_a_window_that_stays_shut_ends_the_stream_alone(server: Process) -> None:
    with attacked(server), dial(server, START + settings((4, 0)) + headers(GET)) as sock:
        client = Client(sock)
        ended = client.until(h2.RST_STREAM)
        assert (ended.stream_id, ended.code) == (1, ErrorCode.INTERNAL_ERROR)
        sock.sendall(settings((4, 100)) + headers(GET, 3))
        assert client.until(h2.DATA).payload == b"hello"


@pytest.mark.slow
def test_content_that_drips_is_408(server: Process) -> None:
    """R.U.D.Y., on a hundred streams of one connection."""
    with attacked(server), dial(server, START) as sock:
        ids = range(1, 201, 2)
        sock.sendall(b"".join(headers(SLOW, stream_id, end=False) + data(b"x", stream_id) for stream_id in ids))
        client = Client(sock)
        while len(client.statuses) < len(ids):
            client.until(h2.HEADERS)
            sock.sendall(b"".join(data(b"x", stream_id) for stream_id in ids if stream_id not in client.statuses))
        assert {*client.statuses.values()} == {b"408"}


@pytest.mark.slow
def test_more_fields_than_may_be_are_431_and_the_connection_lives(server: Process) -> None:
    with attacked(server), dial(server, START) as sock:
        large = h2.block([*GET, *((b"x-%d" % number, b"v" * 1000) for number in range(80))])
        pieces = [large[start : start + 16_000] for start in range(0, len(large), 16_000)]
        sock.sendall(frame(h2.HEADERS, h2.END_STREAM, 1, pieces[0]))
        for piece in pieces[1:-1]:
            sock.sendall(frame(h2.CONTINUATION, 0, 1, piece))
        sock.sendall(frame(h2.CONTINUATION, h2.END_HEADERS, 1, pieces[-1]))
        client = Client(sock)
        client.until(h2.HEADERS)
        sock.sendall(headers(GET, 3))
        client.until(h2.HEADERS)
        assert client.statuses == {1: b"431", 3: b"200"}


@pytest.mark.slow
@pytest.mark.parametrize("begun", [h2.PREFACE[:18], h2.PREFACE, START], ids=["half a preface", "a preface", "SETTINGS"])
def test_connections_that_ask_for_nothing_are_closed_in_time(server: Process, begun: bytes) -> None:
    with attacked(server):
        socks = [dial(server, begun) for _ in range(50)]
        for sock in socks:
            with sock:
                sock.settimeout(WAIT_TIMEOUT_S)
                while sock.recv(1 << 16):
                    pass


class Client:
    """A connection, frame by frame."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        self.decoder = Decoder()
        self.statuses: dict[int, bytes] = {}  # of each stream

    def next(self) -> h2.Frame:
        """The next frame.

        Raises:
            AssertionError: the server has ended the connection.
        """
        while len(self.received) < 9 or len(self.received) < 9 + int.from_bytes(self.received[:3], "big"):
            piece = self.sock.recv(1 << 16)
            assert piece, "it ended"
            self.received += piece
        size = 9 + int.from_bytes(self.received[:3], "big")
        [one] = h2.frames(self.received[:size])
        self.received = self.received[size:]
        if one.kind == h2.HEADERS:
            self.statuses[one.stream_id] = dict(self.decoder.decode(one.payload, raw=True))[b":status"]
        return one

    def until(self, kind: int) -> h2.Frame:
        while (one := self.next()).kind != kind:
            pass
        return one
