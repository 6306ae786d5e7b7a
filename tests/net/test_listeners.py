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


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("127.0.0.1:80", ("127.0.0.1", 80)),
        ("example.org", ("example.org", 8000)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", 8000)),
        ("::1", ("::1", 8000)),
        (":80", ("", 80)),
    ],
)
def test_addresses_of_tcp(address, parts):
    assert listeners.split_address(address, 8000) == parts


@pytest.mark.parametrize("address", ["a:b", "a:99999", "[::1", "[::1]x", "fd://x"])
def test_a_malformed_address_is_one_clear_line(address):
    with pytest.raises(ConfigurationError, match=r"^--bind .*: "):
        listeners.open_listeners(address, listeners.ListenOptions())


def test_a_machine_without_ipv6_still_listens_on_localhost(opened, monkeypatch):
    addresses = [(socket.AF_INET6, ("2001:db8::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0))]
    infos = [(family, socket.SOCK_STREAM, 0, "", address) for family, address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: infos)
    opened += listeners.open_tcp("localhost", 0, 10)
    assert [sock.family for sock in opened] == [socket.AF_INET]


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs SO_REUSEPORT")
def test_two_share_a_port_where_both_ask_for_it(opened):
    opened += listeners.open_tcp("127.0.0.1", 0, 10, reuse_port=True)
    opened += listeners.open_tcp("127.0.0.1", opened[0].getsockname()[1], 10, reuse_port=True)
    assert opened[0].getsockname() == opened[1].getsockname()


def test_a_platform_without_port_reuse_says_so(monkeypatch):
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    with pytest.raises(ConfigurationError, match="no SO_REUSEPORT"):
        listeners.open_tcp("127.0.0.1", 0, 10, reuse_port=True)


def test_closing_removes_the_file_unless_it_is_another_server_s(tmp_path):
    path = tmp_path / "s"
    (first,) = listeners.open_listeners(f"unix:{path}", listeners.ListenOptions())
    path.unlink()
    (second,) = listeners.open_listeners(f"unix:{path}", listeners.ListenOptions())
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


def test_a_datagram_socket_cannot_be_listened_on(opened):
    opened.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with pytest.raises(ConfigurationError, match="not a stream socket"):
        listeners.inherit(opened[0].fileno())


def test_systemd_s_descriptors_are_taken_once_and_only_by_their_process(opened, monkeypatch):
    monkeypatch.setattr(os, "set_inheritable", lambda fd, inheritable: None)
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "HOME": "/"}
    assert listeners.systemd_descriptors(environ) == [3, 4]
    assert environ == {"HOME": "/"}
    assert listeners.systemd_descriptors(environ) == []
    assert listeners.systemd_descriptors({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    assert listeners.systemd_descriptors({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "x"}) == []
