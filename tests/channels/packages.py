"""A project that uses public packages built on Channels. Run by ``test_packages``, their imports changed.

Prints what clients of its sockets got, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

settings.configure(
    SECRET_KEY="tests",
    USE_TZ=True,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "project.sqlite3"}},
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    INSTALLED_APPS=["fullduplex", "django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()

from channelsmultiplexer import AsyncJsonWebsocketDemultiplexer  # noqa: E402
from django.contrib.auth.models import Group  # noqa: E402
from djangochannelsrestframework.decorators import action  # noqa: E402
from djangochannelsrestframework.generics import GenericAsyncAPIConsumer  # noqa: E402
from djangochannelsrestframework.mixins import CreateModelMixin, ListModelMixin  # noqa: E402
from djangochannelsrestframework.observer import model_observer  # noqa: E402
from rest_framework import permissions, serializers  # noqa: E402

from fullduplex.channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from fullduplex.channels.testing import WebsocketCommunicator  # noqa: E402
from fullduplex.layers import allow_in_process  # noqa: E402


class GroupSerializer(serializers.ModelSerializer):
    class Meta:
        model = Group
        fields = ("id", "name")


class GroupConsumer(ListModelMixin, CreateModelMixin, GenericAsyncAPIConsumer):
    """REST over a socket, and news of the model to all who asked."""

    queryset = Group.objects.all()
    serializer_class = GroupSerializer
    permission_classes = (permissions.AllowAny,)

    @model_observer(Group)
    async def changed(self, message: Any, observer: Any = None, **kwargs: Any) -> None:
        await self.send_json(message)

    @changed.serializer
    def changed(self, instance: Group, action: Any, **kwargs: Any) -> dict[str, Any]:
        return {"news": action.value, "name": instance.name}

    @action()
    async def subscribe(self, **kwargs: Any) -> tuple[dict[str, Any], int]:
        await self.changed.subscribe()
        return {}, 201


class Upper(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content.upper())


class Reverse(AsyncJsonWebsocketConsumer):
    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content[::-1])


class Streams(AsyncJsonWebsocketDemultiplexer):
    applications = {"upper": Upper.as_asgi(), "reverse": Reverse.as_asgi()}  # noqa: RUF012


async def main() -> dict[str, Any]:
    result: dict[str, Any] = {}
    writer = WebsocketCommunicator(GroupConsumer.as_asgi(), "/")
    reader = WebsocketCommunicator(GroupConsumer.as_asgi(), "/")
    for communicator in (writer, reader):
        await communicator.connect()
    await reader.send_json_to({"action": "subscribe", "request_id": 1})
    result["subscribed"] = (await reader.receive_json_from())["response_status"]
    await writer.send_json_to({"action": "create", "data": {"name": "editors"}, "request_id": 2})
    result["created"] = (await writer.receive_json_from())["data"]
    result["news"] = await reader.receive_json_from()
    await writer.send_json_to({"action": "list", "request_id": 3})
    result["list"] = (await writer.receive_json_from())["data"]
    streams = WebsocketCommunicator(Streams.as_asgi(), "/")
    await streams.connect()
    for stream in ("upper", "reverse"):
        await streams.send_json_to({"stream": stream, "payload": "hello"})
        result[stream] = await streams.receive_json_from()
    for communicator in (writer, reader, streams):
        await communicator.disconnect()
    return result


if __name__ == "__main__":
    allow_in_process("this is the only process")
    call_command("migrate", verbosity=0)
    print(json.dumps({**asyncio.run(main()), "original": "channels" in sys.modules}))
