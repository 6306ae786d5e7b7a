"""Where a server listens: several places at once, and sockets that others opened."""

from __future__ import annotations

import http.client
import os
import socket
import sys

import pytest

from tests.e2e.process import ROOT, Process, fullduplex
from tests.e2e.test_server import get

pytestmark = pytest.mark.e2e

ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
os.execv(sys.executable, [sys.executable, "-m", "fullduplex", *sys.argv[2:]])
"""


def get_unix(path: str) -> bytes:
    client = http.client.HTTPConnection("localhost", timeout=30)
    client.sock = socket.socket(socket.AF_UNIX)
    client.sock.connect(path)
    client.request("GET", "/")
    body = client.getresponse().read()
    client.close()
    return body


def test_several_addresses_at_once(tmp_path):
    path = str(tmp_path / "s")
    binds = ("--bind", "127.0.0.1:0", "--bind", f"unix:{path}", "--uds-mode", "600")
    with fullduplex("plain_asgi:app", *binds) as process:
        process.wait_for(f"Listening on unix:{path}")
        assert get(process) == (200, b"Hello, world!")
        assert get_unix(path) == b"Hello, world!"
        assert os.stat(path).st_mode & 0o777 == 0o600
    assert not os.path.exists(path)


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_ipv6():
    with fullduplex("plain_asgi:app", "--bind", "[::1]:0") as process:
        client = http.client.HTTPConnection("::1", process.port, timeout=30)
        client.request("GET", "/")
        assert client.getresponse().read() == b"Hello, world!"
        client.close()


def test_systemd_activation():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        app = ("plain_asgi:app", "--app-dir", str(ROOT / "tests" / "e2e"))
        with Process(sys.executable, "-c", ACTIVATE, str(fd), *app, pass_fds=(fd,)) as process:
            assert process.port == port
            assert get(process) == (200, b"Hello, world!")


def test_when_one_address_is_taken_nothing_is_left_open(tmp_path):
    path = str(tmp_path / "s")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        binds = ("--bind", f"unix:{path}", "--bind", address)
        with fullduplex("plain_asgi:app", *binds, ready=f"ERROR .*{address} is in use") as process:
            assert process.wait() == 1
    assert not os.path.exists(path)
