"""A project of either side: ``SIDE`` names the package, ``channels`` or ``fullduplex.channels``."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import django
from django.conf import settings
from django.urls import path

side = os.environ["SIDE"]
settings.configure(SECRET_KEY="tests", ALLOWED_HOSTS=["*"], CHANNEL_LAYERS={})
django.setup()

routing = import_module(f"{side}.routing")
consumers = import_module(f"{side}.generic.websocket")


class Echo(consumers.AsyncWebsocketConsumer):  # type: ignore[misc, name-defined]
    async def connect(self) -> None:
        await self.accept(headers=[(b"x-room", b"lobby")])

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data, bytes_data)


class Failing(consumers.AsyncWebsocketConsumer):  # type: ignore[misc, name-defined]
    async def connect(self) -> None:
        raise LookupError("a consumer that fails")


class Talking(consumers.AsyncWebsocketConsumer):  # type: ignore[misc, name-defined]
    """Talks for ever."""

    async def connect(self) -> None:
        await self.accept()
        sent_bytes = 0
        while sent_bytes < 200_000_000:
            await self.send(bytes_data=b"x" * 1_000_000)
            sent_bytes += 1_000_000
            print(f"sent {sent_bytes}", flush=True)


async def http(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


application = routing.ProtocolTypeRouter(
    {
        "http": http,
        "websocket": routing.URLRouter(
            [
                path("echo/", Echo.as_asgi()),
                path("failing/", Failing.as_asgi()),
                path("talking/", Talking.as_asgi()),
            ]
        ),
    }
)
