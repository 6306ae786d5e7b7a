"""The chat of the tutorial of Channels on our server: with Channels, and with nothing changed but its imports."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.e2e import channels_chat
from tests.e2e.startproject import WAIT_TIMEOUT_S, Project, Server

pytestmark = pytest.mark.e2e


def write_chat(project: Project, channels: str) -> Project:
    project.write("consumers.py", channels_chat.CONSUMERS.format(channels=channels))
    project.write("routing.py", channels_chat.ROUTING)
    project.write("asgi.py", channels_chat.ASGI.format(channels=channels))
    project.setting(channels_chat.SETTINGS)
    return project


@pytest.fixture(scope="module", params=["channels", "fullduplex.channels"])
def chat(request: pytest.FixtureRequest, plain: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    project = write_chat(plain.copy(tmp_path_factory.mktemp("chat") / "site"), request.param)
    with project.fullduplex("mysite.asgi:application", "--port", "0") as server:
        yield server


@pytest.fixture(scope="module")
def ours(plain: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same by ``runserver``."""
    project = write_chat(plain.copy(tmp_path_factory.mktemp("ours") / "site"), "fullduplex.channels")
    with project.runserver() as server:
        yield server


@pytest.mark.parametrize("path", ["/ws/chat/lobby/", "/ws/async/lobby/"])
def test_two_browsers_talk(chat: Server, path: str) -> None:
    with chat.websocket(path) as one, chat.websocket(path) as other:
        for sender in (one, other):
            sender.send(json.dumps({"message": "hello"}))
            for receiver in (one, other):
                answer = json.loads(receiver.recv(WAIT_TIMEOUT_S))
                assert answer == {"message": "hello", "by": "AnonymousUser"}


def test_pages_are_served_beside_it(chat: Server) -> None:
    assert chat.get("/admin/login/").status_code == 200


def test_foreign_pages_are_refused(chat: Server) -> None:
    url = f"ws://127.0.0.1:{chat.port}/ws/chat/lobby/"
    with pytest.raises(InvalidStatus) as refused:
        connect(url, origin=Origin("http://elsewhere.test"), open_timeout=WAIT_TIMEOUT_S, proxy=None)
    assert refused.value.response.status_code == 403


def test_runserver_serves_it_and_an_unknown_path_is_404(ours: Server) -> None:
    with ours.websocket("/ws/chat/lobby/") as socket:
        socket.send(json.dumps({"message": "hello"}))
        assert json.loads(socket.recv(WAIT_TIMEOUT_S))["message"] == "hello"
    with pytest.raises(InvalidStatus) as refused:
        ours.websocket("/ws/nowhere/")
    assert refused.value.response.status_code == 404
    assert "Traceback" not in ours.output


def test_a_consumer_that_fails_while_it_connects_is_500_and_logged(plain: Project, tmp_path: Path) -> None:
    """ch#1177: with Channels on Daphne nothing was logged."""
    project = write_chat(plain.copy(tmp_path / "site"), "fullduplex.channels")
    project.replace("consumers.py", "    async def connect(self):\n", "    async def connect(self):\n        1 / 0\n")
    with project.fullduplex("mysite.asgi:application", "--port", "0") as server:
        with pytest.raises(InvalidStatus) as refused:
            server.websocket("/ws/async/lobby/")
        assert refused.value.response.status_code == 500
        server.wait_for("ZeroDivisionError: division by zero", WAIT_TIMEOUT_S)
        assert server.output.count("ZeroDivisionError: division by zero") == 1
