"""What a member of a room costs while it waits: nothing of its handshake stays but the request."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.e2e.clients import dial_websocket, resident_bytes
from tests.e2e.startproject import Project

pytestmark = pytest.mark.e2e

FIRST_COUNT = 100  # make what is made once: imports, caches, the first arenas
COUNT = 400
MEMBER_BYTES = 20_480  # 12 to 14 KiB, and what the process grows by for other reasons; it was 27 with all that stayed


def test_a_member_of_a_room_costs_little_memory(site: Project, tmp_path: Path) -> None:
    project = site.copy(tmp_path / "site")
    project.setting("ALLOWED_HOSTS = ['*']")
    with (
        project.fullduplex("mysite.asgi:application", "--port", "0", "--no-access-log") as server,
        contextlib.ExitStack() as members,
    ):

        def join(count: int) -> None:
            for _ in range(count):
                member, rest = dial_websocket(server, "/room/lobby/")
                members.enter_context(member)
                assert rest or member.recv(1000)  # "welcome"

        join(FIRST_COUNT)
        before_bytes = resident_bytes(server)
        join(COUNT)
        assert (resident_bytes(server) - before_bytes) / COUNT <= MEMBER_BYTES
