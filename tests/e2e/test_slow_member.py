"""A member of a group that reads nothing: the others go on, memory stays bounded, and the policy is counted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.e2e.clients import dial_websocket, flat_memory
from tests.e2e.startproject import Project

pytestmark = pytest.mark.e2e

MESSAGE = os.urandom(32_768).hex()
COUNT = 300  # 20 MB
KERNEL_BYTES = 8_000_000  # what two sockets of loopback buffer at most, and then some
BOUND_BYTES = 1_048_576  # OUTBOX_MAX_BYTES
MOST_BYTES = 4 * BOUND_BYTES  # and what a process grows by for other reasons
PATIENCE_S = 15.0  # what is stalled is dropped after 30


@pytest.mark.parametrize(
    ("policy", "counter"),
    [
        ("disconnect", "disconnected"),
        ("drop_oldest", "dropped"),
        ("drop_newest", "dropped"),
        ("keep_latest", "dropped"),
    ],
)
def test_a_slow_member_delays_nobody(site: Project, tmp_path: Path, policy: str, counter: str) -> None:
    project = site.copy(tmp_path / "site")
    project.setting(f'FULLDUPLEX = {{"OUTBOX_MAX_BYTES": {BOUND_BYTES}, "OUTBOX_POLICY": "{policy}"}}')
    project.setting("ALLOWED_HOSTS = ['*']")
    with project.fullduplex("mysite.asgi:application", "--port", "0") as server:
        host = f"127.0.0.1:{server.port}"
        url = f"ws://{host}/room/lobby/"
        with connect(url, origin=Origin(f"http://{host}"), compression=None, max_size=None, proxy=None) as member:
            assert member.recv(30) == "welcome"
            for _ in range(3):  # everything is warm
                member.send(MESSAGE)
                member.recv(30)
            slow, _ = dial_websocket(server, "/room/lobby/")
            with slow, flat_memory(server, MOST_BYTES):
                for _ in range(COUNT):
                    started_s = time.monotonic()
                    member.send(MESSAGE)
                    assert member.recv(30) == f'{{"text":"{MESSAGE}"}}'
                    assert time.monotonic() - started_s < PATIENCE_S
                totals = server.get("/totals/").json()
        assert totals["delivered"] >= COUNT
        if policy == "disconnect":
            assert totals[counter] == 1
            server.wait_for("closed 1013")
        else:
            assert totals[counter] > (COUNT * len(MESSAGE) - KERNEL_BYTES) / len(MESSAGE) / 2
            assert totals["disconnected"] == 0
