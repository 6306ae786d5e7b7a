"""A project with one room, for several workers without a layer: sockets join it and publish to it, and so do views.

Nothing is configured for groups. ``GAP`` in the environment is GAP_POLICY, ``NAME`` keeps projects apart. Its shell:
``python -c "from tests.e2e.rooms_asgi import ..."``.
"""

from __future__ import annotations

import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY=os.environ["NAME"] + "x" * 50,
    BASE_DIR=os.path.dirname(__file__),
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    LOGGING_CONFIG=None,
    INSTALLED_APPS=["fullduplex"],
    FULLDUPLEX={"GAP_POLICY": os.environ["GAP"], "GAP_MESSAGE": "gap"},
)
django.setup()

from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

from fullduplex import Group, WebSocket, get_asgi_application, websocket  # noqa: E402

ROOM = Group("room")


@websocket
async def member(socket: WebSocket) -> None:
    await socket.join(ROOM)
    await socket.send(f"joined {os.getpid()}")
    async for _ in socket:
        pass


@websocket
async def publisher(socket: WebSocket) -> None:
    """Publishes what it gets, and then says so."""
    async for text in socket:
        await ROOM.asend(text)
        await socket.send("published")


@csrf_exempt
def publish(request: HttpRequest) -> HttpResponse:
    """From sync code: each line of the content is a message."""
    for line in request.body.decode().splitlines():
        ROOM.send(line)
    return HttpResponse(str(os.getpid()))


urlpatterns = [path("member/", member), path("publisher/", publisher), path("publish/", publish)]
application = get_asgi_application()


def shell() -> None:
    """Publish each line of standard input, and answer each with one."""
    import sys

    for line in sys.stdin:
        ROOM.send(line.rstrip("\n"))
        print("published", flush=True)
