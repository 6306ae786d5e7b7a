"""The project of the long run: each answer says whose state it has seen, and ``/figures/`` how the process is.

``DATABASE`` in the environment is a file for SQLite, ``AGE`` its CONN_MAX_AGE, ``MAX_COUNT`` is THREADS_MAX_COUNT, and
``LAYER_URL`` where the layer's broker is; empty: the layer in the process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.conf import settings


def _layers(url: str) -> dict[str, Any]:
    if not url:
        return {}
    return {"default": {"BACKEND": "fullduplex.layers.redis.RedisLayer", "CONFIG": {"hosts": [url]}}}


settings.configure(
    BASE_DIR=os.path.dirname(os.environ["DATABASE"]),  # several workers have a layer of this project's own
    SECRET_KEY="x" * 50,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    LOGGING_CONFIG=None,
    INSTALLED_APPS=["django.contrib.contenttypes"],
    MIDDLEWARE=[f"{__name__}.Owner"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DATABASE"],
            "CONN_MAX_AGE": int(os.environ["AGE"]),
        }
    },
    CHANNEL_LAYERS=_layers(os.environ["LAYER_URL"]),
    FULLDUPLEX={"THREADS_MAX_COUNT": int(os.environ["MAX_COUNT"])},
)

django.setup()

from django.db import connection  # noqa: E402
from django.db.backends.signals import connection_created  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.http.response import HttpResponseBase  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils.deprecation import MiddlewareMixin  # noqa: E402

from fullduplex import Group, WebSocket, get_asgi_application, thread_stats, websocket  # noqa: E402
from fullduplex.layers import get_layer  # noqa: E402
from fullduplex.realtime.hub import get_hub  # noqa: E402

PARTS_COUNT = 20
PART_CHARS = 4_096
SLOW_S = 5.0

local = threading.local()
counts = {"left_behind": 0}
connections: weakref.WeakSet[Any] = weakref.WeakSet()
logging.getLogger("django.request").setLevel(logging.CRITICAL)  # views that raise are part of the load


def note_connection(connection: Any, **kwargs: Any) -> None:
    connections.add(connection)


connection_created.connect(note_connection)


class Owner(MiddlewareMixin):
    """Keeps whose request it is in the thread, in the connection and in the database, and takes it away at the end."""

    def process_request(self, request: HttpRequest) -> None:
        owner = request.GET.get("owner", "")
        if getattr(local, "owner", None) is not None:
            counts["left_behind"] += 1
        local.owner = connection.owner = owner  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE IF NOT EXISTS owner (name TEXT)")
            cursor.execute("DELETE FROM owner")
            cursor.execute("INSERT INTO owner VALUES (%s)", [owner])

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        closers: list[Any] = response._resource_closers  # type: ignore[attr-defined]
        closers.append(lambda: setattr(local, "owner", None))
        return response


def state() -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM owner")
        row = cursor.fetchone()
    return [getattr(local, "owner", None), getattr(connection, "owner", None), row and row[0]]


def page(request: HttpRequest) -> HttpResponse:
    return JsonResponse(state(), safe=False)


async def apage(request: HttpRequest) -> HttpResponse:
    seen: list[Any] = []
    for _ in range(3):
        seen += await sync_to_async(state)()
        await asyncio.sleep(0.002)
    return JsonResponse(seen, safe=False)


def part() -> str:
    return json.dumps(state()).ljust(PART_CHARS) + "\n"


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def parts() -> Iterator[str]:
        for _ in range(PARTS_COUNT):
            yield part()

    return StreamingHttpResponse(parts())


async def astream(request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[str]:
        for _ in range(PARTS_COUNT):
            yield await sync_to_async(part)()
            await asyncio.sleep(0.005)

    return StreamingHttpResponse(parts())


def upload(request: HttpRequest) -> HttpResponse:
    digest = hashlib.sha256()
    while block := request.read(65_536):  # `body` would refuse a large one
        digest.update(block)
    return JsonResponse([*state(), digest.hexdigest()], safe=False)


async def slow(request: HttpRequest) -> HttpResponse:
    seen = await sync_to_async(state)()
    await asyncio.sleep(SLOW_S)
    return JsonResponse(seen + await sync_to_async(state)(), safe=False)


async def rest(request: HttpRequest) -> HttpResponse:
    """Rest with the thread for as long as asked for, between two sync calls."""
    seen = await sync_to_async(state)()
    await asyncio.sleep(float(request.GET["s"]))
    return JsonResponse(seen + await sync_to_async(state)(), safe=False)


def fail(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    return JsonResponse(state(), safe=False, status=404)


def handler500(request: HttpRequest) -> HttpResponse:
    return JsonResponse(state(), safe=False, status=500)


def echo(message: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", [message])
        answer: str = cursor.fetchone()[0]
    return answer


@websocket
async def chat(socket: WebSocket, name: str) -> None:
    await socket.accept()
    async for message in socket:
        await socket.send(f"{name} {await sync_to_async(echo)(str(message))}")


@websocket
async def room(socket: WebSocket, name: str, own: str) -> None:
    """Whatever comes goes to everybody in the room, and behind it to the one member of a group of its own."""
    await socket.join(f"room.{name}")
    await socket.join(f"own.{own}")
    async for message in socket:
        if message == "leave":
            await socket.leave(f"own.{own}")
        await Group(f"room.{name}").asend({"room": name, "owner": own, "text": message})
        await Group(f"own.{own}").asend({"own": own})


def publish(request: HttpRequest) -> HttpResponse:
    name = request.GET["room"]
    Group(f"room.{name}").send({"room": name, "owner": "", "text": "x" * int(request.GET["size"])})
    return page(request)


urlpatterns = [
    path("sync/", page),
    path("async/", apage),
    path("stream/", stream),
    path("astream/", astream),
    path("upload/", upload),
    path("slow/", slow),
    path("rest/", rest),
    path("fail/", fail),
    path("publish/", publish),
    path("chat/<name>/", chat),
    path("room/<name>/<own>/", room),
]
django_application = get_asgi_application()


def figures() -> dict[str, int]:
    stats = thread_stats()
    return {
        "pid": os.getpid(),
        "threads": stats.thread_count,
        "busy": stats.busy_count,
        "resting": stats.resting_count,
        "waiting": stats.waiting_count,
        "connections": sum(wrapper.connection is not None for wrapper in list(connections)),
        "tasks": len(asyncio.all_tasks()),
        "groups": len(get_hub()._rooms),  # those that have no members any more, too
        "subscriptions": len(getattr(get_layer(), "_subscriptions", ())),  # of the layer in the process
        **counts,
    }


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Django's pages; the figures come without a thread, so that asking for them changes none."""
    if scope["type"] != "http" or scope["path"] != "/figures/":
        await django_application(scope, receive, send)
        return
    body = json.dumps(figures()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})
