"""Messages with a storage that is made on first use: the same cookies and pages as with Django's own hooks."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest
from django.contrib import messages
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.fallback import FallbackStorage
from django.core.handlers.asgi import ASGIHandler as DjangoHandler
from django.http import HttpResponse
from django.urls import path

from tests.handler.asgi_driver import Connection, http_scope
from tests.handler.project import project

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
SETTINGS = {"MIDDLEWARE": MIDDLEWARE, "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies"}


def add(request: Any) -> HttpResponse:
    messages.info(request, "one")
    messages.warning(request, "two")
    return HttpResponse("added")


async def add_async(request: Any) -> HttpResponse:
    return add(request)


def show(request: Any) -> HttpResponse:
    return HttpResponse(", ".join(map(str, messages.get_messages(request))))


def leave(request: Any) -> HttpResponse:
    return HttpResponse("left alone")


def level(request: Any) -> HttpResponse:
    messages.set_level(request, messages.WARNING)
    return add(request)


def add_to_a_copy(request: Any) -> HttpResponse:
    return add(copy.copy(request))


def replace(request: Any) -> HttpResponse:
    request._messages = CookieStorage(request)
    return add(request)


ROUTES = [path(f"{view.__name__}/", view) for view in (add, add_async, show, leave, level, add_to_a_copy, replace)]


async def visit(application: Any, where: str, cookie: str) -> tuple[bytes, str]:
    """Return the page, and the cookie that the browser has after it."""
    client = Connection(application, http_scope(where, headers={"cookie": cookie} if cookie else {}))
    client.put(type="http.request", body=b"", more_body=False)
    await client.end()
    start = client.events.get_nowait()
    page = client.events.get_nowait()["body"]
    for name, value in start["headers"]:
        if name.lower() == b"set-cookie":
            cookie = value.decode().partition(";")[0]
    return page, cookie.removesuffix('""')


@pytest.mark.parametrize("where", ["add", "add_async", "level", "add_to_a_copy", "replace"])
def test_messages_reach_the_next_page_and_stay_while_nobody_asks(where: str) -> None:
    with project(*ROUTES, **SETTINGS) as application:

        async def visits(handler: Any) -> list[bytes]:
            cookie = ""
            pages = []
            for page in (where, "leave", "show", "show"):
                body, cookie = await visit(handler, f"/{page}/", cookie)
                pages.append(body)
            assert cookie in ("", "messages=")
            return pages

        ours = asyncio.run(visits(application))
        assert ours == asyncio.run(visits(DjangoHandler()))
    assert ours[1:] == [b"left alone", b"two" if where == "level" else b"one, two", b""]


@pytest.mark.parametrize(("where", "count"), [("/leave/", 0), ("/show/", 1), ("/add/", 1)])
async def test_no_storage_is_made_unless_somebody_asks(where: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    init = FallbackStorage.__init__

    def counted(self: FallbackStorage, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        init(self, *args, **kwargs)

    monkeypatch.setattr(FallbackStorage, "__init__", counted)
    with project(*ROUTES, **SETTINGS) as application:
        await visit(application, where, "")
    assert len(made) == count


async def test_without_the_middleware_there_is_no_storage() -> None:
    def ask(request: Any) -> HttpResponse:
        with pytest.raises(messages.MessageFailure):
            messages.info(request, "nobody hears")
        with pytest.raises(AttributeError, match="'Request' object has no attribute '_messages'"):
            request._messages  # noqa: B018
        return HttpResponse(str(list(messages.get_messages(request))))

    with project(path("", ask)) as application:
        assert await visit(application, "/", "") == (b"[]", "")


async def test_without_sessions_the_storage_complains_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with project(*ROUTES, MIDDLEWARE=MIDDLEWARE[1:]) as application:
        client = Connection(application, http_scope("/leave/"))
        client.put(type="http.request", body=b"", more_body=False)
        await client.end()
        assert client.events.get_nowait()["status"] == 500
    assert "requires session middleware" in str(caplog.records[0].exc_info)
