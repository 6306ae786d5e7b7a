"""A Django project for clients that take their time: views that wait, read slowly or not at all, or never end.

With the middleware of ``startproject`` that needs no database, and with our handler.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="x" * 50,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    LOGGING_CONFIG=None,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    FULLDUPLEX={"HANDSHAKE_TIMEOUT_S": float(os.environ.get("BENCH_HANDSHAKE_TIMEOUT_S", "10"))},
)
django.setup()

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

from fullduplex import WebSocket, get_asgi_application, websocket  # noqa: E402

PIECE = bytes(65_536)
FOR_EVER_S = 3_600.0


async def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("Hello, world!", content_type="text/plain")


async def wait(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(FOR_EVER_S)
    return HttpResponse()


@csrf_exempt
async def upload(request: HttpRequest) -> HttpResponse:
    """Takes its time when all has come."""
    await asyncio.sleep(FOR_EVER_S)
    return HttpResponse()


async def download(request: HttpRequest) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield PIECE

    return StreamingHttpResponse(pieces())


@websocket
async def taking(socket: WebSocket) -> None:
    """Takes every message at once, and says nothing."""
    async for _ in socket:
        pass


@websocket
async def echo(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)


@websocket
async def deaf(socket: WebSocket) -> None:
    """Takes no message."""
    await socket.accept()
    await asyncio.sleep(FOR_EVER_S)


@websocket
async def late(socket: WebSocket) -> None:
    """Does not come to its accept. It has looked at the cookies, as sessions do."""
    _ = socket.request.COOKIES
    await asyncio.sleep(FOR_EVER_S)


@websocket
async def endless(socket: WebSocket) -> None:
    await socket.accept()
    while True:
        await socket.send(PIECE)


urlpatterns = [
    path("page/", page),
    path("wait/", wait),
    path("upload/", upload),
    path("download/", download),
    path("taking/", taking),
    path("echo/", echo),
    path("deaf/", deaf),
    path("late/", late),
    path("endless/", endless),
]
application = get_asgi_application()
