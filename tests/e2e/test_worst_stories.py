"""What other servers' users suffered, and do not suffer here.

Two more stories have tests of their own: Uvicorn's slowloris in ``test_hostile``, and Daphne's uploads in memory and
missing backpressure in ``test_memory``.
"""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import struct
import time

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from fullduplex.wire.frames import BINARY, CLOSE, TEXT, encode_close, encode_frame
from tests.e2e.clients import CHUNKED, GET, dial, dial_websocket, frame, handshake, read_to_end
from tests.e2e.hostile_asgi import BAD_FIELDS
from tests.e2e.process import ROOT, WAIT_TIMEOUT_S, Process, fullduplex

pytestmark = pytest.mark.e2e

LOOPS = ["uvloop", "asyncio"]


def serve(*options: str) -> Process:
    return fullduplex("tests.e2e.hostile_asgi:app", *options, app_dir=ROOT)


@pytest.fixture(scope="module", params=LOOPS)
def server(request):
    with serve("--loop", request.param) as process:
        yield process


def ws(process: Process, path: str):
    return connect(f"ws://127.0.0.1:{process.port}{path}", open_timeout=30, close_timeout=30)


def get(process: Process, path: str = "/") -> int:
    client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
    with contextlib.closing(client):
        client.request("GET", path)
        response = client.getresponse()
        response.read()
        return response.status


# Daphne ------------------------------------------------------------------------------------


def test_daphne_dropped_the_headers_of_an_accept(server):
    with ws(server, "/ws/echo") as websocket:
        assert websocket.response.headers["x-why"] == "because"
        assert websocket.response.headers["set-cookie"] == "a=b"


def test_daphne_dropped_empty_messages(server):
    sock, _ = dial_websocket(server, "/ws/echo")
    with sock:
        sock.sendall(frame(TEXT, b"") + frame(BINARY, b"") + frame(TEXT, b"end"))
        expected = encode_frame(TEXT, b"") + encode_frame(BINARY, b"") + encode_frame(TEXT, b"end")
        answer = b""
        while len(answer) < len(expected):
            answer += sock.recv(100)
        assert answer == expected


@pytest.mark.parametrize("loop", LOOPS)
def test_daphne_and_gunicorn_stopped_without_telling_their_sockets(loop):
    """Both ends are told: the client by a close frame that bids it come back, the application by its event."""
    with serve("--loop", loop, "--timeout-graceful-shutdown", "600") as process, ws(process, "/ws/told") as websocket:
        process.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as caught:
            websocket.recv(timeout=30)
        assert caught.value.rcvd.code == 1012
        process.wait_for("told 1012 service restart")
        assert process.wait() == 0


# Granian -----------------------------------------------------------------------------------


@pytest.mark.parametrize("loop", LOOPS)
def test_granian_never_stopped_while_a_websocket_was_open(loop):
    """The client does not answer the close frame, and nothing of the application ends by itself."""
    with serve("--loop", loop, "--timeout-graceful-shutdown", "0.3") as process:
        socks = [dial_websocket(process, path)[0] for path in ("/ws/wait", "/ws/send", "/ws/echo", "/ws/slow")]
        socks.append(dial(process, GET % b"/endless"))
        socks.append(dial(process, GET % b"/wait"))
        time.sleep(0.2)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("request_", [handshake("/ws/deaf"), GET % b"/thread"], ids=["task", "thread"])
def test_not_even_what_never_ends_keeps_the_process_alive(request_):
    """A task that swallows its cancellation, and a thread that does not return: Python itself waits for both."""
    with serve("--timeout-graceful-shutdown", "0.2") as process:
        with dial(process, request_):
            process.wait_for("waiting for ever")
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
        assert "Something of the application does not end" in process.output


@pytest.mark.parametrize("path", BAD_FIELDS)
def test_granian_s_worker_was_aborted_by_a_header_value(server, path):
    """The request fails alone: a 500, a line in the log, and everybody else goes on."""
    with ws(server, "/ws/echo") as websocket:
        answer = read_all(server, path)
        assert answer.startswith(b"HTTP/1.1 500 ")
        assert b"set-cookie" not in answer
        websocket.send("still here")
        assert websocket.recv(timeout=30) == "still here"
    assert get(server) == 200


def test_granian_s_worker_was_aborted_by_a_header_value_of_an_accept(server):
    with pytest.raises(InvalidStatus) as caught, ws(server, "/ws/bad-field"):
        pass
    assert caught.value.response.status_code == 500
    assert get(server) == 200


# gunicorn ----------------------------------------------------------------------------------

LIMIT = 10


@pytest.mark.parametrize("loop", LOOPS)
def test_gunicorn_s_count_of_connections_leaked(loop):
    """Whatever way connections end, there is room for as many as before."""
    options = ("--limit-connections", str(LIMIT), "--limit-concurrency", str(LIMIT), "--no-access-log")
    with serve("--loop", loop, *options) as process:
        for end in (close, reset):
            for start in STARTS:
                for _ in range(LIMIT // 2 + 1):
                    sock = dial_patiently(process, start)
                    end(sock)
        deadline_s = time.monotonic() + WAIT_TIMEOUT_S
        while not all_served(process):
            assert time.monotonic() < deadline_s, process.output[-2000:]
            time.sleep(0.1)
        assert "Traceback" not in process.output


# How connections begin; how they end is up to the test.
STARTS = (
    b"",
    b"GET / HT",
    b"nonsense\r\n\r\n",
    GET % b"/",
    GET % b"/large",
    GET % b"/endless",
    GET % b"/count-slowly" * 3,
    CHUNKED % b"/count-slowly" + b"5\r\nab",
    b"POST /count-slowly HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    handshake("/ws/echo"),
    handshake("/ws/echo") + frame(TEXT, b"abc"),
    handshake("/ws/echo") + frame(CLOSE, encode_close(1000, "")),
    handshake("/ws/echo") + b"\xff\xff\xff\xff",
    handshake("/ws/send"),
    handshake("/ws/bad-field").replace(b"13", b"12"),
)


def close(sock: socket.socket) -> None:
    sock.close()


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def dial_patiently(process: Process, data: bytes) -> socket.socket:
    """A connection, with the server's first answer to it, if any, in a moment."""
    sock = dial(process)
    with contextlib.suppress(ConnectionError, TimeoutError):
        sock.sendall(data)
        sock.settimeout(0.02)
        sock.recv(1000)
    return sock


def all_served(process: Process) -> bool:
    """Whether as many connections as the limit allows are served at the same time."""
    socks = [dial(process, GET % b"/") for _ in range(LIMIT)]
    answers = []
    for sock in socks:
        with contextlib.suppress(ConnectionError):
            answers.append(sock.recv(12))
    for sock in socks:
        sock.close()
    return answers == [b"HTTP/1.1 200"] * LIMIT


def read_all(process: Process, path: str) -> bytes:
    with dial(process, GET % path.encode()) as sock:
        return read_to_end(sock)
