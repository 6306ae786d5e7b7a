"""A project of the shape that the tutorial of Channels teaches, with consumers and a routing of its own.

``{channels}`` stands where the package is named; nothing else differs between Channels and ours.
"""

CONSUMERS = """
import json

from asgiref.sync import async_to_sync
from {channels}.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer


class ChatConsumer(WebsocketConsumer):
    def connect(self):
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group_name = f"chat_{{self.room_name}}"
        async_to_sync(self.channel_layer.group_add)(self.room_group_name, self.channel_name)
        self.accept()

    def disconnect(self, close_code):
        async_to_sync(self.channel_layer.group_discard)(self.room_group_name, self.channel_name)

    def receive(self, text_data):
        message = json.loads(text_data)["message"]
        async_to_sync(self.channel_layer.group_send)(
            self.room_group_name, {{"type": "chat.message", "message": message, "by": str(self.scope["user"])}}
        )

    def chat_message(self, event):
        self.send(text_data=json.dumps({{"message": event["message"], "by": event["by"]}}))


class AsyncChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group_name = f"chat_{{self.room_name}}"
        await self.channel_layer.group_add(self.room_group_name, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        await self.channel_layer.group_discard(self.room_group_name, self.channel_name)

    async def receive(self, text_data):
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send(
            self.room_group_name, {{"type": "chat.message", "message": message, "by": str(self.scope["user"])}}
        )

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({{"message": event["message"], "by": event["by"]}}))
"""

ROUTING = """
from django.urls import re_path

from mysite import consumers

websocket_urlpatterns = [
    re_path(r"ws/chat/(?P<room_name>\\w+)/$", consumers.ChatConsumer.as_asgi()),
    re_path(r"ws/async/(?P<room_name>\\w+)/$", consumers.AsyncChatConsumer.as_asgi()),
]
"""

ASGI = """
import os

from {channels}.auth import AuthMiddlewareStack
from {channels}.routing import ProtocolTypeRouter, URLRouter
from {channels}.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
django_asgi_app = get_asgi_application()

from mysite.routing import websocket_urlpatterns

application = ProtocolTypeRouter(
    {{
        "http": django_asgi_app,
        "websocket": AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns))),
    }}
)
"""

SETTINGS = """
ASGI_APPLICATION = "mysite.asgi.application"
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
"""
