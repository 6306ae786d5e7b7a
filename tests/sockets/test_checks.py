"""What ``manage.py check`` says of routes."""

from __future__ import annotations

import types
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from channels.generic.websocket import WebsocketConsumer as ForeignConsumer
from django.core.checks import registry
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import include, path

from fullduplex import WebSocket, websocket
from fullduplex.channels.generic.http import AsyncHttpConsumer
from fullduplex.channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from fullduplex.sockets.checks import check_handler, check_routes


class Chat(WebsocketConsumer):
    pass


class Foreign(ForeignConsumer):  # type: ignore[misc]  # channels has no types
    pass


async def forgotten(socket: WebSocket, name: str) -> None:
    await socket.send(name)


@websocket
async def room(socket: WebSocket) -> None:
    await socket.send("room")


@wraps(room)
async def decorated(request: HttpRequest) -> Any:
    return await room(request)


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def unreadable(request: "Nowhere") -> HttpResponse:  # type: ignore[name-defined]  # noqa: F821, UP037  # what it tests
    return HttpResponse()


def check(*patterns: Any, run: Any = check_routes) -> list[Any]:
    urlconf = types.ModuleType("urlconf_of_one_test")
    urlconf.urlpatterns = list(patterns)  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=urlconf):
        return list(run())


def test_it_is_registered() -> None:
    assert {check_routes, check_handler} <= registry.registry.registered_checks


def test_what_is_right_passes() -> None:
    views = (room, decorated, page, unreadable, Chat.as_view(), AsyncWebsocketConsumer.as_view(), object)
    assert check(*(path(f"{number}/", view) for number, view in enumerate(views))) == []  # type: ignore[call-overload]
    with override_settings(ROOT_URLCONF=None):
        assert check_routes() == []


@pytest.mark.parametrize(
    ("view", "what", "hint"),
    [
        (Chat, "the class Chat", "Write Chat.as_view()."),
        (Chat(), "an object of the class Chat", "Write Chat.as_view()."),
        (Chat.as_asgi(), "Chat.as_asgi()", "Write Chat.as_view()."),
        (Foreign.as_asgi(), "Foreign.as_asgi()", "Import the base class of Foreign from fullduplex.channels"),
        (AsyncHttpConsumer.as_asgi(), "AsyncHttpConsumer.as_asgi()", "Give it to URLRouter"),
        (forgotten, "the view forgotten, which takes a WebSocket", "@fullduplex.websocket"),
    ],
)
def test_what_would_fail_with_the_first_handshake(view: Any, what: str, hint: str) -> None:
    [error] = check(path("ws/", include([path("chat/<name>/", view)])))
    assert error.id == "fullduplex.E020"
    assert what in error.msg
    assert "'ws/chat/<name>/'" in error.msg
    assert hint in error.hint


@pytest.mark.parametrize(
    ("source", "is_told"),
    [
        ("from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n", True),
        ("from fullduplex import get_asgi_application\napplication = get_asgi_application()\n", False),
        ("from django.core.asgi import get_asgi_application\napplication = Router(get_asgi_application())\n", False),
        ("application = (\n", False),
    ],
)
@pytest.mark.parametrize("is_named", [True, False])
def test_an_asgi_module_with_the_handler_of_django(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, is_told: bool, is_named: bool
) -> None:
    site = tmp_path / f"site_of_{tmp_path.name}"
    site.mkdir()
    (site / "asgi.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    application = f"{site.name}.asgi.application" if is_named else None
    with override_settings(ASGI_APPLICATION=application, WSGI_APPLICATION=f"{site.name}.wsgi.application"):
        assert check(path("", page), run=check_handler) == []
        messages = check(path("", page), path("ws/", include([path("room/", room)])), run=check_handler)
    assert [message.id for message in messages] == (["fullduplex.W020"] if is_told else [])
    if is_told:
        assert f"`from fullduplex import get_asgi_application` in {site.name}.asgi" in str(messages[0].hint)


def test_a_project_without_an_asgi_module() -> None:
    with override_settings(ASGI_APPLICATION=None, WSGI_APPLICATION=None):
        assert check_handler() == []
