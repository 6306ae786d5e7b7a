"""A site whose middleware names each visitor in a context variable, which a record factory adds to the log."""

from __future__ import annotations

import contextvars
import logging
import sys
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path

visitor: contextvars.ContextVar[str] = contextvars.ContextVar("visitor")
make_record = logging.getLogRecordFactory()


def named_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = make_record(*args, **kwargs)
    record.visitor = visitor.get("nobody")
    return record


logging.setLogRecordFactory(named_record)


class Names:
    """Middleware that is only sync."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        visitor.set(request.GET.get("name", "guest"))
        response: HttpResponse = self.get_response(request)
        return response


settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="x" * 50,
    MIDDLEWARE=[f"{__name__}.Names"],
    INSTALLED_APPS=["fullduplex"],
    LOGGING_CONFIG=None,
)
sys.modules.setdefault("named_asgi", sys.modules[__name__])

from fullduplex import WebSocket, get_asgi_application, websocket  # noqa: E402


def sync_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("sync")


async def async_page(request: HttpRequest) -> HttpResponse:
    return HttpResponse("async")


@websocket
async def room(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)


urlpatterns = [path("sync/", sync_page), path("async/", async_page), path("room/", room)]
app = get_asgi_application()
