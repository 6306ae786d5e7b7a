"""``@websocket``."""

from __future__ import annotations

from functools import wraps
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from fullduplex.sockets.views import is_socket_view, websocket
from fullduplex.sockets.websocket import WebSocket


@websocket
async def view(socket: WebSocket, name: str) -> None:
    """What the view does."""
    await socket.send(name)


def test_the_view_keeps_its_name_and_documentation() -> None:
    assert (view.__name__, view.__doc__, view.__module__) == ("view", "What the view does.", __name__)  # type: ignore[attr-defined]


def test_a_sync_function_is_an_error_that_names_the_consumers() -> None:
    def sync_view(socket: WebSocket) -> None:
        pass

    with pytest.raises(TypeError, match=r"sync_view is none\. .*fullduplex\.sockets\.consumers"):
        websocket(sync_view)  # type: ignore[arg-type]


def test_a_socket_view_is_known_through_wraps() -> None:
    @wraps(view)
    def wrapped(*args: Any) -> Any:
        return view(*args)

    def page(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    assert is_socket_view(view)
    assert is_socket_view(wrapped)
    assert not is_socket_view(page)


def test_it_is_non_atomic_for_every_database() -> None:
    assert "default" in view._non_atomic_requests  # type: ignore[attr-defined]
    assert "one that comes later" in view._non_atomic_requests  # type: ignore[attr-defined]


async def test_the_handshake_gets_view_and_arguments() -> None:
    class Handshake:
        async def run(self, view: Any, args: Any, kwargs: Any) -> HttpResponse:
            return HttpResponse(f"{view.__name__} {args} {kwargs}")

    request = HttpRequest()
    request.fullduplex_handshake = Handshake()  # type: ignore[attr-defined]
    assert (await view(request, name="x")).content == b"view () {'name': 'x'}"  # type: ignore[attr-defined]


urlpatterns = [path("<name>/", view)]


@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
def test_django_itself_answers_426_under_wsgi() -> None:
    response = Client().get("/x/")
    assert response.status_code == 426
    assert "Upgrade" not in response  # a hop-by-hop field is the server's under WSGI


@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
async def test_django_itself_answers_426_under_asgi() -> None:
    response = await AsyncClient().get("/x/")
    assert (response.status_code, response["Upgrade"]) == (426, "websocket")


HANDSHAKE = {"HTTP_UPGRADE": "websocket", "HTTP_CONNECTION": "keep-alive, Upgrade", "HTTP_SEC_WEBSOCKET_KEY": "AAAA"}


@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (HANDSHAKE, "'fullduplex' first in INSTALLED_APPS"),
        ({**HANDSHAKE, "HTTP_CONNECTION": "close"}, "without Connection: Upgrade. A proxy"),
        ({"HTTP_SEC_WEBSOCKET_KEY": "AAAA"}, "without Upgrade: websocket and Connection: Upgrade. A proxy"),
        ({}, "open it with `new WebSocket(...)`"),
    ],
    ids=["wsgi", "half a proxy", "a proxy", "a page"],
)
def test_426_says_what_has_become_of_the_handshake(
    fields: dict[str, str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = Client().get("/x/", **fields)  # type: ignore[arg-type]
    assert response.status_code == 426
    assert reason in response.content.decode()
    [line] = caplog.messages
    assert reason in line


@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
async def test_426_names_a_server_that_hands_handshakes_on_as_http() -> None:
    headers = {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-key": "AAAA"}
    response = await AsyncClient().get("/x/", headers=headers)
    assert "`pip install websockets`" in response.content.decode()
