"""A project with one group that keeps a history: an endpoint, and a view that sends from sync code.

``LAYER`` in the environment is the layer, without it nothing is configured; ``SETTINGS``, as JSON, go before those that
stand here; ``NAME`` keeps projects apart.
"""

from __future__ import annotations

import json
import os
from typing import Any

import django
from django.conf import settings

layer = {"default": {"BACKEND": os.environ["LAYER"]}} if "LAYER" in os.environ else {}
its_settings: dict[str, Any] = {
    "CHANNEL_LAYERS": layer,
    "SECRET_KEY": os.environ["NAME"] + "x" * 50,
    "BASE_DIR": os.path.dirname(__file__),
    "ALLOWED_HOSTS": ["*"],
    "ROOT_URLCONF": __name__,
    "LOGGING_CONFIG": None,
    "INSTALLED_APPS": ["fullduplex"],
    "FULLDUPLEX": {"HISTORY": {"room": {"COUNT": 100_000, "MAX_BYTES": 33_554_432}}},
}
settings.configure(**its_settings | json.loads(os.environ.get("SETTINGS", "{}")))
django.setup()

from django.http import HttpRequest, HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

from fullduplex import Endpoint, Group, get_asgi_application  # noqa: E402

ROOM = Group("room")


class Room(Endpoint):
    async def may_subscribe(self, group: str) -> bool:
        return True

    async def may_publish(self, group: str, data: object) -> bool:
        return True


@csrf_exempt
def publish(request: HttpRequest, key: str) -> HttpResponse:
    """From sync code: the content is a message."""
    position = ROOM.send(request.body.decode(), key=key)
    assert position is not None
    return HttpResponse(f"{position.offset} {position.epoch}")


urlpatterns = [path("realtime/", Room.as_view()), path("publish/<str:key>/", publish)]
application = get_asgi_application()
