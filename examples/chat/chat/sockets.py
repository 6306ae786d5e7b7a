"""The socket of a room: all that the server does for an open page.

What the page sends, as JSON:

- ``{"text": ..., "key": ...}``: somebody says something, under a key that the page has made;
- ``{"type": "ping"}``: is the connection alive? ``{"type": "pong"}`` answers;
- ``{"type": "pong"}``: it is.

What it gets: ``message`` and ``here`` with everybody in the room; ``refused``, ``ping`` and ``pong`` alone.
"""

import asyncio
from typing import Any

from django.contrib.auth.decorators import login_required
from django.shortcuts import aget_object_or_404

from fullduplex import WebSocket, websocket

from . import presence
from .forms import MessageForm
from .models import Message, Room

# A page that says nothing for so long is asked whether it is there, and given as long to answer. The server asks, since
# browsers run the timers of a page in the background once a minute; what arrives such a page answers at once.
HEARTBEAT_S = 20.0
NO_ANSWER = 4000  # the close code; those from 4000 on are for applications (RFC 6455 section 7.4.2)


@login_required
@websocket
async def room_socket(socket: WebSocket, slug: str) -> None:
    """Pass on what is said. What a page missed it fetches from ``messages``, once this has accepted."""
    user = await socket.request.auser()
    room = await aget_object_or_404(Room, slug=slug)
    await socket.join(room.group)
    async with presence.present(room, user.get_username()):
        while (data := await hear(socket)) is not None:  # a client that leaves ends it with Disconnected
            if data.get("type") == "ping":
                await socket.send({"type": "pong"})
            elif data.get("type") != "pong":
                await say(socket, room, user, data)
    await socket.close(NO_ANSWER, "no answer to a ping")


async def hear(socket: WebSocket) -> dict[str, Any] | None:
    """Return the next message; None when a silent page does not answer a ping either."""
    data = await _hear(socket)
    if data is None:
        await socket.send({"type": "ping"})
        data = await _hear(socket)
    return data


async def _hear(socket: WebSocket) -> dict[str, Any] | None:
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            data = await socket.receive_json()
    except TimeoutError:
        return None
    return data if isinstance(data, dict) else {}


async def say(socket: WebSocket, room: Room, user: Any, data: dict[str, Any]) -> None:
    """Keep what somebody says, once however often it comes, and tell the room."""
    form = MessageForm(data)
    if not form.is_valid():
        await socket.send({"type": "refused", "key": data.get("key"), "errors": form.errors.get_json_data()})
        return
    message, _ = await Message.objects.select_related("author").aget_or_create(
        room=room, author=user, key=form.cleaned_data["key"], defaults={"text": form.cleaned_data["text"]}
    )
    await room.group.asend(message.as_event())
