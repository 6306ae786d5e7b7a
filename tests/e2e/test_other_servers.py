"""The bridge, from both sides: our Django application on other servers, other applications on our server."""

from __future__ import annotations

import re
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.e2e.startproject import Project, Server, free_port

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Peer:
    """An ASGI server, and what it lacks."""

    name: str
    arguments: tuple[str, ...]
    ready: str
    refusals: bool = True  # websocket.http.response: a refusal has the status and the body of Django's response
    accept_headers: bool = True  # the headers of websocket.accept reach the client
    empty_messages: bool = True  # an empty message reaches the application
    close_reason: str = "as you wish"  # what the client learns of the view's reason
    client_close: str = "4002 had enough"  # what the view learns of the client's code and reason


PEERS = [
    Peer("fullduplex", ("--port", "{port}"), "Listening on"),
    Peer("uvicorn", ("--port", "{port}"), "Uvicorn running on"),
    Peer("hypercorn", ("--bind", "127.0.0.1:{port}"), "Running on", client_close="1006"),
    Peer(
        "granian",
        ("--interface", "asgi", "--port", "{port}"),
        "Started worker",
        accept_headers=False,
        client_close="4002",
    ),
    Peer(
        "daphne",
        ("-p", "{port}"),
        "Listening on TCP",
        accept_headers=False,
        refusals=False,
        empty_messages=False,
        close_reason="",
        client_close="4002",
    ),
]


@dataclass
class Served:
    peer: Peer
    server: Server


class ServerElsewhere(Server):
    """A server whose start-up lines do not name its port the way ours do."""

    known_port: int

    @property
    def port(self) -> int:
        return self.known_port


@pytest.fixture(scope="module", params=PEERS, ids=lambda peer: peer.name)
def served(request: pytest.FixtureRequest, site: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    peer: Peer = request.param
    project = site.copy(tmp_path_factory.mktemp(peer.name) / "site")
    # These servers do not tell how many workers serve; the project says that one does.
    project.setting('CHANNEL_LAYERS = {"default": {"BACKEND": "fullduplex.layers.memory.MemoryLayer"}}')
    port = free_port()
    arguments = [argument.format(port=port) for argument in peer.arguments]
    command = [sys.executable, "-m", peer.name, *arguments, "mysite.asgi:application"]
    # Their own warnings are not ours to judge.
    with ServerElsewhere(command, project.path, {"PYTHONWARNINGS": "default"}) as server:
        server.known_port = port
        server.wait_for(re.compile(peer.ready), 30)
        wait_until_it_connects(port)
        yield Served(peer, server)


def wait_until_it_connects(port: int) -> None:
    """A line in the log may come a moment before the port listens."""
    deadline_s = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


def test_http(served: Served) -> None:
    assert served.server.get("/function/").text == "from a function"
    assert served.server.get("/class/").text == "from a class"
    assert served.server.get("/function/").headers["x-timing"] == "measured"
    assert served.server.get("/users/").json()["names"] == ["ada"]
    assert served.server.get("/nowhere/").status_code == 404
    assert served.server.get("/echo/lobby/").status_code == 426


def test_a_socket_route_in_urls(served: Served) -> None:
    with served.server.websocket("/echo/lobby/") as client:
        assert client.recv(30) == "you are at /echo/lobby/"
        for message in ("hello", b"\x00\xff", "ü" * 10_000, ""):
            if message == "" and not served.peer.empty_messages:
                continue
            client.send(message)
            assert client.recv(30) == message
        assert client.response is not None
        if served.peer.accept_headers:
            assert client.response.headers["x-timing"] == "measured"


def test_an_unknown_path_is_refused(served: Served) -> None:
    with pytest.raises(InvalidStatus) as caught, served.server.websocket("/nowhere/"):
        pass
    assert caught.value.response.status_code == (404 if served.peer.refusals else 403)
    assert "Traceback" not in served.server.output


def test_a_redirect_refuses(served: Served) -> None:
    handshake = {  # by hand, since the client of websockets follows redirects
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    response = served.server.get("/private/", handshake)
    assert response.status_code == (302 if served.peer.refusals else 403)
    if served.peer.refusals:
        assert response.headers["location"] == "/accounts/login/?next=/private/"


def test_a_page_of_another_site_is_refused(served: Served) -> None:
    url = f"ws://127.0.0.1:{served.server.port}/echo/lobby/"
    with pytest.raises(InvalidStatus) as caught:
        connect(url, origin=Origin("https://evil.example"), open_timeout=30, proxy=None)
    assert caught.value.response.status_code == 403


def test_closes_have_their_code_and_reason_both_ways(served: Served) -> None:
    with served.server.websocket("/leaving/") as client:
        client.send("leave")
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(30)
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, served.peer.close_reason)
    with served.server.websocket("/leaving/") as client:
        client.send("stay")
        client.close(4002, "had enough")
    served.server.wait_for(re.compile(f"the client left with {served.peer.client_close}$", re.M))


def test_a_stream_ends_with_its_client(served: Served) -> None:
    start = len(served.server.output)
    with httpx.stream("GET", f"http://127.0.0.1:{served.server.port}/events/", timeout=30) as response:
        assert next(response.iter_text()).startswith("data: tick")
    served.server.wait_for("nobody listens any more", after=start)


def test_an_exception_in_a_socket_closes_1011(served: Served) -> None:
    with served.server.websocket("/broken/") as client, pytest.raises(ConnectionClosed) as caught:
        client.recv(30)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1011
    served.server.wait_for("RuntimeError: a view that fails")


def test_a_group_reaches_every_member(served: Served) -> None:
    with (
        served.server.websocket("/room/lobby/") as first,
        served.server.websocket("/room/lobby/") as second,
        served.server.websocket("/room/other/") as other,
    ):
        for member in (first, second, other):
            assert member.recv(30) == "welcome"
        first.send("hello")
        assert first.recv(30) == second.recv(30) == '{"text":"hello"}'
        second.send("and back")
        assert first.recv(30) == second.recv(30) == '{"text":"and back"}'
        with pytest.raises(TimeoutError):
            other.recv(0.2)
        assert served.server.get("/room/lobby/say/").text == "said"
        assert first.recv(30) == second.recv(30) == "from a view"


CHANNELS = """
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

from asgiref.sync import async_to_sync
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

django_application = get_asgi_application()


class Chat(WebsocketConsumer):
    def connect(self):
        async_to_sync(self.channel_layer.group_add)("chat", self.channel_name)
        self.accept()

    def receive(self, text_data=None, bytes_data=None):
        async_to_sync(self.channel_layer.group_send)("chat", {"type": "chat.message", "text": text_data})

    def chat_message(self, event):
        self.send(text_data=event["text"])

    def disconnect(self, code):
        async_to_sync(self.channel_layer.group_discard)("chat", self.channel_name)


application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AuthMiddlewareStack(URLRouter([path("chat/", Chat.as_asgi())])),
    }
)
"""


def test_channels_runs_on_our_server(project: Project) -> None:
    project.write("channels_asgi.py", CHANNELS)
    project.setting(
        'INSTALLED_APPS.append("channels")\n'
        'CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}'
    )
    env = {"PYTHONWARNINGS": "default"}
    with (
        project.fullduplex("mysite.channels_asgi:application", "--port", "0", env=env) as server,
        server.websocket("/chat/") as first,
        server.websocket("/chat/") as second,
    ):
        assert "The install worked successfully" in server.get("/").text
        first.send("hello")
        assert first.recv(30) == second.recv(30) == "hello"
    assert "Traceback" not in server.output
