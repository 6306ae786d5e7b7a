"""The line between a supervisor and a worker."""

from __future__ import annotations

import os
import socket

import pytest

from fullduplex.server.channel import Channel
from fullduplex.server.child import _first


@pytest.fixture
def ends():
    ours, theirs = (Channel(sock) for sock in socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def test_messages_arrive_in_order_and_the_end_is_seen(ends):
    ours, theirs = ends
    assert theirs.receive() == []
    ours.send({"kind": "a"})
    ours.send({"kind": "b", "slots": [1, 2]})
    assert theirs.receive() == [{"kind": "a"}, {"kind": "b", "slots": [1, 2]}]
    ours.send({"kind": "c"})
    ours.close()
    assert theirs.receive() == [{"kind": "c"}]
    assert theirs.is_closed
    theirs.send({"kind": "to nobody"})
    assert not theirs.is_behind


def test_what_the_other_end_does_not_take_waits(ends):
    ours, theirs = ends
    long = {"kind": "x" * 3_000_000}
    ours.send(long)
    ours.send({"kind": "y"})
    assert ours.is_behind
    received = []
    while len(received) < 2:
        ours.flush()
        received += theirs.receive()
    assert received == [long, {"kind": "y"}]
    assert not ours.is_behind


def test_descriptors_go_along(ends):
    ours, theirs = ends
    reading, writing = os.pipe()
    ours.send({"kind": "plain"})
    ours.send({"kind": "listener"}, [writing])
    os.close(writing)
    plain, message = theirs.receive()
    assert plain == {"kind": "plain"}
    (copy,) = message["descriptors"]
    assert not os.get_inheritable(copy)
    os.write(copy, b"through it")
    os.close(copy)
    assert os.read(reading, 100) == b"through it"
    os.close(reading)


def test_a_process_that_starts_reads_its_order_and_leaves_what_has_come_behind_it(ends):
    ours, theirs = ends
    reading, writing = os.pipe()
    ours.send({"kind": "order"})
    ours.send({"kind": "listener"}, [writing])
    os.close(writing)
    assert _first(theirs) == {"kind": "order"}
    (message,) = theirs.receive()
    os.write(message["descriptors"][0], b"through it")
    os.close(message["descriptors"][0])
    assert os.read(reading, 100) == b"through it"
    os.close(reading)
