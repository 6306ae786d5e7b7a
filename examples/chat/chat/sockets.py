"""The endpoint of a room: who may listen and speak, and what becomes of what is said.

The page speaks with it through ``fullduplex/client.js``: over a WebSocket, or over HTTP where sockets are blocked.
"""

from typing import Any

from django.core.exceptions import ValidationError
from django.shortcuts import aget_object_or_404

from fullduplex import Endpoint

from . import presence
from .forms import MessageForm
from .models import Message, Room


class RoomEndpoint(Endpoint):
    """One open page of somebody who has a name: ``urls.py`` asks for it."""

    is_here = False

    async def on_connect(self) -> None:
        self.user = await self.request.auser()
        self.room = await aget_object_or_404(Room, slug=self.kwargs["slug"])

    async def may_subscribe(self, group: str) -> bool:
        if group != self.room.group.name:
            return False
        if not self.is_here:
            self.is_here = True
            await presence.enter(self.room, self.user.get_username())
        return True

    async def may_publish(self, group: str, data: Any) -> bool:
        return group == self.room.group.name and isinstance(data, dict)

    async def on_publish(self, group: str, data: Any, key: str) -> dict[str, Any]:
        """Keep what somebody says, once however often it comes, and tell the room."""
        form = MessageForm({"text": data.get("text"), "key": key})
        if not form.is_valid():
            raise ValidationError(form.errors.as_data())
        message, _ = await Message.objects.select_related("author").aget_or_create(
            room=self.room, author=self.user, key=form.cleaned_data["key"], defaults={"text": form.cleaned_data["text"]}
        )
        return message.as_event()

    async def on_disconnect(self, code: int) -> None:
        if self.is_here:
            await presence.leave(self.room, self.user.get_username())
