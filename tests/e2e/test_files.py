"""Files by sendfile and by hand: every loop, with and without TLS, clients that stall or leave."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time

import pytest
import trustme

from tests.e2e.process import ROOT, fullduplex

pytestmark = pytest.mark.e2e

SIZE = 20_000_000
CA = trustme.CA()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture(scope="module", params=["uvloop", "asyncio", "uvloop-tls", "asyncio-tls"])
def server(request, file, tmp_path_factory):
    loop, _, tls = request.param.partition("-")
    options = ["--loop", loop, "--connection-stalled-write-timeout-s", "3"]
    if tls:
        cert = tmp_path_factory.mktemp("tls") / "cert.pem"
        CA.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(cert)
        options += ["--ssl-certfile", str(cert)]
    env = {"PYTHONPATH": str(ROOT), "TEST_FILE": str(file)}
    with fullduplex("files_asgi:app", *options, env=env) as process:
        yield process


def client_of(server) -> http.client.HTTPConnection:
    if server.url.startswith("https"):
        context = ssl.create_default_context()
        CA.configure_trust(context)
        return http.client.HTTPSConnection("localhost", server.port, timeout=30, context=context)
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)


def test_a_file_and_the_next_request_on_the_same_connection(server, file):
    client = client_of(server)
    content = file.read_bytes()
    for path, wanted in (("/", content), ("/part", content[100:1100]), ("/", content)):
        client.request("GET", path)
        response = client.getresponse()
        assert response.headers["content-length"] == str(len(wanted))
        assert response.read() == wanted
    client.request("HEAD", "/")
    response = client.getresponse()
    assert (response.headers["content-length"], response.read()) == (str(SIZE), b"")
    client.close()


def test_early_hints(server, file):
    client = client_of(server)
    client.connect()
    client.sock.sendall(b"GET /hint HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert client.sock.recv(1000).startswith(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n")
    client.close()


def test_a_client_that_leaves_or_stalls_is_let_go(server):
    for leaves in (True, False):
        client = client_of(server)
        client.connect()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.sock.recv(1000)
        if leaves:
            client.close()
            continue
        started_s = time.monotonic()
        server.wait_for('"GET / HTTP/1.1" 200', after=len(server.output))
        assert time.monotonic() - started_s < 25, "the default is 30"
        client.close()
    assert "Traceback" not in server.output


def test_a_download_that_nobody_reads_does_not_keep_the_server(file):
    env = {"PYTHONPATH": str(ROOT), "TEST_FILE": str(file)}
    for loop in ("uvloop", "asyncio"):
        options = ("--loop", loop, "--timeout-graceful-shutdown", "0.3", "--connection-stalled-write-timeout-s", "600")
        with fullduplex("files_asgi:app", *options, env=env) as process:
            client = client_of(process)
            client.connect()
            client.sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.sock.recv(1000)
            assert process.stop() == 0
            client.close()
        assert "Traceback" not in process.output
