"""Consumers of the project itself, and those of djangochannelsrestframework and chanx."""

from __future__ import annotations

from typing import Any, Literal

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer
from chanx.channels.websocket import AsyncJsonWebsocketConsumer as ChanxConsumer
from chanx.core.decorators import channel, event_handler, ws_handler
from chanx.messages.base import BaseMessage
from django.contrib.auth.models import Group
from djangochannelsrestframework.decorators import action
from djangochannelsrestframework.generics import GenericAsyncAPIConsumer
from djangochannelsrestframework.mixins import CreateModelMixin, ListModelMixin, PatchModelMixin
from djangochannelsrestframework.observer import model_observer
from djangochannelsrestframework.observer.generics import ObserverModelInstanceMixin
from pydantic import BaseModel
from rest_framework import permissions, serializers


class NewsConsumer(AsyncJsonWebsocketConsumer):
    """Tells a group what a client says, and the client what its group is told."""

    groups = ("news",)

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send("news", {"type": "news.item", "text": content})

    async def news_item(self, event: dict[str, Any]) -> None:
        await self.send_json({"async": event["text"]})


class SyncNewsConsumer(JsonWebsocketConsumer):
    groups = ("news",)

    def news_item(self, event: dict[str, Any]) -> None:
        self.send_json({"sync": event["text"]})


# djangochannelsrestframework ---------------------------------------------------------------------


class GroupSerializer(serializers.ModelSerializer):
    class Meta:
        model = Group
        fields = ("id", "name")


class GroupConsumer(
    ListModelMixin, CreateModelMixin, PatchModelMixin, ObserverModelInstanceMixin, GenericAsyncAPIConsumer
):
    """REST over a socket, news of one object, and of all to those who asked."""

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
    async def subscribe_all(self, **kwargs: Any) -> tuple[dict[str, Any], int]:
        await self.changed.subscribe()
        return {}, 201


# chanx -------------------------------------------------------------------------------------------


class Text(BaseModel):
    text: str


class Say(BaseMessage):
    action: Literal["say"] = "say"
    payload: Text


class Said(BaseMessage):
    action: Literal["said"] = "said"
    payload: Text


class Announced(BaseMessage):
    action: Literal["announced"] = "announced"
    payload: Text


@channel(name="typed")
class TypedConsumer(ChanxConsumer):
    """Routes typed messages, to all in the group, and events that views send."""

    groups = ("typed",)
    permission_classes = (permissions.AllowAny,)

    @ws_handler(output_type=Said)
    async def say(self, message: Say) -> None:
        await self.broadcast_message(Said(payload=message.payload))

    @event_handler(output_type=Said)
    async def announced(self, event: Announced) -> Said:
        return Said(payload=event.payload)
