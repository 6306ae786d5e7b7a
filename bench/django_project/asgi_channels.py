# ruff: noqa: E402 - Channels wants Django set up before its own modules are imported.
"""Channels as its tutorial puts it together, with consumers that do what our views do."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.django_project.settings")

from django.core.asgi import get_asgi_application

http = get_asgi_application()

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

from bench.django_project.herd import consumer_on


class Room(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.group_name = self.scope["url_route"]["kwargs"]["name"]
        await self.channel_layer.group_add(self.group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.group_name, self.channel_name)

    async def chat_message(self, event: dict[str, Any]) -> None:
        await self.send(text_data=event["text"])


class Publish(AsyncWebsocketConsumer):
    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        group_name = self.scope["url_route"]["kwargs"]["name"]
        await self.channel_layer.group_send(group_name, {"type": "chat.message", "text": text_data})


class Accept(AsyncWebsocketConsumer):
    pass


routes = [
    path("room/<name>/", Room.as_asgi()),
    path("publish/<name>/", Publish.as_asgi()),
    path("accept/", Accept.as_asgi()),
    path("idle/", consumer_on(AsyncWebsocketConsumer).as_asgi()),
]
application = ProtocolTypeRouter(
    {"http": http, "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes)))}
)
