"""Real sockets on loopback: what listens, and one clear line when it cannot."""

from __future__ import annotations

import os
import socket
import stat

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.net import listeners


@pytest.fixture
def opened():
    sockets: list[socket.socket] = []
    yield sockets
    for sock in sockets:
        sock.close()


def test_port_0_takes_a_free_port(opened):
    opened += listeners.open_tcp("127.0.0.1", 0, 10)
    host, port = opened[0].getsockname()
    assert listeners.address_url(opened[0]) == f"http://127.0.0.1:{port}"
    socket.create_connection((host, port), timeout=2).close()


def test_localhost_has_the_same_port_on_every_address(opened):
    opened += listeners.open_tcp("localhost", 0, 10)
    assert len({sock.getsockname()[1] for sock in opened}) == 1


def test_a_port_in_use_is_one_clear_line(opened):
    opened += listeners.open_tcp("127.0.0.1", 0, 10)
    port = opened[0].getsockname()[1]
    with pytest.raises(ConfigurationError, match=rf"^127\.0\.0\.1:{port} is in use: .*--port\.$"):
        listeners.open_tcp("127.0.0.1", port, 10)


@pytest.mark.parametrize(("host", "line"), [("192.0.2.1", "not an address of this machine"), ("no.invalid", "Cannot")])
def test_an_address_that_is_not_ours(host, line):
    with pytest.raises(ConfigurationError, match=line):
        listeners.open_tcp(host, 0, 10)


def test_a_unix_socket_has_its_mode_and_replaces_a_stale_one(opened, tmp_path):
    path = str(tmp_path / "s")
    listeners.open_unix(path, 0o600, 10).close()
    opened.append(listeners.open_unix(path, 0o600, 10))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert listeners.address_url(opened[0]) == f"unix:{path}"


def test_a_unix_socket_in_use_is_left_alone(opened, tmp_path):
    path = str(tmp_path / "s")
    opened.append(listeners.open_unix(path, 0o600, 10))
    with pytest.raises(ConfigurationError, match="is in use"):
        listeners.open_unix(path, 0o600, 10)


def test_a_file_in_the_way_is_left_alone(tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(ConfigurationError, match="not a socket"):
        listeners.open_unix(str(path), 0o600, 10)
    assert path.read_text() == "precious"


def test_a_platform_without_unix_sockets_says_so(monkeypatch):
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ConfigurationError, match="no UNIX sockets"):
        listeners.open_unix("s", 0o600, 10)


def test_an_inherited_descriptor_listens(opened):
    original = listeners.open_tcp("127.0.0.1", 0, 10)[0]
    opened.append(listeners.inherit(os.dup(original.fileno())))
    original.close()
    socket.create_connection(opened[0].getsockname(), timeout=2).close()


def test_a_descriptor_that_is_no_socket_is_one_clear_line(tmp_path):
    fd = os.open(tmp_path / "file", os.O_CREAT)
    with pytest.raises(ConfigurationError, match=f"^--fd {fd}: "):
        listeners.inherit(fd)
    os.close(fd)
