"""The communicators, and the test case with a real server."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from websockets.sync.client import connect

from fullduplex.channels import testing
from fullduplex.channels.auth import AuthMiddlewareStack
from fullduplex.channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from fullduplex.channels.routing import ProtocolTypeRouter, URLRouter
from fullduplex.channels.testing import ChannelsLiveServerTestCase, HttpCommunicator, WebsocketCommunicator
from fullduplex.channels.utils import name_that_thing
from fullduplex.handler.application import get_asgi_application


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data, bytes_data)


async def test_empty_messages_can_be_sent() -> None:
    """The communicator of Channels refuses to."""
    communicator = WebsocketCommunicator(Echo.as_asgi(), "ws://example.com/%C3%A4/?a=b", spec_version="2.5")
    assert (communicator.scope["path"], communicator.scope["query_string"]) == ("/ä/", b"a=b")
    assert await communicator.connect() == (True, None)
    await communicator.send_to(text_data="")
    await communicator.send_to(bytes_data=b"")
    assert [await communicator.receive_from(), await communicator.receive_from()] == ["", b""]
    await communicator.disconnect(4000, reason="enough")


async def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="Expected str"):
        WebsocketCommunicator(Echo.as_asgi(), b"/")  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        HttpCommunicator(Echo.as_asgi(), "GET", "/", body="text")  # type: ignore[arg-type]
    communicator = WebsocketCommunicator(Echo.as_asgi(), "/")
    await communicator.connect()
    for arguments in ({}, {"text_data": "a", "bytes_data": b"a"}, {"text_data": b"a"}, {"bytes_data": "a"}):
        with pytest.raises(AssertionError):
            await communicator.send_to(**arguments)  # type: ignore[arg-type]
    await communicator.send_to(bytes_data=b"{}")
    with pytest.raises(AssertionError, match="not a text frame"):
        await communicator.receive_json_from()
    await communicator.disconnect()


async def test_refusals() -> None:
    async def refuse(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 404, "headers": []})

    async def close(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.close", "code": 4001})

    assert await WebsocketCommunicator(refuse, "/").connect() == (False, 404)
    assert await WebsocketCommunicator(close, "/").connect() == (False, 4001)


async def test_what_is_no_answer_fails_the_test() -> None:
    async def wrong(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for event in events:
            await send(event)

    events: list[dict[str, Any]] = [{"type": "websocket.send", "text": "early"}]
    with pytest.raises(AssertionError, match="answer to the handshake"):
        await WebsocketCommunicator(wrong, "/").connect()
    for event, message in (
        ({"type": "websocket.close"}, "but was 'websocket.close'"),
        ({"type": "websocket.send"}, "exactly one"),
        ({"type": "websocket.send", "text": b""}, "payload is not str"),
        ({"type": "websocket.send", "bytes": ""}, "payload is not bytes"),
    ):
        events = [{"type": "websocket.accept"}, event]
        communicator = WebsocketCommunicator(wrong, "/")
        await communicator.connect()
        with pytest.raises(AssertionError, match=message):
            await communicator.receive_from()
    events = [{"type": "websocket.accept"}]
    with pytest.raises(AssertionError, match="Expected type"):
        await HttpCommunicator(wrong, "GET", "/").get_response()


def test_names_of_things() -> None:
    assert name_that_thing(Echo) == name_that_thing(Echo()) == f"{__name__}.Echo"
    assert name_that_thing(Echo.receive) == f"{__name__}.Echo.receive"
    with pytest.raises(AttributeError):
        _ = testing.Nothing  # type: ignore[attr-defined]


# A real server -----------------------------------------------------------------------------------


class Users(WebsocketConsumer):
    def connect(self) -> None:
        self.accept()
        self.send(f"{self.scope['user']} of {User.objects.count()}")


def index(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{User.objects.count()} users")


urlpatterns = [path("", index)]
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AuthMiddlewareStack(URLRouter([path("ws/", Users.as_asgi())])),
    }
)


@override_settings(ROOT_URLCONF=__name__, ASGI_APPLICATION=f"{__name__}.application", ALLOWED_HOSTS=[])
class LiveTests(ChannelsLiveServerTestCase):
    """The database of the tests is in memory, with which that of Channels cannot be used."""

    def test_pages_and_sockets_see_the_database_of_the_test(self) -> None:
        user = User.objects.create(username="ada")
        with urllib.request.urlopen(self.live_server_url, timeout=10) as response:
            assert response.read() == b"1 users"
        with connect(f"{self.live_server_ws_url}/ws/", open_timeout=10) as socket:
            assert socket.recv(10) == "AnonymousUser of 1"
        self.client.force_login(user)
        cookie = {"Cookie": f"sessionid={self.client.cookies['sessionid'].value}"}
        with connect(f"{self.live_server_ws_url}/ws/", additional_headers=cookie, open_timeout=10) as socket:
            assert socket.recv(10) == "ada of 1"

    def test_the_next_test_has_a_fresh_one(self) -> None:
        with urllib.request.urlopen(self.live_server_url, timeout=10) as response:
            assert response.read() == b"0 users"
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            urllib.request.urlopen(f"{self.live_server_url}/static/nothing.css", timeout=10)
        refused.value.close()
