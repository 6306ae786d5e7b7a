"""What a supervisor refuses."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from fullduplex.exceptions import ConfigurationError
from fullduplex.server import cores, platform
from fullduplex.server.channel import Channel
from fullduplex.server.children import Child, Slot
from fullduplex.server.config import ServerConfig
from fullduplex.server.orders import pack, unpack
from fullduplex.server.overview import State
from fullduplex.server.settings import all_settings
from fullduplex.server.slots import Slots
from fullduplex.server.spawn import how_it_ended
from fullduplex.server.supervisor import Supervisor


def test_a_platform_that_cannot_says_so_in_one_line(monkeypatch):
    monkeypatch.delattr(platform.socket, "AF_UNIX")
    with pytest.raises(ConfigurationError, match=r"^--workers 3: this platform cannot .* with --workers 1 .*proxy\.$"):
        Supervisor(ServerConfig(app="a:b", workers=3))


def test_auto_is_a_number_of_workers(monkeypatch):
    setting = dataclasses.replace(all_settings()["workers"])
    assert setting.parse("auto") == setting.convert("auto") == cores.cores_count()
    assert setting.parse("3") == 3
    with pytest.raises(ConfigurationError, match="is not a whole number"):
        setting.parse("many")


def test_a_configuration_goes_to_a_worker_as_it_is():
    config = ServerConfig(app="a:b", workers=3, bind=("unix:/x",))
    assert unpack(pack(config)) == config


@pytest.mark.parametrize(("status", "text"), [(3, "ended with status 3"), (-9, "was killed by SIGKILL"), (-99, "99")])
def test_how_a_process_ended(status, text):
    assert text in how_it_ended(status)


def test_a_supervisor_imports_nothing_that_serves():
    heavy = {"asyncio", "ssl", "uvloop", "httptools", "websockets", "django", "logging.config"}
    code = "import sys, fullduplex.server.cli, fullduplex.server.supervisor; print(*sys.modules)"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & {*imported}


@pytest.mark.parametrize(("ready_s", "longest_s"), [(100.0, 1.2), (None, 36.0)])
def test_one_that_has_served_is_replaced_soon_however_often_it_ends(ready_s, longest_s):
    supervisor, slot = Supervisor(ServerConfig(app="a:b", workers=2)), Slot(0)
    child = SimpleNamespace(ready_s=ready_s)
    delays = [supervisor._delay(slot, child, 101.0) for _ in range(10)]
    assert longest_s * 0.6 < max(delays) <= longest_s


def test_a_worker_that_starts_learns_of_a_new_slot_as_those_that_serve_do():
    config = ServerConfig(app="a:b", workers=2, port=0)
    supervisor = Supervisor(config)
    supervisor._sockets = Slots(config, ["127.0.0.1"])
    supervisor._templates = SimpleNamespace(add_listener=lambda number: None)
    lines = []
    for number, state in enumerate((State.READY, State.STARTING, State.DRAINING)):
        ours, theirs = map(Channel, socket.socketpair())
        lines.append(theirs)
        supervisor._sockets.open(number)
        child = Child(SimpleNamespace(channel=ours), number, 1, 0.0)
        child.state = state
        supervisor._slots[number] = Slot(number)
        supervisor._slots[number].current = child
    supervisor._add_slot()
    heard = [line.receive() for line in lines]
    assert [[(one["kind"], one["slot"]) for one in messages] for messages in heard] == [
        [("listener", 3)],
        [("listener", 3)],
        [],
    ]
    for messages in heard:
        for message in messages:
            os.close(message["descriptors"][0])
    for line in lines:
        line.close()
    for slot in supervisor._slots.values():
        for child in slot.children:
            child.process.channel.close()
    supervisor._sockets.close()
