"""Memory stays flat, whatever clients send without reading and applications send without being read.

A 4 GB upload is simulated: what does not grow in the first hundreds of megabytes does not grow later, since by then
every buffer on the way is full and has been emptied thousands of times.
"""

from __future__ import annotations

import threading
import time
import zlib

import pytest
from websockets.sync.client import connect

from fullduplex.wire.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, encode_close
from tests.e2e.clients import (
    CHUNKED,
    GET,
    dial,
    dial_websocket,
    flat_memory,
    frame,
    kernel_bytes,
    push,
    read_to_end,
)
from tests.e2e.process import ROOT, fullduplex

pytestmark = pytest.mark.e2e

FLAT_BYTES = 16_000_000  # what allocators keep depends on what a process did before
PIECE = bytes(1_000_000)
CHUNK = b"10000\r\n" + bytes(65_536) + b"\r\n"
BUFFERED_BYTES = kernel_bytes() + 4_000_000  # between a client and an application that does not read


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def server(request):
    options = ("--no-access-log", "--timeout-graceful-shutdown", "0.2", "--loop", request.param)
    # A client that has the last word hears why, however slowly it comes to it.
    options += ("--connection-linger-timeout-s", "60")
    with fullduplex("tests.e2e.hostile_asgi:app", *options, app_dir=ROOT) as process:
        # Grown to its working size, before anything is measured.
        with dial(process, CHUNKED % b"/count-slowly") as sock:
            push(sock, CHUNK, 0.3)
        yield process


def test_an_upload_to_a_slow_application(server):
    """Daphne's story: a 4 GB upload held in memory."""
    size = 200_000_000
    with flat_memory(server, FLAT_BYTES) as look:
        sock = dial(server, b"POST /count-slowly HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size, 60)
        for sent in range(0, size, len(PIECE)):
            sock.sendall(PIECE)
            if sent % 25_000_000 == 0:
                look()
        assert b"200000000" in sock.recv(1000)
        sock.close()


def test_chunks_to_a_slow_application(server):
    with flat_memory(server, FLAT_BYTES) as look, dial(server, CHUNKED % b"/count-slowly") as sock:
        for _ in range(3):
            assert push(sock, CHUNK, 0.3) > 0
            look()


@pytest.mark.parametrize(
    "data",
    [
        CHUNK,
        b"1\r\nx\r\n" * 5000,
        b"1;%b\r\nx\r\n" % (b"e" * 8),
    ],
    ids=["large chunks", "chunks of one byte", "chunks with extensions"],
)
def test_an_upload_to_an_application_that_never_reads(server, data):
    with flat_memory(server, FLAT_BYTES), dial(server, CHUNKED % b"/wait") as sock:
        assert push(sock, data, 0.4) < BUFFERED_BYTES


@pytest.mark.parametrize("path", ["/endless", "/large"])
def test_stalled_downloads(server, path):
    """Daphne's story: no backpressure for what is written."""
    with flat_memory(server, 20 * 1_300_000 + FLAT_BYTES) as look:
        socks = [dial(server, GET % path.encode()) for _ in range(20)]
        for _ in range(3):
            time.sleep(0.2)
            look()
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("path", [b"/", b"/large"])
def test_pipelined_requests_whose_answers_nobody_reads(server, path):
    with flat_memory(server, FLAT_BYTES) as look, dial(server) as sock:
        for _ in range(2):
            push(sock, GET % path * 50, 0.3)
            look()


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"x" * 10_000),
        frame(TEXT, b"") * 1_000,
        frame(BINARY, b"ab") * 1_000,
        frame(BINARY, bytes(1_000_000)),
    ],
    ids=["middling", "empty", "tiny", "large"],
)
@pytest.mark.parametrize("path", ["/ws/slow", "/ws/wait"])
def test_messages_to_a_slow_application(server, path, data):
    sock, _ = dial_websocket(server, path)
    with flat_memory(server, FLAT_BYTES), sock:
        assert 0 < push(sock, data, 0.4) < 4 * BUFFERED_BYTES


def test_messages_to_a_slow_reader(server):
    """Daphne's story: a slow client grows memory."""
    with flat_memory(server, FLAT_BYTES) as look:
        sock, _ = dial_websocket(server, "/ws/send")
        for _ in range(3):
            time.sleep(0.2)
            look()
        sock.close()


def test_an_echo_that_nobody_reads(server):
    sock, _ = dial_websocket(server, "/ws/echo")
    with flat_memory(server, FLAT_BYTES), sock:
        assert push(sock, frame(BINARY, bytes(60_000)), 0.4) < 2 * BUFFERED_BYTES, "there, and back"


def test_pings_that_nobody_reads_the_pongs_of(server):
    sock, _ = dial_websocket(server, "/ws/wait")
    with flat_memory(server, FLAT_BYTES), sock:
        push(sock, frame(PING, b"x" * 125), 0.4)


def test_an_endless_message_in_fragments_is_1009(server):
    sock, _ = dial_websocket(server, "/ws/echo")
    with flat_memory(server, 3 * 16_777_216 + FLAT_BYTES), sock:
        answers: list[bytes] = []
        reader = threading.Thread(target=lambda: answers.append(read_to_end(sock)))
        sock.sendall(frame(TEXT, b"a", fin=False))
        fragment = frame(CONTINUATION, b"b" * 60_000, fin=False)
        for _ in range(270):
            sock.sendall(fragment)
        reader.start()
        for _ in range(30):
            sock.sendall(fragment)
        reader.join()
    assert answers[0][2:4] == b"\x03\xf1"  # 1009


def test_endless_empty_fragments_cost_nothing(server):
    sock, _ = dial_websocket(server, "/ws/echo")
    with flat_memory(server, FLAT_BYTES), sock:
        sock.sendall(frame(TEXT, b"a", fin=False))
        push(sock, frame(CONTINUATION, b"", fin=False) * 1_000, 0.4)
        sock.settimeout(30)
        sock.sendall(frame(CONTINUATION, b"z") + frame(CLOSE, encode_close(1000, "")))


def test_decompression_bombs_are_1009(server):
    """100 MB each."""
    compressor = zlib.compressobj(1, zlib.DEFLATED, -15)
    bomb = b"".join(compressor.compress(PIECE) for _ in range(100)) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    assert len(bomb) < 1_000_000
    with flat_memory(server, 4 * 16_777_216 + FLAT_BYTES) as look:
        socks = []
        for _ in range(10):
            sock, head = dial_websocket(server, "/ws/echo", b"Sec-WebSocket-Extensions: permessage-deflate")
            assert b"permessage-deflate" in head
            socks.append(sock)
            sock.sendall(frame(BINARY, bomb, rsv1=True))
        look()
        for sock in socks:
            assert read_to_end(sock)[2:4] == b"\x03\xf1"
            sock.close()


def test_the_server_is_as_good_as_new(server):
    with connect(f"ws://127.0.0.1:{server.port}/ws/echo") as socket:
        socket.send("still here")
        assert socket.recv(timeout=30) == "still here"
    assert "Traceback" not in server.output
    dial_websocket(server, "/ws/echo")[0].close()
