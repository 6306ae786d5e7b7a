"""The listening sockets of many workers."""

from __future__ import annotations

import socket
import sys

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.server import slots as slots_module
from fullduplex.server.config import ServerConfig
from fullduplex.server.slots import Slots

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="one socket for all elsewhere")


@pytest.fixture
def opened():
    every = []
    yield lambda *args: every.append(Slots(*args)) or every[-1]
    for slots in every:
        slots.close()


def test_each_slot_has_a_socket_of_its_own_on_the_same_port(opened):
    slots = opened(ServerConfig(port=0), ["127.0.0.1"])
    first, second = slots.open(0), slots.open(1)
    assert slots.open(1) is second
    assert first[0].sock.getsockname() == second[0].sock.getsockname()
    assert {*slots.descriptors} == {first[0].sock.fileno(), second[0].sock.fileno()}
    assert slots.urls("http") == [first[0].url("http")]


def test_an_address_in_use_is_seen_although_it_could_be_shared(opened):
    slots = opened(ServerConfig(port=0), ["127.0.0.1"])
    port = slots.open(0)[0].sock.getsockname()[1]
    with pytest.raises(ConfigurationError, match="is in use"):
        opened(ServerConfig(port=port), ["127.0.0.1"])
    opened(ServerConfig(port=port, reuse_port=True), ["127.0.0.1"])


def test_sockets_of_others_and_unix_sockets_are_for_all(opened, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        slots = opened(ServerConfig(), [f"fd://{theirs.fileno()}", f"unix:{tmp_path / 's'}"])
        assert slots.open(0) == slots.open(1) == []
        assert len(slots.descriptors) == 2
        slots.shared[0].sock.detach()


def test_where_the_kernel_does_not_share_out_one_socket_is_for_all(opened, monkeypatch):
    monkeypatch.setattr(slots_module, "SHARES_OUT", False)
    slots = opened(ServerConfig(port=0), ["127.0.0.1"])
    assert slots.open(0) == []
    assert len(slots.shared) == 1
