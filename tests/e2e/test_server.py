"""The server as a process, with real sockets and clients of other people's."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import time

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect, unix_connect

from tests.e2e.process import Process, fullduplex

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def server(request):
    with fullduplex("plain_asgi:app", "--loop", request.param) as process:
        yield process


def get(process: Process, path: str = "/", **kwargs) -> tuple[int, bytes]:
    client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
    try:
        client.request(kwargs.pop("method", "GET"), path, **kwargs)
        response = client.getresponse()
        return response.status, response.read()
    finally:
        client.close()


def exchange(process: Process, data: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes, return everything until the server closes."""
    with socket.create_connection(("127.0.0.1", process.port), timeout=30) as sock:
        sock.sendall(data)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := sock.recv(65_536):
            answer += piece
        return answer


def ws(process: Process, path: str = "/", **kwargs):
    return connect(f"ws://127.0.0.1:{process.port}{path}", open_timeout=30, close_timeout=30, **kwargs)


def test_start_up_lines_say_what_listens_and_which_protocols_are_on(server):
    assert "Protocols: HTTP/2 (on loopback and UNIX sockets), HTTP/1.1, WebSocket" in server.output
    assert "lifespan: on" in server.output
    assert server.url.startswith("http://127.0.0.1:")


def test_keep_alive_serves_many_requests_on_one_connection(server):
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(20):
        client.request("GET", "/")
        assert client.getresponse().read() == b"Hello, world!"
        first = client.sock.getsockname()
    assert client.sock.getsockname() == first
    client.close()


def test_http_1_0_closes_and_a_half_closed_client_gets_its_answer(server):
    answer = exchange(server, b"GET /slow HTTP/1.0\r\n\r\n", half_close=True)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nHello, world!")


def test_ten_megabytes_both_ways_with_length_and_in_chunks(server):
    body = os.urandom(10_000_000)
    assert get(server, "/echo", method="POST", body=body) == (200, body)
    pieces = (body[start : start + 100_000] for start in range(0, len(body), 100_000))
    assert get(server, "/echo", method="POST", body=pieces, encode_chunked=True) == (200, body)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"A" * 100_000,
    ],
)
def test_bad_input_is_refused_and_the_connection_closes(server, data):
    answer = exchange(server, data)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 ", b"HTTP/1.1 414 ", b"HTTP/1.1 505 "))
    assert "Traceback" not in server.output


def test_websocket_echo_with_and_without_compression(server):
    for compression in (None, "deflate"):
        with ws(server, compression=compression) as socket:
            for message in ("hello", "", b"", b"\x00\xff" * 50_000, "ü" * 200_000):
                socket.send(message)
                assert socket.recv(timeout=30) == message
            socket.send(["frag", "ment", "ed"])
            assert socket.recv(timeout=30) == "fragmented"
            assert socket.ping().wait(10)


def test_subprotocol_and_close_code(server):
    with ws(server, subprotocols=["chat", "other"]) as socket:
        assert socket.subprotocol == "chat"
        socket.close(4001, "done")
    server.wait_for('closed 4001 "done" by client')


def test_a_refusal_is_a_whole_response(server):
    with pytest.raises(InvalidStatus) as caught, ws(server, "/refused"):
        pass
    response = caught.value.response
    assert response.status_code == 418
    assert response.headers["x-why"] == "teapot"
    assert response.body == b"short and stout"


def test_access_lines(server):
    get(server, "/?seen=1")
    server.wait_for(re.compile(r'"GET /\?seen=1 HTTP/1\.1" 200 13 [\d.]+ms'))
    with ws(server, "/seen"):
        server.wait_for('"WebSocket /seen" accepted')


def test_five_hundred_connections_at_once(server):
    sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(500)]
    for sock in sockets:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for sock in sockets:
        answer = b""
        while piece := sock.recv(4096):
            answer += piece
        assert answer.endswith(b"Hello, world!")
        sock.close()


def test_garbage_collection_passes_over_what_start_up_has_made(server):
    assert int(get(server, "/heap")[1]) > 10_000


def test_an_application_without_lifespan_is_fine():
    with fullduplex("plain_asgi:no_lifespan") as process:
        assert get(process) == (200, b"Hello, world!")
        assert "lifespan: not supported by the application" in process.output
    assert "Traceback" not in process.output


def test_a_failed_startup_ends_the_server_with_its_reason():
    process = fullduplex("plain_asgi:broken_start", ready="did not start: the database is on fire")
    with process:
        assert process.wait() == 1


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_hup_without_tls_is_one_line_and_harms_nothing(server):
    start = len(server.output)
    with ws(server) as websocket:
        server.signal(signal.SIGHUP)
        server.wait_for("SIGHUP renews certificates; without TLS there is nothing to do", after=start)
        websocket.send("still here")
        assert websocket.recv(30) == "still here"
    assert get(server) == (200, b"Hello, world!")
    assert server.output[start:].count("SIGHUP") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_gracefully(number):
    with fullduplex("plain_asgi:app") as process:
        slow = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        slow.request("GET", "/slow")
        with ws(process) as websocket:
            websocket.send("hi")
            assert websocket.recv(timeout=30) == "hi"
            process.signal(number)
            with pytest.raises(ConnectionClosed) as caught:
                websocket.recv(timeout=30)
        assert caught.value.rcvd.code == 1012
        assert slow.getresponse().read() == b"Hello, world!"
        slow.close()
        assert process.wait() == 0
    assert "lifespan over" in process.output


def test_a_stream_that_never_ends_is_cut_after_the_graceful_time():
    with fullduplex("plain_asgi:app", "--timeout-graceful-shutdown", "0.5") as process:
        client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        client.request("GET", "/stream")
        response = client.getresponse()
        assert response.read(5) == b"tick\n"
        started_s = time.monotonic()
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert time.monotonic() - started_s < 20, "the default is 30"
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            response.read()
        client.close()


def test_a_second_signal_hurries():
    with fullduplex("plain_asgi:app", "--timeout-graceful-shutdown", "60") as process:
        client = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
        client.request("GET", "/stream")
        client.getresponse().read(5)
        process.signal(signal.SIGTERM)
        process.wait_for("Stopping")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        client.close()


def test_a_unix_socket(tmp_path):
    path = str(tmp_path / "s")
    with fullduplex("plain_asgi:app", "--uds", path), unix_connect(path, uri="ws://localhost/") as websocket:
        websocket.send("over unix")
        assert websocket.recv(timeout=30) == "over unix"
    assert not os.path.exists(path)


def test_an_inherited_descriptor():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        fd = listener.fileno()
        with fullduplex("plain_asgi:app", "--fd", str(fd), pass_fds=(fd,)) as process:
            assert process.port == port
            assert get(process) == (200, b"Hello, world!")


def test_a_port_in_use_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with fullduplex(
            "plain_asgi:app", "--port", str(port), ready=rf"ERROR .*127\.0\.0\.1:{port} is in use"
        ) as process:
            assert process.wait() == 1
    assert "Traceback" not in process.output


def test_daphne_s_short_options_work():
    with fullduplex("plain_asgi:app", "-b", "127.0.0.1", "-p", "0", "--port", "0") as process:
        assert get(process) == (200, b"Hello, world!")
