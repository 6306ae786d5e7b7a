"""A site with one endpoint, which lets everybody do everything.

``NAME`` in the environment keeps projects apart; ``LAYER`` is the layer, where it is not the implied one.
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
    CHANNEL_LAYERS={"default": {"BACKEND": os.environ["LAYER"]}} if "LAYER" in os.environ else {},
    FULLDUPLEX={"HISTORY": {"room.*": {"COUNT": 100_000, "MAX_BYTES": 268_435_456}}},
)
django.setup()

from typing import Any  # noqa: E402

from django.urls import path  # noqa: E402

from fullduplex import Endpoint, get_asgi_application  # noqa: E402


class Rooms(Endpoint):
    heartbeat_s = 1.0

    async def may_subscribe(self, group: str) -> bool:
        return True

    async def may_publish(self, group: str, data: Any) -> bool:
        return True

    async def call_pid(self, params: Any) -> int:
        return os.getpid()


urlpatterns = [path("realtime/", Rooms.as_view()), path("realtime/events/", Rooms.as_event_stream())]
application = get_asgi_application()
